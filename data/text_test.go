package data

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestReadText(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "text")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte("one line\n\n\ttwo, \"quoted\"\r\nthree")); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{[]byte("\ufeffone line\n \n\ttwo, \"quoted\"\r\nthree\n"), packed.Bytes()} {
		if err := os.WriteFile(path, content, 0o666); err != nil {
			t.Fatal(err)
		}
		ds, err := ReadText(path)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"one line", "two, \"quoted\"", "three"}
		if len(ds.Examples) != len(want) {
			t.Fatalf("%d examples, want %d", len(ds.Examples), len(want))
		}
		for i, e := range ds.Examples {
			if e.Text != want[i] || e.Label != -1 || e.HasPair {
				t.Errorf("example %d is %+v", i, e)
			}
		}
	}
	for content, want := range map[string]string{" \n\n": path + ": no examples", "a\n\xff": path + ":2: is not valid UTF-8"} {
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := ReadText(path)
		var file *FileError
		if !errors.As(err, &file) || err.Error() != want {
			t.Errorf("%q: error %v, want %q", content, err, want)
		}
	}
}
