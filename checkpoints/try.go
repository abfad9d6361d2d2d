package checkpoints

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// TryDirectory makes and removes a file in a directory, which may not exist yet. So an
// output that cannot be written is found before the work begins. It leaves nothing
// behind.
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
	// The name is fixed, so that the next process removes what a killed one left.
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

// TryFile is TryDirectory for an output file, which may exist.
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
