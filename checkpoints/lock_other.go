//go:build !unix && !windows

package checkpoints

import (
	"errors"
	"os"
)

var errReadOnly = errors.New("read-only")

// This system has no locks.
func lock(*os.File) error { return nil }

func openLock(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666) }

func removeLocked(f *os.File, path string) {
	os.Remove(path)
	f.Close()
}
