package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
)

// Every way of choosing what is kept writes a model that opens.
func TestPrune(t *testing.T) {
	t.Parallel()
	const model = "../../train/testdata/tiny"
	dir := t.TempDir()
	set := filepath.Join(dir, "set.jsonl")
	examples := `{"text": "w5 w6 w7", "label": "red"}` + "\n" + `{"text": "w8 w9", "label": "green"}` + "\n" + `{"text": "w10 w6", "label": "blue"}` + "\n"
	if err := os.WriteFile(set, []byte(examples), 0o666); err != nil {
		t.Fatal(err)
	}
	uneven := func(c checkpoints.Config) bool {
		return !c.Even() || c.Layers[0].Heads < 4 || c.Layers[0].Intermediate < 64
	}
	sized := func(want ...checkpoints.LayerSize) func(checkpoints.Config) bool {
		return func(c checkpoints.Config) bool { return slices.Equal(c.Layers, want) }
	}
	half := checkpoints.LayerSize{Heads: 2, Intermediate: 32}
	for name, c := range map[string]struct {
		flags []string
		want  func(checkpoints.Config) bool
	}{
		"sizes":  {[]string{"--heads", "2", "--ffn", "32", "--rearrange", "--tune", "--importance-data", "dev"}, sized(half, half)},
		"rounds": {[]string{"--heads", "2", "--ffn", "32", "--rounds", "2", "--recover", "--steps", "1"}, sized(half, half)},
		"relu":   {[]string{"--heads", "2", "--ffn", "32", "--activation", "relu", "--recover", "--steps", "1"}, func(c checkpoints.Config) bool { return c.Activation == "relu" }},
		"global": {[]string{"--heads", "2", "--global", "--normalize", "--predictions"}, uneven},
		"flops":  {[]string{"--target-flops", "0.5"}, uneven},
		"layers": {[]string{"--layers", "1"}, func(c checkpoints.Config) bool { return len(c.Layers) == 1 }},
		"vocab":  {[]string{"--prune-vocab"}, func(c checkpoints.Config) bool { return c.VocabSize < 100 }},
	} {
		out, scores := filepath.Join(dir, name), filepath.Join(dir, name+".json")
		args := append([]string{"prune", "--model", model, "--task", "text", "--train", set, "--dev", set,
			"-o", out, "--importance-out", scores, "-q", "--json", "--threads", "1"}, c.flags...)
		code, stdout, stderr := execute(t, args...)
		if code != 0 {
			t.Errorf("%s: exit code %d: %s", name, code, stderr)
			continue
		}
		var printed struct {
			Output     string
			Parameters int64
		}
		m, err := checkpoints.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(stdout), &printed); err != nil || printed.Output != out || printed.Parameters != m.Parameters() {
			t.Errorf("%s: printed %s, error %v", name, stdout, err)
		}
		if !c.want(m.Config) {
			t.Errorf("%s: layers %v, a vocabulary of %d", name, m.Config.Layers, m.Config.VocabSize)
		}
		var importance struct {
			Heads, FFN [][]float64
			Examples   int
		}
		text, err := os.ReadFile(scores)
		if err == nil {
			err = json.Unmarshal(text, &importance)
		}
		if err != nil || importance.Examples != 3 || len(importance.FFN[0]) != 64 {
			t.Errorf("%s: importance %s, error %v", name, text, err)
		}
		m.Close()
	}
}

// What cannot be pruned, or not so far, is refused before any work.
func TestPruneRefuses(t *testing.T) {
	t.Parallel()
	const model = "../../train/testdata/tiny"
	dir := t.TempDir()
	set, int8 := filepath.Join(dir, "set.jsonl"), filepath.Join(dir, "int8.skive")
	if err := os.WriteFile(set, []byte(`{"text": "w5 w6 w7", "label": "red"}`+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := execute(t, "quantize", "--model", model, "--dtype", "int8", "-o", int8, "-q"); code != 0 {
		t.Fatal(stderr)
	}
	for name, c := range map[string]struct {
		flags []string
		code  int
		want  []string
	}{
		"int8":            {[]string{"--model", int8, "--heads", "2"}, 1, []string{int8, "is int8"}},
		"a fast target":   {[]string{"--model", model, "--target-ms", "1e-9"}, 1, []string{"1e-09 ms", "not reachable", "one head"}},
		"a fast member":   {[]string{"--model", model, "--family", "1.01,1e6"}, 1, []string{"1e+06 times", "not reachable"}},
		"a slow target":   {[]string{"--model", model, "--target-speedup", "0.5"}, 2, []string{"--target-speedup", "above 1"}},
		"a member twice":  {[]string{"--model", model, "--family", "1.2,1.20"}, 2, []string{"--family", `"1.20" twice`}},
		"an empty family": {[]string{"--model", model, "--family", ""}, 2, []string{"--family", "empty"}},
		"no such numbers": {[]string{"--model", model, "--heads", "9"}, 2, []string{"heads: 9"}},
	} {
		out := filepath.Join(dir, "out")
		args := append([]string{"prune", "--task", "text", "--train", set, "-o", out, "--threads", "1"}, c.flags...)
		code, stdout, stderr := execute(t, args...)
		if code != c.code || stdout != "" {
			t.Errorf("%s: exit code %d, printed %s; %s", name, code, stdout, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: %s, want %q", name, stderr, want)
			}
		}
		if c.code == 1 && strings.Contains(stderr, "importance") {
			t.Errorf("%s: importance was measured first: %s", name, stderr)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: something was written", name)
		}
	}
}

// A member of a family is saved before the next one is made.
func TestPruneSavesEachMember(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	set, out, log := filepath.Join(dir, "set.jsonl"), filepath.Join(dir, "out"), filepath.Join(dir, "log")
	if err := os.WriteFile(set, []byte(`{"text": "w5 w6 w7", "label": "red"}`+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(log+".1.02x", 0o777); err != nil { // where the second member's recovery cannot write
		t.Fatal(err)
	}
	code, _, stderr := execute(t, "prune", "--model", "../../train/testdata/tiny", "--task", "text", "--train", set, "--dev", set, "-o", out,
		"--family", "1.01,1.02", "--recover", "--steps", "1", "--log", log, "--costs", dir, "-q", "--threads", "1")
	if code != exitFailure || !strings.Contains(stderr, "1.02x") {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	m, err := checkpoints.Open(filepath.Join(out, "1.01x"))
	if err != nil {
		t.Fatalf("the first member is lost: %v", err)
	}
	m.Close()
}

// A pruning that is finished is not done again with --resume, and another one is refused.
func TestPruneResumesAFinishedOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	set, out := filepath.Join(dir, "set.jsonl"), filepath.Join(dir, "out")
	if err := os.WriteFile(set, []byte(`{"text": "w5 w6 w7", "label": "red"}`+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	prune := []string{"prune", "--model", "../../train/testdata/tiny", "--task", "text", "--train", set, "-o", out, "--threads", "1"}
	code, first, stderr := execute(t, append(prune, "--heads", "2")...)
	if code != 0 {
		t.Fatal(stderr)
	}
	if _, err := os.Stat(filepath.Join(out, "state")); err == nil {
		t.Error("a state is left")
	}
	code, again, stderr := execute(t, append(prune, "--heads", "2", "--resume")...)
	if code != 0 || again != first || strings.Contains(stderr, "importance") {
		t.Errorf("exit code %d, printed %q, want %q; %s", code, again, first, stderr)
	}
	for flags, want := range map[string]string{"--heads 2": "--overwrite", "--heads 3 --resume": "cannot resume with heads \"3\""} {
		if code, _, stderr := execute(t, append(prune, strings.Fields(flags)...)...); code != exitFailure || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d: %s", flags, code, stderr)
		}
	}
}

// A speed-up is one of the model as it came, not of what --layers has left of it.
func TestPruneLayersToASpeedup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	set := filepath.Join(dir, "set.jsonl")
	if err := os.WriteFile(set, []byte(`{"text": "w5 w6 w7 w8 w9 w10 w11 w12", "label": "red"}`+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	var parameters []int64
	for _, more := range [][]string{nil, {"--target-speedup", "1.1", "--costs", dir}, {"--target-speedup", "1.1", "--costs", dir, "--dtype", "int8"}} {
		args := append([]string{"prune", "--model", "../../train/testdata/tiny", "--task", "text", "--train", set, "-o", filepath.Join(dir, "out"), "--overwrite",
			"--layers", "1", "--json", "-q", "--threads", "1"}, more...)
		code, stdout, stderr := execute(t, args...)
		var printed struct{ Parameters int64 }
		if err := json.Unmarshal([]byte(stdout), &printed); code != 0 || err != nil {
			t.Fatalf("exit code %d, %s (%v)", code, stderr, err)
		}
		parameters = append(parameters, printed.Parameters)
	}
	if parameters[1] != parameters[0] || parameters[2] != parameters[0] {
		t.Errorf("%d parameters, want %d: one layer of two is fast enough as it is", parameters[1:], parameters[0])
	}
}
