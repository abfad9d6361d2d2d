package checkpoints

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// TryDirectory makes a file in a directory that may not be there yet, so that an output
// that takes nothing is found out before the work and not after it. It leaves nothing.
func TryDirectory(dir string) error {
	var made []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Lstat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		made = append(made, d)
	}
	defer func() {
		for _, d := range made {
			os.Remove(d)
		}
	}()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	// The name is fixed, so that what a killed process left is removed by the next one.
	trial := filepath.Join(dir, ".skive-trial")
	os.Remove(trial)
	f, err := os.OpenFile(trial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process has just made it
	}
	if err != nil {
		return err
	}
	err = f.Close()
	if rerr := os.Remove(trial); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

var (
	errDirectory  = errors.New("is a directory, expected the name of a file")
	errNotRegular = errors.New("is not a regular file")
)

// TryFile is TryDirectory for an output that is a file, which may be there already.
func TryFile(path string) error {
	switch info, err := os.Stat(path); {
	case err != nil:
	case info.IsDir():
		return fmt.Errorf("%s %w", path, errDirectory)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s %w", path, errNotRegular)
	}
	return TryDirectory(filepath.Dir(path))
}
