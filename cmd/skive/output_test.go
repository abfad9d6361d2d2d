//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/skive-ml/skive/checkpoints"
)

// start starts the program in a process of its own.
func start(t *testing.T, args ...string) (c *exec.Cmd, stderr *bufio.Reader) {
	t.Helper()
	c = program(t, nil, args...)
	pipe, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	return c, bufio.NewReader(pipe)
}

// contents are the files below a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wordsFile writes a data set for the tiny model.
func wordsFile(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "words.jsonl")
	text := strings.Repeat(`{"text": "w9 w20", "label": "red"}`+"\n"+`{"text": "w3 w4 w5", "label": "blue"}`+"\n", 20)
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every command that writes leaves alone what is there, in one line that names it
// and the flag, until --overwrite is given.
func TestOutputsAreNotOverwritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	words := wordsFile(t, dir)
	plain := filepath.Join(dir, "plain.txt")
	if err := os.WriteFile(plain, []byte(strings.Repeat("w9 w20 w3\n", 30)), 0o666); err != nil {
		t.Fatal(err)
	}
	set := []string{"--task", "text", "--train", words, "--dev", words}
	short := []string{"--steps", "2", "--batch-size", "4"}
	join := func(args ...[]string) (all []string) {
		for _, a := range args {
			all = append(all, a...)
		}
		return all
	}
	for _, c := range []struct {
		name string
		// OUT is the output; also is a file or directory of the output that is written.
		args []string
		also string
	}{
		{"train", join([]string{"train", "--model", tinyModel, "-o", "OUT"}, set, short), "config.json"},
		{"train under seeds", join([]string{"train", "--model", tinyModel, "--seeds", "2", "-o", "OUT"}, set, short), "seed-2/config.json"},
		{"distill", join([]string{"distill", "--teacher", tinyModel, "--layers", "1", "-o", "OUT"}, set, short), "config.json"},
		{"distill in stages", join([]string{"distill", "--teacher", tinyModel, "--layers", "1", "--stages", "tinybert", "-o", "OUT"}, set, short), "stages/intermediate/config.json"},
		{"distill on text", join([]string{"distill", "--general", "--relations", "1", "--teacher", tinyModel, "--layers", "1", "--text", plain, "-o", "OUT"}, short), "config.json"},
		{"prune", []string{"prune", "--model", tinyModel, "--heads", "1", "--importance", "magnitude", "-o", "OUT"}, "config.json"},
		{"prune and recover", join([]string{"prune", "--model", tinyModel, "--heads", "1", "--importance", "magnitude", "--recover", "-o", "OUT"}, set, short), "config.json"},
		{"quantize", []string{"quantize", "--model", tinyModel, "-o", "OUT.skive"}, ""},
		{"export a file", []string{"export", "--model", tinyModel, "--format", "skive", "-o", "OUT.skive"}, ""},
		{"export a directory", []string{"export", "--model", tinyModel, "--format", "hf", "-o", "OUT"}, "config.json"},
		{"export a graph", []string{"export", "--model", tinyModel, "--format", "onnx", "-o", "OUT/a.onnx"}, ""},
		{"export a directory with a graph", []string{"export", "--model", tinyModel, "--format", "onnx", "-o", "OUT"}, "model.onnx"},
		{"convert data", []string{"data", "convert", "--task", "text", words, "-o", "OUT.jsonl"}, ""},
		{"generate data", []string{"data", "generate", "--train", "5", "--dev", "5", "-o", "OUT"}, "dev.jsonl"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			args, output := append(c.args, "-q", "--threads", "1"), ""
			for i, arg := range args {
				if strings.HasPrefix(arg, "OUT") {
					args[i] = filepath.Join(dir, "out"+arg[3:])
					output = args[i]
				}
			}
			if code, _, stderr := execute(t, args...); code != 0 {
				t.Fatal(stderr)
			}
			before := contents(t, dir)
			if before[filepath.Join(output, c.also)] == "" {
				t.Fatalf("no %s in %s", c.also, output)
			}
			code, _, stderr := execute(t, args...)
			if code != exitFailure || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "--output: "+output) || !strings.Contains(stderr, "--overwrite") {
				t.Errorf("once more: exit code %d: %s", code, stderr)
			}
			for path, text := range contents(t, dir) {
				if before[path] != text {
					t.Errorf("%s has changed", path)
				}
				if strings.Contains(path, "skive-lock") {
					t.Errorf("%s is left", path)
				}
			}
			left := leaveTemporaries(t, dir, output)
			if code, _, stderr := execute(t, append(args, "--overwrite")...); code != 0 {
				t.Errorf("--overwrite: %s", stderr)
			}
			for _, path := range left {
				if _, err := os.Stat(path); err == nil {
					t.Errorf("%s is left of a process that was killed", path)
				}
			}
			if args[0] != "train" && args[0] != "distill" {
				return // there is no --resume
			}
			if code, _, stderr := execute(t, append(args, "--resume")...); code != 0 {
				t.Errorf("--resume of a finished run: %s", stderr)
			}
			if code, _, stderr := execute(t, append(args, "--resume", "--overwrite")...); code != exitUsage || !strings.Contains(stderr, "--overwrite") {
				t.Errorf("both: exit code %d: %s", code, stderr)
			}
		})
	}
}

// leaveTemporaries makes what processes leave that are killed while they write: of the
// output, of directories of models in it, and of the files in them.
func leaveTemporaries(t *testing.T, dir, output string) (left []string) {
	t.Helper()
	beside, name := filepath.Split(output)
	left = []string{filepath.Join(beside, checkpoints.TemporaryName(name)), filepath.Join(beside, "."+name+".skive-lock")}
	for path := range contents(t, dir) {
		switch base := filepath.Base(path); {
		case base == "model.safetensors":
			left = append(left, filepath.Join(filepath.Dir(path), ".skive-writing", base))
		case base == "training.state", strings.HasPrefix(base, "curves."), strings.HasSuffix(base, ".onnx"), strings.HasSuffix(base, ".jsonl"):
			left = append(left, filepath.Join(filepath.Dir(path), checkpoints.TemporaryName(base)))
		}
	}
	if info, err := os.Stat(output); err == nil && info.IsDir() {
		left = append(left, filepath.Join(beside, "."+name+".skive-writing", "model.safetensors"))
	}
	for _, path := range left {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte("half"), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	return left
}

// What is not a run is not gone on with, and what is no model is in nobody's way.
func TestOutputsWithOtherThings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	words := wordsFile(t, dir)
	train := func(out string, more ...string) (int, string) {
		code, _, stderr := execute(t, append([]string{"train", "--model", tinyModel, "--task", "text", "--train", words, "--dev", words, "--steps", "2", "-q", "-o", out}, more...)...)
		return code, stderr
	}
	for _, c := range []struct {
		name, file string
		flags      []string
		want       string // "" for success
	}{
		{"a model", "config.json", nil, "--overwrite replaces it"},
		{"a model to resume", "config.json", []string{"--resume"}, "--overwrite replaces it"},
		{"a tokenizer", "vocab.txt", nil, "vocab.txt"},
		{"notes", "notes.txt", nil, ""},
		{"notes to resume", "notes.txt", []string{"--resume"}, ""},
	} {
		out := filepath.Join(t.TempDir(), "out")
		if err := checkpoints.WriteBytes(filepath.Join(out, c.file), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		code, stderr := train(out, c.flags...)
		if (code == 0) != (c.want == "") || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d: %s", c.name, code, stderr)
		}
	}
	log := filepath.Join(dir, "log.jsonl")
	for i, want := range []string{"", "--log: " + log, "--tensorboard: " + dir} {
		flags := []string{"--log", log, "--tensorboard", filepath.Join(dir, "events")}
		if i == 2 {
			flags = flags[2:]
		}
		code, stderr := train(filepath.Join(t.TempDir(), "out"), flags...)
		if (code == 0) != (want == "") || !strings.Contains(stderr, want) {
			t.Errorf("a log: exit code %d, %s, expected %q", code, stderr, want)
		}
	}
	empty := filepath.Join(dir, "made-by-mktemp")
	if err := os.WriteFile(empty, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := execute(t, "quantize", "--model", tinyModel, "-o", empty, "-q"); code != 0 {
		t.Errorf("an empty file: %s", stderr)
	}
}

// A run that is stopped says how to go on; the same command does not begin anew, and
// the one that is named ends with the bits of a run that nobody stopped.
func TestStoppedRunsGoOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	words := wordsFile(t, dir)
	set := []string{"--task", "text", "--train", words, "--dev", words, "--batch-size", "4", "--steps", "20", "--save-every", "1", "--eval-every", "10", "-q", "--threads", "1"}
	for _, c := range []struct {
		name, state string
		args        []string
	}{
		{"train", "", []string{"train", "--model", tinyModel}},
		{"seeds", "seed-2", []string{"train", "--model", tinyModel, "--seeds", "2"}},
		{"distill", "", []string{"distill", "--teacher", tinyModel, "--layers", "1"}},
		{"first stage", "stages/intermediate", []string{"distill", "--teacher", tinyModel, "--layers", "1", "--stages", "tinybert"}},
		{"last stage", "", []string{"distill", "--teacher", tinyModel, "--layers", "1", "--stages", "tinybert"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			args := append(append([]string{}, c.args...), set...)
			whole := filepath.Join(dir, "whole")
			if code, _, stderr := execute(t, append(args, "-o", whole, "--save-every", "20")...); code != 0 {
				t.Fatal(stderr)
			}
			out := filepath.Join(dir, "it's out")
			args = append(args, "-o", out)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			go func() {
				for ctx.Err() == nil {
					if _, err := os.Stat(filepath.Join(out, c.state, "state", "training.state")); err == nil {
						cancel()
					}
					time.Sleep(time.Millisecond)
				}
			}()
			code, _, stderr := executeIn(t, ctx, args...)
			again := regexp.MustCompile(`: interrupted; continue with: skive (.*)\n$`).FindStringSubmatch(stderr)
			if code != exitFailure || again == nil || strings.Count(stderr, "\n") != 1 {
				t.Fatalf("stopped: exit code %d: %s", code, stderr)
			}
			before := contents(t, out)
			code, _, stderr = execute(t, args...)
			if code != exitFailure || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "--output: "+out) || !strings.Contains(stderr, "--resume continues it") {
				t.Errorf("the same command: exit code %d: %s", code, stderr)
			}
			for path, text := range contents(t, out) {
				if before[path] != text {
					t.Errorf("%s has changed", path)
				}
			}
			shell := exec.Command("sh", "-c", `exec "$0" `+again[1], os.Args[0])
			shell.Env = append(os.Environ(), "SKIVE_TEST_PROGRAM=1")
			if text, err := shell.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			for path, want := range contents(t, whole) {
				if filepath.Base(path) == "model.safetensors" {
					got, err := os.ReadFile(strings.Replace(path, whole, out, 1))
					if err != nil || string(got) != want {
						t.Errorf("%s: other weights than those of a run that was not stopped: %v", path, err)
					}
				}
			}
		})
	}
}

// Of two processes the second ends at once, whichever way it names the output, and
// the first goes on. When the first is killed, its output is free.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	words := wordsFile(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	for _, command := range [][]string{
		{"train", "--model", tinyModel, "--task", "text", "--train", words, "--dev", words, "--steps", "100000"},
		{"distill", "--teacher", tinyModel, "--layers", "1", "--task", "text", "--train", words, "--dev", words, "--steps", "100000"},
		{"compress", "--model", tinyModel, "--task", "text", "--train", words, "--dev", words},
	} {
		command = append(command, "--threads", "1", "-o")
		out := command[0]
		first, stderr := start(t, append(command, filepath.Join(dir, "real", out))...)
		if _, err := stderr.ReadByte(); err != nil { // it has begun
			t.Fatal(err)
		}
		go io.Copy(io.Discard, stderr)
		for _, path := range []string{"real/", "link/", "real/../link/"} {
			code, _, stderr := execute(t, append(command, dir+"/"+path+out, "-q")...)
			if code != exitFailure || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "another process is writing here") ||
				!strings.Contains(stderr, out+`", process `) || !strings.Contains(stderr, ", since 20") {
				t.Errorf("%s to %s: exit code %d: %s", out, path, code, stderr)
			}
		}
		if err := first.Process.Kill(); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		first.Wait()
		_, release, err := checkpoints.Claim(context.Background(), filepath.Join(dir, "link", out))
		if err != nil {
			t.Fatalf("%s: after the first was killed: %v", out, err)
		}
		release()
	}
}

// Two exports to one new directory at the same moment: exactly one makes it.
func TestTwoExportsAtOnce(t *testing.T) {
	t.Parallel()
	for range 4 {
		out := filepath.Join(t.TempDir(), "out")
		a, errA := start(t, "export", "--model", tinyModel, "--format", "hf", "-o", out, "-q")
		b, errB := start(t, "export", "--model", tinyModel, "--format", "hf", "-o", out, "-q")
		textA, _ := io.ReadAll(errA)
		textB, _ := io.ReadAll(errB)
		if a.Wait(); b.Wait() == nil && a.ProcessState.Success() || !a.ProcessState.Success() && !b.ProcessState.Success() {
			t.Errorf("both succeed or neither: %s %s", textA, textB)
		}
		m, err := checkpoints.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
		if entries, err := os.ReadDir(filepath.Dir(out)); err != nil || len(entries) != 1 {
			t.Errorf("beside it: %v, %v", entries, err)
		}
	}
}
