package infer_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
)

// sentenceCase is a case of testdata/sentence.py.
type sentenceCase struct {
	Name       string
	Files      map[string]json.RawMessage
	Copies     map[string]string
	Prompt     string
	Embeddings [][]float32
}

func sentenceGoldens(t *testing.T) (texts []infer.Input, cases []sentenceCase) {
	t.Helper()
	text, err := os.ReadFile("testdata/sentence/goldens.json")
	if err != nil {
		t.Fatal(err)
	}
	var goldens struct {
		Texts []string
		Cases []sentenceCase
	}
	if err := json.Unmarshal(text, &goldens); err != nil {
		t.Fatal(err)
	}
	for _, s := range goldens.Texts {
		texts = append(texts, infer.Input{Text: s})
	}
	return texts, goldens.Cases
}

// directory makes the case's directory.
func (c *sentenceCase) directory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, b []byte, err error) {
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o777)
		}
		if err == nil {
			err = os.WriteFile(path, b, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range c.Files {
		write(name, text, nil)
	}
	for name, from := range c.Copies {
		b, err := os.ReadFile(filepath.Join("testdata/sentence", from))
		write(name, b, err)
	}
	return dir
}

func embeddings(t *testing.T, path string, texts []infer.Input, o infer.Options) [][]float32 {
	t.Helper()
	e, err := infer.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	y, err := e.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// The embeddings of sentence-transformers directories are those that their modules
// make, from the directory, from what is saved of it, by an engine and by a pool.
func TestSentenceGoldens(t *testing.T) {
	t.Parallel()
	texts, cases := sentenceGoldens(t)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			dir := c.directory(t)
			o := infer.Options{Threads: 1, Embedding: infer.OfModel, Prompt: c.Prompt}
			got := embeddings(t, dir, texts, o)
			for i, want := range c.Embeddings {
				if len(got[i]) != len(want) {
					t.Fatalf("%d values, want %d", len(got[i]), len(want))
				}
				for j := range want {
					if d := got[i][j] - want[j]; !(d < 2e-5 && d > -2e-5) {
						t.Errorf("text %d: value %d is %g, want %g", i, j, got[i][j], want[j])
					}
				}
			}
			same := func(what string, y [][]float32) {
				if !slices.EqualFunc(got, y, slices.Equal) {
					t.Errorf("%s: other embeddings", what)
				}
			}
			m, err := checkpoints.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			hf, file := filepath.Join(t.TempDir(), "hf"), filepath.Join(t.TempDir(), "m.skive")
			for range 2 { // anew, and over what is there
				if err := errors.Join(m.SaveHF(hf), m.SaveSkive(file)); err != nil {
					t.Fatal(err)
				}
			}
			same("hf", embeddings(t, hf, texts, o))
			same("skive", embeddings(t, file, texts, o))
			if d, err := checkpoints.Diff(hf, file); err != nil || len(d) > 0 && d[0].What != "Sentence" {
				t.Errorf("hf and skive: %+v, %v", d, err)
			}
			o.Threads = 3
			same("three threads", embeddings(t, dir, texts, o))
			pool, err := infer.NewPool(m, infer.PoolOptions{Options: infer.Options{Embedding: infer.OfModel, Prompt: c.Prompt}, Instances: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			y, err := pool.Embed(t.Context(), texts)
			if err != nil {
				t.Fatal(err)
			}
			same("pool", y)
			padded, err := infer.New(m, infer.Options{Threads: 1, Embedding: infer.OfModel, Prompt: c.Prompt, PadTo: 24})
			if err != nil {
				t.Fatal(err)
			}
			defer padded.Close()
			if y, err = padded.Embed(t.Context(), texts); err != nil {
				t.Fatal(err)
			}
			for i := range y {
				for j := range y[i] {
					if d := y[i][j] - got[i][j]; !(d < 1e-5 && d > -1e-5) {
						t.Errorf("padded, text %d: value %d is %g, not %g", i, j, y[i][j], got[i][j])
					}
				}
			}
			// A fresh head is about something else.
			fresh := m.Clone()
			if err := fresh.SetHead(head.SingleLabel, []string{"a", "b"}, 1); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(fresh.Validate(), fresh.SaveHF(hf)); err != nil {
				t.Fatal(err)
			}
			if _, err := infer.Open(hf, infer.Options{Embedding: infer.OfModel}); !errors.Is(err, infer.ErrEmbedding) {
				t.Errorf("a classifier over an embedding model's directory: %v", err)
			}
		})
	}
}

// What is asked for beside the model's own is done, and said where it is something
// else; what the model does not have is refused.
func TestSentenceOptions(t *testing.T) {
	t.Parallel()
	texts, cases := sentenceGoldens(t)
	find := func(name string) string {
		i := slices.IndexFunc(cases, func(c sentenceCase) bool { return c.Name == name })
		return cases[i].directory(t)
	}
	mean, dense, prompts := find("mean, unit length"), find("dense"), find("a default prompt")
	o := infer.Options{Threads: 1, Embedding: infer.OfModel}
	own := embeddings(t, mean, texts, o)
	for _, c := range []struct {
		name string
		dir  string
		o    infer.Options
		same bool
	}{
		{"mean by its name", mean, infer.Options{Embedding: infer.Mean}, true},
		{"cut elsewhere", mean, infer.Options{Embedding: infer.OfModel, MaxLength: 20}, false},
		{"the same length", mean, infer.Options{Embedding: infer.OfModel, MaxLength: 12}, true},
		{"no prompt where there is none", mean, infer.Options{Embedding: infer.OfModel, Prompt: infer.NoPrompt}, true},
		{"another kind", mean, infer.Options{Embedding: infer.CLS}, false},
		{"a default prompt", prompts, infer.Options{Embedding: infer.Mean, MaxLength: 12}, false},
		{"without it", prompts, infer.Options{Embedding: infer.Mean, MaxLength: 12, Prompt: infer.NoPrompt}, true},
	} {
		c.o.Threads = 1
		if got := embeddings(t, c.dir, texts, c.o); slices.EqualFunc(got, own, slices.Equal) != c.same {
			t.Errorf("%s: equal is %v, want %v", c.name, !c.same, c.same)
		}
	}
	for _, c := range []struct {
		dir, embedding, note string
	}{
		{mean, infer.Mean, ""},
		{mean, infer.OfModel, ""},
		{mean, infer.CLS, `the embedding "cls" is not the model's own, which is "mean": see embedding "model"`},
		{dense, infer.Mean, `the embedding "mean" is not the model's own, which is "mean" with a dense layer: see embedding "model"`},
		{dense, infer.OfModel, ""},
	} {
		e, err := infer.Open(c.dir, infer.Options{Threads: 1, Embedding: c.embedding})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(e.Notes(), "; "); got != c.note {
			t.Errorf("%s: notes %s, want %s", c.embedding, got, c.note)
		}
		if n := e.Options().MaxLength; n != 12 {
			t.Errorf("%s: texts are cut at %d, want 12", c.embedding, n)
		}
		e.Close()
	}
	for _, c := range []struct {
		dir  string
		o    infer.Options
		err  error
		want string
	}{
		{prompts, infer.Options{Embedding: infer.OfModel, Prompt: "document"}, infer.ErrPrompt, `no such prompt: "document", expected one of the model's prompts: ["passage" "query"]`},
		{"testdata/sentence/encoder", infer.Options{Embedding: infer.OfModel}, infer.ErrEmbedding, `no such embedding: "model", but the model has no modules.json, expected "mean" or "cls"`},
		{mean, infer.Options{Embedding: "max"}, infer.ErrEmbedding, `no such embedding: "max", expected "mean", "cls" or "model"`},
	} {
		if _, err := infer.Open(c.dir, c.o); !errors.Is(err, c.err) || !errors.Is(err, infer.ErrOption) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.o, err, c.want)
		}
	}
}

// do_lower_case asks for a tokenizer that does so.
func TestSentenceLowerCase(t *testing.T) {
	t.Parallel()
	texts, cases := sentenceGoldens(t)
	for tokenizer, refused := range map[string]bool{`{"do_lower_case": true}`: false, `{"do_lower_case": false}`: true} {
		dir := cases[0].directory(t)
		for name, text := range map[string]string{"tokenizer_config.json": tokenizer, "sentence_bert_config.json": `{"max_seq_length": 12, "do_lower_case": true}`} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		e, err := infer.Open(dir, infer.Options{Threads: 1, Embedding: infer.OfModel})
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.Embed(t.Context(), texts)
		if refused && (!errors.Is(err, checkpoints.ErrUnsupported) || !strings.Contains(err.Error(), "sentence_bert_config.json: do_lower_case")) || !refused && err != nil {
			t.Errorf("%s: %v", tokenizer, err)
		}
		e.Close()
	}
}
