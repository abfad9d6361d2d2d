//go:build unix

package checkpoints

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// errReadOnly is the error of a file system that is mounted for reading.
const errReadOnly = unix.EROFS

// lock takes the file for this process until the file is closed.
func lock(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		return fmt.Errorf("%s: another process is writing here", f.Name())
	}
	// Some network file systems have no locks. Writing works there too.
	return nil
}

// openLock opens the file that Claim locks, and makes it if it is missing. It does not
// follow links or wait for pipes.
func openLock(path string) (*os.File, error) {
	const flags = unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|flags, 0o666)
	if errors.Is(err, fs.ErrPermission) { // it is another user's, and can be locked as it is
		if g, err := os.OpenFile(path, os.O_RDONLY|flags, 0); err == nil {
			return g, nil
		}
	}
	return f, err
}

// removeLocked removes a file that is locked and ends the lock.
func removeLocked(f *os.File, path string) {
	os.Remove(path)
	f.Close()
}
