package data

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/skive-ml/skive/internal/bounded"
)

// What a data file has at most.
const (
	maxFile = 8 << 30 // bytes of a file, compressed or not
	maxPipe = 1 << 30 // bytes of what comes through a pipe, which may have no end
	// A compressed file holds so many bytes, and so many more for each of its own.
	maxUnpacked      = 16 << 20
	maxUnpackedRatio = 50
	maxHeader        = 1 << 20 // bytes of the line that names the columns
	maxColumns       = 1 << 12
	// maxMade bounds the text of the examples of a record, which may repeat its
	// passage or its question many times.
	maxMade = 16 * bounded.Line
)

// readDocument reads the UTF-8 text of a data file. The name is the file's
// without .gz.
func readDocument(path string) (name string, content []byte, err error) {
	f, err := bounded.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	size := int64(-1)
	if info.Mode().IsRegular() && info.Size() > 0 { // those of /proc say 0
		size = info.Size()
	}
	return document(path, f, size)
}

// document reads the text of a file of so many bytes, -1 for an unknown number.
func document(path string, r io.Reader, size int64) (name string, content []byte, err error) {
	fail := func(line int, format string, args ...any) (string, []byte, error) {
		return "", nil, &FileError{path, line, fmt.Errorf(format, args...)}
	}
	name = strings.ToLower(filepath.Base(path))
	limit := int64(maxPipe)
	if size >= 0 {
		limit = maxFile
	}
	if size > limit {
		return fail(0, "%w", &bounded.TooLongError{Limit: limit})
	}
	buffered := bufio.NewReader(r)
	r = buffered
	start, _ := buffered.Peek(2) // an error comes back below
	packed := bytes.Equal(start, []byte{0x1f, 0x8b})
	if packed {
		name = strings.TrimSuffix(name, ".gz")
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return fail(0, "decompressing: %w", err)
		}
		if size >= 0 {
			limit = min(limit, maxUnpacked+maxUnpackedRatio*size)
		}
		r, size = z, -1
	}
	// What has no line end for so long is no text: it is not read to its end.
	head, err := io.ReadAll(io.LimitReader(r, bounded.Line+1))
	if err == nil {
		err = bounded.CheckEncoding(head)
		if err == nil && len(head) > bounded.Line && bytes.IndexByte(head, '\n') < 0 && !isList(head) {
			return fail(1, "%w", &bounded.TooLongError{Limit: bounded.Line})
		}
	}
	switch {
	case err != nil || len(head) <= bounded.Line:
		content = head
	case size >= 0:
		content = make([]byte, max(size, int64(len(head))))
		n, failed := io.ReadFull(r, content[copy(content, head):])
		if content, err = content[:len(head)+n], failed; err == io.EOF || err == io.ErrUnexpectedEOF {
			err = nil // it was cut off meanwhile
		}
	default:
		content, err = bounded.ReadAll(io.MultiReader(bytes.NewReader(head), r), limit)
	}
	var long *bounded.TooLongError
	switch {
	case errors.As(err, &long) && packed:
		return fail(0, "%w when it is decompressed", err)
	case err != nil && packed:
		return fail(0, "decompressing: %w", err)
	case err != nil:
		return fail(0, "%w", err)
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	if !utf8.Valid(content) {
		return fail(invalidLine(content), "is not valid UTF-8")
	}
	return name, content, nil
}

// isList tells whether a text may be a JSON list, whose records need no lines.
func isList(text []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(bytes.TrimPrefix(text, []byte("\ufeff")), " \t\r\n"), []byte("["))
}

// filledLines returns the number of lines that are not empty.
func filledLines(text []byte) int {
	n, before := 0, byte('\n')
	for _, c := range text {
		if before == '\n' && c != '\n' {
			n++
		}
		before = c
	}
	return n
}

// invalidLine returns the line of the first byte that is not UTF-8.
func invalidLine(b []byte) int {
	line := 1
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			break
		}
		if r == '\n' {
			line++
		}
		b = b[n:]
	}
	return line
}
