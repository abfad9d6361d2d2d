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

// Limits of a data file.
const (
	maxFile = 8 << 30 // bytes of a file, compressed or not
	maxPipe = 1 << 30 // bytes that are read from a pipe, which may never end
	// A compressed file may unpack to maxUnpacked bytes plus maxRatio bytes for each of its own.
	maxUnpacked      = 16 << 20
	maxUnpackedRatio = 50
	maxHeader        = 1 << 20 // bytes of the line with the column names
	maxColumns       = 1 << 12
	// maxMade is the largest size of all examples of a record. They may repeat its passage or its
	// question many times.
	maxMade = 16 * bounded.Line
)

// readDocument reads the UTF-8 text of a data file. The returned name is the file's, without .gz.
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
	if info.Mode().IsRegular() && info.Size() > 0 { // files in /proc report 0
		size = info.Size()
	}
	return document(path, f, size)
}

// document reads the text of a file with size bytes, -1 if that is not known.
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
	start, _ := buffered.Peek(2) // an error is reported below
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
	// A file without a line end in this many bytes is not text, and is not read any further.
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
			err = nil // the file was cut off in the meantime
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

// isList tells whether a text may be a JSON list, whose records need not be on separate lines.
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
