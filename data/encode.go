package data

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/tokenize"
)

// Encoded holds the token ids of a whole data set, one after another. An example is one sequence,
// but in a multiple choice one sequence for each choice. In the task of a masked language model a
// sequence is as much of the text as fits.
type Encoded struct {
	Task Task

	ids, types []int32
	offsets    []int32 // of the sequences [sequences+1]
	first      []int32 // first sequence of each example [examples+1]
	labels     []int32 // of the examples, as in Example.Label
	values     []float32
	groups     []int32
	targets    []float32 // [examples × width]
	width      int

	// Of a task that labels words.
	tokenLabels []int32 // [tokens]
	words       []word
	wordEnds    []int32 // [examples+1]: where the words of each example begin
}

// word is a word's label and the number of its first token within the example, -1 if the word was
// cut off.
type word struct{ label, token int32 }

// Len returns the number of examples.
func (e *Encoded) Len() int { return len(e.labels) }

// Length returns the number of tokens of example i, including special tokens.
func (e *Encoded) Length(i int) int { return int(e.offsets[e.first[i+1]] - e.offsets[e.first[i]]) }

// Sequences returns the number of sequences of example i.
func (e *Encoded) Sequences(i int) int { return int(e.first[i+1] - e.first[i]) }

// Tokens returns the number of tokens of all examples.
func (e *Encoded) Tokens() int { return len(e.ids) }

// MeanLength returns the mean number of tokens of a sequence, at least 1.
func (e *Encoded) MeanLength() int { return max(1, len(e.ids)/max(1, len(e.offsets)-1)) }

// Label returns the class index of example i, or the number of its right choice,
// or -1.
func (e *Encoded) Label(i int) int { return int(e.labels[i]) }

// Rows returns which rows of a model's outputs belong to example i, [lo, hi), if the model
// answers all examples in order. There is one row per sequence, or one per token in a task that
// labels words.
func (e *Encoded) Rows(i int) (lo, hi int) {
	lo, hi = int(e.first[i]), int(e.first[i+1])
	if e.Task.Kind.Subject() == head.Words {
		lo, hi = int(e.offsets[lo]), int(e.offsets[hi])
	}
	return lo, hi
}

// Longest returns the number of tokens of the longest sequence.
func (e *Encoded) Longest() int {
	n := int32(0)
	for s := range len(e.offsets) - 1 {
		n = max(n, e.offsets[s+1]-e.offsets[s])
	}
	return int(n)
}

// encodeChunk is the number of examples that a worker encodes at a time.
const encodeChunk = 256

// encodedPart is a chunk of a data set.
type encodedPart struct {
	ids, types, lengths []int32 // of the sequences
	counts              []int32 // sequences of each example
	tokenLabels         []int32
	words               []word
	wordCounts          []int32
	err                 error
}

// Encode turns the texts of a data set into token ids on all processors. It cuts each text to
// maxLength tokens (0: not at all). The order of the examples stays. The text of a masked
// language model is not cut: its lines are joined and divided into sequences of maxLength tokens,
// so nothing is lost.
func Encode(ds *Dataset, tok *tokenize.Tokenizer, maxLength int) (*Encoded, error) {
	kind, err := ds.Task.kindOf()
	if err != nil {
		return nil, err
	}
	n := len(ds.Examples)
	parts := make([]encodedPart, (n+encodeChunk-1)/encodeChunk)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), max(1, len(parts))) {
		workers.Go(func() {
			var e tokenize.Encoding
			for {
				c := int(next.Add(1)) - 1
				if c >= len(parts) {
					return
				}
				p := &parts[c]
				for i := c * encodeChunk; i < min((c+1)*encodeChunk, n); i++ {
					if err := kind.encode(p, &e, &ds.Examples[i], tok, maxLength); err != nil {
						p.err = fmt.Errorf("example %d: %w", i+1, err)
						return
					}
				}
			}
		})
	}
	workers.Wait()

	total := 0
	for i := range parts {
		if parts[i].err != nil {
			return nil, parts[i].err
		}
		total += len(parts[i].ids)
	}
	if total > 1<<31-1 {
		return nil, fmt.Errorf("data set of %d tokens is larger than 2^31-1", total)
	}
	if ds.Task.Kind.Subject() == head.Masks {
		return pack(ds.Task, parts, tok, maxLength)
	}
	out := &Encoded{
		Task:     ds.Task,
		ids:      make([]int32, 0, total),
		types:    make([]int32, 0, total),
		offsets:  make([]int32, 1, n+1),
		first:    make([]int32, 1, n+1),
		labels:   make([]int32, n),
		wordEnds: make([]int32, 1),
	}
	for i := range parts {
		p := &parts[i]
		out.ids = append(out.ids, p.ids...)
		out.types = append(out.types, p.types...)
		out.tokenLabels = append(out.tokenLabels, p.tokenLabels...)
		out.words = append(out.words, p.words...)
		out.offsets = accumulate(out.offsets, p.lengths)
		out.first = accumulate(out.first, p.counts)
		out.wordEnds = accumulate(out.wordEnds, p.wordCounts)
		*p = encodedPart{}
	}
	out.truth(ds, kind)
	return out, nil
}

// accumulate appends the running sums of counts.
func accumulate(sums, counts []int32) []int32 {
	for _, n := range counts {
		sums = append(sums, sums[len(sums)-1]+n)
	}
	return sums
}

// sequence appends a text or a pair.
func (p *encodedPart) sequence(e *tokenize.Encoding, text, pair string, hasPair bool, tok *tokenize.Tokenizer, o tokenize.Options) error {
	var err error
	if hasPair {
		err = tok.EncodePair(e, text, pair, o)
	} else {
		err = tok.Encode(e, text, o)
	}
	p.ids = append(p.ids, e.IDs...)
	p.types = append(p.types, e.TypeIDs...)
	p.lengths = append(p.lengths, int32(len(e.IDs)))
	return err
}

// text appends an example of one sequence.
func (p *encodedPart) text(e *tokenize.Encoding, ex *Example, tok *tokenize.Tokenizer, maxLength int) error {
	p.counts = append(p.counts, 1)
	return p.sequence(e, ex.Text, ex.Pair, ex.HasPair, tok, tokenize.Options{MaxLength: maxLength})
}

// choices appends an example of one sequence for each choice.
func (p *encodedPart) choices(e *tokenize.Encoding, ex *Example, tok *tokenize.Tokenizer, maxLength int) error {
	for _, choice := range ex.Choices {
		if err := p.sequence(e, ex.Text, choice, true, tok, tokenize.Options{MaxLength: maxLength}); err != nil {
			return err
		}
	}
	p.counts = append(p.counts, int32(len(ex.Choices)))
	return nil
}

// labelled appends an example of one sequence and the labels of its words.
func (p *encodedPart) labelled(e *tokenize.Encoding, ex *Example, tok *tokenize.Tokenizer, maxLength int) error {
	p.counts = append(p.counts, 1)
	if err := p.sequence(e, ex.Text, ex.Pair, ex.HasPair, tok, tokenize.Options{MaxLength: maxLength, Offsets: true}); err != nil {
		return err
	}
	at := len(p.tokenLabels)
	for range e.IDs {
		p.tokenLabels = append(p.tokenLabels, -1)
	}
	places, err := places(ex)
	if err != nil {
		return err
	}
	for i, token := range tokenize.FirstTokens(nil, e.Offsets, places) {
		w := word{-1, token}
		if i < len(ex.Labels) {
			w.label = ex.Labels[i]
		}
		p.words = append(p.words, w)
		if token >= 0 {
			p.tokenLabels[at+int(token)] = w.label
		}
	}
	p.wordCounts = append(p.wordCounts, int32(len(ex.Words)))
	return nil
}

// places returns where the words of an example are in its text, as ranges of runes. Words may
// contain white space, so they cannot be found by splitting the text.
func places(ex *Example) ([][2]int32, error) {
	places := make([][2]int32, len(ex.Words))
	rest, at := ex.Text, int32(0)
	for i, w := range ex.Words {
		before, after, ok := strings.Cut(rest, w)
		if !ok {
			return nil, fmt.Errorf("word %d, %q, is not where the text has it", i+1, w)
		}
		start := at + int32(utf8.RuneCountInString(before))
		at = start + int32(utf8.RuneCountInString(w))
		places[i], rest = [2]int32{start, at}, after
	}
	return places, nil
}

// truth fills in the true answers.
func (e *Encoded) truth(ds *Dataset, k kind) {
	if k.targets != nil {
		e.width = k.targets(ds.Task)
	}
	e.targets = make([]float32, len(ds.Examples)*e.width)
	for i := range ds.Examples {
		ex := &ds.Examples[i]
		e.labels[i] = int32(ex.Label)
		e.values = append(e.values, ex.Value)
		e.groups = append(e.groups, int32(ex.Group))
		if k.target != nil {
			k.target(ex, e.targets[i*e.width:][:e.width])
		}
	}
}

// pack joins the texts of a masked language model without special tokens, and divides them into
// sequences that begin and end with a special token.
func pack(task Task, parts []encodedPart, tok *tokenize.Tokenizer, maxLength int) (*Encoded, error) {
	var empty tokenize.Encoding
	if err := tok.Encode(&empty, "", tokenize.Options{MaxLength: maxLength}); err != nil {
		return nil, err
	}
	_, _, cls, sep, _ := tok.Special()
	if len(empty.IDs) != 2 || empty.IDs[0] != cls || empty.IDs[1] != sep {
		return nil, fmt.Errorf("expected a tokenizer that puts one special token before and one after a text")
	}
	if maxLength > 0 && maxLength < 3 {
		return nil, fmt.Errorf("maximum length %d has no room for text between the special tokens", maxLength)
	}
	var text []int32
	for i := range parts {
		for _, id := range parts[i].ids {
			if id != cls && id != sep { // the special tokens around each line
				text = append(text, id)
			}
		}
		parts[i] = encodedPart{}
	}
	if len(text) == 0 {
		return nil, ErrEmpty
	}
	room := len(text)
	if maxLength > 0 {
		room = maxLength - 2
	}
	if total := len(text) + 2*((len(text)+room-1)/room); total > 1<<31-1 {
		return nil, fmt.Errorf("data set of %d tokens is larger than 2^31-1", total)
	}
	out := &Encoded{Task: task, offsets: make([]int32, 1), first: make([]int32, 1)}
	for sequence := range slices.Chunk(text, room) {
		out.ids = append(append(append(out.ids, cls), sequence...), sep)
		out.offsets = append(out.offsets, int32(len(out.ids)))
		out.labels = append(out.labels, 0)
		out.first = append(out.first, int32(len(out.labels)))
	}
	out.types = make([]int32, len(out.ids))
	return out, nil
}

// OneType gives all tokens the type of a first text, for models without a type for the second.
func (e *Encoded) OneType() { clear(e.types) }

// Fill sets b to the batch of the given examples. It reuses b's buffers and allocates nothing
// once they have grown.
func (e *Encoded) Fill(b *Batch, examples []int32) {
	b.IDs, b.TypeIDs, b.Positions = b.IDs[:0], b.TypeIDs[:0], b.Positions[:0]
	b.Offsets, b.Labels, b.Index = append(b.Offsets[:0], 0), b.Labels[:0], b.Index[:0]
	b.Targets, b.TokenLabels, b.Words = b.Targets[:0], b.TokenLabels[:0], b.Words[:0]
	subject := e.Task.Kind.Subject()
	for _, ex := range examples {
		if subject == head.Words {
			for _, w := range e.words[e.wordEnds[ex]:e.wordEnds[ex+1]] {
				if w.token >= 0 {
					b.Words = append(b.Words, int32(len(b.IDs))+w.token)
				}
			}
		}
		for s := e.first[ex]; s < e.first[ex+1]; s++ {
			lo, hi := e.offsets[s], e.offsets[s+1]
			b.IDs = append(b.IDs, e.ids[lo:hi]...)
			b.TypeIDs = append(b.TypeIDs, e.types[lo:hi]...)
			for p := range hi - lo {
				b.Positions = append(b.Positions, p)
			}
			b.Offsets = append(b.Offsets, int32(len(b.IDs)))
			label := e.labels[ex]
			if subject == head.Choices && label >= 0 {
				label = b2i(s-e.first[ex] == label)
			}
			b.Labels = append(b.Labels, label)
			b.Index = append(b.Index, ex)
			if subject == head.Words {
				b.TokenLabels = append(b.TokenLabels, e.tokenLabels[lo:hi]...)
			}
		}
		b.Targets = append(b.Targets, e.targets[int(ex)*e.width:(int(ex)+1)*e.width]...)
	}
}

func b2i(b bool) int32 {
	if b {
		return 1
	}
	return 0
}
