package serve

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/skive-ml/skive/internal/deptest"
)

// A server links neither Gorgonia nor anything of training.
func TestDependencies(t *testing.T) {
	t.Parallel()
	deptest.OnlyWithNet(t, "serve", "infer", "checkpoints", "head", "tokenize", "settings")
}

// Who mounts the handlers of HTTP does not link gRPC.
func TestHandlersLinkNoGRPC(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Skipf("no go command: %s", out)
	}
	if strings.Contains(string(out), "google.golang.org/grpc") {
		t.Error("gRPC is linked")
	}
}
