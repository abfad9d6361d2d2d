package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/flags"
)

//go:generate go test -run TestReferenceIsCurrent -write .

var write = flag.Bool("write", false, "write the generated page instead of comparing it")

func newTestRoot() *cobra.Command {
	app := &skive{in: strings.NewReader(""), out: io.Discard, errs: io.Discard}
	root := app.newRoot()
	root.InitDefaultCompletionCmd()
	return root
}

// each calls f with every command of our own.
func each(c *cobra.Command, f func(c *cobra.Command)) {
	for _, below := range c.Commands() {
		if below.Name() != "completion" && below.Name() != "help" {
			f(below)
			each(below, f)
		}
	}
}

// docs/command-line.md is what the commands say of themselves.
func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	var page strings.Builder
	page.WriteString(`# Command line

This page is generated from the program: it is what ` + "`skive COMMAND --help`" + ` prints. Errors are one line on standard
error. The exit status is 0 for success, 1 for a failure, and 2 for a mistake in the command line. With ` + "`--json`" + `
standard output has nothing but JSON: one document, and for ` + "`predict`" + ` one for each line.

` + "`skive completion bash`" + ` (or zsh, fish, powershell) prints a script that completes commands and flags in a shell;
` + "`skive completion bash --help`" + ` says where to put it.
`)
	section := func(c *cobra.Command) {
		if c.Name() == "skive" {
			page.WriteString("\n## skive\n\n")
		} else {
			page.WriteString("\n## " + strings.TrimPrefix(c.CommandPath(), "skive ") + "\n\n")
		}
		var help bytes.Buffer
		c.SetOut(&help)
		if err := c.Help(); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(help.String()), "\n")
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " ")
		}
		page.WriteString("```text\n" + strings.Join(lines, "\n") + "\n```\n")
	}
	root := newTestRoot()
	section(root)
	each(root, section)
	path := filepath.Join("..", "..", "docs", "command-line.md")
	if *write {
		if err := os.WriteFile(path, []byte(page.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(string(committed), "\r\n", "\n") != page.String() {
		t.Error("docs/command-line.md is not what the commands say of themselves: go generate ./cmd/skive writes it")
	}
}

// Help lists every flag under a title and shows how each command is called, with flags that
// there are.
func TestHelpIsComplete(t *testing.T) {
	t.Parallel()
	each(newTestRoot(), func(c *cobra.Command) {
		usage := c.UsageString()
		if strings.Contains(usage, "Other flags") {
			t.Errorf("%s: flags without a title in guide.yaml:\n%s", c.CommandPath(), usage)
		}
		if first := strings.Trim(strings.Fields(c.Short)[0], ","); !strings.Contains("Answer Compress Download Fine-tune Make Measure Note Remove Run Serve Show Store Teach Write", first) {
			t.Errorf("%s: %q begins with no verb that is known here", c.CommandPath(), c.Short)
		}
		if c.Example == "" {
			t.Errorf("%s: no example", c.CommandPath())
		}
	})
	for _, line := range examples(newTestRoot()) {
		checkLine(t, line)
	}
}

// examples are the lines of help that call the program.
func examples(root *cobra.Command) (lines []string) {
	each(root, func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
	})
	return lines
}

var (
	quotes      = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)
	redirection = regexp.MustCompile(`\s[<>]\s*\S+`)
	substituted = regexp.MustCompile(`"?\$\([^)]*\)"?`)
	comment     = regexp.MustCompile(`\s+#.*`)
)

// checkLine checks the calls of the program in a line of a shell, without running them:
// that command and flags exist, go together and are complete.
func checkLine(t *testing.T, line string) {
	t.Helper()
	for _, inner := range substituted.FindAllString(line, -1) {
		checkLine(t, strings.Trim(inner, `"$()`))
	}
	line = comment.ReplaceAllString(redirection.ReplaceAllString(substituted.ReplaceAllString(line, "SUBSTITUTED"), ""), "")
	for part := range strings.SplitSeq(line, "|") {
		words := quotes.FindAllString(part, -1)
		if len(words) > 3 && words[0] == "go" && words[1] == "run" && words[2] == "./cmd/skive" {
			words = words[2:]
			words[0] = "skive"
		}
		if len(words) == 0 || words[0] != "skive" {
			continue
		}
		root := newTestRoot()
		c, rest, err := root.Find(words[1:])
		if err == nil && c == root && len(words) > 1 && !strings.HasPrefix(words[1], "-") {
			err = flags.Usagef("unknown command %q", words[1])
		}
		if err == nil {
			err = c.ParseFlags(rest)
		}
		if help, _ := c.Flags().GetBool("help"); err != nil || help {
			if err != nil {
				t.Errorf("%s: %v", line, err)
			}
			continue
		}
		for _, err := range []error{c.ValidateArgs(c.Flags().Args()), flags.CheckTogether(c.Flags()), flags.CheckRequired(c), c.ValidateRequiredFlags()} {
			if err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

// A model that knows its task needs no --task, and one without a head is told how it embeds.
func TestWhatTheModelKnows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "d.jsonl")
	if err := os.WriteFile(data, []byte(`{"text": "w1", "label": "red"}`+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	tiny := filepath.Join("..", "..", "train", "testdata", "tiny")
	if code, _, stderr := execute(t, "eval", "--model", tiny, "--data", data); code != exitUsage || !strings.Contains(stderr, "--task is required") {
		t.Errorf("a model without a task: %d, %s", code, stderr)
	}
	m, err := checkpoints.Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.Config.Task = "text"
	known := filepath.Join(dir, "known.skive")
	if err := m.SaveSkive(known); err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := execute(t, "eval", "--model", known, "--data", data, "-q"); code != 0 || !strings.Contains(out, "text") {
		t.Errorf("a model with a task: %d, %s%s", code, out, stderr)
	}
	for name := range m.Tensors {
		if strings.HasPrefix(name, "classifier") {
			delete(m.Tensors, name)
		}
	}
	m.Config.Labels, m.Config.Task = nil, ""
	m.Config.Sentence = &checkpoints.Sentence{Pooling: checkpoints.MeanPooling}
	bare := filepath.Join(dir, "bare.skive")
	if err := m.SaveSkive(bare); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := execute(t, "predict", "--model", bare)
	if want := "the model has no classifier; its files name mean pooling for embeddings; --embedding model, mean or cls asks for embeddings\n"; code != exitFailure || !strings.HasSuffix(stderr, want) {
		t.Errorf("%d, %s, want %s", code, stderr, want)
	}
}

// Text of a table on standard input is answered, with a note.
func TestHeaderOnStandardInput(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	code, stderr := executeWith(t.Context(), strings.NewReader("text,label\nw1,red\n"), &out, "predict", "--model", filepath.Join("..", "..", "train", "testdata", "tiny"))
	if code != 0 || strings.Count(out.String(), "\n") != 2 || !strings.Contains(stderr, "skive score reads tables") {
		t.Errorf("%d, %s, %s", code, out.String(), stderr)
	}
}
