package infer

import (
	"context"
	"errors"
	"fmt"
	"slices"

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

// textBuffers are what a call with texts needs.
type textBuffers struct {
	encoding     tokenize.Encoding
	ids, typeIDs []int32
	offsets      []int32
	outputs      []float32 // logits or embeddings
}

// Predict tokenizes and classifies texts. Texts longer than Options.MaxLength
// tokens are truncated as Hugging Face's "longest_first" does. When ctx ends,
// Predict returns its error at the next batch of a few thousand tokens.
func (e *Engine) Predict(ctx context.Context, inputs []Input) ([]Prediction, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.weights.classify(&e.text, &e.options, inputs, e.compute(ctx))
}

// Embed tokenizes texts, as Predict does, and returns an embedding of unit
// length for each: the mean of its tokens' last hidden states, or the first
// one's, as Options.Embedding says. The inner product of two is their cosine
// similarity.
func (e *Engine) Embed(ctx context.Context, inputs []Input) ([][]float32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.weights.embed(&e.text, &e.options, inputs, e.compute(ctx))
}

// compute finds the outputs of the texts in t, with the engine locked.
func (e *Engine) compute(ctx context.Context) func(t *textBuffers) error {
	return func(t *textBuffers) (err error) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.check(t.ids, t.typeIDs, t.offsets); err != nil {
			return err
		}
		t.outputs, err = e.predict(t.outputs, t.ids, t.typeIDs, t.offsets)
		return err
	}
}

func (w *weights) classify(t *textBuffers, o *Options, inputs []Input, compute func(*textBuffers) error) ([]Prediction, error) {
	if w.embedding != "" {
		return nil, fmt.Errorf("%w: an engine with Options.Embedding gives no predictions", ErrOption)
	}
	predictions := make([]Prediction, 0, len(inputs))
	err := w.batches(t, o, inputs, func() error {
		err := compute(t)
		if err == nil {
			predictions = w.answers(predictions, t.outputs)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return predictions, nil
}

func (w *weights) embed(t *textBuffers, o *Options, inputs []Input, compute func(*textBuffers) error) ([][]float32, error) {
	if w.embedding == "" {
		return nil, fmt.Errorf("%w: embeddings need Options.Embedding", ErrOption)
	}
	embeddings := make([][]float32, 0, len(inputs))
	err := w.batches(t, o, inputs, func() error {
		err := compute(t)
		if err == nil {
			embeddings = slices.AppendSeq(embeddings, slices.Chunk(slices.Clone(t.outputs), w.outputs))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return embeddings, nil
}

// batches tokenizes inputs into batches, each of which compute takes from t.
func (w *weights) batches(t *textBuffers, o *Options, inputs []Input, compute func() error) error {
	tokenizer, err := w.tokenizer()
	if err != nil {
		return err
	}
	for done := 0; done < len(inputs); {
		n, err := t.encode(tokenizer, w.config.TypeVocabSize, o, inputs[done:], done)
		if err != nil {
			return err
		}
		if err := compute(); err != nil {
			var unfit *InputError
			if errors.As(err, &unfit) {
				return fmt.Errorf("inputs %d to %d: the tokenizer does not fit the model: %w", done, done+n-1, err)
			}
			return err
		}
		done += n
	}
	return nil
}

// encode tokenizes inputs until a batch is full, and returns how many. first is
// the number of inputs before.
func (t *textBuffers) encode(tokenizer *tokenize.Tokenizer, types int, options *Options, inputs []Input, first int) (n int, err error) {
	t.ids, t.typeIDs, t.offsets = t.ids[:0], t.typeIDs[:0], append(t.offsets[:0], 0)
	o := tokenize.Options{MaxLength: options.MaxLength}
	for n < len(inputs) && (n == 0 || (n+1)*t.longest(n, options.PadTo) <= textTokens) {
		if in := inputs[n]; in.HasPair || in.Pair != "" {
			err = tokenizer.EncodePair(&t.encoding, in.Text, in.Pair, o)
		} else {
			err = tokenizer.Encode(&t.encoding, in.Text, o)
		}
		if err != nil {
			return 0, fmt.Errorf("infer: input %d: %w", first+n, err)
		}
		t.ids = append(t.ids, t.encoding.IDs...)
		if types > 1 {
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
func (t *textBuffers) longest(n, padTo int) int {
	if padTo > 0 {
		return padTo
	}
	return len(t.ids)/n + 1
}

func (w *weights) answers(dst []Prediction, logits []float32) []Prediction {
	labels := w.config.Labels
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
