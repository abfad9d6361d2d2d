package checkpoints

import (
	"os"
	"path/filepath"
	"testing"
)

// What a process left that was killed while it tried an output does not stay.
func TestTrialsDoNotStay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".skive-trial"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "a", "b")} {
		if err := TryDirectory(path); err != nil {
			t.Error(err)
		}
	}
	file := filepath.Join(dir, "c", "model.skive")
	if err := TryFile(file); err != nil {
		t.Error(err)
	}
	if err := TryFile(dir); err == nil {
		t.Error("a directory passes for a file")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v was left (%v)", left, err)
	}
}
