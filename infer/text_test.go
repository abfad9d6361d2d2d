package infer

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/tokenize"
)

var vocabulary = append([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"},
	strings.Fields("the room was clean dirty staff kind rude ##ly never not and but . , !")...)

func textModel(t testing.TB) *checkpoints.Model {
	t.Helper()
	c := configs["head 26 uneven"]
	c.Labels = []string{"bad", "good", "unclear"}
	m := randomModel(c, 21)
	tok, err := tokenize.NewWordPiece(vocabulary, true)
	if err != nil {
		t.Fatal(err)
	}
	m.Tokenizer = tok.Files()
	return m
}

func TestPredictTexts(t *testing.T) {
	t.Parallel()
	m := textModel(t)
	e := newEngine(t, m, Options{Threads: 1, MaxLength: 12})
	inputs := []Input{
		{Text: "The room was clean."},
		{Text: "the room was dirty", Pair: "the staff was kind, never rude!"},
		{Text: ""},
		{Text: "kind", HasPair: true},
		{Text: strings.Repeat("not ", 400)},
		{Text: "\xff\x00 日本 kindly"},
	}
	got, err := e.Predict(context.Background(), inputs)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(inputs) {
		t.Fatalf("%d predictions", len(got))
	}
	tok, err := tokenize.Load(m.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	for i, in := range inputs {
		var enc tokenize.Encoding
		if in.HasPair || in.Pair != "" {
			err = tok.EncodePair(&enc, in.Text, in.Pair, tokenize.Options{MaxLength: 12})
		} else {
			err = tok.Encode(&enc, in.Text, tokenize.Options{MaxLength: 12})
		}
		if err != nil {
			t.Fatal(err)
		}
		p := got[i]
		if want := predict(t, e, batch{enc.IDs, enc.TypeIDs, []int32{0, int32(len(enc.IDs))}}); !sameBits(p.Logits, want) {
			t.Errorf("input %d: logits %v, those of its tokens are %v", i, p.Logits, want)
		}
		if p.Index != slices.Index(p.Logits, slices.Max(p.Logits)) || p.Label != m.Config.Labels[p.Index] {
			t.Errorf("input %d: %+v", i, p)
		}
		sum, logits := 0.0, 0.0
		for j := range p.Logits {
			logits += math.Exp(float64(p.Logits[j]))
			sum += float64(p.Probabilities[j])
		}
		if want := math.Exp(float64(p.Logits[p.Index])) / logits; math.Abs(sum-1) > 1e-5 || math.Abs(want-float64(p.Probabilities[p.Index])) > 1e-5 {
			t.Errorf("input %d: probabilities %v of logits %v", i, p.Probabilities, p.Logits)
		}
	}
	if none, err := e.Predict(context.Background(), nil); err != nil || len(none) != 0 {
		t.Errorf("no inputs: %v, %v", none, err)
	}
}

// More texts than one batch holds.
func TestPredictManyTexts(t *testing.T) {
	t.Parallel()
	m := textModel(t)
	inputs := make([]Input, 1500)
	for i := range inputs {
		inputs[i].Text = strings.Repeat(vocabulary[5+i%16]+" ", 1+i%40)
	}
	for _, o := range []Options{{Threads: 2}, {Threads: 1, DType: Int8}} {
		e := newEngine(t, m, o)
		all, err := e.Predict(context.Background(), inputs)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(inputs); i += 97 {
			one, err := e.Predict(context.Background(), inputs[i:i+1])
			if err != nil {
				t.Fatal(err)
			}
			if !sameBits(all[i].Logits, one[0].Logits) {
				t.Errorf("%+v: input %d has other logits alone", o, i)
			}
		}
	}
}

func TestPredictErrors(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	inputs := []Input{{Text: "the room"}}
	none := randomModel(configs["head 16"], 1)
	if _, err := newEngine(t, none, Options{}).Predict(ctx, inputs); !errors.Is(err, ErrNoTokenizer) {
		t.Errorf("without a tokenizer: %v", err)
	}
	m := textModel(t)
	e := newEngine(t, m, Options{})
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := e.Predict(cancelled, inputs); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := newEngine(t, m, Options{MaxLength: 1}).Predict(ctx, inputs); err == nil {
		t.Error("a maximum length without room for the special tokens was accepted")
	}
	many := slices.Clone(vocabulary)
	for len(many) < 80 {
		many = append(many, strings.Repeat("x", len(many)))
	}
	tok, err := tokenize.NewWordPiece(many, true)
	if err != nil {
		t.Fatal(err)
	}
	m.Tokenizer = tok.Files()
	if _, err := newEngine(t, m, Options{}).Predict(ctx, []Input{{Text: many[79]}}); !errors.Is(err, ErrTokenID) {
		t.Errorf("a tokenizer with more tokens than the model: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Predict(ctx, inputs); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestEmbedTexts(t *testing.T) {
	t.Parallel()
	m := textModel(t)
	inputs := []Input{{Text: "The room was clean."}, {Text: "the room", Pair: "the staff was kind"}, {Text: ""}}
	for _, kind := range []string{Mean, CLS} {
		e := newEngine(t, m, Options{Threads: 1, Embedding: kind})
		got, err := e.Embed(context.Background(), inputs)
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPool(m, PoolOptions{Instances: 1, Options: Options{Embedding: kind}})
		if err != nil {
			t.Fatal(err)
		}
		pooled, err := p.Embed(context.Background(), inputs)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		for i, x := range got {
			var norm float64
			for _, v := range x {
				norm += float64(v) * float64(v)
			}
			if len(x) != m.Config.HiddenSize || math.Abs(norm-1) > 1e-5 || !sameBits(x, pooled[i]) {
				t.Errorf("%s of input %d: %d values of squared length %g", kind, i, len(x), norm)
			}
		}
		if _, err := e.Predict(context.Background(), inputs); !errors.Is(err, ErrOption) {
			t.Errorf("predictions of an engine for embeddings: %v", err)
		}
	}
	if _, err := newEngine(t, m, Options{}).Embed(context.Background(), inputs); !errors.Is(err, ErrOption) {
		t.Errorf("embeddings of an engine for predictions: %v", err)
	}
	if _, err := New(m, Options{Embedding: "max"}); !errors.Is(err, ErrOption) {
		t.Errorf("an unknown kind: %v", err)
	}
}
