package main

import (
	"context"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// pages are the documents, by their paths from the root of the repository.
func pages(t *testing.T) map[string]string {
	t.Helper()
	root := filepath.Join("..", "..")
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, _ := filepath.Rel(root, path)
			all[filepath.ToSlash(name)] = strings.ReplaceAll(string(text), "\r\n", "\n")
		}
	}
	if len(all) < 20 {
		t.Fatalf("%d pages", len(all))
	}
	return all
}

var (
	shBlock  = regexp.MustCompile("(?m)^(?:<!-- test: ([^>\n]*) -->\n)?```sh\n((?s:.*?))^```")
	goBlock  = regexp.MustCompile("(?m)^```go\n((?s:.*?))^```")
	indented = regexp.MustCompile(`(?m)^    +((?:skive|go run \./cmd/skive) (?:[^\n\\]|\\\n)*)`)
)

// fromScratch is run by TestFromScratchAsDocumented.
const fromScratch = "skive train --task text --config my/config.json"

// Every command of the documents is one that the program takes; those of blocks that say so
// are run, by a shell, one block after the other of a page.
func TestCommandsOfTheDocuments(t *testing.T) {
	t.Parallel()
	joined := strings.NewReplacer("\\\n", " ")
	for name, text := range pages(t) {
		if name == "docs/command-line.md" { // whose examples TestHelpIsComplete checks
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var script []string
			for _, block := range shBlock.FindAllStringSubmatch(text, -1) {
				how, lines := block[1], joined.Replace(block[2])
				for line := range strings.Lines(lines) {
					checkLine(t, strings.TrimSpace(line))
				}
				switch kind, reason, _ := strings.Cut(how, ", "); {
				case kind == "run":
					script = append(script, lines)
				case kind == "parse" && reason != "", strings.HasPrefix(block[2], fromScratch):
				default:
					t.Errorf("a block says neither that it is run nor why it is not:\n%s", block[0])
				}
			}
			for _, line := range indented.FindAllStringSubmatch(text, -1) {
				if !strings.Contains(line[1], "[") && !strings.Contains(line[1], "...") && !strings.Contains(line[1], "I/N") { // forms, not commands
					checkLine(t, joined.Replace(line[1]))
				}
			}
			for _, block := range goBlock.FindAllStringSubmatch(text, -1) {
				checkGo(t, block[1])
			}
			if len(script) > 0 {
				runScript(t, strings.Join(script, "\n"))
			}
		})
	}
}

// checkGo parses code: a file, declarations, or statements of a function.
func checkGo(t *testing.T, code string) {
	t.Helper()
	code = strings.ReplaceAll(code, "\n...\n", "\n")
	var err error
	for _, form := range []string{"%s", "package p\n%s", "package p\nfunc f() {\n%s\n}"} {
		if _, err = parser.ParseFile(token.NewFileSet(), "", fmt.Sprintf(form, code), 0); err == nil {
			return
		}
	}
	t.Errorf("%v:\n%s", err, code)
}

// runScript runs lines of a shell in a directory with the files that the documents speak
// of, where skive is this program and MODEL a small one.
func runScript(t *testing.T, lines string) {
	t.Helper()
	if testing.Short() {
		t.Skip("commands of the documents")
	}
	shell, err := exec.LookPath("sh")
	if err != nil || runtime.GOOS == "windows" {
		t.Skip("there is no sh")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	model, err := filepath.Abs(tinyModel)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var reviews, stars, typical strings.Builder
	reviews.WriteString("text,label\n")
	stars.WriteString("review,stars\n")
	for i := range 60 {
		label := []string{"red", "green", "blue"}[i%3]
		text := fmt.Sprintf("w%d w%d", 5+3*(i%3)+i%2, 20+i*11%30)
		fmt.Fprintf(&reviews, "%s,%s\n", text, label)
		fmt.Fprintf(&stars, "%s,%d\n", text, i%5)
		fmt.Fprintf(&typical, "%s\n", text)
	}
	for name, text := range map[string]string{
		"reviews.csv": reviews.String(), "test.csv": reviews.String(), "stars.csv": stars.String(), "typical.txt": typical.String(),
		// A model as small as this one learns little: what is tried is that the commands work.
		"bin/skive": "#!/bin/sh\nSKIVE_TEST_PROGRAM=1 exec '" + self + "' \"$@\"\n",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	lines = regexp.MustCompile(`(?m)^skive compress --(model|teacher).*? -o out`).ReplaceAllString(lines, "$0 --force --threads 1")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, shell, "-e", "-c", lines)
	c.Dir = dir
	c.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"), "MODEL="+model)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, lines, out)
	}
}

// Links between documents lead to files, and to headings that they have.
func TestLinksOfTheDocuments(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	all := pages(t)
	anchors := func(text string) map[string]bool {
		found := map[string]bool{}
		for _, h := range heading.FindAllStringSubmatch(text, -1) {
			slug := strings.ToLower(regexp.MustCompile(`[^\w\s-]`).ReplaceAllString(h[1], ""))
			found[strings.ReplaceAll(strings.TrimSpace(slug), " ", "-")] = true
		}
		return found
	}
	for name, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			to := name
			if target != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(filepath.FromSlash(name)), filepath.FromSlash(target)))
			}
			if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(to))); err != nil {
				t.Errorf("%s: %s leads to nothing", name, m[1])
			} else if anchor != "" && !anchors(all[to])[anchor] {
				t.Errorf("%s: %s has no such heading", name, m[1])
			}
		}
	}
}
