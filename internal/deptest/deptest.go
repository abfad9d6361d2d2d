// Package deptest tests what a package links.
package deptest

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Only checks what the package under test links: of this module, only the given top-level folders
// and internal, and neither Gorgonia nor packages that use cgo.
func Only(t *testing.T, folders ...string) {
	t.Helper()
	only(t, []string{"net", "os/user"}, folders) // these use cgo
}

// OnlyWithNet is Only for a package that needs the network.
func OnlyWithNet(t *testing.T, folders ...string) {
	t.Helper()
	only(t, nil, folders)
}

func only(t *testing.T, never, folders []string) {
	t.Helper()
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
		if strings.HasPrefix(p, "gorgonia.org/") || slices.Contains(never, p) {
			t.Errorf("imports %s", p)
		}
		path, ours := strings.CutPrefix(p, module)
		if folder, _, _ := strings.Cut(path, "/"); ours && folder != "internal" && !slices.Contains(folders, folder) {
			t.Errorf("imports %s", p)
		}
	}
}
