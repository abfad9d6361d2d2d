//go:build unix

package checkpoints

import (
	"fmt"
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is a whole file, mapped into memory for reading.
type mapping struct {
	data []byte
}

func mapFile(path string) (*mapping, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	size := info.Size()
	if size == 0 {
		return &mapping{}, nil
	}
	if size > math.MaxInt {
		return nil, fmt.Errorf("%s: %d bytes do not fit the address space", path, size)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: mapping %d bytes: %w", path, size, err)
	}
	return &mapping{data: data}, nil
}

func (m *mapping) close() error {
	if m.data == nil {
		return nil
	}
	data := m.data
	m.data = nil
	return unix.Munmap(data)
}

// release lets go of the memory that part of the file occupies, until it is
// read again.
func (m *mapping) release(part []byte) {
	page := uintptr(os.Getpagesize())
	p := unsafe.Pointer(unsafe.SliceData(part))
	skip := -uintptr(p) & (page - 1)
	if n := uintptr(len(part)); n >= skip+page {
		// A hint: without it, more memory is in use and nothing else.
		_ = unix.Madvise(part[skip:skip+(n-skip)&^(page-1)], unix.MADV_DONTNEED)
	}
}
