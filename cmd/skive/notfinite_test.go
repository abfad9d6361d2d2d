//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
)

// overflowing saves a model of finite weights, all of a tensor's 3e38, whose outputs are
// not finite.
func overflowing(t *testing.T, tensor string) string {
	t.Helper()
	tiny, err := checkpoints.Open(tinyModel)
	if err != nil {
		t.Fatal(err)
	}
	defer tiny.Close()
	m := tiny.Clone()
	values := m.Tensors["bert.encoder.layer.0."+tensor+".weight"].Float32s()
	for i := range values {
		values[i] = 3e38
	}
	path := filepath.Join(t.TempDir(), "overflowing")
	if err := m.SaveHF(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// A model whose outputs are not finite ends every command that runs it in one line
// that names the model, and nothing is written.
func TestOutputsThatAreNotFinite(t *testing.T) {
	t.Parallel()
	bad, dir := overflowing(t, "output.LayerNorm"), t.TempDir()
	saturating := overflowing(t, "intermediate.dense") // finite numbers in int8
	set, texts := colours(t, dir), filepath.Join(dir, "texts.txt")
	if err := os.WriteFile(texts, []byte("w5 w6 w7\nw8 w9\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		line string
		want string
	}{
		{"eval --model BAD --task text --data SET", "BAD: input "},
		{"eval --model TINY --against BAD --task text --data SET", "BAD: input "},
		{"eval --model BAD --against TINY --task text --data SET --json", "BAD: input "},
		{"bench --model BAD --seq 8 --duration 10ms", "BAD: input "},
		{"export --model BAD --format onnx -o OUT", "BAD: input "},
		{"quantize --model BAD -o OUT", "BAD: input "},
		{"quantize --model SATURATING -o OUT", "SATURATING: input "},
		{"quantize --model BAD --calibrate TEXTS -o OUT", "BAD: input "},
		{"quantize --model BAD --max-drop 1 --task text --data SET -o OUT", "BAD: input "},
		{"train --model BAD --task text --train SET --dev SET --steps 1 -o OUT", "before the first update"},
		{"distill --teacher BAD --student TINY --task text --train SET --dev SET --steps 1 -o OUT", "teacher: infer: BAD: input "},
		{"distill --teacher TINY --teacher BAD --student TINY --task text --train SET --dev SET --steps 1 -o OUT", "teacher: infer: BAD: input "},
		{"distill --teacher BAD --student TINY --hidden-loss 1 --task text --train SET --dev SET --steps 1 -o OUT", "teacher: BAD: hidden.0: "},
		{"distill --teacher BAD --student TINY --relations 1 --hidden-loss 0 --soft 0 --task text --train SET --dev SET --steps 1 -o OUT", "teacher: BAD: "},
		{"distill --teacher BAD --student TINY --general --hidden-loss 1 --text TEXTS --steps 1 -o OUT", "teacher: BAD: hidden.0: "},
		{"distill --teacher BAD --layers 1 --hidden 16 --task text --train SET --dev SET --steps 1 -o OUT", "BAD: layer 0 has a score of NaN"},
		{"prune --model BAD --heads 2 --task text --train SET -o OUT", "BAD: input "},
		{"prune --model BAD --importance magnitude --heads 2 -o OUT", "BAD: input "},
		{"prune --model BAD --layers 1 --task text --train SET -o OUT", "BAD: input "},
		{"prune --model BAD --target-flops 0.5 --task text --train SET -o OUT", "BAD: input "},
		{"prune --model BAD --heads 2 --importance magnitude --recover --steps 1 --task text --train SET --dev SET -o OUT", "BAD: input "},
	} {
		out := filepath.Join(dir, fmt.Sprint("out", i))
		place := strings.NewReplacer("BAD", bad, "SATURATING", saturating, "TINY", tinyModel, "SET", set, "TEXTS", texts, "OUT", out)
		args := append(strings.Fields(place.Replace(c.line)), "-q", "--threads", "1")
		code, stdout, stderr := execute(t, args...)
		if code != exitFailure || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, place.Replace(c.want)) {
			t.Errorf("%s: exit code %d, printed %q, %s", c.line, code, stdout, stderr)
		}
		if m, err := checkpoints.Open(out); err == nil {
			m.Close()
			t.Errorf("%s: a model was written", c.line)
		}
	}
	code, _, stderr := predictWith(t, "w5 w6\n", "--model", bad)
	if code != exitFailure || !strings.Contains(stderr, "line 1: ") || !strings.Contains(stderr, bad+": input 0: the model's outputs are not finite") {
		t.Errorf("predict: exit code %d, %s", code, stderr)
	}
}

// A run that ends far off in finite numbers says so, quiet or not.
func TestDivergenceIsSaid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	set := colours(t, dir)
	args := []string{"train", "--model", tinyModel, "--task", "text", "--train", set, "--dev", set, "--steps", "12", "--threads", "1"}
	for i, c := range []struct {
		flags     []string
		out, errs int
	}{
		{[]string{"--lr", "300"}, 1, 1},
		{[]string{"--lr", "300", "-q"}, 1, 0},
		{[]string{"--lr", "300", "-q", "--seeds", "2"}, 2, 0},
		{[]string{"--lr", "300", "-q", "--json"}, 1, 0},
		{[]string{"--lr", "1e-3"}, 0, 0},
	} {
		code, stdout, stderr := execute(t, slices.Concat(args, c.flags, []string{"-o", filepath.Join(dir, fmt.Sprint("out", i))})...)
		if out, errs := strings.Count(stdout, "diverged"), strings.Count(stderr, "diverged"); code != 0 || out != c.out || errs != c.errs {
			t.Errorf("%v: exit code %d, said %d times in\n%s%d times in\n%s", c.flags, code, out, stdout, errs, stderr)
		}
	}
}
