package checkpoints

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestClaimExcludesASecond(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "a", "b", "out")
	ctx, release, err := Claim(context.Background(), out)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = Claim(context.Background(), filepath.Join(dir, "a", "..", "a", "b", "out"))
	var busy *BusyError
	if !errors.As(err, &busy) || busy.PID != os.Getpid() || busy.Command == "" || busy.Since.IsZero() || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second claim: %v", err)
	}
	_, again, err := Claim(ctx, out)
	if err != nil {
		t.Fatalf("a claim that is a part of the first: %v", err)
	}
	again()
	if _, _, err := Claim(context.Background(), out); !errors.As(err, &busy) {
		t.Errorf("the end of a part ends the whole: %v", err)
	}
	_, other, err := Claim(ctx, filepath.Join(out, "part"))
	if err != nil {
		t.Fatal(err)
	}
	other()
	release()
	if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
		t.Error("directories stay that a claim has made")
	}
	if _, release, err = Claim(context.Background(), out); err != nil {
		t.Fatalf("after the end: %v", err)
	}
	release()
}

// What a killed process leaves is a file that nobody holds.
func TestClaimTakesOverWhatWasLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	left := filepath.Join(dir, ".out"+claimSuffix)
	if err := os.WriteFile(left, []byte(`{"pid": 1, "command": "skive train and more that is longer than what follows"}`), 0o666); err != nil {
		t.Fatal(err)
	}
	_, release, err := Claim(context.Background(), filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	var busy *BusyError
	if _, _, err := Claim(context.Background(), filepath.Join(dir, "out")); !errors.As(err, &busy) || busy.PID != os.Getpid() {
		t.Errorf("the holder is not named: %v", err)
	}
	release()
	if _, err := os.Stat(left); err == nil {
		t.Error("the file stays")
	}
}

// A claim removes what a killed process had half written, and nothing that a living
// one is writing.
func TestClaimRemovesWhatWasHalfWritten(t *testing.T) {
	t.Parallel()
	for _, alive := range []bool{false, true} {
		dir := t.TempDir()
		out := filepath.Join(dir, "out")
		var left []string
		for _, l := range []struct{ file, locked string }{
			{".out.tmp", ".out.tmp"},
			{".out" + stagingDir + "/model.safetensors", ".out" + stagingDir},
			{"out/" + stagingDir + "/sub/model.safetensors", "out"},
		} {
			path := filepath.Join(dir, filepath.FromSlash(l.file))
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte("half"), 0o666)); err != nil {
				t.Fatal(err)
			}
			left = append(left, path)
			if !alive {
				continue
			}
			f, err := os.Open(filepath.Join(dir, l.locked))
			if err == nil {
				defer f.Close()
				err = lock(f)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		kept := filepath.Join(dir, "out", "notes.tmp")
		if err := os.WriteFile(kept, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		_, release, err := Claim(context.Background(), out)
		if err != nil {
			t.Fatal(err)
		}
		release()
		for _, path := range left {
			if _, err := os.Stat(path); (err == nil) != alive && !(alive && runtime.GOOS == "windows") {
				t.Errorf("%s, its writer alive %v: %v", path, alive, err)
			}
		}
		if _, err := os.Stat(kept); err != nil {
			t.Error(err)
		}
	}
}

func TestClaimThroughLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, there := range []bool{true, false} {
		if there {
			if err := os.MkdirAll(filepath.Join(dir, "real", "out"), 0o777); err != nil {
				t.Fatal(err)
			}
			for _, link := range [][2]string{{"real", "parent"}, {filepath.Join("real", "out"), "direct"}} {
				if err := os.Symlink(link[0], filepath.Join(dir, link[1])); err != nil {
					t.Skip(err)
				}
			}
		} else if err := os.Remove(filepath.Join(dir, "real", "out")); err != nil {
			t.Fatal(err)
		}
		_, release, err := Claim(context.Background(), filepath.Join(dir, "real", "out"))
		if err != nil {
			t.Fatal(err)
		}
		var busy *BusyError
		if _, _, err := Claim(context.Background(), filepath.Join(dir, "parent", "out")); !errors.As(err, &busy) {
			t.Errorf("through a link above, output there %v: %v", there, err)
		}
		if _, _, err := Claim(context.Background(), filepath.Join(dir, "direct")); there && !errors.As(err, &busy) {
			t.Errorf("through a link: %v", err)
		}
		release()
	}
	// A link in the place of the lock must not lead a claim to write elsewhere.
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("content"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, filepath.Join(dir, ".x"+claimSuffix)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Claim(context.Background(), filepath.Join(dir, "x")); err == nil && runtime.GOOS != "windows" {
		t.Error("a link is followed")
	}
	if text, _ := os.ReadFile(precious); string(text) != "content" {
		t.Errorf("a claim has written %q through a link", text)
	}
}

// The file is removed by its holder while others open it: never do two hold it.
func TestClaimsWhileTheFileIsRemoved(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "new", "out")
	var holders, claimed atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				_, release, err := Claim(context.Background(), out)
				var busy *BusyError
				if errors.As(err, &busy) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold it", n)
				}
				claimed.Add(1)
				runtime.Gosched()
				holders.Add(-1)
				release()
			}
		})
	}
	all.Wait()
	if claimed.Load() == 0 {
		t.Error("nobody ever got it")
	}
}

// Of writers to one new directory at least one succeeds, and the model is whole.
func TestWritersToOneNewDirectory(t *testing.T) {
	t.Parallel()
	m := tinyModel()
	for range 20 {
		out := filepath.Join(t.TempDir(), "out")
		var won atomic.Int32
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				switch err := m.SaveHF(out); {
				case err == nil:
					won.Add(1)
				case !strings.Contains(err.Error(), "another process is writing here"):
					t.Error(err)
				}
			})
		}
		all.Wait()
		got, err := Open(out)
		if err != nil || won.Load() == 0 {
			t.Fatalf("%d succeeded: %v", won.Load(), err)
		}
		got.Close()
		if entries, _ := os.ReadDir(filepath.Dir(out)); len(entries) != 1 {
			t.Fatalf("left beside it: %v", entries)
		}
	}
}

func TestCheckFree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		name, file, content string
		free                bool
	}{
		{"nothing", "", "", true},
		{"an empty file", "a.skive", "", true},
		{"a file", "b.skive", "x", false},
		{"a directory with notes", "c/README.md", "x", true},
		{"a directory with a configuration", "d/config.json", "{}", false},
		{"a directory with weights", "e/model.safetensors", "x", false},
		{"a directory with weights of PyTorch", "f/pytorch_model.bin", "x", false},
		{"a directory with shards", "g/model.safetensors.index.json", "{}", false},
		{"a directory with a tokenizer", "h/vocab.txt", "x", false},
		{"a directory with a write that was interrupted", "i/" + pendingDir + "/" + manifestName, "[]", false},
	} {
		path := filepath.Join(dir, strings.Split(c.file, "/")[0])
		if c.file != "" {
			if err := WriteBytes(filepath.Join(dir, c.file), []byte(c.content)); err != nil {
				t.Fatal(err)
			}
		} else {
			path = filepath.Join(dir, "none")
		}
		var exists *ExistsError
		if err := CheckFree(path); (err == nil) != c.free || err != nil && !errors.As(err, &exists) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
