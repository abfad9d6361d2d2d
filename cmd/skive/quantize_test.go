package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A model trained for static int8 is quantized without a further word, and
// measures what its training said.
func TestQuantizeAwareFromDataToFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	model := filepath.Join("..", "..", "train", "testdata", "tiny")
	words := filepath.Join(dir, "words.jsonl")
	var text strings.Builder
	for i := range 60 {
		text.WriteString(`{"text": "w` + []string{"9", "20", "31"}[i%3] + ` w7", "label": "` + []string{"red", "green", "blue"}[i%3] + `"}` + "\n")
	}
	if err := os.WriteFile(words, []byte(text.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	type measured struct{ Metrics map[string]float64 }
	call := func(args ...string) (m measured) {
		t.Helper()
		code, stdout, stderr := execute(t, append(args, "--json", "-q")...)
		if code != 0 {
			t.Fatalf("%v: %s", args, stderr)
		}
		if err := json.Unmarshal([]byte(stdout), &m); err != nil {
			t.Fatalf("%s: %v", stdout, err)
		}
		return m
	}
	task := []string{"--task", "text", "--train", words, "--dev", words, "--epochs", "2", "--lr", "1e-3"}
	for name, train := range map[string][]string{
		"train":   {"train", "--model", model, "--quantize-aware", "static"},
		"distill": {"distill", "--teacher", model, "--layers", "1", "--quantize-aware", "static", "--quantize-embeddings"},
	} {
		out, file := filepath.Join(dir, name), filepath.Join(dir, name+".skive")
		want := call(append(append(train, task...), "-o", out)...)
		quantize := []string{"quantize", "--model", out, "-o", file}
		if name == "distill" {
			quantize = append(quantize, "--embeddings")
		}
		call(quantize...)
		if got := call("eval", "--model", file, "--task", "text", "--data", words); got.Metrics["accuracy"] != want.Metrics["accuracy"] {
			t.Errorf("%s: the file's accuracy is %v, the training's %v", name, got.Metrics["accuracy"], want.Metrics["accuracy"])
		}
		if _, stdout, _ := execute(t, "inspect", file); !strings.Contains(stdout, "input scale") || !strings.Contains(stdout, "static, per tensor") {
			t.Errorf("%s: inspect does not tell of static scales:\n%s", name, stdout)
		}
	}
}
