package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
)

// A setting that cannot be carried out is called by its flag where a flag gave it, and by
// its key, with the line, where a recipe did; what is wrong with it is told in the same
// words.
func TestWrongSettingsByFlagAndByKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	words := filepath.Join(dir, "words.jsonl")
	if err := checkpoints.WriteBytes(words, []byte(`{"text": "w9 w20", "label": "red"}`+"\n")); err != nil {
		t.Fatal(err)
	}
	model := filepath.Join("..", "..", "train", "testdata", "tiny")
	out := filepath.Join(dir, "out")
	sets := []string{"--task", "text", "--train", words, "--dev", words}
	commands := map[string][]string{
		"train":    append([]string{"train", "--model", model}, sets...),
		"distill":  append([]string{"distill", "--teacher", model, "--layers", "1"}, sets...),
		"prune":    append([]string{"prune", "--model", model}, sets...),
		"quantize": {"quantize", "--model", model, "--task", "text", "--data", words},
		"compress": {"compress"},
	}
	for _, c := range []struct {
		command, flag string // with the value
		section, key  string // "" for a key that lies in none
		value         string // in the recipe, "" for that of the flag
		want          string
	}{
		{"train", "--epochs -1", "teacher", "epochs", "", "-1, expected a positive number, 100000 at most"},
		{"train", "--steps -1", "teacher", "steps", "", "-1, expected a positive number, or 0 to train for whole epochs"},
		{"train", "--batch-size 100000", "teacher", "batch_size", "", "100000, expected a positive number of examples, 65536 at most"},
		{"train", "--lr -1", "teacher", "lr", "", "-1, expected a finite rate that is not negative"},
		{"train", "--warmup 2", "teacher", "warmup", "", "2, expected a share of the steps, 0 to 1"},
		{"train", "--schedule step", "teacher", "schedule", "", `"step", expected linear, cosine or constant`},
		{"train", "--weight-decay nan", "teacher", "weight_decay", ".nan", "NaN, expected a finite number that is not negative"},
		{"train", "--dropout 1", "teacher", "dropout", "", "1, expected a probability in [0, 1), or model"},
		{"train", "--layer-decay 2", "teacher", "layer_decay", "", "2, expected a factor in (0, 1], or 0 for none"},
		{"train", "--patience -2", "teacher", "patience", "", "-2, expected a positive number of evaluations, or 0 not to stop early"},
		{"train", "--label-smoothing 1", "teacher", "label_smoothing", "", "1, expected a share in [0, 1)"},
		{"train", "--class-weights=-1,2", "teacher", "class_weights", "[-1, 2]", "[-1 2], expected finite numbers that are not negative"},
		{"train", "--precision int8", "teacher", "precision", "", `"int8", expected f32 or bf16`},
		{"train", "--quantize-aware int4", "quantize_aware", "activations", "", `"int4", expected dynamic or static`},
		{"distill", "--lr -1", "recover", "lr", "", "-1, expected a finite rate that is not negative"},
		{"distill", "--soft -1", "distill", "soft", "", "-1, expected a finite weight that is not negative"},
		{"distill", "--temperature -1", "distill", "temperature", "", "-1, expected a positive number"},
		{"distill", "--hidden-loss inf", "distill", "hidden", ".inf", "+Inf, expected a finite weight that is not negative"},
		{"distill", "--hidden-distance l1 --hidden-loss 1", "distill", "hidden_distance", "l1", `"l1", expected mse, cosine or pkd`},
		{"distill", "--relation-heads -1 --relations 1", "distill", "relation_heads", "-1", "-1, expected a positive number, or 0 for the student's heads"},
		{"distill", "--teacher-precision int8", "distill", "teacher_precision", "", `"int8", expected f32 or bf16`},
		{"distill", "--augment 100000", "distill", "augment", "", "100000, expected a positive number of copies, 1000 at most"},
		{"distill", "--augment-probability 2 --augment 1", "distill", "augment_probability", "2", "2, expected a probability above 0, at most 1"},
		{"distill", "--hidden -8", "student", "hidden", "", "-8, expected a positive number"},
		{"distill", "--ffn -8", "student", "ffn", "", "-8, expected a positive number"},
		{"prune", "--target-ms -1", "", "target_ms", "", "-1, expected a time above 0"},
		{"prune", "--target-speedup 0.5", "", "target_speedup", "", "0.5, expected a factor above 1"},
		{"compress", "--target-speedup 0.5", "", "target_speedup", "", "0.5, expected a factor above 1"},
		{"quantize", "--max-drop 101", "", "max_drop", "", "101, expected 0 to 100 points"},
		{"compress", "--max-drop 101", "", "max_drop", "", "101, expected 0 to 100 points"},
		{"compress", "--instances -1", "", "instances", "", "-1, expected 0 to 4096"},
	} {
		flag, value, _ := strings.Cut(c.flag, " ")
		flag, _, _ = strings.Cut(flag, "=")
		if c.value != "" {
			value = c.value
		}
		t.Run(c.command+" "+flag, func(t *testing.T) {
			code, _, stderr := execute(t, append(commands[c.command], append(strings.Fields(c.flag), "-o", out, "-q")...)...)
			if want := fmt.Sprintf("skive: %s: %s\n", flag, c.want); code != exitUsage || stderr != want {
				t.Errorf("exit code %d, %q, want %q", code, stderr, want)
			}
			recipe := filepath.Join(t.TempDir(), "recipe.yaml")
			key, line, text := c.key, 2, fmt.Sprintf("# a recipe\n%s: %s\n", c.key, value)
			if c.section != "" {
				key, line, text = c.section+"."+key, 4, fmt.Sprintf("# a recipe\n%s:\n  # a setting\n  %s: %s\n", c.section, c.key, value)
			}
			if err := checkpoints.WriteBytes(recipe, []byte(text)); err != nil {
				t.Fatal(err)
			}
			code, _, stderr = execute(t, "compress", "--recipe", recipe, "-o", out, "-q")
			if want := fmt.Sprintf("skive: %s:%d: %s: %s\n", recipe, line, key, c.want); code != exitUsage || stderr != want {
				t.Errorf("exit code %d, %q, want %q", code, stderr, want)
			}
		})
	}
}
