//go:build unix

package mapped

import (
	"fmt"
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skive-ml/skive/internal/bounded"
)

// handle keeps the file open, because another file may take its path.
type handle struct {
	file *os.File
	fd   int
}

func (f *File) open() (mapped bool, err error) {
	file, err := bounded.OpenRegular(f.path)
	if err != nil {
		return false, err
	}
	defer func() {
		if !mapped {
			file.Close()
		}
	}()
	f.handle = handle{file, int(file.Fd())}
	if f.opened, err = f.stat(); err != nil {
		return false, fmt.Errorf("%s: %w", f.path, err)
	}
	size := f.opened.size
	if size == 0 {
		return false, nil
	}
	if size > math.MaxInt {
		return false, fmt.Errorf("%s: %d bytes do not fit the address space", f.path, size)
	}
	f.Data, err = unix.Mmap(f.fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return false, fmt.Errorf("%s: mapping %d bytes: %w", f.path, size, err)
	}
	return true, nil
}

func (f *File) close() error {
	if f.Data == nil {
		return nil
	}
	data := f.Data
	f.Data = nil
	f.file.Close() // it was only read
	return unix.Munmap(data)
}

func (f *File) stat() (stamp, error) {
	var s unix.Stat_t
	if err := unix.Fstat(f.fd, &s); err != nil {
		return stamp{}, err
	}
	return stamp{s.Size, int64(s.Mtim.Sec), int64(s.Mtim.Nsec)}, nil
}

// Release frees the memory of a part of the file until it is read again.
func (f *File) Release(part []byte) {
	page := uintptr(os.Getpagesize())
	p := unsafe.Pointer(unsafe.SliceData(part))
	skip := -uintptr(p) & (page - 1)
	if n := uintptr(len(part)); n >= skip+page {
		// This is only a hint. Without it, more memory stays in use.
		_ = unix.Madvise(part[skip:skip+(n-skip)&^(page-1)], unix.MADV_DONTNEED)
	}
}
