package infer

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/tokenize"
)

func newPoolOf(t *testing.T, m *checkpoints.Model, o Options) *Pool {
	t.Helper()
	p, err := NewPool(m, PoolOptions{Options: o, Instances: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// What a call says of its texts concerns that call alone, whatever it shares a batch with.
func TestCallReadsTexts(t *testing.T) {
	t.Parallel()
	p := newPoolOf(t, textModel(t), Options{MaxLength: 6})
	ctx := context.Background()
	logits := func(c *Call, in ...Input) []float32 {
		t.Helper()
		got, err := p.PredictCall(ctx, c, in)
		if err != nil {
			t.Fatal(err)
		}
		return got[0].Logits
	}
	const long = "the room was clean never kind rude and dirty"
	var c Call
	if !sameBits(logits(&c, Input{Text: long}), logits(new(Call), Input{Text: "the room was clean"})) {
		t.Error("a long text is not cut at its end")
	}
	if c.Tokens != 6 || c.Compute <= 0 || c.Tokenize <= 0 {
		t.Errorf("took %+v", c)
	}
	if !sameBits(logits(&Call{Cut: tokenize.Left}, Input{Text: long}), logits(new(Call), Input{Text: "kind rude and dirty"})) {
		t.Error("a long text is not cut at its beginning")
	}
	ids := []int32{2, 5, 6, 7, 8, 3} // [CLS] the room was clean [SEP]
	if !sameBits(logits(new(Call), Input{IDs: ids}), logits(new(Call), Input{Text: long})) {
		t.Error("token ids are not those of the text")
	}
	paired := logits(new(Call), Input{IDs: []int32{2, 5, 3, 6, 3}, TypeIDs: []int32{0, 0, 0, 1, 1}})
	if !sameBits(paired, logits(new(Call), Input{Text: "the", Pair: "room"})) {
		t.Error("token type ids are not those of the pair")
	}
	for name, in := range map[string][]Input{
		"a text":    {{Text: "kind"}, {Text: long}},
		"a pair":    {{Text: "kind", Pair: long}},
		"token ids": {{IDs: append(ids, 3)}},
	} {
		_, err := p.PredictCall(ctx, &Call{Whole: true}, in)
		var length *LengthError
		if !errors.As(err, &length) || !errors.Is(err, ErrTooLong) || length.Most != 6 || length.Tokens < 7 {
			t.Errorf("%s that is too long: %v", name, err)
		}
	}
	if _, err := p.Predict(ctx, []Input{{Text: "kind", IDs: ids}}); !errors.Is(err, ErrOption) {
		t.Errorf("a text beside token ids: %v", err)
	}
	if _, err := p.Predict(ctx, []Input{{IDs: []int32{2, 999, 3}}}); !errors.Is(err, ErrTokenID) || strings.Contains(err.Error(), "tokenizer") {
		t.Errorf("an unknown token id: %v", err)
	}
	if _, err := p.PredictCall(ctx, &Call{Prompt: "nope"}, []Input{{Text: "kind"}}); !errors.Is(err, ErrPrompt) {
		t.Errorf("an unknown prompt: %v", err)
	}
}

func TestCallKeepsTheLengthOfEmbeddings(t *testing.T) {
	t.Parallel()
	for _, embedding := range []string{Mean, CLS} {
		p := newPoolOf(t, textModel(t), Options{Embedding: embedding})
		inputs := []Input{{Text: "the room was clean"}, {Text: "rude"}}
		scaled, err := p.Embed(context.Background(), inputs)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := p.EmbedCall(context.Background(), &Call{Unscaled: true}, inputs)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range whole {
			var squares float64
			for _, v := range x {
				squares += float64(v) * float64(v)
			}
			length := math.Sqrt(squares)
			if math.Abs(length-1) < 0.1 {
				t.Errorf("%s: the embedding has length %v", embedding, length)
			}
			for j, v := range x {
				if math.Abs(float64(v)/length-float64(scaled[i][j])) > 1e-6 {
					t.Fatalf("%s: %v, scaled %v", embedding, x, scaled[i])
				}
			}
		}
	}
}
