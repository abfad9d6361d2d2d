package infer

import (
	"context"
	"fmt"
	"slices"

	"github.com/skive-ml/skive/internal/exact"
)

// want is which outputs a call asks for.
type want uint8

const (
	// ownOutputs are the outputs of PredictTokens: logits or embeddings.
	ownOutputs want = iota
	// hiddenStates are the last hidden states of each token.
	hiddenStates
	// strengths are, for each sequence, how strongly each entry of the vocabulary
	// stands for it.
	strengths
)

// ofTokens tells whether there is a row of outputs for each token, not for each
// sequence.
func (w *weights) ofTokens(want want) bool {
	return want == hiddenStates || want == ownOutputs && w.perToken()
}

// size returns the number of rows of outputs, and their width.
func (w *weights) size(want want, sequences, tokens int, selected []int32) (rows, width int) {
	rows, width = sequences, w.outputs
	switch {
	case want == hiddenStates:
		width = w.config.HiddenSize
	case want == strengths:
		width = w.config.VocabSize
	}
	switch {
	case selected != nil:
		rows = len(selected)
	case w.ofTokens(want):
		rows = tokens
	}
	return rows, width
}

// copyHidden copies the hidden states to the outputs, without padding.
func (r *run) copyHidden() {
	h := r.weights.config.HiddenSize
	for s := range r.sequences {
		first, _, n := r.span(s)
		copy(r.outputs[int(r.offsets[s])*h:], r.hidden[first*h:(first+n)*h])
	}
}

// strengthTokens is for how many tokens logits are held at the same time: a vocabulary
// is wide.
const strengthTokens = 48

// strongest computes the strengths of SPLADE (Formal et al., arXiv 2109.10086): for
// each entry of the vocabulary log(1 + max(0, v)), where v is its largest logit over
// the tokens.
func (r *run) strongest() {
	h, vocabulary := r.weights.config.HiddenSize, r.weights.config.VocabSize
	r.strength = grow(r.strength, min(strengthTokens, r.tokens)*vocabulary)
	for s := range r.sequences {
		x := r.outputs[s*vocabulary : (s+1)*vocabulary]
		clear(x)
		first, _, n := r.span(s)
		for lo := 0; lo < n; lo += strengthTokens {
			some := min(strengthTokens, n-lo)
			r.tokenOutputs(some, r.hidden[(first+lo)*h:(first+lo+some)*h], r.strength)
			for row := range slices.Chunk(r.strength[:some*vocabulary], vocabulary) {
				for i, v := range row {
					if v > x[i] || v-v != 0 { // keeps NaN, which is reported later
						x[i] = v
					}
				}
			}
		}
		for i, v := range x {
			if v > 0 {
				x[i] = float32(exact.Log1p(float64(v)))
			}
		}
	}
}

// Strength is how strongly an entry of the vocabulary stands for a text.
type Strength struct {
	ID    int32
	Value float32
}

// EmbedTokens returns the last hidden states of each text's tokens, special tokens
// included, before pooling. The pool needs Options.Embedding.
func (p *Pool) EmbedTokens(ctx context.Context, call *Call, inputs []Input) ([][][]float32, error) {
	w := p.engines[0].weights
	if w.embedding == "" {
		return nil, fmt.Errorf("%w: embeddings of tokens need Options.Embedding", ErrOption)
	}
	texts := make([][][]float32, 0, len(inputs))
	err := p.ask(ctx, call, inputs, hiddenStates, func(t *textBuffers) {
		rows := slices.Collect(slices.Chunk(slices.Clone(t.outputs), w.config.HiddenSize))
		for s := range len(t.offsets) - 1 {
			texts = append(texts, rows[t.offsets[s]:t.offsets[s+1]:t.offsets[s+1]])
		}
	})
	if err != nil {
		return nil, err
	}
	return texts, nil
}

// EmbedSparse returns SPLADE embeddings, which need a masked language model: for each
// text the entries of the vocabulary that stand for it, ordered by id.
func (p *Pool) EmbedSparse(ctx context.Context, call *Call, inputs []Input) ([][]Strength, error) {
	w := p.engines[0].weights
	if !w.fillsMasks() {
		return nil, fmt.Errorf("%w: sparse embeddings need a masked language model", ErrOption)
	}
	texts := make([][]Strength, 0, len(inputs))
	err := p.ask(ctx, call, inputs, strengths, func(t *textBuffers) {
		for row := range slices.Chunk(t.outputs, w.config.VocabSize) {
			text := []Strength{}
			for id, v := range row {
				if v != 0 {
					text = append(text, Strength{int32(id), v})
				}
			}
			texts = append(texts, text)
		}
	})
	if err != nil {
		return nil, err
	}
	return texts, nil
}

// ask computes the wanted outputs of texts, and passes them to take batch by batch.
func (p *Pool) ask(ctx context.Context, call *Call, inputs []Input, want want, take func(t *textBuffers)) error {
	t := p.texts.Get().(*textBuffers)
	defer p.texts.Put(t)
	return p.engines[0].weights.batches(t, &p.options.Options, call, inputs, func() (err error) {
		if t.outputs, err = p.computed(ctx, call, t.outputs, request{ids: t.ids, typeIDs: t.typeIDs, offsets: t.offsets, want: want}); err == nil {
			take(t)
		}
		return err
	})
}
