// Package bounded reads files and streams that may be larger than intended, or endless.
package bounded

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// The largest sizes that are read, in bytes.
const (
	// Line is for a line of text, and for a record of a data set.
	Line = 16 << 20
	// Document is for a configuration, a recipe and the like.
	Document = 16 << 20
	// Tokenizer is for a tokenizer's file. The largest known ones have some 35 MB.
	Tokenizer = 256 << 20
)

// Open opens a file or a pipe. It refuses directories, sockets, and devices, which may be
// endless.
func Open(path string) (*os.File, error) {
	return open(path, "a file or a pipe", fs.ModeNamedPipe)
}

// OpenRegular opens only a regular file.
func OpenRegular(path string) (*os.File, error) { return open(path, "a regular file", 0) }

func open(path, want string, also fs.FileMode) (*os.File, error) {
	check := func(info fs.FileInfo, err error) error {
		if err == nil && info.Mode().Type()&^also != 0 {
			err = &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("is %s, expected %s", kind(info.Mode()), want)}
		}
		return err
	}
	// The file is examined before it is opened: opening a pipe blocks, and opening a device may
	// do more.
	if info, err := os.Stat(path); err == nil {
		if err := check(info, nil); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := check(f.Stat()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	}
	return "of a special kind"
}

// ReadFile reads a file or pipe of at most limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := ReadAll(f, limit)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return b, nil
}

// A TooLongError tells that something has more bytes than its limit.
type TooLongError struct{ Limit int64 }

func (e *TooLongError) Error() string {
	if e.Limit >= 1<<20 {
		return fmt.Sprintf("is longer than %d MB", e.Limit>>20)
	}
	return fmt.Sprintf("is longer than %d bytes", e.Limit)
}

// ReadAll reads at most limit bytes; more is a *TooLongError. It needs twice the memory of its
// result, and for an error twice the limit at most.
func ReadAll(r io.Reader, limit int64) ([]byte, error) {
	var chunks [][]byte
	for left, size := limit, 64<<10; ; size = min(2*size, 4<<20) {
		b := make([]byte, size)
		n, err := io.ReadFull(r, b)
		if left -= int64(n); left < 0 {
			return nil, &TooLongError{limit}
		}
		chunks = append(chunks, b[:n])
		switch {
		case err == nil:
		case err != io.EOF && err != io.ErrUnexpectedEOF:
			return nil, err
		case len(chunks) == 1:
			return bytes.Clone(b[:n]), nil
		default:
			return bytes.Join(chunks, nil), nil
		}
	}
}
