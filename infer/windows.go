package infer

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/tokenize"
)

// longText is a text with more tokens than the model takes.
type longText struct {
	text          string
	before, after []int32    // special tokens, and the prompt's, in each window
	ids           []int32    // of the text
	offsets       [][2]int32 // of ids
	room          int        // for ids in a window
}

// window is a part of a text's tokens.
type window struct{ first, n int }

// windows returns the parts that are computed. Neighbours share the given number of
// tokens.
func (l *longText) windows(shared int) []window {
	var list []window
	for first := 0; ; first += l.room - shared {
		n := min(l.room, len(l.ids)-first)
		list = append(list, window{first, n})
		if first+n == len(l.ids) {
			return list
		}
	}
}

// margin is the distance of token i from the nearest edge at which the window cuts the
// text.
func (w window) margin(i, tokens int) int {
	left, right := i-w.first, w.first+w.n-1-i
	if w.first == 0 {
		left = tokens
	}
	if w.first+w.n == tokens {
		right = tokens
	}
	return min(left, right)
}

// long returns an input as a text for windows, or nil if it needs none. In that case in
// becomes its tokens, if the model takes tokens.
func (t *textBuffers) long(in *Input, shared int) (*longText, error) {
	if err := CheckInput(t.config, in); err != nil || in.IDs != nil || len(in.Choices) > 0 {
		return nil, err
	}
	o := tokenize.Options{Offsets: true}
	e, most := &t.encoding, t.options.MaxLength
	if in.pair() {
		if err := t.tokenizer.EncodePair(e, t.prompt+in.Text, in.Pair, o); err != nil {
			return nil, err
		}
		if e.Whole > most {
			return nil, fmt.Errorf("%w; windows are of single texts, found a pair", t.tooLong())
		}
		return nil, nil
	}
	if err := t.tokenizer.Encode(e, t.prompt+in.Text, o); err != nil {
		return nil, err
	}
	subject := t.config.Head.Subject()
	switch {
	case e.Whole > most && subject == head.Masks:
		return nil, fmt.Errorf("%w; windows are not for masks", t.tooLong())
	case e.Whole <= most && subject != head.Words:
		*in = Input{IDs: slices.Clone(e.IDs), TypeIDs: slices.Clone(e.TypeIDs)}
		return nil, nil
	case e.Whole <= most:
		return nil, nil
	}
	prompt := int32(utf8.RuneCountInString(t.prompt))
	before, after := t.tokenizer.Around()
	for end := len(e.IDs) - after; before < end && e.Offsets[before][1] <= prompt; {
		before++
	}
	l := &longText{
		text: in.Text, before: slices.Clone(e.IDs[:before]), after: slices.Clone(e.IDs[len(e.IDs)-after:]),
		ids: slices.Clone(e.IDs[before : len(e.IDs)-after]), offsets: slices.Clone(e.Offsets[before : len(e.IDs)-after]),
		room: most - before - after,
	}
	for i := range l.offsets { // in the text without the prompt
		l.offsets[i][0], l.offsets[i][1] = max(0, l.offsets[i][0]-prompt), l.offsets[i][1]-prompt
	}
	if l.room < 1 {
		return nil, fmt.Errorf("%w: windows of %d tokens have no room for a text beside the special tokens and the prompt", ErrOption, most)
	}
	if shared < 0 || 2*shared > l.room {
		return nil, fmt.Errorf("%w: windows that share %d tokens, expected 0 to %d, half of what one has room for", ErrOption, shared, l.room/2)
	}
	t.count()
	return l, nil
}

// inWindows answers inputs: those that fit together, and the others by their windows.
func inWindows[T any](p *Pool, call *Call, inputs []Input, fitting func([]Input) ([]T, error), long func(*longText) (T, error)) ([]T, error) {
	w := p.engines[0].weights
	tokenizer, err := w.tokenizer()
	if err != nil {
		return nil, err
	}
	t := p.texts.Get().(*textBuffers)
	defer p.texts.Put(t)
	if t.reading, err = w.reading(tokenizer, &p.options.Options, call); err != nil {
		return nil, err
	}
	began := time.Now()
	texts := make([]*longText, len(inputs))
	var some []Input
	for i, in := range inputs {
		if texts[i], err = t.long(&in, call.Stride); err != nil {
			return nil, fmt.Errorf("infer: input %d: %w", i, err)
		}
		if texts[i] == nil {
			some = append(some, in)
		}
	}
	call.Tokenize += time.Since(began)
	answered, err := fitting(some)
	if err != nil {
		return nil, err
	}
	answers := make([]T, len(inputs))
	for i, text := range texts {
		if text == nil {
			answers[i], answered = answered[0], answered[1:]
		} else if answers[i], err = long(text); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// eachWindow computes the outputs of a text's windows, and passes them to take: one
// row, or a row for each of the window's own tokens.
func (p *Pool) eachWindow(ctx context.Context, call *Call, l *longText, take func(w window, rows []float32)) error {
	weights := p.engines[0].weights
	var outputs []float32
	together := max(1, textTokens/p.options.MaxLength)
	for windows := range slices.Chunk(l.windows(call.Stride), together) {
		q := request{offsets: []int32{0}}
		for _, w := range windows {
			q.ids = slices.Concat(q.ids, l.before, l.ids[w.first:w.first+w.n], l.after)
			q.offsets = append(q.offsets, int32(len(q.ids)))
		}
		call.Tokens += len(q.ids)
		var err error
		if outputs, err = p.computed(ctx, call, outputs, q); err != nil {
			return err
		}
		rows, width := outputs, weights.outputs
		for i, w := range windows {
			n := 1
			if weights.ofTokens(ownOutputs) {
				n = int(q.offsets[i+1] - q.offsets[i])
			}
			own := rows[:n*width]
			if n > 1 {
				own = own[len(l.before)*width:][:w.n*width]
			}
			take(w, own)
			rows = rows[n*width:]
		}
	}
	return nil
}

// meanOfWindows is the mean of the windows' rows, weighted by their tokens.
func (p *Pool) meanOfWindows(ctx context.Context, call *Call, l *longText) ([]float32, error) {
	sums := make([]float64, p.engines[0].weights.outputs)
	tokens := 0.0
	err := p.eachWindow(ctx, call, l, func(w window, row []float32) {
		tokens += float64(w.n)
		for i, v := range row {
			sums[i] += float64(float64(w.n) * float64(v))
		}
	})
	mean := make([]float32, len(sums))
	for i, sum := range sums {
		mean[i] = float32(sum / tokens)
	}
	return mean, err
}

// embedWindows is EmbedCall for texts of any length.
func (p *Pool) embedWindows(ctx context.Context, call *Call, inputs []Input) ([][]float32, error) {
	fitting, long := call.part(), call.part()
	fitting.Windows, long.Unscaled = false, true
	defer func() { call.add(&fitting, &long) }()
	w := p.engines[0].weights
	return inWindows(p, call, inputs, func(some []Input) ([][]float32, error) {
		return p.EmbedCall(ctx, &fitting, some)
	}, func(l *longText) ([]float32, error) {
		mean, err := p.meanOfWindows(ctx, &long, l)
		if w.sentence.Normalize && !call.Unscaled {
			normalize(mean)
		}
		return mean, err
	})
}

// predictWindows is PredictCall for texts of any length.
func (p *Pool) predictWindows(ctx context.Context, call *Call, inputs []Input) ([]Prediction, error) {
	fitting, long := call.part(), call.part()
	fitting.Windows = false
	defer func() { call.add(&fitting, &long) }()
	w := p.engines[0].weights
	return inWindows(p, call, inputs, func(some []Input) ([]Prediction, error) {
		return p.PredictCall(ctx, &fitting, some)
	}, func(l *longText) (made Prediction, err error) {
		a := answered{weights: w, input: Input{Text: l.text}}
		if w.perToken() {
			a.rows, err = p.farthest(ctx, &long, l)
			a.t = &textBuffers{words: [][]int32{tokenize.FirstTokens(nil, l.offsets, tokenize.Words(nil, l.text))}}
		} else {
			a.rows, err = p.meanOfWindows(ctx, &long, l)
		}
		if err == nil {
			predicted[w.config.Head](&made, &a)
		}
		return made, err
	})
}

// farthest returns the outputs of a text's tokens, each from the window in which it
// stands farthest from an edge.
func (p *Pool) farthest(ctx context.Context, call *Call, l *longText) ([]float32, error) {
	k := p.engines[0].weights.outputs
	rows, margins := make([]float32, len(l.ids)*k), make([]int, len(l.ids))
	err := p.eachWindow(ctx, call, l, func(w window, own []float32) {
		for i := range w.n {
			at := w.first + i
			if m := 1 + w.margin(at, len(l.ids)); m > margins[at] {
				margins[at] = m
				copy(rows[at*k:(at+1)*k], own[i*k:])
			}
		}
	})
	return rows, err
}

// part returns a call with the same settings, and no counts or times.
func (c *Call) part() Call {
	part := *c
	part.Tokens, part.Tokenize, part.Queue, part.Compute = 0, 0, 0, 0
	return part
}

// add adds the counts and times of the parts of a call.
func (c *Call) add(parts ...*Call) {
	for _, p := range parts {
		c.Tokens += p.Tokens
		c.Tokenize += p.Tokenize
		c.Queue += p.Queue
		c.Compute += p.Compute
	}
}
