package infer

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/exact"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/tokenize"
)

// Word is a word of a text with its label.
type Word struct {
	// Text is the word, and Start and End its place in the input, in characters.
	Text       string
	Start, End int
	// Label is the label of the word's first token. It is "" for a word that lies
	// beyond Options.MaxLength or holds no visible character. Index is the label's
	// number, -1 for none.
	Label string
	Index int
	// Probability is the label's.
	Probability float32
}

// Fill is a token that may replace a mask.
type Fill struct {
	Token       string
	ID          int32
	Probability float32
}

// fills is how many tokens a Prediction proposes for each mask, unless Call.Fills says
// otherwise.
const fills = 5

// subject is what an answer is about. Embeddings are always about a text.
func (w *weights) subject() head.Subject {
	if w.embedding != "" {
		return head.Texts
	}
	return w.config.Head.Subject()
}

// perToken tells whether the model has outputs for each token.
func (w *weights) perToken() bool { return w.embedding == "" && w.config.Head.PerToken() }

// fillsMasks tells whether the model proposes tokens for masks.
func (w *weights) fillsMasks() bool { return w.subject() == head.Masks }

// loadHead reads the tensors of the head.
func (w *weights) loadHead(l *loader) {
	own := w.config.HeadNorm() // stands before every head
	if w.config.Head.Outputs() != head.Tokens {
		w.classifier = l.linear(checkpoints.F32, checkpoints.Classifier.Part())
		switch {
		case !w.config.Head.PerToken():
			w.pooler = l.linear(checkpoints.F32, checkpoints.Pooler.Part())
			w.headActivation = l.activation(w.config.HeadActivation())
			if own {
				w.headNorm = l.norm(checkpoints.HeadNorm.Part())
			}
		case own:
			w.loadTransform(l, checkpoints.Pooler, checkpoints.HeadNorm, w.config.HeadActivation())
		}
		return
	}
	if own {
		w.loadTransform(l, checkpoints.Pooler, checkpoints.HeadNorm, w.config.HeadActivation())
	} else {
		w.loadTransform(l, checkpoints.LMTransform, checkpoints.LMNorm, w.config.LMActivation())
	}
	w.classifier = &linear{in: w.config.EmbeddingWidth(), out: w.config.VocabSize, bias: slices.Clone(l.values(checkpoints.Decoder.Part().Bias()))}
	if words := l.values(checkpoints.WordEmbeddings.Part().Weight()); l.err == nil {
		w.classifier.f32.Pack(kernels.Transposed(words, w.classifier.in), w.classifier.in, w.classifier.out)
	}
}

// loadTransform reads the layers through which a head for tokens sends each hidden
// state first.
func (w *weights) loadTransform(l *loader, dense, norm checkpoints.Role, activation string) {
	w.transform = l.linear(checkpoints.F32, dense.Part())
	w.headActivation = l.activation(activation)
	w.transformNorm = l.norm(norm.Part())
}

// meansHead tells whether the head reads the mean of a sequence's hidden states.
func (w *weights) meansHead() bool {
	return w.embedding == "" && !w.perToken() && w.config.ClassifierPooling == checkpoints.MeanPooling
}

// meanHead computes the outputs of all sequences from the means of their hidden states.
func (r *run) meanHead() {
	w := &r.workers[0]
	w.start()
	h := r.weights.config.HiddenSize
	for s := range r.sequences {
		first, _, n := r.span(s)
		r.poolSequence(r.first[s*h:(s+1)*h], r.hidden[first*h:(first+n)*h], true)
	}
	w.stop(stageHead)
	r.head(w, 0, r.sequences)
}

// selectTokens notes which tokens have outputs (nil for all), and in which rows they
// are computed.
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
	r.tokenOutputs(n, r.headInput, r.outputs)
}

// tokenOutputs computes the outputs of n tokens from their hidden states.
func (r *run) tokenOutputs(n int, hidden, outputs []float32) {
	x := hidden
	if r.weights.transform != nil {
		w := &r.workers[0]
		e := r.weights.transform.out
		r.transformed = grow(r.transformed, n*e)
		x = r.transformed
		r.splitRows(stageHead, r.weights.transform, n, hidden, x, r.weights.headActivation)
		w.start()
		norm := &r.weights.transformNorm
		kernels.LayerNorm(x[:n*e], x[:n*e], norm.gamma, norm.beta, r.weights.config.LayerNormEps, nil, nil)
		w.stop(stageHead)
	}
	r.splitRows(stageHead, r.weights.classifier, n, x, outputs, kernels.Identity)
}

// PredictMasked computes the logits of a masked language model for chosen tokens: rows
// holds their indices in ids, in any order. The other arguments are as in
// PredictTokens. The logits, one row for each chosen token with one value for each
// entry of the vocabulary, are written to dst, which is grown if needed, and returned.
// For any other model the error wraps ErrOption.
func (e *Engine) PredictMasked(dst []float32, ids, typeIDs, offsets, rows []int32) ([]float32, error) {
	if !e.weights.fillsMasks() {
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
	if rows == nil {
		rows = []int32{} // because nil means all
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.predictRows(dst, ids, typeIDs, offsets, rows)
}

// fill computes the logits of the masks of the texts in t, with the engine locked.
func (e *Engine) fill(ctx context.Context, mask int32) func(t *textBuffers) error {
	return func(t *textBuffers) (err error) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.check(t.ids, t.typeIDs, t.offsets); err != nil {
			return err
		}
		t.findMasks(mask)
		t.outputs, err = e.predictRows(t.outputs, t.ids, t.typeIDs, t.offsets, t.rows)
		return err
	}
}

// findMasks notes which tokens are masks.
func (t *textBuffers) findMasks(mask int32) {
	if t.rows = t.rows[:0]; t.rows == nil {
		t.rows = []int32{} // nil would be all tokens
	}
	for i, id := range t.ids {
		if id == mask {
			t.rows = append(t.rows, int32(i))
		}
	}
}

// best returns the most probable tokens of all, or of the targets. It turns the logits
// into probabilities.
func (t *textBuffers) best(logits []float32) []Fill {
	kernels.Softmax(logits, 1)
	var top []Fill
	consider := func(id int32) {
		p := logits[id]
		if len(top) == t.fills && p <= top[t.fills-1].Probability {
			return
		}
		at, _ := slices.BinarySearchFunc(top, p, func(f Fill, p float32) int { return cmp.Compare(p, f.Probability) })
		for at < len(top) && top[at].Probability == p {
			at++ // behind its equals: the first one stays in front
		}
		top = slices.Insert(top, at, Fill{ID: id, Probability: p})
		top = top[:min(len(top), t.fills)]
	}
	for _, id := range t.targets {
		consider(id)
	}
	for id := range logits {
		if t.targets == nil {
			consider(int32(id))
		}
	}
	for i := range top {
		top[i].Token = t.tokenizer.Token(top[i].ID)
	}
	return top
}

// answered is one input's share of a batch: its rows of outputs. In a masked language
// model these are the rows of its masks.
type answered struct {
	*weights
	t     *textBuffers
	input Input
	index int // in the batch
	rows  []float32
}

// predicted turns outputs into a prediction, for each kind of head.
var predicted = map[head.Kind]func(p *Prediction, a *answered){
	head.SingleLabel: func(p *Prediction, a *answered) {
		p.Logits = slices.Clone(a.rows)
		p.Probabilities = softmax(p.Logits)
		p.Index = argmax(p.Logits)
		p.Label = a.config.Labels[p.Index]
	},
	head.MultiLabel: func(p *Prediction, a *answered) {
		p.Logits = slices.Clone(a.rows)
		p.Probabilities = make([]float32, len(p.Logits))
		for j, v := range p.Logits {
			p.Probabilities[j] = sigmoid(v)
			if v > 0 {
				p.Labels = append(p.Labels, a.config.Labels[j])
			}
		}
		p.Index = argmax(p.Logits)
		p.Label = a.config.Labels[p.Index]
	},
	head.Regression: func(p *Prediction, a *answered) {
		p.Logits = slices.Clone(a.rows)
		p.Label = a.config.Labels[0]
	},
	head.MultipleChoice: func(p *Prediction, a *answered) {
		p.Logits = slices.Clone(a.rows)
		p.Probabilities = softmax(p.Logits)
		p.Index = argmax(p.Logits)
		p.Label = a.input.Choices[p.Index]
	},
	head.TokenClassification: (*Prediction).label,
	head.MaskedLM: func(p *Prediction, a *answered) {
		for row := range slices.Chunk(a.rows, a.outputs) {
			p.Masks = append(p.Masks, a.t.best(row))
		}
	},
}

// answers appends the predictions of the inputs in t.
func (w *weights) answers(dst []Prediction, t *textBuffers, inputs []Input) []Prediction {
	a := answered{weights: w, t: t}
	lo := 0
	for i, in := range inputs {
		hi := t.ends[i] // the end of this input's sequences
		switch w.subject() {
		case head.Words:
			hi = int(t.offsets[hi])
		case head.Masks:
			hi, _ = slices.BinarySearch(t.rows, t.offsets[hi])
		}
		a.input, a.index, a.rows = in, i, t.outputs[lo*w.outputs:hi*w.outputs]
		var p Prediction
		predicted[w.config.Head](&p, &a)
		dst = append(dst, p)
		lo = hi
	}
	return dst
}

// label gives each word of a text the label of its first token. The prediction's logits
// become the words'.
func (p *Prediction) label(a *answered) {
	k, text := a.outputs, a.input.Text
	runes := []rune(text)
	for i, span := range tokenize.Words(nil, text) {
		word := Word{Text: string(runes[span[0]:span[1]]), Start: int(span[0]), End: int(span[1]), Index: -1}
		if token := a.t.words[a.index][i]; token >= 0 {
			row := a.rows[int(token)*k : (int(token)+1)*k]
			p.Logits = append(p.Logits, row...)
			probabilities := softmax(row)
			word.Index = argmax(row)
			word.Label, word.Probability = a.config.Labels[word.Index], probabilities[word.Index]
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

func sigmoid(x float32) float32 { return float32(1 / (1 + exact.Exp(-float64(x)))) }

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
