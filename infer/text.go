package infer

import (
	"context"
	"fmt"

	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/tokenize"
)

// Input is a text, or a pair of texts, to classify.
type Input struct {
	Text, Pair string
	// HasPair says that there is a second text although Pair is empty.
	HasPair bool
}

// Prediction is the answer to one Input.
type Prediction struct {
	// Index is the number of the class with the largest logit, the first of
	// equals.
	Index int
	// Label is the name of that class.
	Label string
	// Logits has one value for each label.
	Logits []float32
	// Probabilities is the softmax of the logits.
	Probabilities []float32
}

// Predict computes texts in batches of at most so many tokens, so that the
// memory that a call takes does not grow with the number of its inputs.
const textTokens = 4096

// textBuffers are what an engine needs for texts.
type textBuffers struct {
	encoding     tokenize.Encoding
	ids, typeIDs []int32
	offsets      []int32
	logits       []float32
}

// Predict tokenizes and classifies texts. Texts longer than Options.MaxLength
// tokens are truncated as Hugging Face's "longest_first" does. When ctx ends,
// Predict returns its error at the next batch of a few thousand tokens.
func (e *Engine) Predict(ctx context.Context, inputs []Input) ([]Prediction, error) {
	tokenizer, err := e.weights.tokenizer()
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	predictions := make([]Prediction, 0, len(inputs))
	for len(inputs) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if e.closed {
			return nil, ErrClosed
		}
		n, err := e.encode(tokenizer, inputs, len(predictions))
		if err != nil {
			return nil, err
		}
		inputs = inputs[n:]
		t := &e.text
		if err := e.check(t.ids, t.typeIDs, t.offsets); err != nil {
			return nil, fmt.Errorf("inputs %d to %d: the tokenizer does not fit the model: %w", len(predictions), len(predictions)+n-1, err)
		}
		if t.logits, err = e.predict(t.logits, t.ids, t.typeIDs, t.offsets); err != nil {
			return nil, err
		}
		predictions = e.answers(predictions, t.logits)
	}
	return predictions, nil
}

// encode tokenizes inputs until a batch is full, and returns how many.
func (e *Engine) encode(tokenizer *tokenize.Tokenizer, inputs []Input, first int) (n int, err error) {
	t := &e.text
	t.ids, t.typeIDs, t.offsets = t.ids[:0], t.typeIDs[:0], append(t.offsets[:0], 0)
	o := tokenize.Options{MaxLength: e.options.MaxLength}
	for n < len(inputs) && (n == 0 || (n+1)*e.longest(n) <= textTokens) {
		if in := inputs[n]; in.HasPair || in.Pair != "" {
			err = tokenizer.EncodePair(&t.encoding, in.Text, in.Pair, o)
		} else {
			err = tokenizer.Encode(&t.encoding, in.Text, o)
		}
		if err != nil {
			return 0, fmt.Errorf("infer: input %d: %w", first+n, err)
		}
		t.ids = append(t.ids, t.encoding.IDs...)
		if e.weights.config.TypeVocabSize > 1 {
			t.typeIDs = append(t.typeIDs, t.encoding.TypeIDs...)
		} else {
			for range t.encoding.IDs {
				t.typeIDs = append(t.typeIDs, 0)
			}
		}
		t.offsets = append(t.offsets, int32(len(t.ids)))
		n++
	}
	return n, nil
}

// longest is the number of tokens to expect of one more text after n.
func (e *Engine) longest(n int) int {
	if e.options.PadTo > 0 {
		return e.options.PadTo
	}
	return len(e.text.ids)/n + 1
}

func (e *Engine) answers(dst []Prediction, logits []float32) []Prediction {
	labels := e.weights.config.Labels
	k := len(labels)
	values := make([]float32, 2*len(logits)) // of all predictions at once
	for i := 0; i < len(logits); i += k {
		p := Prediction{Logits: values[2*i : 2*i+k : 2*i+k], Probabilities: values[2*i+k : 2*(i+k) : 2*(i+k)]}
		copy(p.Logits, logits[i:i+k])
		copy(p.Probabilities, logits[i:i+k])
		kernels.Softmax(p.Probabilities, 1)
		for j, v := range p.Logits {
			if v > p.Logits[p.Index] {
				p.Index = j
			}
		}
		p.Label = labels[p.Index]
		dst = append(dst, p)
	}
	return dst
}
