package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A model that was fine-tuned is compressed as it is, from one file; one that knows
// nothing of the task is not, unless that is forced.
func TestCompressTakesAFineTunedTeacher(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var b strings.Builder
	for i := range 60 {
		fmt.Fprintf(&b, `{"text": "w%d w%d", "label": %q}`+"\n", i%9+1, i%7+1, []string{"red", "blue"}[i%2])
	}
	file, recipe, out := filepath.Join(dir, "train.jsonl"), filepath.Join(dir, "recipe.yaml"), filepath.Join(dir, "out")
	for path, content := range map[string]string{
		file:   b.String(),
		recipe: "distill: {steps: 2}\nrecover: {steps: 1}\nprune: [{heads: 0.25, ffn: 0.25}]\ninstances: 1\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"compress", "--recipe", recipe, "--teacher", tinyModel, "--task", "text", "--train", file, "--test", file, "--threads", "1", "-o", out}
	code, stdout, stderr := execute(t, append(args, "-q")...)
	if code != exitFailure || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "is no better than the most frequent answer") || !strings.Contains(stderr, "--force compresses it anyway") {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	code, stdout, stderr = execute(t, append(args, "--force")...)
	if code != 0 || !strings.Contains(stdout, "test accuracy %") || !strings.Contains(stdout, "floor: the most frequent answer reaches") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	for _, want := range []string{"of the 60 examples of " + file + " are held out", "student: ", "measuring: "} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not said: %s", want, stderr)
		}
	}
}
