package lines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestAnswersKeepTheOrderOfTheLines(t *testing.T) {
	t.Parallel()
	var in, want strings.Builder
	for i := range 500 {
		fmt.Fprintf(&in, "%d\r\n", i)
		fmt.Fprintf(&want, "<%d>\n", i)
	}
	in.WriteString("last") // without an end of line
	want.WriteString("<last>\n")
	var under, most atomic.Int64
	var out strings.Builder
	err := Answer(t.Context(), strings.NewReader(in.String()), &out, 8, func(_ context.Context, line string) ([]byte, error) {
		most.Store(max(most.Load(), under.Add(1)))
		defer under.Add(-1)
		time.Sleep(time.Duration(len(line)*7919%5) * 50 * time.Microsecond)
		return []byte("<" + line + ">\n"), nil
	})
	if err != nil || out.String() != want.String() {
		t.Errorf("%v; answers %q", err, out.String())
	}
	if n := most.Load(); n < 2 || n > 10 {
		t.Errorf("%d lines at a time", n)
	}
}

func TestAnAnswerIsNotHeldBack(t *testing.T) {
	t.Parallel()
	questions, ask := io.Pipe()
	listen, answers := io.Pipe()
	done := make(chan error)
	go func() {
		done <- Answer(t.Context(), questions, answers, 8, func(_ context.Context, line string) ([]byte, error) {
			return []byte(line + "!\n"), nil
		})
	}()
	buf := make([]byte, 16)
	for range 3 {
		fmt.Fprintln(ask, "so")
		if n, err := listen.Read(buf); err != nil || string(buf[:n]) != "so!\n" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	ask.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestABadLineIsNamedAfterTheAnswersBefore(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	var out strings.Builder
	err := Answer(t.Context(), strings.NewReader("a\nb\nc\nd\n"), &out, 8, func(_ context.Context, line string) ([]byte, error) {
		if line >= "c" {
			return nil, bad
		}
		return []byte(line), nil
	})
	if !errors.Is(err, bad) || err.Error() != "line 3: bad" || out.String() != "ab" {
		t.Errorf("%v after %q", err, out.String())
	}
	// Waiting for a line ends with the context.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	silent, _ := io.Pipe()
	if err := Answer(ctx, silent, &out, 8, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A long line is answered before the next is read.
func TestLongLinesAreAnsweredOneAtATime(t *testing.T) {
	t.Parallel()
	in := strings.Repeat(strings.Repeat("a", longLine+1)+"\n", 5)
	running := make(chan bool, 1)
	var out strings.Builder
	err := Answer(t.Context(), strings.NewReader(in), &out, 8, func(context.Context, string) ([]byte, error) {
		select {
		case running <- true:
			time.Sleep(time.Millisecond)
			<-running
			return []byte("x"), nil
		default:
			return nil, fmt.Errorf("two at a time")
		}
	})
	if err != nil || out.String() != "xxxxx" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestInputsEncoding(t *testing.T) {
	t.Parallel()
	echo := func(_ context.Context, line string) ([]byte, error) { return []byte(line + "|"), nil }
	for _, c := range []struct{ in, want string }{
		{"\ufeff{\"text\": \"a\"}\n{\"text\": \"a\"}\n", `{"text": "a"}|{"text": "a"}|`},
		{"\xff\xfea\x00\n\x00", "line 1: is UTF-16, expected UTF-8"},
		{"a\n" + strings.Repeat("b", 17<<20), "a|line 2: is longer than 16 MB"},
	} {
		var out strings.Builder
		if err := Answer(t.Context(), strings.NewReader(c.in), &out, 8, echo); err != nil {
			fmt.Fprint(&out, err)
		}
		if out.String() != c.want {
			t.Errorf("%q, want %q", out.String(), c.want)
		}
	}
}
