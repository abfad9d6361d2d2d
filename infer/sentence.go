package infer

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/tokenize"
)

// SentenceOf returns how a model with this configuration makes embeddings of the given
// kind (see Options.Embedding). Its errors wrap ErrOption.
func SentenceOf(c checkpoints.Config, embedding string) (checkpoints.Sentence, error) {
	switch {
	case embedding == OfModel && c.Sentence != nil:
		return *c.Sentence, nil
	case embedding == OfModel:
		return checkpoints.Sentence{}, invalid(settings.Errorf("Embedding", "%w: %q, but the model has no modules.json, expected %q or %q", ErrEmbedding, embedding, Mean, CLS))
	case embedding == Mean || embedding == CLS:
		s := checkpoints.Sentence{}
		if c.Sentence != nil { // texts are prepared as the model says
			s = *c.Sentence
		}
		s.Pooling, s.Dense, s.Normalize = checkpoints.Pooling(embedding), nil, true
		return s, nil
	}
	return checkpoints.Sentence{}, invalid(settings.Errorf("Embedding", "%w: %q, expected %q, %q or %q", ErrEmbedding, embedding, Mean, CLS, OfModel))
}

// embeds prepares the weights for embeddings.
func (w *weights) embeds(o Options) error {
	var err error
	if w.sentence, err = SentenceOf(w.config, w.embedding); err != nil {
		return err
	}
	if w.prompt, err = w.promptOf(o.Prompt); err != nil {
		return invalid(&settings.Error{Field: "Prompt", Err: err})
	}
	w.outputs = w.sentence.Width(w.config.HiddenSize)
	if own := w.config.Sentence; own != nil && (own.Pooling != w.sentence.Pooling || len(own.Dense) > len(w.sentence.Dense)) {
		is := fmt.Sprintf("%q", own.Pooling)
		if len(own.Dense) > 0 {
			is += " with a dense layer"
		}
		w.notes = append(slices.Clone(w.notes), fmt.Sprintf("the embedding %q is not the model's own, which is %s: see embedding %q", w.embedding, is, OfModel))
	}
	return nil
}

// promptOf returns the text of a prompt.
func (w *weights) promptOf(name string) (string, error) {
	if name == NoPrompt {
		return w.sentence.Prompts[name], nil
	}
	prompt, err := w.sentence.Prompt(name)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrPrompt, err)
	}
	return prompt, nil
}

// longest is the number of tokens to which texts are truncated.
func (w *weights) longest() int {
	n := w.config.MaxTokens()
	if w.sentence.MaxLength > 0 {
		n = min(n, w.sentence.MaxLength)
	}
	return n
}

// lowers reports a tokenizer that distinguishes upper and lower case.
func lowers(t *tokenize.Tokenizer) error {
	const text = "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z THE Text É"
	var capital, small tokenize.Encoding
	if err := t.Encode(&capital, text, tokenize.Options{}); err != nil {
		return err
	}
	if err := t.Encode(&small, strings.ToLower(text), tokenize.Options{}); err != nil {
		return err
	}
	if !slices.Equal(capital.IDs, small.IDs) {
		return fmt.Errorf("sentence_bert_config.json: do_lower_case true beside a tokenizer that does not lower-case: %w", checkpoints.ErrUnsupported)
	}
	return nil
}

// loadDense reads the layers between pooling and embedding.
func (w *weights) loadDense(l *loader) {
	for i, d := range w.sentence.Dense {
		activation := kernels.Identity
		if d.Activation != "identity" {
			activation = l.activation(d.Activation)
		}
		w.dense = append(w.dense, l.linear(checkpoints.F32, checkpoints.SentenceDense.In(i)))
		w.denseActivations = append(w.denseActivations, activation)
	}
}

// pool turns hidden states into embeddings.
func (r *run) pool() {
	w := &r.workers[0]
	w.start()
	h := r.weights.config.HiddenSize
	pooled := r.outputs
	if len(r.weights.dense) > 0 {
		r.pooled = grow(r.pooled, r.sequences*h)
		pooled = r.pooled
	}
	for s := range r.sequences {
		x := pooled[s*h : (s+1)*h]
		first, _, n := r.span(s)
		r.poolSequence(x, r.hidden[first*h:(first+n)*h], r.keepsLength(s))
	}
	r.finish(w, 0, r.sequences, pooled, r.outputs)
	w.stop(stageHead)
}

// keepsLength tells whether the embedding of a sequence stays unscaled.
func (r *run) keepsLength(s int) bool {
	return !r.weights.sentence.Normalize || r.unscaled != nil && r.unscaled[s]
}

// poolSequence sets x to the pooled hidden states of one sequence.
func (r *run) poolSequence(x, hidden []float32, keepLength bool) {
	h, s := len(x), &r.weights.sentence
	if s.Pooling == checkpoints.LastPooling {
		copy(x, hidden[len(hidden)-h:])
		return
	}
	if s.Pooling == checkpoints.MaxPooling {
		copy(x, hidden)
		for t := h; t < len(hidden); t += h {
			for i, v := range hidden[t : t+h] {
				x[i] = max(x[i], v)
			}
		}
		return
	}
	clear(x)
	for t := 0; t < len(hidden); t += h {
		kernels.Add(x, x, hidden[t:t+h])
	}
	if !keepLength && len(s.Dense) == 0 {
		return // scaling cancels the divisor
	}
	divisor := float64(len(hidden) / h)
	if s.Pooling == checkpoints.MeanSqrtPooling {
		divisor = math.Sqrt(divisor)
	}
	for i := range x {
		x[i] = float32(float64(x[i]) / divisor)
	}
}

// finish turns the pooled vectors of the sequences [lo, hi) into embeddings, by dense
// layers and scaling. pooled and out may be the same where there are no dense layers.
func (r *run) finish(k *worker, lo, hi int, pooled, out []float32) {
	w, m := r.weights, hi-lo
	x, width := pooled, w.config.HiddenSize
	for i, d := range w.dense {
		y := out
		if i < len(w.dense)-1 {
			k.between[i%2] = grow(k.between[i%2], m*d.out)
			y = k.between[i%2]
		}
		d.apply(&k.scratch, nil, m, x, width, 0, d.panels(), y, d.out, w.denseActivations[i])
		x, width = y, d.out
	}
	if len(w.dense) == 0 {
		copy(out, pooled)
	}
	for s := lo; s < hi; s++ {
		if !r.keepsLength(s) {
			normalize(out[(s-lo)*width : (s-lo+1)*width])
		}
	}
}

// normalize scales x to unit length.
func normalize(x []float32) {
	var squares float64
	for _, v := range x {
		squares += float64(float64(v) * float64(v))
	}
	scale := float32(1 / max(math.Sqrt(squares), 1e-12))
	for i := range x {
		x[i] *= scale
	}
}
