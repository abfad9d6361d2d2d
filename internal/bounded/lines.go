package bounded

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Lines reads lines of UTF-8 text of at most Line bytes each. It skips a byte-order mark before
// the first line. UTF-16 is an error.
type Lines struct {
	s      *bufio.Scanner
	number int
	err    error
}

// NewLines returns the lines of r.
func NewLines(r io.Reader) *Lines {
	s := bufio.NewScanner(r)
	s.Buffer(nil, Line)
	return &Lines{s: s}
}

// Next reads the next line. It returns false if there is none, see Err.
func (l *Lines) Next() bool {
	if l.err != nil || !l.s.Scan() {
		if l.err == nil {
			l.err = l.s.Err()
		}
		if errors.Is(l.err, bufio.ErrTooLong) {
			l.err = &TooLongError{Line}
		}
		return false
	}
	if l.number++; l.number == 1 {
		l.err = CheckEncoding(l.s.Bytes())
	}
	return l.err == nil
}

// Text returns the line without its end.
func (l *Lines) Text() string {
	b := l.s.Bytes()
	if l.number == 1 {
		b = bytes.TrimPrefix(b, []byte(mark))
	}
	return strings.TrimRight(string(b), "\r")
}

// Number returns the number of the line, from 1. After an error it is that of the last line
// before.
func (l *Lines) Number() int { return l.number }

// Err returns the error that ended the lines, or nil at the end.
func (l *Lines) Err() error { return l.err }

const mark = "\ufeff"

// CheckEncoding recognizes UTF-16 by the first bytes of a text.
func CheckEncoding(start []byte) error {
	if bytes.HasPrefix(start, []byte{0xfe, 0xff}) || bytes.HasPrefix(start, []byte{0xff, 0xfe}) {
		return fmt.Errorf("is UTF-16, expected UTF-8")
	}
	return nil
}
