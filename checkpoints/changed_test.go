//go:build unix

package checkpoints

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A model whose file was changed in place is not written anywhere else, and what
// reads it gives an error.
func TestSaveOfAChangedFile(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(path string, size int) error{
		"cut to nothing": func(path string, _ int) error { return os.Truncate(path, 0) },
		"cut to a half":  func(path string, size int) error { return os.Truncate(path, int64(size/2)) },
		"overwritten":    func(path string, size int) error { return os.WriteFile(path, make([]byte, size), 0o666) },
	} {
		for _, form := range []string{"a.skive", "dir"} {
			path := filepath.Join(t.TempDir(), form)
			weights, save := path, (*Model).SaveSkive
			if form == "dir" {
				weights, save = filepath.Join(path, safetensorsName), (*Model).SaveHF
			}
			if err := save(InitBERT(tinyConfig(), 1), path); err != nil {
				t.Fatal(err)
			}
			m, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			info, err := os.Stat(weights)
			if err != nil {
				t.Fatal(err)
			}
			if err := change(weights, int(info.Size())); err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(t.TempDir(), form)
			if err := save(m, to); !errors.Is(err, ErrFileChanged) || !strings.Contains(err.Error(), weights) {
				t.Errorf("%s: %s: %v, expected ErrFileChanged of %s", form, name, err, weights)
			}
			if _, err := os.Stat(filepath.Join(to, safetensorsName)); !errors.Is(err, fs.ErrNotExist) && form == "dir" {
				t.Errorf("%s: %s: a model was written", form, name)
			}
			if err := m.Verify(); form == "a.skive" && err == nil {
				t.Errorf("%s: %s: verified", form, name)
			}
		}
	}
}

// A model knows where it was opened, and so do its copies.
func TestPathOfAModel(t *testing.T) {
	t.Parallel()
	m, dir := tinyModel(), t.TempDir()
	if p := m.Path(); p != "" {
		t.Errorf("a model that was made has the path %q", p)
	}
	hf, skive := filepath.Join(dir, "hf"), filepath.Join(dir, "m.skive")
	if err := errors.Join(m.SaveHF(hf), m.SaveSkive(skive)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{hf, skive} {
		opened, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		if a, b := opened.Path(), opened.Clone().Path(); a != path || b != path {
			t.Errorf("%s: the path is %q, of a copy %q", path, a, b)
		}
	}
}
