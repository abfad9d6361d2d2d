package onnx

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
)

// sentenceModels are the models of infer/testdata/sentence.py by their names.
func sentenceModels(t *testing.T) map[string]*checkpoints.Model {
	t.Helper()
	const goldens = "../infer/testdata/sentence"
	var cases struct {
		Cases []struct {
			Name   string
			Files  map[string]json.RawMessage
			Copies map[string]string
		}
	}
	text, err := os.ReadFile(filepath.Join(goldens, "goldens.json"))
	if err == nil {
		err = json.Unmarshal(text, &cases)
	}
	if err != nil {
		t.Fatal(err)
	}
	models := map[string]*checkpoints.Model{}
	for _, c := range cases.Cases {
		dir := t.TempDir()
		write := func(name string, b []byte, err error) {
			path := filepath.Join(dir, name)
			if err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, b, 0o666)); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range c.Files {
			write(name, text, nil)
		}
		for name, from := range c.Copies {
			b, err := os.ReadFile(filepath.Join(goldens, from))
			write(name, b, err)
		}
		m, err := checkpoints.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		models[c.Name] = m
	}
	return models
}

// A graph makes the model's own embeddings, with the files that say what happens to
// texts beside it. The self-check compares it with the engine.
func TestSentenceExport(t *testing.T) {
	t.Parallel()
	for name, m := range sentenceModels(t) {
		for _, dtype := range []string{infer.F32, infer.FP16, infer.Int8} {
			dir := t.TempDir()
			r, err := Export(m, Options{DType: dtype, Embedding: infer.OfModel}, dir)
			if err != nil {
				t.Errorf("%s %s: %v", name, dtype, err)
				continue
			}
			for _, file := range []string{configName, "sentence_bert_config.json", "config_sentence_transformers.json"} {
				if _, err := os.Stat(filepath.Join(dir, file)); err != nil || !slices.Contains(r.Files, file) {
					t.Errorf("%s: files %v, %v", name, r.Files, err)
				}
			}
		}
		dir := t.TempDir()
		for _, embedding := range []string{"", infer.Mean, infer.CLS} { // whatever the model's own is
			if _, err := Export(m, Options{Embedding: embedding}, dir); err != nil {
				t.Errorf("%s %s: %v", name, embedding, err)
			}
		}
	}
	if _, err := Export(randomModel(configs["stock"]), Options{Embedding: infer.OfModel}, t.TempDir()); !errors.Is(err, infer.ErrEmbedding) {
		t.Errorf("the embedding of a model that has none: %v", err)
	}
}
