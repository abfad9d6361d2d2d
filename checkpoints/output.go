package checkpoints

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// An ExistsError reports that writing to an output would replace something.
type ExistsError struct {
	// Path is the output, and What says what is there.
	Path, What string
	// Resumable says that it is an unfinished run, which can be resumed.
	Resumable bool
}

func (e *ExistsError) Error() string { return e.Path + ": " + e.What }

// CheckFree reports, as an *ExistsError, what writing a model to path would replace: a
// file that is not empty, or any file of a model in a directory.
func CheckFree(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().IsRegular() && info.Size() > 0:
		return &ExistsError{Path: path, What: "the file is there already"}
	case !info.IsDir():
		return nil // refused elsewhere, or written to as it is
	}
	names := []string{pendingDir, configName, provenanceName}
	for _, w := range weightFiles {
		names = append(names, w.name)
	}
	for _, name := range slices.Concat(names, sentenceNames, tokenizerNames) {
		if _, err := os.Lstat(filepath.Join(path, name)); err == nil {
			return &ExistsError{Path: path, What: "a model is there already (" + name + ")"}
		}
	}
	return nil
}

// A BusyError reports that another process, or another call in this one, is writing to
// an output.
type BusyError struct {
	// Path is the output.
	Path string
	// Command, PID and Since say who is writing there, and since when. They are empty
	// if that is not known.
	Command string
	PID     int
	Since   time.Time
}

func (e *BusyError) Error() string {
	text := e.Path + ": another process is writing here"
	if e.PID != 0 {
		text += fmt.Sprintf(": %q, process %d, since %s", e.Command, e.PID, e.Since.Format("2006-01-02 15:04:05 MST"))
	}
	return text
}

// claimSuffix ends the name of the file that is locked while an output is written.
const claimSuffix = ".skive-lock"

// claimed is the context key for claims, and claims is a list of them.
type claimed struct{}

type claims struct {
	path  string
	above *claims
}

// Claim reserves the output at path, a file or a directory that need not exist, until
// release is called or the process dies. A second claim, by any process, is refused
// with a *BusyError. A claim with the returned context is part of this one: a command
// claims its output before it reads anything, and the function that writes claims it
// again.
//
// The lock is on the file .NAME.skive-lock beside the output, or, if nothing can be
// made there, on .skive-lock in the output directory. The file says who holds it, and
// release removes it. Missing directories above the output are made, and removed again
// if they stay empty. Links to the same output are the same output. On a file system
// without locks every claim succeeds. Claim removes what a killed process had half
// written.
func Claim(ctx context.Context, path string) (_ context.Context, release func(), err error) {
	var made []string
	for d := filepath.Dir(filepath.Clean(path)); ; d = filepath.Dir(d) {
		if _, err := os.Lstat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		made = append(made, d)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, nil, err
	}
	real, err := realPath(path)
	if err != nil {
		return nil, nil, err
	}
	above, _ := ctx.Value(claimed{}).(*claims)
	for c := above; c != nil; c = c.above {
		if c.path == real {
			return ctx, func() {}, nil
		}
	}
	file := filepath.Join(filepath.Dir(real), "."+filepath.Base(real)+claimSuffix)
	f, err := lockFile(file)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, errReadOnly) {
		if info, serr := os.Stat(real); serr == nil && info.IsDir() {
			file = filepath.Join(real, claimSuffix)
			f, err = lockFile(file)
		}
	}
	var busy *BusyError
	if errors.As(err, &busy) {
		busy.Path = path
	}
	if err != nil {
		return nil, nil, err
	}
	sweep(real)
	release = func() {
		removeLocked(f, file)
		for _, d := range made {
			os.Remove(d) // fails, harmlessly, if it is not empty
		}
	}
	return context.WithValue(ctx, claimed{}, &claims{real, above}), release, nil
}

// sweep removes what a killed process left half written. Files of writers without a
// claim are locked, and stay.
func sweep(path string) {
	dir, name := filepath.Split(path)
	for _, left := range []struct{ path, locked string }{
		{dir + TemporaryName(name), dir + TemporaryName(name)},
		{dir + stagingName(name), dir + stagingName(name)},
		{filepath.Join(path, stagingDir), path},
	} {
		if info, err := os.Lstat(left.path); err != nil || !info.Mode().IsRegular() && !info.IsDir() {
			continue
		}
		f, err := os.Open(left.locked)
		if err != nil {
			continue
		}
		if lock(f) == nil {
			os.RemoveAll(left.path) // a failure does no harm
		}
		f.Close()
	}
}

// realPath is the absolute path without links, as far as it exists.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if dir := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && dir != path {
		if dir, err = realPath(dir); err != nil {
			return "", err
		}
		return filepath.Join(dir, filepath.Base(path)), nil
	}
	return real, err
}

// lockFile makes the file and locks it. Its holder removes it, so the opened file may
// be gone by the time it is locked: then lockFile starts again.
func lockFile(path string) (*os.File, error) {
	busy := &BusyError{}
	for range 100 {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return nil, err
		}
		f, err := openLock(path)
		if errors.Is(err, fs.ErrNotExist) { // the directory has just been removed
			continue
		}
		if err != nil {
			return nil, err
		}
		locked := lock(f)
		if locked == nil {
			opened, err1 := f.Stat()
			there, err2 := os.Lstat(path)
			if err1 == nil && err2 == nil && os.SameFile(opened, there) {
				writeHolder(f)
				return f, nil
			}
			f.Close()
			continue
		}
		known := readHolder(f, busy)
		f.Close()
		if known {
			return nil, busy
		}
		time.Sleep(5 * time.Millisecond) // it is about to write who it is, or to remove the file
	}
	return nil, busy
}

// holder is the content of a locked file.
type holder struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

// writeHolder only informs people: the lock also holds if the disk is full or the file
// is another user's.
func writeHolder(f *os.File) {
	command := filepath.Base(os.Args[0])
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		command += " " + os.Args[1]
	}
	text, err := json.Marshal(holder{os.Getpid(), command, time.Now().Truncate(time.Second)})
	if err == nil && f.Truncate(0) == nil {
		f.WriteAt(append(text, '\n'), 0)
	}
}

func readHolder(f *os.File, e *BusyError) bool {
	text, err := io.ReadAll(io.LimitReader(f, 1<<12))
	var h holder
	if err != nil || json.Unmarshal(text, &h) != nil {
		return false
	}
	e.PID, e.Command, e.Since = h.PID, h.Command, h.Since
	return true
}
