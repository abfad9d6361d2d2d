package data

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/skive-ml/skive/internal/bounded"
)

// repeated is a text over and over, of n bytes.
func repeated(text string, n int) string { return strings.Repeat(text, n/len(text)+1)[:n] }

// Files whose lines, records, columns or contents go beyond the bounds end in an
// error that names the file and the line, and need little memory until then.
func TestBounds(t *testing.T) {
	zip := func(text string, times int) string {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		for range times {
			io.WriteString(z, text)
		}
		z.Close()
		return b.String()
	}
	const long = bounded.Line + 1000
	megabyte := repeated("a\n", 1<<20)
	for _, c := range []struct{ name, file, task, content, want string }{
		{"no line end", "x.tsv", "sst2", repeated("\x00", long), "x.tsv:1: is longer than 16 MB"},
		{"no line end in JSON", "x.jsonl", "text", `{"text": "` + repeated("a", long), "x.jsonl:1: is longer than 16 MB"},
		{"a later line of a TSV", "x.tsv", "sst2", "sentence\tlabel\na\t1\n" + repeated("a", long) + "\t1\n", "x.tsv:3: is longer than 16 MB"},
		{"a later line of JSON", "x.jsonl", "text", `{"text": "a"}` + "\n" + `{"text": "` + repeated("a", long) + `"}` + "\n", "x.jsonl:2: is longer than 16 MB"},
		{"a record of a list", "x.json", "text", `[{"text": "a"},` + "\n" + `{"text": "` + repeated("a", 2*long) + `"}]`, "x.json:2: is longer than 16 MB"},
		{"a list that does not end", "x.json", "text", `[{"text": "` + repeated("a", 2*long), "x.json:1: is longer than 16 MB"},
		{"a quote that does not end", "x.csv", "text", "text,label\n\"a,b\n" + repeated("a,b\n", 2*long), "x.csv:2: is longer than 16 MB"},
		{"a word", "x.conll", "tokens", "a O\n" + repeated("b", long) + " O\n", "x.conll:2: is longer than 16 MB"},
		{"a line of text", "x.txt", "mlm", "a\n" + repeated("b", long) + "\n", "x.txt:2: is longer than 16 MB"},
		{"many columns", "x.tsv", "sst2", repeated("a\t", 10000) + "\n", "x.tsv:1: there are more than 4096 column names"},
		{"many columns of a CSV", "x.csv", "text", repeated("a,", 10000) + "\n", "x.csv:1: there are more than 4096 column names"},
		{"a long name of a column", "x.csv", "text", repeated("a", 2<<20) + ",b\n", "x.csv:1: there are more than 4096 column names, or they are longer than 1048576 bytes"},
		{"zeros, compressed", "x.tsv.gz", "sst2", zip(repeated("\x00", 1<<20), 64), "x.tsv.gz:1: is longer than 16 MB"},
		{"lines, compressed", "x.txt.gz", "mlm", zip(megabyte, 160), "MB when it is decompressed"},
		{"an answer by each of many letters", "x.jsonl", "multirc", `{"passage": {"text": "` + repeated("a", 1<<20) + `", "questions": [{"question": "q", "answers": [` + repeated(`{"text": "a"},`, 14*300) + `{"text": "a"}]}]}}`, "x.jsonl:1: the record makes examples of more than 256 MB of text"},
		{"a query of placeholders", "x.jsonl", "record", `{"passage": "p", "query": "` + repeated("@placeholder", 12*1000) + `", "entities": ["` + repeated("a", 1<<20) + `"], "answers": ["a"]}`, "x.jsonl:1: the record makes examples of more than 256 MB of text"},
		{"many choices of a long text", "x.jsonl", "choice", `{"text": "` + repeated("a", 1<<20) + `", "choices": [` + repeated(`"a",`, 4*300) + `"a"]}`, "x.jsonl:1: the record makes examples of more than 256 MB of text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Read(path, task(t, c.task), ReadOptions{})
			runtime.ReadMemStats(&after)
			var f *FileError
			if !errors.As(err, &f) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s", err, c.want)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 2<<30 { // in all, as buffers grow
				t.Errorf("%d bytes allocated", n)
			}
		})
	}
	if _, err := ReadText(filepath.Join(t.TempDir())); err == nil || !strings.Contains(err.Error(), "is a directory, expected a file or a pipe") {
		t.Error(err)
	}
	sparse := filepath.Join(t.TempDir(), "x.jsonl")
	if err := os.WriteFile(sparse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, 1<<40); err != nil {
		t.Skip(err)
	}
	if _, err := Read(sparse, task(t, "text"), ReadOptions{}); err == nil || !strings.Contains(err.Error(), "x.jsonl: is longer than 8192 MB") {
		t.Error(err)
	}
}

// A large file within the bounds is read whole, whatever lies where it is taken
// apart.
func TestReadBeyondTheFirstPart(t *testing.T) {
	t.Parallel()
	var random [999]byte // compresses as text does
	r := rand.NewChaCha8([32]byte{})
	r.Read(random[:])
	line := base64.StdEncoding.EncodeToString(random[:]) + "\n"
	n := 2*bounded.Line/len(line) + 7
	for _, name := range []string{"x.txt", "x.txt.gz"} {
		content := []byte(strings.Repeat(line, n) + "last")
		if strings.HasSuffix(name, ".gz") {
			var b bytes.Buffer
			z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
			z.Write(content)
			z.Close()
			content = b.Bytes()
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		ds, err := Read(path, task(t, "mlm"), ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(ds.Examples) != n+1 || ds.Examples[n].Text != "last" || ds.Examples[n-1].Text != strings.TrimSpace(line) {
			t.Errorf("%s: %d examples, want %d", name, len(ds.Examples), n+1)
		}
	}
}
