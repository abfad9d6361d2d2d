package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
)

// Every way of choosing what is kept writes a model that opens.
func TestPrune(t *testing.T) {
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
		"rounds": {[]string{"--heads", "2", "--ffn", "32", "--rounds", "2", "--recover", "--steps", "1", "--activation", "relu"}, sized(half, half)},
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
