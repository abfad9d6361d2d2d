package infer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/tokenize"
)

// numbered is a model with a vocabulary of w0, w1, ... after the special tokens.
func numbered(t *testing.T, m *checkpoints.Model) *checkpoints.Model {
	t.Helper()
	vocabulary := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
	for i := len(vocabulary); i < m.Config.VocabSize; i++ {
		vocabulary = append(vocabulary, fmt.Sprintf("w%d", i))
	}
	tok, err := tokenize.NewWordPiece(vocabulary, true)
	if err != nil {
		t.Fatal(err)
	}
	m.Tokenizer = tok.Files()
	return m
}

func poolOf(t *testing.T, m *checkpoints.Model, o PoolOptions) *Pool {
	t.Helper()
	p, err := NewPool(m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Sparse embeddings are SPLADE's of the logits that PyTorch gives, whatever they are
// computed with, and masks are filled as an engine fills them.
func TestPoolOfMaskedLM(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("testdata", "heads", "masked_lm")
	var golden struct{ Cases []goldenCase }
	raw, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err == nil {
		err = json.Unmarshal(raw, &golden)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := checkpoints.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	numbered(t, m)
	vocabulary := m.Config.VocabSize
	e := newEngine(t, m, Options{Threads: 1})
	for _, o := range []PoolOptions{{Instances: 2}, {Instances: 1, Options: Options{PadTo: 20}}} {
		p := poolOf(t, m, o)
		var group sync.WaitGroup
		for _, c := range golden.Cases {
			group.Go(func() { // with others of this and of other kinds
				ids := slices.Clone(c.IDs)
				ids[len(ids)/2] = 4
				in := []Input{{IDs: ids, TypeIDs: c.Types}}
				filled, err := p.Predict(t.Context(), in)
				want, wrong := e.Predict(t.Context(), in)
				if err != nil || wrong != nil || len(filled[0].Masks) == 0 {
					t.Errorf("%v, %v, %v", filled, err, wrong)
				} else if o.PadTo == 0 && fmt.Sprint(filled) != fmt.Sprint(want) {
					t.Errorf("%v, want %v", filled, want)
				}
			})
			group.Go(func() {
				got, err := p.EmbedSparse(t.Context(), new(Call), []Input{{IDs: c.IDs, TypeIDs: c.Types}})
				if err != nil {
					t.Error(err)
					return
				}
				dense := make([]float64, vocabulary)
				for _, s := range got[0] {
					dense[s.ID] = float64(s.Value)
				}
				for v := range dense {
					most := 0.0
					for token := range c.IDs {
						most = max(most, float64(c.Logits[token*vocabulary+v]))
					}
					if want := math.Log1p(most); math.Abs(dense[v]-want) > 1e-4 {
						t.Errorf("entry %d is %v, want %v", v, dense[v], want)
						return
					}
				}
			})
		}
		group.Wait()
		some, err := p.PredictCall(t.Context(), &Call{Fills: 2, Targets: []int32{7, 9, 11}}, []Input{{Text: "w8 [MASK] w9"}})
		if err != nil || len(some[0].Masks[0]) != 2 || !slices.Contains([]string{"w7", "w9", "w11"}, some[0].Masks[0][0].Token) {
			t.Errorf("%v, %v", some, err)
		}
		if none, err := p.Predict(t.Context(), []Input{{Text: "w8 w9"}, {Text: "[MASK]"}}); err != nil || none[0].Masks != nil || len(none[1].Masks) != 1 {
			t.Errorf("%v, %v", none, err)
		}
		if _, err := p.EmbedTokens(t.Context(), new(Call), []Input{{Text: "a"}}); !errors.Is(err, ErrOption) {
			t.Error(err)
		}
	}
}

// The hidden states of tokens do not depend on how they would be pooled, nor on what they are
// computed with; and pooling makes embeddings of them.
func TestEmbedTokens(t *testing.T) {
	t.Parallel()
	m := numbered(t, headModel(t, head.SingleLabel, "x", "y"))
	inputs := []Input{{Text: "w7 w8 w9"}, {Text: "w6"}, {Text: "w9 w9 [MASK] w8 w7 w6"}}
	for _, dtype := range []string{F32, Int8} {
		var first [][][]float32
		for _, o := range []PoolOptions{
			{Instances: 1, Options: Options{Embedding: Mean, DType: dtype}}, {Instances: 1, Options: Options{Embedding: CLS, DType: dtype}},
			{Instances: 2, Options: Options{Embedding: CLS, DType: dtype, Threads: 2}},
		} {
			p := poolOf(t, m, o)
			tokens, err := p.EmbedTokens(t.Context(), new(Call), inputs)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = tokens
			}
			if fmt.Sprint(tokens) != fmt.Sprint(first) {
				t.Errorf("%s, %s: %v, want %v", dtype, o.Embedding, tokens, first)
			}
			pooled, err := p.EmbedCall(t.Context(), &Call{Unscaled: true}, inputs)
			if err != nil {
				t.Fatal(err)
			}
			for i, rows := range tokens {
				want := make([]float32, len(rows[0]))
				for _, row := range rows {
					for j, v := range row {
						want[j] += v / float32(len(rows))
					}
				}
				if o.Embedding == CLS {
					want = rows[0]
				}
				if d := largestDifference(pooled[i], want); !(d < 1e-5) {
					t.Errorf("%s, %s: text %d: %g", dtype, o.Embedding, i, d)
				}
			}
			one, err := p.EmbedTokens(t.Context(), new(Call), inputs[2:])
			if err != nil || fmt.Sprint(one[0]) != fmt.Sprint(tokens[2]) {
				t.Errorf("%s, %s: alone %v, %v", dtype, o.Embedding, one, err)
			}
		}
	}
}

// A call is told of each text, and windows take what the call says.
func TestWindowsOfACall(t *testing.T) {
	t.Parallel()
	m := numbered(t, headModel(t, head.MultiLabel, "x", "y"))
	p := poolOf(t, m, PoolOptions{Instances: 1, Options: Options{MaxLength: 6}})
	var seen [][2]int
	call := &Call{Windows: true, Stride: 1, Each: func(tokens, unknown int) { seen = append(seen, [2]int{tokens, unknown}) }}
	got, err := p.PredictCall(t.Context(), call, []Input{{Text: "w6 w7 w8 w9 w10 zzz w6"}, {Text: "w6"}})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(seen) != "[[9 1] [3 0]]" || call.Tokens != 6+6+3 || call.Compute == 0 {
		t.Errorf("%v, %+v", seen, call)
	}
	var logits [2]float64
	for _, text := range []string{"w6 w7 w8 w9", "w9 w10 zzz w6"} {
		part, err := p.Predict(t.Context(), []Input{{Text: text}})
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range part[0].Logits {
			logits[i] += float64(v) / 2
		}
	}
	for i, v := range got[0].Logits {
		if math.Abs(float64(v)-logits[i]) > 1e-6 || got[0].Probabilities[i] != sigmoid(v) {
			t.Errorf("%v, want %v", got[0], logits)
		}
	}
	if alone, err := p.Predict(t.Context(), []Input{{Text: "w6"}}); err != nil || !slices.Equal(alone[0].Logits, got[1].Logits) {
		t.Errorf("%v, want %v, %v", got[1], alone, err)
	}
	for _, in := range []Input{{Text: "w6 w7 w8", Pair: "w9 w10"}} {
		if _, err := p.PredictCall(t.Context(), call, []Input{in}); !errors.Is(err, ErrTooLong) {
			t.Error(err)
		}
	}
	for _, c := range []struct{ most, stride int }{{6, 3}, {6, -1}, {2, 0}} { // a window of 2 is the special tokens
		p := poolOf(t, m, PoolOptions{Instances: 1, Options: Options{MaxLength: c.most}})
		if _, err := p.PredictCall(t.Context(), &Call{Windows: true, Stride: c.stride}, []Input{{Text: "w6 w7 w8 w9 w10"}}); !errors.Is(err, ErrOption) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
