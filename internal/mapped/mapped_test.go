package mapped

import (
	"os"
	"path/filepath"
	"testing"
)

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
