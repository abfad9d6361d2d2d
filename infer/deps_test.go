package infer

import (
	"os/exec"
	"strings"
	"testing"
)

// A service that only serves links neither Gorgonia nor anything of training, nor
// what downloads models.
func TestDependencies(t *testing.T) {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command")
	}
	out, err := exec.Command(goCommand, "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const module = "github.com/skive-ml/skive/"
	for _, p := range strings.Fields(string(out)) {
		if strings.HasPrefix(p, "gorgonia.org/") || p == "net" || p == "os/user" { // the last two take cgo
			t.Errorf("imports %s", p)
		}
		room, ours := strings.CutPrefix(p, module)
		if !ours {
			continue
		}
		room, _, _ = strings.Cut(room, "/")
		switch room {
		case "infer", "checkpoints", "head", "tokenize", "internal":
		default:
			t.Errorf("imports %s", p)
		}
	}
}
