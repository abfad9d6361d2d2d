package bounded

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// endless is a stream without an end.
type endless string

func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = e[i%len(e)]
	}
	return len(b), nil
}

func TestOpenTakesFilesAndPipes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(file, 4); err != nil || string(b) != "text" {
		t.Errorf("%q, %v", b, err)
	}
	var long *TooLongError
	if _, err := ReadFile(file, 3); !errors.As(err, &long) || long.Limit != 3 || !strings.Contains(err.Error(), file) {
		t.Error(err)
	}
	if _, err := ReadFile(filepath.Join(dir, "absent"), 3); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	refused := map[string]string{dir: "is a directory"}
	if runtime.GOOS != "windows" {
		refused["/dev/zero"], refused["/dev/null"] = "is a device", "is a device"
		link := filepath.Join(dir, "link")
		if err := os.Symlink("/dev/zero", link); err != nil {
			t.Fatal(err)
		}
		refused[link] = "is a device"
		socket := filepath.Join(dir, "s")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		refused[socket] = "is a socket"
	}
	for path, want := range refused {
		for _, open := range []func(string) (*os.File, error){Open, OpenRegular} {
			if _, err := open(path); err == nil || !strings.Contains(err.Error(), path+": "+want+", expected") {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if runtime.GOOS != "linux" {
		return
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.WriteString("piped")
	w.Close()
	pipe := "/dev/fd/" + itoa(r.Fd())
	if _, err := OpenRegular(pipe); err == nil || !strings.Contains(err.Error(), "is a pipe, expected a regular file") {
		t.Error(err)
	}
	if b, err := ReadFile(pipe, 100); err != nil || string(b) != "piped" {
		t.Errorf("%q, %v", b, err)
	}
}

func itoa(n uintptr) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func TestReadAll(t *testing.T) {
	t.Parallel()
	text := bytes.Repeat([]byte("0123456789"), 1<<20)
	for _, n := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, len(text)} {
		got, err := ReadAll(iotest.HalfReader(bytes.NewReader(text[:n])), int64(n))
		if err != nil || !bytes.Equal(got, text[:n]) {
			t.Errorf("%d bytes: %d, %v", n, len(got), err)
		}
		if n > 0 {
			if _, err := ReadAll(bytes.NewReader(text[:n]), int64(n)-1); err == nil {
				t.Errorf("%d bytes fit %d", n, n-1)
			}
		}
	}
	if _, err := ReadAll(endless("a"), 5<<20); err == nil || err.Error() != "is longer than 5 MB" {
		t.Error(err)
	}
	bad := errors.New("bad")
	if _, err := ReadAll(io.MultiReader(strings.NewReader("a"), iotest.ErrReader(bad)), 9); !errors.Is(err, bad) {
		t.Error(err)
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   io.Reader
		want string // lines, and what ended them
	}{
		{strings.NewReader("a\r\nb\n\nc"), "a|b||c|"},
		{strings.NewReader("\ufeffa\n\ufeffb\n"), "a|\ufeffb|"},
		{strings.NewReader("\ufeff"), "|"},
		{strings.NewReader(""), ""},
		{strings.NewReader("\xff\xfea\x00\n\x00"), "1: is UTF-16, expected UTF-8"},
		{strings.NewReader("\xfe\xff\x00a"), "1: is UTF-16, expected UTF-8"},
		{io.MultiReader(strings.NewReader("a\n"), endless("a")), "a|1: is longer than 16 MB"},
		{endless("\x00"), "0: is longer than 16 MB"},
	} {
		got, l := "", NewLines(c.in)
		for l.Next() {
			got += l.Text() + "|"
		}
		if err := l.Err(); err != nil {
			got += itoa(uintptr(l.Number())) + ": " + err.Error()
		}
		if got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
