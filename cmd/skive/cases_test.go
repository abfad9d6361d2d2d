package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Models and files as other programs write them, in testdata/cases, with the answers
// of transformers 5.23, seqeval, or what their formats say. Models of one architecture
// share the files of testdata/cases/weights.
func TestFilesOfOtherPrograms(t *testing.T) {
	type check func(t *testing.T, code int, stdout, stderr string)
	refused := func(says string) check {
		return func(t *testing.T, code int, stdout, stderr string) {
			if code == 0 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, says) {
				t.Errorf("code %d, %s%s, want one line with %q", code, stdout, stderr, says)
			}
		}
	}
	printed := func(parts ...string) check {
		return func(t *testing.T, code int, stdout, stderr string) {
			for _, part := range parts {
				if code != 0 || !strings.Contains(stdout, part) {
					t.Errorf("code %d, %s%s, want %s", code, stdout, stderr, part)
				}
			}
		}
	}
	metric := func(name string, want float64) check {
		return func(t *testing.T, code int, stdout, stderr string) {
			var e struct{ Metrics map[string]float64 }
			if err := json.Unmarshal([]byte(stdout), &e); err != nil || code != 0 || math.Abs(e.Metrics[name]-want) > 1e-6 {
				t.Errorf("code %d, %s%s, want %s %v", code, stdout, stderr, name, want)
			}
		}
	}
	shown := func(want string) check { // the first examples
		return func(t *testing.T, code int, stdout, stderr string) {
			var s struct{ First json.RawMessage }
			var got, wanted any
			if json.Unmarshal([]byte(stdout), &s) != nil || json.Unmarshal(s.First, &got) != nil || json.Unmarshal([]byte(want), &wanted) != nil {
				t.Fatalf("code %d, %s%s", code, stdout, stderr)
			}
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(wanted)
			if string(a) != string(b) {
				t.Errorf("%s, want %s", a, b)
			}
		}
	}
	near := func(a, b float32) bool { return math.Abs(float64(a-b)) < 1e-4 }
	answered := func(label string, want ...[]float32) check {
		return func(t *testing.T, code int, stdout, stderr string) {
			lines := strings.Split(strings.TrimSpace(stdout), "\n")
			if code != 0 || len(lines) != len(want) {
				t.Fatalf("code %d, %s%s", code, stdout, stderr)
			}
			for i, line := range lines {
				var got struct {
					Label  string
					Logits []float32
				}
				if err := json.Unmarshal([]byte(line), &got); err != nil || !slices.EqualFunc(got.Logits, want[i], near) || got.Label != label {
					t.Errorf("%s, want %s, %v", line, label, want[i])
				}
			}
		}
	}
	embedded := func(want ...float32) check {
		return func(t *testing.T, code int, stdout, stderr string) {
			var got []float32
			if err := json.Unmarshal([]byte(stdout), &got); err != nil || !slices.EqualFunc(got, want, near) {
				t.Errorf("%s%s, want %v", stdout, stderr, want)
			}
		}
	}
	files := func(names ...string) check {
		return func(t *testing.T, code int, stdout, stderr string) {
			for _, name := range names {
				if b, err := os.ReadFile(name); code != 0 || err != nil || name == "out/config.json" && !strings.Contains(string(b), "id2label") {
					t.Errorf("%s: code %d, %s, %v", name, code, stderr, err)
				}
			}
		}
	}
	const predict = "predict --model model --json -q"
	film, hello := []float32{1.2891, 0.709, 0.346}, []float32{2.18, 1.3201, -0.1896}
	for _, c := range []struct {
		dir, weights string // weights "" for no model
		command      string // "predict" reads input.jsonl
		check        check
	}{
		{"axg-no-pair-id", "axg-no-pair-id", "eval --model model --task axg --data axg.jsonl --json -q", metric("parity", 1)},
		{"cfg-gelu-python", "cfg-gelu-python", predict, answered("LABEL_0", film, hello)},
		{"cfg-id2label-ints", "cfg-gelu-python", predict, answered("0", film, hello)},
		{"cfg-label2id-strings", "cfg-gelu-python", predict, answered("a", film, hello)},
		{"ckpt-float64", "ckpt-float64", predict, answered("LABEL_0", film)},
		{"conll-comments", "", "data show dev.conll --task tokens --json", shown(`[{"text": "a b", "tokens": ["a", "b"], "labels": ["O", "B-X"]}]`)},
		{"conll-nbsp", "", "data show train.conll --task tokens --json", shown(`[{"text": "10\u00a0000 boats", "tokens": ["10\u00a0000", "boats"], "labels": ["B-NUM", "O"]}, {"text": "x", "tokens": ["x"], "labels": ["O"]}]`)},
		{"emb-max-seq-length", "emb-max-seq-length", "predict --model model --embedding mean -q", embedded(-0.4296, -0.2761, -0.2488, 0.323, -0.1091, -0.0776, 0.0724, 0.1008, 0.1719, 0.1838, 0.419, 0.1992, 0.3454, -0.3489, -0.0765, 0.1189)},
		{"eval-label-order", "eval-label-order", "eval --model model --task mnli --data dev.jsonl --json -q", metric("accuracy", 1)},
		{"labels-all-one", "emb-max-seq-length", "train --task text --model model --train train.csv --dev train.csv --epochs 1 -q -o out", refused(`all labels are "1", expected at least two classes`)},
		{"labels-integer-names", "labels-integer-names", "eval --model model --task text --data dev.csv --json -q", metric("accuracy", 1)},
		{"multilabel-multihot", "", "data show train.jsonl --task multilabel --json", shown(`[{"text": "a", "label": ["1"]}, {"text": "b", "label": ["0"]}, {"text": "c", "label": ["0"]}]`)},
		{"nan-logits", "nan-logits", "predict --model model -q", refused("the model's outputs are not finite (NaN)")},
		{"nan-logits", "nan-logits", "eval --model model --task text --data dev.jsonl -q", refused("the model's outputs are not finite (NaN)")},
		{"ner-bioes-single", "ner-bioes-single", "eval --model model --task tokens --data dev.conll --json -q", metric("entity_f1", 0.825)},
		{"onnx-large-scores", "onnx-large-scores", "export --model model --format onnx -q -o out.onnx", printed("out.onnx: f32", "self-check within")},
		{"onnx-no-config", "onnx-no-config", "export --model model --format onnx -q -o out", files("out/model.onnx", "out/config.json")},
		{"predict-bom", "cfg-gelu-python", "predict --model model -q", printed("LABEL_0\t0.5130\nLABEL_0\t0.5130\n")},
		{"sst2-upper-case-names", "onnx-no-config", "train --task sst2 --model model --train train.tsv --dev train.tsv --epochs 1 -q -o out", printed("written: out")},
		{"tok-added-normalized", "tok-added-normalized", predict, nil}, // nil is expected.jsonl
		{"tok-added-single-word", "tok-added-normalized", predict, nil},
		{"tok-added-tokens-decoder", "tok-added-normalized", predict, nil},
		{"tok-added-tokens-json", "tok-added-normalized", predict, nil},
		{"tok-japanese-class", "tok-added-normalized", predict, refused(`tokenizer_class: "BertJapaneseTokenizer" is not supported`)},
		{"tok-lowercase-conflict", "tok-added-normalized", predict, nil},
		{"tok-special-map-names", "tok-added-normalized", predict, nil},
		{"tok-special-normalized", "tok-added-normalized", predict, nil},
		{"tok-special-tokens-map", "tok-added-normalized", predict, nil},
		{"wsc-flat-spans", "", "data show wsc.jsonl --task wsc --json", shown(`[{"text": "* Anna * told Ben a lie . # He # should stop .", "label": "False"}]`)},
	} {
		t.Run(c.dir, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "cases", c.dir))); err != nil {
				t.Fatal(err)
			}
			if c.weights != "" {
				b, err := os.ReadFile(filepath.Join("testdata", "cases", "weights", c.weights+".safetensors"))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, "model", "model.safetensors"), b, 0o666)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			t.Chdir(dir)
			var code int
			var stdout, stderr string
			if args := strings.Fields(c.command); args[0] == "predict" {
				input, err := os.ReadFile("input.jsonl")
				if err != nil {
					t.Fatal(err)
				}
				code, stdout, stderr = predictWith(t, string(input), args[1:]...)
			} else {
				code, stdout, stderr = execute(t, args...)
			}
			if c.check == nil {
				expected, err := os.ReadFile("expected.jsonl")
				if err != nil {
					t.Fatal(err)
				}
				var want [][]float32
				for line := range strings.Lines(string(expected)) {
					var e struct{ Logits []float32 }
					if err := json.Unmarshal([]byte(line), &e); err != nil {
						t.Fatal(err)
					}
					want = append(want, e.Logits)
				}
				c.check = answered("LABEL_0", want...)
			}
			c.check(t, code, stdout, stderr)
		})
	}
}
