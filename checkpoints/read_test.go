package checkpoints

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// plainFS has files that cannot be read at an offset.
type plainFS struct{ fs.FS }

func (p plainFS) Open(name string) (fs.File, error) {
	f, err := p.FS.Open(name)
	return struct{ fs.File }{f}, err
}

// A model that is read from bytes, or from a file of a file system, is the one that is
// opened by its path, and is checked like it.
func TestReadAndOpenFS(t *testing.T) {
	t.Parallel()
	m, err := Open(filepath.Join("testdata", "safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	path := filepath.Join(t.TempDir(), "model.skive")
	if err := m.SaveSkive(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"models/a.skive": {Data: b}, "notes.txt": {Data: []byte(strings.Repeat("no model\n", 20))}}
	for name, open := range map[string]func() (*Model, error){
		"bytes":      func() (*Model, error) { return Read(bytes.NewReader(b), int64(len(b))) },
		"fs":         func() (*Model, error) { return OpenFS(files, "models/a.skive") },
		"plain fs":   func() (*Model, error) { return OpenFS(plainFS{files}, "models/a.skive") },
		"os.DirFS":   func() (*Model, error) { return OpenFS(os.DirFS(filepath.Dir(path)), "model.skive") },
		"a long one": func() (*Model, error) { return Read(bytes.NewReader(append(slices.Clone(b), 1, 2)), int64(len(b))) },
	} {
		read, err := open()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var again bytes.Buffer
		if err := errors.Join(read.Validate(), read.writeSkive(&again), read.Verify(), read.Close()); err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("%s: another model (%v)", name, err)
		}
	}
	damaged := slices.Clone(b)
	damaged[len(b)/2] ^= 1
	files["damaged.skive"] = &fstest.MapFile{Data: damaged}
	for _, c := range []struct {
		name, want string
		is         error
		open       func() (*Model, error)
	}{
		{"damaged", "damaged.skive: ", ErrCorrupt, func() (*Model, error) { return OpenFS(files, "damaged.skive") }},
		{"damaged bytes", "", ErrCorrupt, func() (*Model, error) { return Read(bytes.NewReader(damaged), int64(len(b))) }},
		{"cut off", "", ErrCorrupt, func() (*Model, error) { return Read(bytes.NewReader(b), int64(len(b))-1) }},
		{"shorter than said", "reading 4611686018427387904 bytes", io.EOF, func() (*Model, error) { return Read(bytes.NewReader(b), 1<<62) }},
		{"nothing", "", ErrCorrupt, func() (*Model, error) { return Read(bytes.NewReader(nil), 0) }},
		{"a negative size", "", ErrCorrupt, func() (*Model, error) { return Read(bytes.NewReader(b), -1) }},
		{"no model", "notes.txt: not a model", ErrNotModel, func() (*Model, error) { return OpenFS(files, "notes.txt") }},
		{"a directory", "models: not a model", ErrNotModel, func() (*Model, error) { return OpenFS(files, "models") }},
		{"no file", "none.skive", fs.ErrNotExist, func() (*Model, error) { return OpenFS(files, "none.skive") }},
	} {
		m, err := c.open()
		if m != nil || !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q and %v", c.name, err, c.want, c.is)
		}
	}
}
