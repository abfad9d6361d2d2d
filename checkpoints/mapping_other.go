//go:build !unix

package checkpoints

import (
	"fmt"
	"io"
	"math"
	"os"
)

// mapping is a whole file, read into memory.
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
	if info.Size() > math.MaxInt-64 {
		return nil, fmt.Errorf("%s: %d bytes do not fit the address space", path, info.Size())
	}
	data := alignedBytes(int(info.Size()))
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &mapping{data: data}, nil
}

func (m *mapping) close() error {
	m.data = nil
	return nil
}

func (*mapping) release([]byte) {}
