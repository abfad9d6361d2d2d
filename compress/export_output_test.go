package compress

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/skive-ml/skive/train"
)

// A run that is not finished has no model yet, and is not exported into all the same.
func TestExportsLeaveUnfinishedRunsAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, free := (&ExportOptions{Format: HuggingFace}).Output(dir)
	if err := free(dir); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, train.StateDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, train.StateDir, "training.state"), []byte("state"), 0o600); err != nil {
		t.Fatal(err)
	}
	if free(dir) == nil {
		t.Error("a directory with the state of a run counts as free")
	}
}
