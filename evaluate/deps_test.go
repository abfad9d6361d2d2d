package evaluate

import (
	"os/exec"
	"strings"
	"testing"
)

// A service that checks its model links neither Gorgonia nor anything of training.
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
		case "evaluate", "infer", "data", "checkpoints", "tokenize", "head", "settings", "internal":
		default:
			t.Errorf("imports %s", p)
		}
	}
}
