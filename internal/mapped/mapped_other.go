//go:build !unix

package mapped

import (
	"fmt"
	"io"
	"math"
	"unsafe"

	"github.com/skive-ml/skive/internal/bounded"
)

// handle is empty on systems where files are not mapped. They are read whole, so nobody can
// change what was read.
type handle struct{}

func (f *File) open() (mapped bool, err error) {
	file, err := bounded.OpenRegular(f.path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	const alignment = 64
	if info.Size() > math.MaxInt-alignment {
		return false, fmt.Errorf("%s: %d bytes do not fit the address space", f.path, info.Size())
	}
	size := int(info.Size())
	room := make([]byte, size+alignment-1)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(room))) & (alignment - 1))
	data := room[skip : skip+size : skip+size]
	if _, err := io.ReadFull(file, data); err != nil {
		return false, fmt.Errorf("%s: %w", f.path, err)
	}
	f.Data = data
	return false, nil
}

func (f *File) close() error {
	f.Data = nil
	return nil
}

func (f *File) stat() (stamp, error) { return f.opened, nil }

// Release does nothing, because the memory is the program's own.
func (*File) Release([]byte) {}
