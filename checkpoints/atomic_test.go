package checkpoints

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCrashes stops a write at its first step, its second, and so on until it
// succeeds. Whatever was there before must be there whole, or the new one.
func TestCrashes(t *testing.T) {
	old, fresh := tinyModel(), uneven()
	fresh.Tokenizer["vocab.txt"] = []byte("new\n") // and no tokenizer_config.json
	crash := errors.New("crash")
	defer func() { failpoint = nil }()
	for name, c := range map[string]struct {
		save func(*Model, string) error
		path string
	}{
		"directory": {(*Model).SaveHF, "hf"},
		"file":      {(*Model).SaveSkive, "m.skive"},
	} {
		for _, before := range []bool{false, true} {
			crashes := 0
			for n := 0; ; n++ {
				failpoint = nil
				path := filepath.Join(t.TempDir(), c.path)
				if before {
					check(t, c.save(old, path))
					if name == "directory" {
						check(t, os.Mkdir(filepath.Join(path, stateDir), 0o777))
					}
				}
				steps := 0
				failpoint = func(string) error {
					if steps++; steps > n {
						return crash
					}
					return nil
				}
				err := c.save(fresh, path)
				failpoint = nil
				if err != nil && !errors.Is(err, crash) {
					t.Fatal(err)
				}
				m, openErr := Open(path)
				switch {
				case openErr != nil && (before || err == nil):
					t.Fatalf("%s, before %v, stopped at step %d: %v", name, before, n, openErr)
				case openErr != nil:
					if _, statErr := os.Stat(path); !errors.Is(statErr, os.ErrNotExist) {
						t.Fatalf("%s stopped at step %d: a broken one is there", name, n)
					}
				case err != nil && string(m.Tokenizer["vocab.txt"]) != "new\n":
					equalModels(t, m, old)
				default:
					equalModels(t, m, fresh)
				}
				if openErr == nil {
					m.Close()
				}
				// The next save works whatever the last one left behind.
				check(t, c.save(fresh, path))
				again := open1(t, path)
				equalModels(t, again, fresh)
				entries, _ := os.ReadDir(filepath.Dir(path))
				if len(entries) != 1 {
					t.Fatalf("%s stopped at step %d: left behind %v", name, n, entries)
				}
				if name == "directory" {
					for _, leftover := range []string{stagingDir, pendingDir, "tokenizer_config.json"} {
						if _, err := os.Stat(filepath.Join(path, leftover)); err == nil {
							t.Fatalf("stopped at step %d: left behind %s", n, leftover)
						}
					}
					if _, err := os.Stat(filepath.Join(path, stateDir)); before && err != nil {
						t.Fatal("the training state is gone")
					}
				}
				if err == nil {
					break
				}
				crashes++
			}
			if crashes < 10 {
				t.Errorf("%s: only %d steps", name, crashes)
			}
		}
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	full := errors.New("disk full")
	err := WriteFile(filepath.Join(dir, "f"), func(w io.Writer) error {
		w.Write([]byte("half"))
		return full
	})
	if !errors.Is(err, full) {
		t.Error(err)
	}
	err = writeDirAtomic(filepath.Join(dir, "d"), []namedWriter{{"f", func(io.Writer) error { return full }}}, nil)
	if !errors.Is(err, full) {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("left behind %v", entries)
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	err := WriteFile(path, func(w io.Writer) error {
		if err := WriteState(path, State{}); err == nil {
			t.Skip("this system has no file locks")
		}
		_, err := w.Write([]byte("x"))
		return err
	})
	check(t, err)
	if b, _ := os.ReadFile(path); string(b) != "x" {
		t.Errorf("%q", b)
	}
}

// A link stays and its file is replaced; what is no file stays what it is.
func TestWriteFileThroughLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	check(t, os.WriteFile(file, []byte("old"), 0o666))
	if err := os.Symlink("file", link); err != nil {
		t.Skip(err)
	}
	check(t, WriteBytes(link, []byte("new")))
	if b, err := os.ReadFile(file); err != nil || string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info, err)
	}
	socket := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", socket)
	check(t, err)
	defer l.Close()
	if err := WriteBytes(socket, nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode()&os.ModeSocket == 0 {
		t.Errorf("the socket is gone: %v, %v", info, err)
	}
}
