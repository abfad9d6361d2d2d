package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The model that docs/data.md trains from scratch is trained as it says.
func TestFromScratchAsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "data.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n### From scratch")
	section, _, _ = strings.Cut(section, "\n### ")
	block := func(kind string) string {
		found := regexp.MustCompile("(?s)```" + kind + "\n(.*?)```").FindStringSubmatch(section)
		if found == nil {
			t.Fatalf("docs/data.md has no %s of a model from scratch", kind)
		}
		return found[1]
	}
	dir := t.TempDir()
	files := map[string]string{
		"my/config.json": block("json"), "my/vocab.txt": tinyVocabulary,
		"train.csv": block("csv"), "dev.csv": block("csv"), "my-model/": "",
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if content == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	commands := strings.Split(strings.TrimSpace(strings.ReplaceAll(block("sh"), "\\\n", " ")), "\n")
	for _, command := range commands {
		typed, command, piped := strings.Cut(command, " | ")
		if !piped {
			command, typed = typed, ""
		}
		args := strings.Fields(command)[1:]
		for i, arg := range args {
			if _, ok := files[arg]; ok {
				args[i] = filepath.Join(dir, arg)
			}
		}
		var out strings.Builder
		code, stderr := executeWith(t.Context(), strings.NewReader(typed), &out, append(args, "-q")...)
		if code != 0 {
			t.Fatalf("%s: %s", command, stderr)
		}
		if args[0] == "predict" && !regexp.MustCompile(`^(negative|positive)\t0\.\d+\n$`).MatchString(out.String()) {
			t.Errorf("%s: %s", command, out.String())
		}
	}
	if len(commands) != 3 {
		t.Errorf("%d commands, want train, eval and predict", len(commands))
	}
}
