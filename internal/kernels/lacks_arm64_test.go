//go:build !noasm

package kernels

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// lacking are the kernels of the dispatch table that arm64 does without: none. What
// stands here falls back to its Go loop, with the same bits and far slower.
var lacking = []string{}

// TestWhatIsLacking holds the table, as it was generated, to that list: every function
// of it calls a kernel before its Go loop.
func TestWhatIsLacking(t *testing.T) {
	text, err := os.ReadFile("dispatch_arm64.go")
	if err != nil {
		t.Fatal(err)
	}
	function := regexp.MustCompile(`(?s)\nfunc (\w+)\(.*?\n}\n`)
	var found []string
	functions := function.FindAllStringSubmatch(string(text), -1)
	for _, f := range functions {
		if !strings.Contains(f[0], "case active.has(neon):") || !strings.Contains(f[0], "NEON(") {
			found = append(found, f[1])
		}
	}
	if len(functions) < 35 {
		t.Errorf("the table has %d functions", len(functions))
	}
	if got, want := strings.Join(found, " "), strings.Join(lacking, " "); got != want {
		t.Errorf("arm64 lacks kernels for %q, the list says %q", got, want)
	}
}
