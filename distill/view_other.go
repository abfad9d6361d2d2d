//go:build !unix

package distill

import "os"

// reading is a view by reading.
type reading struct{ f *os.File }

func newView(f *os.File, _ int64) (view, error) { return reading{f}, nil }

func (r reading) at(offset int64, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := r.f.ReadAt(b, offset)
	return b, err
}

func (reading) close() error { return nil }
