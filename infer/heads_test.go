package infer

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
)

var heads = map[string]head.Kind{
	"multi_label": head.MultiLabel, "regression": head.Regression, "multiple_choice": head.MultipleChoice,
	"token": head.TokenClassification, "masked_lm": head.MaskedLM,
}

// The logits of every head are those of transformers, padded or not, and stay
// what they are when the model is saved and opened again.
func TestHeadsEqualTransformers(t *testing.T) {
	t.Parallel()
	for name, kind := range heads {
		dir := filepath.Join("testdata", "heads", name)
		var golden struct{ Cases []goldenCase }
		raw, err := os.ReadFile(filepath.Join(dir, "golden.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &golden); err != nil {
			t.Fatal(err)
		}
		m, err := checkpoints.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if m.Config.Head != kind {
			t.Errorf("%s: head %q, want %q", name, m.Config.Head, kind)
		}
		out := filepath.Join(t.TempDir(), name)
		if err := m.SaveHF(out); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), name+checkpoints.Extension)
		if err := m.SaveSkive(file); err != nil {
			t.Fatal(err)
		}
		m.Close()
		for _, path := range []string{dir, out, file} {
			for _, o := range []Options{{Threads: 1}, {Threads: 2}, {Threads: 1, PadTo: 20}} {
				e, err := Open(path, o)
				if err != nil {
					t.Fatal(err)
				}
				compareGolden(t, e, golden.Cases)
				if kind == head.MaskedLM {
					c := golden.Cases[1]
					got, err := e.PredictMasked(nil, c.IDs, c.Types, []int32{0, int32(len(c.IDs))}, []int32{9, 2})
					want := slices.Concat(c.Logits[9*60:10*60], c.Logits[2*60:3*60])
					if d := largestDifference(got, want); err != nil || !(d < 1e-4) {
						t.Errorf("chosen tokens: %g from the golden logits (%v)", d, err)
					}
				}
				e.Close()
			}
		}
	}
}

// A stock model of a head is saved as it came: the same tensors under the same
// names, and what decides in config.json about the class and the loss.
func TestHeadsAreSavedAsTransformersDoes(t *testing.T) {
	t.Parallel()
	for name := range heads {
		dir := filepath.Join("testdata", "heads", name)
		m, err := checkpoints.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		out := t.TempDir()
		if err := m.SaveHF(out); err != nil {
			t.Fatal(err)
		}
		read := func(dir, file string, v any) {
			b, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if file == "model.safetensors" {
				b = b[8 : 8+int(b[0])+int(b[1])<<8]
			}
			if err := json.Unmarshal(b, v); err != nil {
				t.Fatal(err)
			}
		}
		var was, is struct {
			Architectures []string
			Problem       string            `json:"problem_type"`
			Labels        map[string]string `json:"id2label"`
		}
		read(dir, "config.json", &was)
		read(out, "config.json", &is)
		if !slices.Equal(was.Architectures, is.Architectures) || was.Problem != is.Problem {
			t.Errorf("%s: %v %q, want %v %q", name, is.Architectures, is.Problem, was.Architectures, was.Problem)
		}
		var tensors, again map[string]any
		read(dir, "model.safetensors", &tensors)
		read(out, "model.safetensors", &again)
		delete(tensors, "__metadata__")
		delete(again, "__metadata__")
		for tensor := range tensors {
			if _, ok := again[tensor]; !ok {
				t.Errorf("%s: tensor %s is not written", name, tensor)
			}
		}
		if len(again) != len(tensors) {
			t.Errorf("%s: %d tensors, want %d", name, len(again), len(tensors))
		}
	}
}

func headModel(t *testing.T, kind head.Kind, labels ...string) *checkpoints.Model {
	t.Helper()
	c := config(32, 16, "gelu", size(2, 40))
	c.Labels = nil
	m := randomModel(c, 3)
	if err := m.SetHead(kind, labels, 1); err != nil {
		t.Fatal(err)
	}
	vocab := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "anna", "lives", "in", "par", "##is", ".", "-"}
	m.Tokenizer["vocab.txt"] = []byte(strings.Join(vocab, "\n") + "\n")
	return m
}

func answer(t *testing.T, e *Engine, in Input) Prediction {
	t.Helper()
	p, err := e.Predict(context.Background(), []Input{{Text: "anna", Choices: in.Choices}, in})
	if err != nil {
		t.Fatal(err)
	}
	return p[1]
}

func TestPredictionsOfHeads(t *testing.T) {
	t.Parallel()
	t.Run("several labels", func(t *testing.T) {
		m := headModel(t, head.MultiLabel, "a", "b", "c")
		m.Tensors["classifier.bias"] = checkpoints.NewTensor([]int{3}, []float32{50, -50, 40})
		p := answer(t, newEngine(t, m, Options{}), Input{Text: "lives in paris"})
		if !slices.Equal(p.Labels, []string{"a", "c"}) || p.Label != "a" || p.Probabilities[1] > 1e-6 || p.Probabilities[2] < 0.99 {
			t.Errorf("%+v", p)
		}
	})
	t.Run("regression", func(t *testing.T) {
		p := answer(t, newEngine(t, headModel(t, head.Regression), Options{}), Input{Text: "anna", Pair: "paris"})
		if len(p.Logits) != 1 || p.Probabilities != nil || p.Label != "score" {
			t.Errorf("%+v", p)
		}
	})
	t.Run("multiple choice", func(t *testing.T) {
		e := newEngine(t, headModel(t, head.MultipleChoice), Options{})
		choices := []string{"in paris", ".", "lives"}
		p := answer(t, e, Input{Text: "anna lives", Choices: choices})
		sum := float32(0)
		for _, v := range p.Probabilities {
			sum += v
		}
		if len(p.Logits) != 3 || p.Label != choices[p.Index] || math.Abs(float64(sum)-1) > 1e-5 {
			t.Errorf("%+v", p)
		}
		for i, c := range choices { // each is scored by itself
			if one := answer(t, e, Input{Text: "anna lives", Choices: []string{c}}); one.Logits[0] != p.Logits[i] {
				t.Errorf("%q scores %g alone, %g among others", c, one.Logits[0], p.Logits[i])
			}
		}
	})
	t.Run("tokens", func(t *testing.T) {
		m := headModel(t, head.TokenClassification, "O", "LOC")
		p := answer(t, newEngine(t, m, Options{MaxLength: 7}), Input{Text: " Anna  lives in \u00ad Paris. paris"})
		var got []string
		for _, w := range p.Words {
			got = append(got, w.Text)
			if (w.Index < 0) != (w.Text == "\u00ad" || w.Start > 18) || w.Index >= 0 && w.Label != m.Config.Labels[w.Index] {
				t.Errorf("%+v", w)
			}
		}
		if !slices.Equal(got, []string{"Anna", "lives", "in", "\u00ad", "Paris.", "paris"}) || p.Words[4].Start != 18 || p.Words[4].End != 24 {
			t.Errorf("%+v", p.Words)
		}
		if len(p.Logits) != 2*4 {
			t.Errorf("%d logits of 4 words", len(p.Logits))
		}
	})
	t.Run("masks", func(t *testing.T) {
		m := headModel(t, head.MaskedLM)
		bias := make([]float32, 70)
		bias[8], bias[5] = 60, 50
		m.Tensors["cls.predictions.bias"] = checkpoints.NewTensor([]int{70}, bias)
		p := answer(t, newEngine(t, m, Options{}), Input{Text: "[MASK] lives in [MASK]."})
		if len(p.Masks) != 2 || len(p.Masks[0]) != 5 || p.Masks[1][0].Token != "par" || p.Masks[1][1].Token != "anna" {
			t.Errorf("%+v", p.Masks)
		}
		if p := answer(t, newEngine(t, m, Options{}), Input{Text: "anna"}); p.Masks != nil {
			t.Errorf("%+v", p.Masks)
		}
	})
}

// A pool answers for heads that have a row of outputs for each token too.
func TestPoolLabelsTokens(t *testing.T) {
	t.Parallel()
	m := headModel(t, head.TokenClassification, "O", "LOC")
	p, err := NewPool(m, PoolOptions{Instances: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	in := Input{Text: "anna lives in paris"}
	got, err := p.Predict(context.Background(), []Input{in})
	if err != nil {
		t.Fatal(err)
	}
	if want := answer(t, newEngine(t, m, Options{}), in); !slices.Equal(got[0].Words, want.Words) {
		t.Errorf("%+v, want %+v", got[0].Words, want.Words)
	}
}

func TestHeadErrors(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	choice, tokens := headModel(t, head.MultipleChoice), headModel(t, head.TokenClassification, "O")
	for want, err := range map[string]error{
		"expected a text and Choices":     second(newEngine(t, choice, Options{}).Predict(ctx, []Input{{Text: "a"}})),
		"does not decide between choices": second(newEngine(t, tokens, Options{}).Predict(ctx, []Input{{Text: "a", Choices: []string{"b"}}})),
		"labels the words of one text":    second(newEngine(t, tokens, Options{}).Predict(ctx, []Input{{Text: "a", Pair: "b"}})),
		"no head of a masked":             second(newEngine(t, tokens, Options{}).PredictMasked(nil, []int32{1}, nil, []int32{0, 1}, []int32{0})),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrOption) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func second[T any](_ T, err error) error { return err }
