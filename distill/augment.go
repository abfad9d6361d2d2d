package distill

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/team"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

// AugmentOptions are the settings of Augment. Start from AugmentDefaults.
type AugmentOptions struct {
	// Copies is the number of new examples made of each.
	Copies int
	// Probability is that of a word to be replaced, by one of the Candidates
	// words nearest to it.
	Probability float64
	Candidates  int
	Seed        uint64
}

// AugmentDefaults returns TinyBERT's settings (Jiao et al., arXiv 1909.10351,
// section 3.2).
func AugmentDefaults() AugmentOptions {
	return AugmentOptions{Copies: 20, Probability: 0.4, Candidates: 15, Seed: 1}
}

// Augment returns new examples made of those of ds by word replacement (TinyBERT,
// algorithm 1): words that are one token of the model's WordPiece vocabulary
// give way to words whose embeddings in the model are nearest by cosine. The new
// examples have no labels: the teacher says what they are. A copy in which no
// word is replaced is left out.
func Augment(ds *data.Dataset, m *checkpoints.Model, o AugmentOptions) (*data.Dataset, error) {
	switch {
	case o.Copies < 1:
		return nil, &train.OptionError{Option: "augment", Value: o.Copies, Want: "a positive number of copies"}
	case !(o.Probability > 0 && o.Probability <= 1):
		return nil, &train.OptionError{Option: "augment-probability", Value: o.Probability, Want: "a probability above 0"}
	case o.Candidates < 1:
		return nil, &train.OptionError{Option: "augment-candidates", Value: o.Candidates, Want: "a positive number of words"}
	}
	tok, err := tokenize.Load(m.Tokenizer)
	if err != nil {
		return nil, fmt.Errorf("the model's tokenizer: %w", err)
	}
	t := newThesaurus(m, tok)
	if len(t.words) == 0 {
		return nil, fmt.Errorf("augment: the model's vocabulary is not WordPiece, or has no whole words")
	}
	texts := make([]wordsOf, 0, 2*len(ds.Examples))
	for i := range ds.Examples {
		e := &ds.Examples[i]
		for _, text := range []string{e.Text, e.Pair} {
			w, err := t.find(text)
			if err != nil {
				return nil, err
			}
			texts = append(texts, w)
		}
	}
	near := t.nearest(texts, o.Candidates)
	out := &data.Dataset{Task: ds.Task}
	r := rand.New(rand.NewPCG(o.Seed, 0x61756d))
	for i, e := range ds.Examples {
		for range o.Copies {
			text, first := texts[2*i].replaced(r, o.Probability, t, near)
			pair, second := texts[2*i+1].replaced(r, o.Probability, t, near)
			if !first && !second {
				continue
			}
			x := e
			x.Text, x.Pair, x.Label = text, pair, -1
			out.Examples = append(out.Examples, x)
		}
	}
	return out, nil
}

// thesaurus knows the whole words of a vocabulary and their embeddings.
type thesaurus struct {
	tok   *tokenize.Tokenizer
	words []int32       // ids
	at    map[int32]int // place in words
	rows  []float32     // of unit length [words, width]
	width int
	e     tokenize.Encoding
}

func newThesaurus(m *checkpoints.Model, tok *tokenize.Tokenizer) *thesaurus {
	t := &thesaurus{tok: tok, at: map[int32]int{}, width: m.Config.EmbeddingWidth()}
	pieces := false
	for id := range int32(tok.VocabSize()) {
		word := tok.Token(id)
		pieces = pieces || strings.HasPrefix(word, "##")
		if len(word) > 1 && strings.IndexFunc(word, func(r rune) bool { return !unicode.IsLetter(r) }) < 0 {
			t.at[id] = len(t.words)
			t.words = append(t.words, id)
		}
	}
	if !pieces {
		t.words = nil
		return t
	}
	embeddings := m.Tensors["bert.embeddings.word_embeddings.weight"].Float32s()
	t.rows = make([]float32, len(t.words)*t.width)
	for i, id := range t.words {
		row := embeddings[int(id)*t.width:][:t.width]
		if length := math.Sqrt(kernels.SumSquares(row)); length > 0 {
			kernels.Scale(t.rows[i*t.width:][:t.width], float32(1/length), row)
		}
	}
	return t
}

// wordsOf are the words of a text that may be replaced.
type wordsOf struct {
	text  []rune
	words []place
}

type place struct{ word, lo, hi int } // in thesaurus.words; runes

func (t *thesaurus) find(text string) (wordsOf, error) {
	w := wordsOf{text: []rune(text)}
	if err := t.tok.Encode(&t.e, text, tokenize.Options{Offsets: true}); err != nil {
		return w, err
	}
	piece := func(i int) bool { return i < len(t.e.IDs) && strings.HasPrefix(t.tok.Token(t.e.IDs[i]), "##") }
	for i, id := range t.e.IDs {
		if at, ok := t.at[id]; ok && !piece(i+1) {
			w.words = append(w.words, place{at, int(t.e.Offsets[i][0]), int(t.e.Offsets[i][1])})
		}
	}
	return w, nil
}

// nearest lists, for every word of the texts, the n nearest others, nearest
// first.
func (t *thesaurus) nearest(texts []wordsOf, n int) map[int][]int {
	used := map[int]bool{}
	var words []int
	for _, text := range texts {
		for _, p := range text.words {
			if !used[p.word] {
				used[p.word] = true
				words = append(words, p.word)
			}
		}
	}
	type neighbour struct {
		word   int
		cosine float32
	}
	lists := make([][]int, len(words))
	workers := team.New(runtime.GOMAXPROCS(0))
	defer workers.Close()
	workers.Run(len(words), func(_, i int) {
		own := t.rows[words[i]*t.width:][:t.width]
		var best []neighbour
		for w := range t.words {
			c := kernels.Dot(own, t.rows[w*t.width:][:t.width])
			if w == words[i] || len(best) == n && c <= best[n-1].cosine {
				continue
			}
			at, _ := slices.BinarySearchFunc(best, c, func(b neighbour, c float32) int {
				if b.cosine == c {
					return -1 // of equals, the lower id first
				}
				return cmp.Compare(c, b.cosine)
			})
			best = slices.Insert(best, at, neighbour{w, c})
			best = best[:min(n, len(best))]
		}
		for _, b := range best {
			lists[i] = append(lists[i], b.word)
		}
	})
	near := make(map[int][]int, len(words))
	for i, w := range words {
		near[w] = lists[i]
	}
	return near
}

// replaced returns the text with some of its words replaced, and whether any is.
func (w wordsOf) replaced(r *rand.Rand, probability float64, t *thesaurus, near map[int][]int) (string, bool) {
	var b strings.Builder
	end, changed := 0, false
	for _, p := range w.words {
		candidates := near[p.word]
		if r.Float64() >= probability || len(candidates) == 0 {
			continue
		}
		b.WriteString(string(w.text[end:p.lo]))
		b.WriteString(t.tok.Token(t.words[candidates[r.IntN(len(candidates))]]))
		end, changed = p.hi, true
	}
	b.WriteString(string(w.text[end:]))
	return b.String(), changed
}
