//go:build unix

package distill

import (
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// mapped is a view by memory mapping, which shows what is written to the file.
type mapped []byte

func newView(f *os.File, size int64) (view, error) {
	if size > math.MaxInt {
		return nil, fmt.Errorf("%s: %d bytes do not fit the address space", f.Name(), size)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: mapping %d bytes: %w", f.Name(), size, err)
	}
	return mapped(b), nil
}

func (m mapped) at(offset int64, n int) ([]byte, error) { return m[offset:][:n:n], nil }
func (m mapped) close() error                           { return unix.Munmap(m) }
