package infer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/tokenize"
)

// Input is a text, or a pair of texts, to classify.
type Input struct {
	Text, Pair string
	// HasPair says that there is a second text even if Pair is empty.
	HasPair bool
	// Choices are the second texts among which a multiple-choice model decides. They
	// replace Pair.
	Choices []string
	// IDs are token ids, special tokens included, instead of a text. TypeIDs are their
	// types, nil for all zeros. A model that labels words does not take them.
	IDs, TypeIDs []int32
}

// Prediction is the answer to one Input.
type Prediction struct {
	// Index is the number of the class with the largest logit, the first one if several
	// are equal.
	Index int
	// Label is the name of that class, or the text of that choice.
	Label string
	// Logits has one value for each label or choice. A regression has one: its answer.
	Logits []float32
	// Probabilities is the softmax of the logits. A multi-label model has each logit's
	// sigmoid, and a regression nil.
	Probabilities []float32
	// Labels are the labels of a multi-label model whose probability is above one half.
	Labels []string
	// Words are the words of a model that labels tokens, divided at white space. Logits
	// and Probabilities then hold one row for each word that has a label.
	Words []Word
	// Masks has the most probable tokens for each mask, in a masked language model. All
	// other fields are then empty.
	Masks [][]Fill
}

// textTokens is the most tokens in a batch of Predict, so that the memory of a call
// does not grow with the number of its inputs.
const textTokens = 4096

// textBuffers is the memory of a call with texts.
type textBuffers struct {
	encoding     tokenize.Encoding
	ids, typeIDs []int32
	offsets      []int32
	ends         []int     // the end of each input's sequences
	words        [][]int32 // the first token of each word of an input, counted from the input's start
	rows         []int32   // of masks
	outputs      []float32 // logits or embeddings
	reading
}

// reading is how a call reads texts.
type reading struct {
	tokenizer *tokenize.Tokenizer
	config    checkpoints.Config // with a classifier, if the engine gives embeddings
	prompt    string
	options   tokenize.Options
	whole     bool // refuse texts that are too long
	padTo     int
	fills     int // tokens for each mask, chosen from the targets if there are any
	targets   []int32
	each      func(tokens, unknown int) // Call.Each, or nil
	unknown   int32
}

func (w *weights) reading(tokenizer *tokenize.Tokenizer, o *Options, call *Call) (reading, error) {
	r := reading{
		tokenizer: tokenizer, config: w.config, prompt: w.prompt, options: tokenize.Options{MaxLength: o.MaxLength, Cut: call.Cut},
		whole: call.Whole, padTo: o.PadTo, fills: cmp.Or(call.Fills, fills), targets: call.Targets, each: call.Each,
	}
	_, r.unknown, _, _, _ = tokenizer.Special()
	if w.embedding != "" {
		r.config.Head, r.config.Pairs = head.SingleLabel, false
	}
	r.options.Offsets = r.config.Head.Subject() == head.Words
	if call.Prompt == "" {
		return r, nil
	}
	var err error
	r.prompt, err = w.promptOf(call.Prompt)
	return r, invalid(err)
}

// Predict tokenizes and classifies texts. Texts longer than Options.MaxLength tokens
// are truncated as Hugging Face's "longest_first" does. When ctx ends, Predict returns
// its error before the next batch of a few thousand tokens.
func (e *Engine) Predict(ctx context.Context, inputs []Input) ([]Prediction, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	compute := e.answer(ctx)
	if e.weights.fillsMasks() {
		tokenizer, err := e.weights.tokenizer()
		if err != nil {
			return nil, err
		}
		_, _, _, _, mask := tokenizer.Special()
		compute = e.fill(ctx, mask)
	}
	return e.weights.classify(&e.text, &e.options, new(Call), inputs, compute)
}

// Embed tokenizes texts as Predict does, each after the text of Options.Prompt, and
// returns one embedding for each. Options.Embedding says how: the mean of the last
// hidden states or the first token's, of unit length, so that an inner product is a
// cosine similarity; or as the model's own files say.
func (e *Engine) Embed(ctx context.Context, inputs []Input) ([][]float32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.weights.embed(&e.text, &e.options, new(Call), inputs, e.answer(ctx))
}

// answer computes the outputs of the texts in t, with the engine locked.
func (e *Engine) answer(ctx context.Context) func(t *textBuffers) error {
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

func (w *weights) classify(t *textBuffers, o *Options, call *Call, inputs []Input, compute func(*textBuffers) error) ([]Prediction, error) {
	if w.embedding != "" {
		return nil, fmt.Errorf("%w: an engine with Options.Embedding gives no predictions", ErrOption)
	}
	predictions := make([]Prediction, 0, len(inputs))
	err := w.batches(t, o, call, inputs, func() error {
		err := compute(t)
		if err == nil {
			predictions = w.answers(predictions, t, inputs[len(predictions):][:len(t.ends)])
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return predictions, nil
}

func (w *weights) embed(t *textBuffers, o *Options, call *Call, inputs []Input, compute func(*textBuffers) error) ([][]float32, error) {
	if w.embedding == "" {
		return nil, fmt.Errorf("%w: embeddings need Options.Embedding", ErrOption)
	}
	embeddings := make([][]float32, 0, len(inputs))
	err := w.batches(t, o, call, inputs, func() error {
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

// batches tokenizes inputs into batches in t, and calls compute for each.
func (w *weights) batches(t *textBuffers, o *Options, call *Call, inputs []Input, compute func() error) error {
	tokenizer, err := w.tokenizer()
	if err != nil {
		return err
	}
	if t.reading, err = w.reading(tokenizer, o, call); err != nil {
		return err
	}
	for done := 0; done < len(inputs); {
		began := time.Now()
		n, err := t.encode(inputs[done:], done)
		call.Tokens += len(t.ids)
		call.Tokenize += time.Since(began)
		if err != nil {
			return err
		}
		if err := compute(); err != nil {
			var unfit *InputError
			if errors.As(err, &unfit) {
				if i, _ := slices.BinarySearch(t.ends, unfit.Sequence+1); inputs[done+i].IDs != nil {
					return fmt.Errorf("infer: input %d: %w", done+i, err)
				}
				return fmt.Errorf("inputs %d to %d: the tokenizer does not fit the model: %w", done, done+n-1, err)
			}
			var number *NotFiniteError
			if errors.As(err, &number) {
				input, _ := slices.BinarySearch(t.ends, number.Input+1)
				return &NotFiniteError{number.Model, done + input, number.Value}
			}
			return err
		}
		done += n
	}
	return nil
}

// encode tokenizes inputs until a batch is full, and returns how many it took. first is
// the number of inputs before them.
func (t *textBuffers) encode(inputs []Input, first int) (n int, err error) {
	t.ids, t.typeIDs, t.offsets = t.ids[:0], t.typeIDs[:0], append(t.offsets[:0], 0)
	t.ends, t.words = t.ends[:0], t.words[:0]
	for n < len(inputs) && (n == 0 || len(t.offsets)*t.longest(t.padTo) <= textTokens) {
		if err := t.input(&inputs[n]); err != nil {
			return 0, fmt.Errorf("infer: input %d: %w", first+n, err)
		}
		t.ends = append(t.ends, len(t.offsets)-1)
		n++
	}
	return n, nil
}

// CheckInput reports an input that does not suit the model's head, as Engine.Predict
// does.
func CheckInput(c checkpoints.Config, in *Input) error {
	choice := c.Head.Subject() == head.Choices
	switch {
	case choice && (in.pair() || len(in.Choices) == 0):
		return fmt.Errorf("%w: the model decides between choices, expected a text and Choices", ErrOption)
	case !choice && len(in.Choices) > 0:
		return fmt.Errorf("%w: the model does not decide between choices", ErrOption)
	case c.NeedsPair() && !in.pair() && in.IDs == nil:
		return fmt.Errorf("%w: the model was trained on pairs of texts, found one text, expected a Pair too", ErrOption)
	case in.IDs != nil && (in.Text != "" || in.pair()):
		return fmt.Errorf("%w: token ids beside a text", ErrOption)
	case in.TypeIDs != nil && len(in.TypeIDs) != len(in.IDs):
		return fmt.Errorf("%w: %d token type ids for %d token ids", ErrOption, len(in.TypeIDs), len(in.IDs))
	case in.IDs != nil && c.Head.Subject() == head.Words:
		return fmt.Errorf("%w: the model labels the words of a text, found token ids", ErrOption)
	case c.Head.Subject() == head.Words && in.pair():
		return fmt.Errorf("%w: the model labels the words of one text, found a pair", ErrOption)
	}
	return nil
}

// pair tells whether there is a second text.
func (in *Input) pair() bool { return in.HasPair || in.Pair != "" }

// input tokenizes an input: one sequence, or one for each choice.
func (t *textBuffers) input(in *Input) error {
	if err := CheckInput(t.config, in); err != nil {
		return err
	}
	switch {
	case in.IDs != nil:
		e := &t.encoding
		e.IDs, e.TypeIDs, e.Whole = append(e.IDs[:0], in.IDs...), append(e.TypeIDs[:0], in.TypeIDs...), len(in.IDs)
		if in.TypeIDs == nil {
			e.TypeIDs = append(e.TypeIDs, make([]int32, len(in.IDs))...)
		}
		if len(in.IDs) > t.options.MaxLength {
			return t.tooLong()
		}
	case len(in.Choices) > 0:
		for _, c := range in.Choices {
			if err := t.pair(in.Text, c); err != nil {
				return err
			}
		}
		return nil
	case in.pair():
		return t.pair(t.prompt+in.Text, in.Pair)
	default:
		if err := t.tokenizer.Encode(&t.encoding, t.prompt+in.Text, t.options); err != nil {
			return err
		}
	}
	if t.options.Offsets {
		t.words = append(t.words, tokenize.FirstTokens(nil, t.encoding.Offsets, tokenize.Words(nil, in.Text)))
	}
	return t.sequence()
}

// pair tokenizes a pair of texts.
func (t *textBuffers) pair(a, b string) error {
	if err := t.tokenizer.EncodePair(&t.encoding, a, b, t.options); err != nil {
		return err
	}
	return t.sequence()
}

// sequence appends the last encoded sequence.
func (t *textBuffers) sequence() error {
	if t.whole && t.encoding.Whole > len(t.encoding.IDs) {
		return t.tooLong()
	}
	t.ids = append(t.ids, t.encoding.IDs...)
	if t.config.TypeVocabSize > 1 {
		t.typeIDs = append(t.typeIDs, t.encoding.TypeIDs...)
	} else {
		for range t.encoding.IDs {
			t.typeIDs = append(t.typeIDs, 0)
		}
	}
	t.offsets = append(t.offsets, int32(len(t.ids)))
	t.count()
	return nil
}

// count reports the last encoded tokens to Call.Each.
func (t *textBuffers) count() {
	if t.each == nil {
		return
	}
	unknown := 0
	for _, id := range t.encoding.IDs {
		if id == t.unknown {
			unknown++
		}
	}
	t.each(len(t.encoding.IDs), unknown)
}

func (t *textBuffers) tooLong() error {
	return &LengthError{Tokens: t.encoding.Whole, Most: t.options.MaxLength}
}

// longest is the number of tokens to expect of one more sequence.
func (t *textBuffers) longest(padTo int) int {
	if padTo > 0 {
		return padTo
	}
	return len(t.ids)/(len(t.offsets)-1) + 1
}
