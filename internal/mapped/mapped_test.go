package mapped

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

// A fault is the file's, too, where what it unwinds through closes the file.
func TestFaultOfAFileThatIsClosedMeanwhile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 1<<16), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if Of(f.Data) == nil {
		f.Close()
		t.Skip("files are read whole here")
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	read := func() (b byte, err error) {
		defer Catch(&err, debug.SetPanicOnFault(true))
		defer f.Close()
		return f.Data[len(f.Data)-1], nil
	}
	_, err = read()
	var fault *Error
	if !errors.As(err, &fault) || fault.Path != path || !errors.Is(err, ErrChanged) {
		t.Errorf("error %v, want that %s was changed", err, path)
	}
}

// The look at a file after each call allocates nothing.
func TestCheckAllocatesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 1<<16), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v := Of(f.Data)
	if v == nil {
		t.Skip("files are read whole here")
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := v.Check(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func BenchmarkCheck(b *testing.B) {
	path := filepath.Join(b.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 1<<16), 0o666); err != nil {
		b.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	v := Of(f.Data)
	if v == nil {
		b.Skip("files are read whole here")
	}
	for b.Loop() {
		if err := v.Check(); err != nil {
			b.Fatal(err)
		}
	}
}
