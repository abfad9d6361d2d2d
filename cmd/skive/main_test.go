package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// execute runs a command line and returns what it wrote.
func execute(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	capture := func(f **os.File) func() string {
		old := *f
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		*f = w
		done := make(chan string)
		go func() {
			var b bytes.Buffer
			io.Copy(&b, r)
			done <- b.String()
		}()
		return func() string {
			w.Close()
			*f = old
			return <-done
		}
	}
	out, errs := capture(&os.Stdout), capture(&os.Stderr)
	common = commonFlags{}
	code = run(context.Background(), args)
	return code, out(), errs()
}

func TestBadInputEndsInOneLine(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	empty := write("empty.tsv", "")
	broken := write("broken.skive", "SKIVE but not really")
	good := write("good.tsv", "sentence\tlabel\nfine\t1\n")
	badLabel := write("label.tsv", "sentence\tlabel\nfine\t7\n")
	missing := filepath.Join(dir, "missing")
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown command", []string{"shrink"}, exitUsage, `"shrink"`},
		{"unknown flag", []string{"eval", "--modle", "x"}, exitUsage, "--modle"},
		{"missing flag", []string{"eval"}, exitUsage, "--model"},
		{"threads", []string{"inspect", "--threads", "0", missing}, exitUsage, "--threads"},
		{"missing model", []string{"inspect", missing}, exitFailure, missing},
		{"no model", []string{"inspect", broken}, exitFailure, broken},
		{"unknown task", []string{"data", "show", "--task", "sst3", good}, exitUsage, "sst3"},
		{"another task's file", []string{"data", "show", "--task", "copa", good}, exitFailure, "good.tsv:2"},
		{"empty data set", []string{"data", "show", "--task", "sst2", empty}, exitFailure, empty},
		{"label", []string{"data", "show", "--task", "sst2", badLabel}, exitFailure, "label.tsv:2"},
		{"number format", []string{"eval", "--model", missing, "--task", "sst2", "--data", good, "--dtype", "int3"}, exitUsage, "--dtype"},
		{"mixed precision without data", []string{"quantize", "--model", missing, "-o", missing, "--max-drop", "0.5"}, exitUsage, "--task"},
		{"negative drop", []string{"quantize", "--model", missing, "-o", missing, "--max-drop", "-1", "--task", "sst2", "--data", good}, exitUsage, "--max-drop"},
		{"embeddings in half precision", []string{"quantize", "--model", missing, "-o", missing, "--dtype", "fp16", "--embeddings"}, exitUsage, "--embeddings"},
		{"training rate", []string{"train", "--model", missing, "--task", "sst2", "--train", good, "--dev", good, "-o", dir, "--lr", "-1"}, exitUsage, "--lr"},
		{"two budgets", []string{"train", "--model", missing, "--task", "sst2", "--train", good, "--dev", good, "-o", dir, "--batch-size", "8", "--batch-tokens", "9"}, exitUsage, "--batch-tokens"},
		{"recipe", []string{"compress", "--recipe", missing}, exitUsage, missing},
		{"half a model", []string{"compress", "--task", "sst2"}, exitUsage, "--task"},
		{"full output", []string{"compress", "-o", dir}, exitFailure, dir},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := execute(t, append(c.args, "-q")...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if stdout != "" {
				t.Errorf("standard output %q, want none", stdout)
			}
			if !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("standard error %q, want one line that names %s", stderr, c.want)
			}
		})
	}
}
