package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
)

// From the files of a task of each kind, a model is trained, measured and asked.
func TestEveryKindOfTaskFromFileToAnswer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := writer(t, dir)
	write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad\nfilm\nparis\nin\n.\n")
	config := write("config.json", `{"model_type": "bert", "vocab_size": 11, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
		"intermediate_size": 16, "max_position_embeddings": 32, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}`)
	for _, c := range []struct {
		name, task, file, content, input string
		metrics                          []string // of eval
		keys                             []string // of predict
		architecture, problem            string
	}{
		{"named labels", "text", "text.csv", "text,label\ngood film,fine\nbad film,poor\nfilm,so-so\n", "good film",
			[]string{"accuracy"}, []string{"label", "index", "logits", "probabilities"}, "BertForSequenceClassification", ""},
		{"several labels", "multilabel", "several.jsonl", `{"text": "good film", "label": ["a", "b"]}` + "\n" + `{"text": "bad", "label": []}` + "\n", "good film",
			[]string{"f1_micro", "f1_macro", "accuracy"}, []string{"label", "index", "logits", "probabilities", "labels"}, "BertForSequenceClassification", "multi_label_classification"},
		{"numbers", "regression", "numbers.csv", "text,label\ngood,5\nbad,1\nfilm,2.5\n", `{"text": "good", "text_pair": "film"}`,
			[]string{"pearson", "spearman"}, []string{"value", "logits"}, "BertForSequenceClassification", "regression"},
		{"choices", "choice", "choices.jsonl", `{"text": "film", "choices": ["good", "bad"], "label": 0}` + "\n" + `{"text": "film", "choices": ["bad", "bad", "good"], "label": 2}` + "\n",
			`{"text": "film", "choices": ["good", "bad", "in"]}`, []string{"accuracy"}, []string{"label", "index", "logits", "probabilities"}, "BertForMultipleChoice", ""},
		{"words", "tokens", "words.conll", "good O\nparis B-LOC\n\nin O\nparis B-LOC\nfilm I-LOC\n", "good paris in",
			[]string{"entity_f1", "entity_f1_strict", "accuracy"}, []string{"words"}, "BertForTokenClassification", ""},
		{"plain text", "mlm", "plain.txt", "good film in paris .\n\nbad film .\n", "good [MASK] in [MASK]",
			[]string{"perplexity", "accuracy"}, []string{"masks"}, "BertForMaskedLM", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, out := write(c.file, c.content), filepath.Join(dir, c.task)
			if code, _, stderr := execute(t, "train", "--config", config, "--task", c.task, "--train", file, "--dev", file, "--steps", "3", "-o", out, "-q"); code != 0 {
				t.Fatal(stderr)
			}
			var saved struct {
				Architectures []string
				Problem       string `json:"problem_type"`
			}
			text, err := os.ReadFile(filepath.Join(out, "config.json"))
			if err != nil || json.Unmarshal(text, &saved) != nil || saved.Architectures[0] != c.architecture || saved.Problem != c.problem {
				t.Errorf("config %+v (%v)", saved, err)
			}
			code, stdout, stderr := execute(t, "eval", "--model", out, "--against", out, "--task", c.task, "--data", file, "--json")
			var eval struct {
				Metrics   map[string]float64
				Intervals map[string][2]float64
				Against   struct {
					Differences map[string]float64
					Intervals   map[string][2]float64
				}
			}
			if code != 0 || json.Unmarshal([]byte(stdout), &eval) != nil || len(eval.Metrics) != len(c.metrics)+1 {
				t.Fatalf("%s %s", stdout, stderr)
			}
			for _, m := range c.metrics {
				if _, ok := eval.Intervals[m]; !ok {
					t.Errorf("no interval of %s: %s", m, stdout)
				}
				if interval, ok := eval.Against.Intervals[m]; !ok || interval != [2]float64{} || eval.Against.Differences[m] != 0 {
					t.Errorf("%s of a model is more than its own: %s", m, stdout)
				}
			}
			code, stdout, stderr = predictWith(t, c.input+"\n", "--model", out, "--json")
			var answer map[string]any
			if code != 0 || json.Unmarshal([]byte(stdout), &answer) != nil || len(answer) != len(c.keys) {
				t.Fatalf("%s %s", stdout, stderr)
			}
			for _, key := range c.keys {
				if _, ok := answer[key]; !ok {
					t.Errorf("no %q in %s", key, stdout)
				}
			}
			if code, stdout, stderr = predictWith(t, c.input+"\n", "--model", out); code != 0 || strings.Count(stdout, "\n") != 1 {
				t.Errorf("%q %s", stdout, stderr)
			}
			// Every head is distilled, pruned and quantized.
			student, pruned := filepath.Join(dir, c.task+"-student"), filepath.Join(dir, c.task+"-pruned")
			args := []string{"--task", c.task, "--train", file, "--dev", file, "-q"}
			if code, _, stderr := execute(t, append([]string{"distill", "--teacher", out, "--layers", "1", "--steps", "2", "--soft", "1", "--hard", "1", "--hidden-loss", "1", "-o", student}, args...)...); code != 0 {
				t.Error(stderr)
			}
			// What comes from --unlabeled is without labels, whatever the file holds.
			further := filepath.Join(dir, c.task+"-unlabeled")
			code, _, stderr = execute(t, append([]string{"distill", "--teacher", out, "--layers", "1", "--batch-size", "8", "--steps", "1", "--hard", "1",
				"--unlabeled", file, "-o", further}, args...)...)
			if c.task == "regression" || c.task == "multilabel" {
				if code != exitFailure || !strings.Contains(stderr, "has no label") {
					t.Errorf("unlabeled: exit code %d: %s", code, stderr)
				}
			} else if code != 0 {
				t.Errorf("unlabeled: %s", stderr)
			}
			if c.task == "choice" {
				code, _, stderr := execute(t, append([]string{"distill", "--teacher", out, "--layers", "1", "--steps", "1", "--unlabeled", write("more.txt", "good film\n"), "-o", further, "--overwrite"}, args...)...)
				if code != exitFailure || !strings.Contains(stderr, "more.txt: example 1 has only one text, expected choices") {
					t.Errorf("text beside choices: exit code %d: %s", code, stderr)
				}
			}
			for _, flags := range [][]string{{"--importance", "exact"}, {"--importance", "fisher", "--predictions"}, {"--importance", "magnitude", "--recover", "--steps", "2"}} {
				os.RemoveAll(pruned)
				code, _, stderr := execute(t, append(append([]string{"prune", "--model", out, "--heads", "1", "--ffn", "8", "-o", pruned}, flags...), args...)...)
				switch refused := map[string]string{"mlm--importance": "depends on the masks", "regression--predictions": "expected false for a regression"}; {
				case c.task == "mlm" && flags[1] != "magnitude":
					if code != exitFailure || !strings.Contains(stderr, refused["mlm--importance"]) {
						t.Errorf("%v: %s", flags, stderr)
					}
				case c.task == "regression" && len(flags) == 3:
					if code != exitUsage || !strings.Contains(stderr, refused["regression--predictions"]) {
						t.Errorf("%v: %s", flags, stderr)
					}
				case code != 0:
					t.Errorf("%v: %s", flags, stderr)
				}
			}
			if code, _, stderr := execute(t, "quantize", "--model", pruned, "-o", pruned+".skive"); code != 0 {
				t.Error(stderr)
			}
			code, stdout, stderr = execute(t, "quantize", "--model", student, "--max-drop", "1", "--task", c.task, "--data", file, "-o", student+".skive", "--json", "-q")
			var mixed struct {
				Parts []struct{ Divergence float64 }
			}
			if c.task == "mlm" {
				if code != exitFailure || !strings.Contains(stderr, "--max-drop: a model that does masked_lm") {
					t.Errorf("%s%s", stdout, stderr)
				}
			} else if code != 0 || json.Unmarshal([]byte(stdout), &mixed) != nil || len(mixed.Parts) == 0 || !(mixed.Parts[0].Divergence > 0) {
				t.Errorf("%s%s", stdout, stderr)
			}
			for _, model := range []string{student, pruned, pruned + ".skive"} {
				if code, _, stderr := execute(t, "eval", "--model", model, "--task", c.task, "--data", file); code != 0 {
					t.Errorf("%s: %s", model, stderr)
				}
			}
			// What show and convert write is the same task to the general reader.
			code, shown, stderr := execute(t, "data", "show", "--json", "--limit", "1", "--task", c.task, file)
			var show struct {
				First []map[string]any `json:"first"`
			}
			if code != 0 || json.Unmarshal([]byte(shown), &show) != nil || len(show.First) != 1 {
				t.Errorf("%s%s", shown, stderr)
			}
			for key := range show.First[0] {
				if !slices.Contains([]string{"text", "text_pair", "choices", "tokens", "label", "labels"}, key) {
					t.Errorf("data show --json has the key %q", key)
				}
			}
			converted := filepath.Join(dir, c.task+"-again.jsonl")
			if code, _, stderr := execute(t, "data", "convert", "--task", c.task, file, "-o", converted); code != 0 {
				t.Fatal(stderr)
			}
			_, again, _ := execute(t, "eval", "--model", out, "--task", c.task, "--data", converted, "--json")
			var second struct{ Metrics map[string]float64 }
			if json.Unmarshal([]byte(again), &second) != nil || fmt.Sprint(second.Metrics) != fmt.Sprint(eval.Metrics) {
				t.Errorf("converted: %s, want %v", again, eval.Metrics)
			}
		})
	}
	// Words for more examples come from a masked language model, which a classifier
	// is not, and this one's vocabulary has no pieces of words.
	for model, want := range map[string]string{"text": "does single_label_classification, expected masked_lm", "mlm": "not WordPiece"} {
		_, _, stderr := execute(t, "distill", "--teacher", filepath.Join(dir, "text"), "--layers", "1", "--task", "text", "--train", filepath.Join(dir, "text.csv"), "--dev", filepath.Join(dir, "text.csv"),
			"--augment", "1", "--augment-mlm", filepath.Join(dir, model), "-o", filepath.Join(dir, "none"), "-q")
		if !strings.Contains(stderr, want) || !strings.Contains(stderr, "--augment-mlm") || !strings.Contains(stderr, filepath.Join(dir, model)) {
			t.Errorf("%s: %s", model, stderr)
		}
	}
	// A classifier starts from the masked language model.
	file := filepath.Join(dir, "text.csv")
	if code, _, stderr := execute(t, "train", "--model", filepath.Join(dir, "mlm"), "--task", "text", "--train", file, "--dev", file, "--steps", "2", "-o", filepath.Join(dir, "tuned"), "-q"); code != 0 {
		t.Error(stderr)
	}
	// Without a development set the last masked language model is kept.
	if code, stdout, stderr := execute(t, "train", "--config", config, "--task", "mlm", "--train", filepath.Join(dir, "plain.txt"), "--steps", "2", "-o", filepath.Join(dir, "nodev"), "-q"); code != 0 || !strings.Contains(stdout, "2 steps") {
		t.Error(stdout, stderr)
	}
}

// Predict answers every line, also those that hold nothing, too much or no
// UTF-8: what docs/data.md says of them.
func TestPredictAnswersEveryLine(t *testing.T) {
	t.Parallel()
	model := filepath.Join("..", "..", "train", "testdata", "tiny")
	ask := func(lines ...string) []string {
		code, stdout, stderr := predictWith(t, strings.Join(lines, "\n")+"\n", "--model", model, "--json")
		if code != 0 {
			t.Fatal(stderr)
		}
		return strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	}
	code, stdout, stderr := predictWith(t, "w7\n"+`{"id": 1, "text": "w7 w8", "label": "red"}`+"\n"+`{"text": "w7", "txt_pair": "w8"}`+"\n", "--model", model)
	if code != exitFailure || strings.Count(stdout, "\n") != 2 || stderr != `skive: line 3: unknown key "txt_pair", expected "text_pair"`+"\n" {
		t.Errorf("a key that is misspelt: %d %s%s", code, stdout, stderr)
	}
	odd := modelOf(t, "", []string{"two\nlines", "a\ttab"}, func(*checkpoints.Config) {})
	if code, stdout, stderr := predictWith(t, "good\nbad\n", "--model", odd); code != 0 || strings.Count(stdout, "\n") != 2 || strings.Count(stdout, "\t") != 2 {
		t.Errorf("labels of several lines and fields: %q%s", stdout, stderr)
	}
	long := strings.Repeat("w7 ", 62) // as much as the model takes
	got := ask("", "w7\xff w8", "w7 w8", long, long+strings.Repeat("w9 ", 100))
	if len(got) != 5 || got[1] != got[2] || got[3] != got[4] || got[0] == got[1] {
		t.Errorf("%q", got)
	}
}
