package grpcserver

import (
	"testing"

	"github.com/skive-ml/skive/internal/deptest"
)

// The server links neither Gorgonia nor anything of training.
func TestDependencies(t *testing.T) {
	deptest.OnlyWithNet(t, "serve", "infer", "checkpoints", "head", "tokenize", "settings")
}
