package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skive-ml/skive/checkpoints"
)

// earlier holds what an earlier Skive left behind: runs that were stopped, and
// models. SKIVE_EARLIER=PROGRAM go test -run EarlierFiles makes it anew with a
// program of that time, here of version 0.1.0 (commit 1a64b7a); made with a later
// one it would test nothing.
var earlier = filepath.Join("testdata", "earlier")

// earlierRuns are the commands that were stopped and must end as if they had not
// been: output directory and command line.
var earlierRuns = []struct {
	name string
	args string
}{
	{"train", "train --model TINY --task text --train DIR/train.jsonl --dev DIR/dev.jsonl --steps 300 --batch-size 8 --lr 1e-3" +
		" --eval-every 50 --save-every 5 --threads 1 --dropout 0.1 --quantize-aware static --layer-decay 0.9"},
	{"distill", "distill --teacher TINY --layers 2 --hidden 16 --heads 2 --ffn 24 --init random --task text --train DIR/train.jsonl --dev DIR/dev.jsonl" +
		" --steps 300 --batch-size 8 --lr 1e-3 --eval-every 50 --save-every 5 --threads 1 --embeddings 0.1 --hidden-loss 0.1 --layer-decay 0.9"},
}

const earlierCompress = "compress --recipe DIR/recipe.yaml --model TINY --train DIR/train.jsonl --dev DIR/dev.jsonl"

func earlierArgs(line string, more ...string) []string {
	tiny := filepath.Join("..", "..", "train", "testdata", "tiny")
	return append(strings.Fields(strings.NewReplacer("TINY", tiny, "DIR", earlier).Replace(line)), more...)
}

// Files of an earlier version mean the same today: its runs go on to the bits that
// they would have ended in, its models answer with the bits that they gave.
func TestEarlierFiles(t *testing.T) {
	t.Parallel()
	if program := os.Getenv("SKIVE_EARLIER"); program != "" {
		makeEarlier(t, program)
	}
	var want map[string]string
	text, err := os.ReadFile(filepath.Join(earlier, "want.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	check := func(key, got string) {
		t.Helper()
		if got != want[key] {
			t.Errorf("%s: %s, before it was %s", key, got, want[key])
		}
	}
	resume := func(name string, args ...string) string {
		t.Helper()
		dir := filepath.Join(t.TempDir(), name)
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(earlier, name))); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := execute(t, append(args, "-o", dir, "-q")...); code != 0 {
			t.Fatalf("%s: %s", name, stderr)
		}
		return dir
	}
	for _, r := range earlierRuns {
		dir := resume(r.name, earlierArgs(r.args, "--keep-last", "--resume")...)
		check(r.name, weights(t, filepath.Join(dir, "last")))
	}
	dir := resume("compress", earlierArgs(earlierCompress)...)
	for _, name := range []string{"student-int8.skive", "pruned-25-25"} {
		check("compress/"+name, weights(t, filepath.Join(dir, name)))
	}
	for _, name := range []string{"static", "fp16"} {
		check(name, answers(t, name))
	}
}

// weights is a hash of a model's tensors.
func weights(t *testing.T, path string) string {
	t.Helper()
	m, err := checkpoints.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	h := sha256.New()
	for _, name := range m.Names() {
		fmt.Fprintln(h, name, m.Tensors[name].DType, m.Tensors[name].Shape)
		h.Write(m.Tensors[name].Data)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}

// answers is a hash of what a model of the directory says to the development set.
func answers(t *testing.T, name string) string {
	t.Helper()
	in, err := os.ReadFile(filepath.Join(earlier, "dev.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := predictWith(t, string(in), "--model", filepath.Join(earlier, name+".skive"), "--json", "-q")
	if code != 0 {
		t.Fatal(stderr)
	}
	return answered(t, []byte(stdout))
}

// answered is a hash of the labels and logits of predict's answers.
func answered(t *testing.T, lines []byte) string {
	t.Helper()
	h := sha256.New()
	for line := range bytes.Lines(lines) {
		var a struct {
			Label  string
			Logits json.RawMessage
		}
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(h, "%s %s\n", a.Label, a.Logits)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}

// makeEarlier makes the files with a program of the earlier version.
func makeEarlier(t *testing.T, program string) {
	work := t.TempDir()
	command := func(args ...string) *exec.Cmd {
		c := exec.Command(program, append(args, "-q")...)
		c.Stderr = os.Stderr
		return c
	}
	skive := func(args ...string) {
		t.Helper()
		if err := command(args...).Run(); err != nil {
			t.Fatal(args, err)
		}
	}
	want := map[string]string{}
	for _, r := range earlierRuns {
		whole, stopped := filepath.Join(work, r.name), filepath.Join(earlier, r.name)
		skive(earlierArgs(r.args, "--keep-last", "-o", whole)...)
		want[r.name] = weights(t, filepath.Join(whole, "last"))
		os.RemoveAll(stopped)
		c := command(earlierArgs(r.args, "--keep-last", "-o", stopped)...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(filepath.Join(stopped, "model.safetensors")); err == nil {
				break
			}
		}
		c.Process.Signal(os.Interrupt)
		if c.Wait() == nil {
			t.Fatalf("%s ended before it was stopped: it needs more steps", r.name)
		}
	}
	whole, stopped := filepath.Join(work, "compress"), filepath.Join(earlier, "compress")
	skive(earlierArgs(earlierCompress, "-o", whole)...)
	os.RemoveAll(stopped)
	for _, name := range []string{"student-int8.skive", "pruned-25-25"} {
		want["compress/"+name] = weights(t, filepath.Join(whole, name))
	}
	for _, name := range []string{"teacher", "student"} {
		if err := os.CopyFS(filepath.Join(stopped, name), os.DirFS(filepath.Join(whole, name))); err != nil {
			t.Fatal(err)
		}
	}
	recipe, err := os.ReadFile(filepath.Join(whole, "recipe.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(stopped, "recipe.yaml"), recipe, 0o666); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"static": {"--model", filepath.Join(whole, "pruned-25-25"), "--calibrate", filepath.Join(earlier, "train.jsonl"), "--embeddings"},
		"fp16":   {"--model", filepath.Join(whole, "student"), "--dtype", "fp16"},
	} {
		path := filepath.Join(earlier, name+".skive")
		skive(append(append([]string{"quantize"}, args...), "-o", path)...)
		in, err := os.Open(filepath.Join(earlier, "dev.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		c := command("predict", "--model", path, "--json")
		c.Stdin = in
		out, err := c.Output()
		if in.Close(); err != nil {
			t.Fatal(err)
		}
		want[name] = answered(t, out)
	}
	curves, err := filepath.Glob(filepath.Join(earlier, "*", "curves.*"))
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob(filepath.Join(earlier, "*", "*", "curves.*"))
	for _, path := range append(curves, more...) {
		os.Remove(path)
	}
	text, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(earlier, "want.json"), append(text, '\n'), 0o666); err != nil {
		t.Fatal(err)
	}
}
