package onnx_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/onnx"
)

// Every head goes through the whole job: it is compressed, the report has the task's own
// metric, and its models give the same numbers in the engine and, exported, in ONNX
// Runtime, or where that is not there in the interpreter.
func TestEveryHeadIsCompressedAndExported(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	encoder := checkpoints.InitBERT(checkpoints.Config{
		ModelType: "bert", VocabSize: 12, MaxPositions: 32, TypeVocabSize: 2, HiddenSize: 32, HeadDim: 8,
		Layers:     []checkpoints.LayerSize{{Heads: 4, Intermediate: 64}, {Heads: 4, Intermediate: 64}},
		Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.2,
	}, 1)
	encoder.Tokenizer = map[string][]byte{"vocab.txt": []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad\nfilm\nin\nparis\nred\nblue\n")}
	model := filepath.Join(dir, "encoder")
	if err := encoder.SaveHF(model); err != nil {
		t.Fatal(err)
	}
	var models []onnx.NamedModel
	for _, c := range []struct {
		task, file, content, metric string
		kind                        head.Kind
	}{
		{"text", "text.csv", "text,label\n" + strings.Repeat("good film,fine\nbad film,poor\nfilm,so-so\n", 6), "accuracy", head.SingleLabel},
		{"mrpc", "pairs.csv", "text,text_pair,label\n" + strings.Repeat("good film,good,1\nbad film,good,0\n", 6), "f1", head.SingleLabel},
		{"multilabel", "several.jsonl", strings.Repeat(`{"text": "good film", "label": ["a", "b"]}`+"\n"+`{"text": "bad", "label": ["b"]}`+"\n"+`{"text": "film", "label": []}`+"\n", 6), "f1_micro", head.MultiLabel},
		{"regression", "numbers.csv", "text,label\n" + strings.Repeat("good,5\nbad,1\nfilm,2.5\n", 6), "pearson", head.Regression},
		{"choice", "choices.jsonl", strings.Repeat(`{"text": "film", "choices": ["good", "bad"], "label": 0}`+"\n"+`{"text": "film", "choices": ["bad", "red", "good"], "label": 2}`+"\n", 6), "accuracy", head.MultipleChoice},
		{"tokens", "words.conll", strings.Repeat("good O\nparis B-LOC\n\nin O\nparis B-LOC\nfilm I-LOC\n\n", 6), "entity_f1", head.TokenClassification},
	} {
		file, out := write(c.file, c.content), filepath.Join(dir, c.task)
		r := compress.ForModel(model, c.task, file, file)
		r.Teacher.Steps, r.Distill.Steps, r.Recover.Steps = 4, 3, 2
		r.Prune, r.Test = r.Prune[:1], file
		report, err := compress.Run(context.Background(), r, compress.Options{Output: out, Threads: 2, Force: true})
		if err != nil {
			t.Fatalf("%s: %v", c.task, err)
		}
		if report.Metric != c.metric || len(report.Floors) != 3 {
			t.Errorf("%s: the report has %s and %d floors, want %s and 3", c.task, report.Metric, len(report.Floors), c.metric)
		}
		for _, row := range report.Rows {
			if row.Test == nil || *row.Test != row.Metric {
				t.Errorf("%s: %s: %g, and %v on the same data as test", c.task, row.Name, row.Metric, row.Test)
			}
		}
		for _, name := range []string{"student", report.Rows[len(report.Rows)-1].Model} {
			m, err := checkpoints.Open(filepath.Join(out, name))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if m.Config.Head != c.kind {
				t.Errorf("%s: %s does %s, want %s", c.task, name, m.Config.Head, c.kind)
			}
			models = append(models, onnx.NamedModel{Name: c.task + " " + name, Model: m})
		}
	}
	onnx.CheckExports(t, models)
}
