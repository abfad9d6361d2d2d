// Package lines answers the lines of a stream, several at the same time.
package lines

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/skive-ml/skive/internal/bounded"
)

// longLine is the number of bytes from which a line is answered before the next is read. So
// memory does not grow with the number of lines in progress.
const longLine = 64 << 10

// Answer writes the answers to the lines of in, in order. It answers up to ahead lines at the
// same time, and never holds back an answer while it waits for the next line. It stops at the
// first error, after the answers to the lines before.
func Answer(ctx context.Context, in io.Reader, to io.Writer, ahead int, answer func(ctx context.Context, line string) ([]byte, error)) error {
	type answered struct {
		text []byte
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pending := make(chan chan answered, ahead)
	go func() {
		defer close(pending)
		read := bounded.NewLines(in)
		for {
			more := read.Next()
			if !more && read.Err() == nil {
				return
			}
			result := make(chan answered, 1)
			select {
			case pending <- result:
			case <-ctx.Done():
				return
			}
			if !more {
				result <- answered{err: read.Err()}
				return
			}
			line, done := read.Text(), make(chan bool)
			go func() {
				defer close(done)
				text, err := answer(ctx, line)
				result <- answered{text, err}
			}()
			if len(line) > longLine {
				<-done
			}
		}
	}()
	out := bufio.NewWriter(to)
	for number := 1; ; number++ {
		if len(pending) == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		var result chan answered
		select {
		case result = <-pending:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), out.Flush())
		}
		if result == nil {
			return out.Flush()
		}
		r := <-result
		if r.err != nil {
			return errors.Join(fmt.Errorf("line %d: %w", number, r.err), out.Flush())
		}
		out.Write(r.text) // Flush reports an error
	}
}
