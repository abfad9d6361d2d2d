package infer

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/tokenize"
)

// Word is a word of a text with the label that a model gives it.
type Word struct {
	// Text is the word, and Start and End its place in the input, in characters.
	Text       string
	Start, End int
	// Label is the label of the word's first token, "" for a word that has none
	// because it lies beyond Options.MaxLength or holds no visible character.
	// Index is its number, -1 for none.
	Label string
	Index int
	// Probability is that of the label.
	Probability float32
}

// Fill is a token that may stand in the place of a mask.
type Fill struct {
	Token       string
	ID          int32
	Probability float32
}

// fills is how many tokens a Prediction names for each mask.
const fills = 5

// perToken tells whether the model has an output for each token.
func (w *weights) perToken() bool {
	return w.embedding == "" && (w.config.Head == head.TokenClassification || w.config.Head == head.MaskedLM)
}

// rows returns the number of rows of outputs of an input.
func (w *weights) rows(sequences, tokens int) int {
	if w.perToken() {
		return tokens
	}
	return sequences
}

// loadHead reads the tensors of the head.
func (w *weights) loadHead(l *loader) {
	if w.config.Head != head.MaskedLM {
		w.classifier = l.linear(checkpoints.F32, checkpoints.Classifier.Part())
		if w.config.Head != head.TokenClassification {
			w.pooler = l.linear(checkpoints.F32, checkpoints.Pooler.Part())
			w.headActivation = l.activation(w.config.HeadActivation())
		}
		return
	}
	w.transform = l.linear(checkpoints.F32, checkpoints.LMTransform.Part())
	w.headActivation = l.activation(w.config.LMActivation())
	w.transformNorm = l.norm(checkpoints.LMNorm.Part())
	w.classifier = &linear{in: w.config.EmbeddingWidth(), out: w.config.VocabSize, bias: slices.Clone(l.values(checkpoints.Decoder.Part().Bias()))}
	if words := l.values(checkpoints.WordEmbeddings.Part().Weight()); l.err == nil {
		w.classifier.f32.Pack(kernels.Transposed(words, w.classifier.in), w.classifier.in, w.classifier.out)
	}
}

// selectTokens notes which tokens have outputs, nil for all, and in which rows
// they are computed.
func (r *run) selectTokens(selected []int32) {
	r.rowOf = grow(r.rowOf, len(r.ids))
	for row, t := range r.source[:r.tokens] {
		if t >= 0 {
			r.rowOf[t] = int32(row)
		}
	}
	r.selected = selected
	if selected != nil {
		return
	}
	r.everyToken = grow(r.everyToken, len(r.ids))
	for t := range r.everyToken {
		r.everyToken[t] = int32(t)
	}
	r.selected = r.everyToken
}

// tokenHead computes the outputs of the selected tokens from their hidden states.
func (r *run) tokenHead() {
	w := &r.workers[0]
	w.start()
	h, n := r.weights.config.HiddenSize, len(r.selected)
	r.headInput = grow(r.headInput, n*h)
	for i, t := range r.selected {
		copy(r.headInput[i*h:(i+1)*h], r.hidden[int(r.rowOf[t])*h:])
	}
	w.stop(stageHead)
	x := r.headInput
	if r.weights.transform != nil {
		e := r.weights.transform.out
		r.transformed = grow(r.transformed, n*e)
		x = r.transformed
		r.splitRows(stageHead, r.weights.transform, n, r.headInput, x, r.weights.headActivation)
		w.start()
		norm := &r.weights.transformNorm
		kernels.LayerNorm(x[:n*e], x[:n*e], norm.gamma, norm.beta, r.weights.config.LayerNormEps, nil, nil)
		w.stop(stageHead)
	}
	r.splitRows(stageHead, r.weights.classifier, n, x, r.outputs, kernels.Identity)
}

// PredictMasked computes the logits of a masked language model for chosen
// tokens: rows holds their numbers among ids, in any order. The input is that of
// PredictTokens. The logits, one row of one value for each entry of the
// vocabulary, are written to dst, which is grown if it is too small, and
// returned. Another model is an error that wraps ErrOption.
func (e *Engine) PredictMasked(dst []float32, ids, typeIDs, offsets, rows []int32) ([]float32, error) {
	if e.weights.embedding != "" || e.weights.config.Head != head.MaskedLM {
		return nil, fmt.Errorf("%w: the model has no head of a masked language model", ErrOption)
	}
	if err := e.check(ids, typeIDs, offsets); err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row < 0 || int(row) >= len(ids) {
			return nil, inputError(0, -1, ErrOffsets, "token %d of %d", row, len(ids))
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.predictRows(dst, ids, typeIDs, offsets, rows)
}

// fill finds the masks of texts and what may stand in their places.
func (e *Engine) fill(ctx context.Context, inputs []Input) ([]Prediction, error) {
	tokenizer, err := e.weights.tokenizer()
	if err != nil {
		return nil, err
	}
	_, _, _, _, mask := tokenizer.Special()
	predictions := make([]Prediction, 0, len(inputs))
	t := &e.text
	err = e.weights.batches(t, &e.options, inputs, func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.check(t.ids, t.typeIDs, t.offsets); err != nil {
			return err
		}
		t.rows = t.rows[:0]
		for i, id := range t.ids {
			if id == mask {
				t.rows = append(t.rows, int32(i))
			}
		}
		if t.outputs, err = e.predictRows(t.outputs, t.ids, t.typeIDs, t.offsets, t.rows); err != nil {
			return err
		}
		at, v := 0, e.weights.outputs
		for _, end := range t.offsets[1:] {
			var p Prediction
			for ; at < len(t.rows) && t.rows[at] < end; at++ {
				p.Masks = append(p.Masks, best(t.outputs[at*v:(at+1)*v], tokenizer))
			}
			predictions = append(predictions, p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return predictions, nil
}

// best returns the most probable tokens. The logits become probabilities.
func best(logits []float32, tokenizer *tokenize.Tokenizer) []Fill {
	kernels.Softmax(logits, 1)
	var top []Fill
	for id, p := range logits {
		if len(top) == fills && p <= top[fills-1].Probability {
			continue
		}
		at, _ := slices.BinarySearchFunc(top, p, func(f Fill, p float32) int { return cmp.Compare(p, f.Probability) })
		for at < len(top) && top[at].Probability == p {
			at++ // of equals the first
		}
		top = slices.Insert(top, at, Fill{ID: int32(id), Probability: p})
		top = top[:min(len(top), fills)]
	}
	for i := range top {
		top[i].Token = tokenizer.Token(top[i].ID)
	}
	return top
}

// answers appends the predictions of the inputs in t.
func (w *weights) answers(dst []Prediction, t *textBuffers, inputs []Input) []Prediction {
	k, first := w.outputs, 0
	for i, in := range inputs {
		end := t.ends[i] // sequences up to this input's last
		lo, hi := first, end
		if w.perToken() {
			lo, hi = int(t.offsets[first]), int(t.offsets[end])
		}
		p := Prediction{Logits: slices.Clone(t.outputs[lo*k : hi*k])}
		switch w.config.Head {
		case head.MultiLabel:
			p.Probabilities = make([]float32, k)
			for j, v := range p.Logits {
				p.Probabilities[j] = sigmoid(v)
				if v > 0 {
					p.Labels = append(p.Labels, w.config.Labels[j])
				}
			}
			p.Index = argmax(p.Logits)
			p.Label = w.config.Labels[p.Index]
		case head.Regression:
			p.Label = w.config.Labels[0]
		case head.MultipleChoice:
			p.Probabilities = softmax(p.Logits)
			p.Index = argmax(p.Logits)
			p.Label = in.Choices[p.Index]
		case head.TokenClassification:
			w.label(&p, t, in.Text, t.words[i])
		default:
			p.Probabilities = softmax(p.Logits)
			p.Index = argmax(p.Logits)
			p.Label = w.config.Labels[p.Index]
		}
		dst = append(dst, p)
		first = end
	}
	return dst
}

// label gives the words of a text the labels of their first tokens. The
// prediction's logits are those of the words.
func (w *weights) label(p *Prediction, t *textBuffers, text string, tokens []int32) {
	k, all := w.outputs, p.Logits
	p.Logits = nil
	runes := []rune(text)
	for i, span := range tokenize.Words(nil, text) {
		word := Word{Text: string(runes[span[0]:span[1]]), Start: int(span[0]), End: int(span[1]), Index: -1}
		if token := tokens[i]; token >= 0 {
			row := all[int(token)*k : (int(token)+1)*k]
			p.Logits = append(p.Logits, row...)
			probabilities := softmax(row)
			word.Index = argmax(row)
			word.Label, word.Probability = w.config.Labels[word.Index], probabilities[word.Index]
			p.Probabilities = append(p.Probabilities, probabilities...)
		}
		p.Words = append(p.Words, word)
	}
}

func softmax(logits []float32) []float32 {
	p := slices.Clone(logits)
	kernels.Softmax(p, 1)
	return p
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

// argmax returns the number of the largest value, the first of equals.
func argmax(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}
