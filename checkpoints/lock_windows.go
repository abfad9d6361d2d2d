package checkpoints

import (
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// errReadOnly is the error of a medium that cannot be written.
const errReadOnly = windows.ERROR_WRITE_PROTECT

// lock takes the file for this process until the file is closed. It locks one byte far
// behind the content, so that others may read the content. A directory has no locks.
func lock(f *os.File) error {
	at := &windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if err == windows.ERROR_LOCK_VIOLATION || err == windows.ERROR_IO_PENDING {
		return fmt.Errorf("%s: another process is writing here", f.Name())
	}
	return nil
}

// openLock opens the file that Claim locks, and makes it if it is missing.
func openLock(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666) }

// removeLocked ends the lock of a file and removes it. The system refuses to remove it
// if someone else has opened it by then.
func removeLocked(f *os.File, path string) {
	f.Close()
	os.Remove(path)
}
