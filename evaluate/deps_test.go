package evaluate

import (
	"testing"

	"github.com/skive-ml/skive/internal/deptest"
)

// A service that checks its model links neither Gorgonia nor anything of training.
func TestDependencies(t *testing.T) {
	t.Parallel()
	deptest.Only(t, "evaluate", "infer", "data", "checkpoints", "tokenize", "head", "settings", "progress")
}
