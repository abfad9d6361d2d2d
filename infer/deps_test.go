package infer

import (
	"testing"

	"github.com/skive-ml/skive/internal/deptest"
)

// A service that only serves links neither Gorgonia nor anything of training, nor
// what downloads models.
func TestDependencies(t *testing.T) {
	t.Parallel()
	deptest.Only(t, "infer", "checkpoints", "head", "settings", "tokenize")
}
