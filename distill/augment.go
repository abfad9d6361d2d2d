package distill

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/machine"
	"github.com/skive-ml/skive/internal/team"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/tokenize"
)

// AugmentOptions are the settings of Augment. Start from AugmentDefaults.
type AugmentOptions struct {
	// Copies is the number of new examples made from each example.
	Copies int
	// Probability is the chance that a word is replaced by one of Candidates words.
	Probability float64
	Candidates  int
	Seed        uint64
	// Threads is the number of threads; 0 means one for each CPU. The result does not depend on
	// it.
	Threads int
	// Progress, if not nil, is told how the work comes along.
	Progress progress.Reporter
}

// AugmentDefaults returns TinyBERT's settings (Jiao et al., arXiv 1909.10351,
// section 3.2).
func AugmentDefaults() AugmentOptions {
	return AugmentOptions{Copies: 20, Probability: 0.4, Candidates: 15, Seed: 1}
}

// MaxCopies is the largest value of AugmentOptions.Copies.
const MaxCopies = 1000

// maxCandidates is the largest number of words that may replace a word.
const maxCandidates = 1000

// Augment makes new examples from those of ds by replacing words (TinyBERT, algorithm 1). The
// replacement depends on the model. If it has the head of a masked language model, a word that is
// one token of its WordPiece vocabulary is replaced by one of the words that the model finds most
// likely there. A word of several tokens is replaced by a word whose embedding is nearest, by
// cosine, to the mean of its tokens' embeddings. With any other model, words of one token are
// replaced by those with the nearest embeddings, and longer words stay. The new word is always a
// single token, in the vocabulary's case.
//
// The new examples have no labels; the teacher supplies them. A copy without any replaced word is
// left out.
func Augment(ctx context.Context, ds *data.Dataset, m *checkpoints.Model, o AugmentOptions) (*data.Dataset, error) {
	if err := o.Settings().Check(); err != nil {
		return nil, err
	}
	tok, err := tokenize.Load(m.Tokenizer)
	if err != nil {
		return nil, fmt.Errorf("the model's tokenizer: %w", err)
	}
	t := newThesaurus(m, tok, o)
	if len(t.words) == 0 {
		return nil, fmt.Errorf("augment: the model's vocabulary is not WordPiece, or has no whole words")
	}
	a := &augmentation{t: t, o: o}
	for i := range ds.Examples {
		e := &ds.Examples[i]
		var texts []wordsOf
		for _, text := range append([]string{e.Text, e.Pair}, e.Choices...) {
			w, err := t.find(text)
			if err != nil {
				return nil, err
			}
			texts = append(texts, w)
		}
		a.texts = append(a.texts, texts)
	}
	if err := a.candidates(ctx); err != nil {
		return nil, fmt.Errorf("augment: %w", err)
	}
	out := &data.Dataset{Task: ds.Task}
	a.copies(func(example int, draws [][]draw) {
		e := ds.Examples[example]
		e.Label, e.Labels, e.Value = -1, nil, 0
		e.Choices = slices.Clone(e.Choices)
		changed := false
		for i, w := range a.texts[example] {
			to := &e.Text
			switch i {
			case 0:
			case 1:
				to = &e.Pair
			default:
				to = &e.Choices[i-2]
			}
			*to = t.replaced(w, draws[i])
			changed = changed || len(draws[i]) > 0
		}
		if !changed {
			return
		}
		if len(e.Words) > 0 {
			e.Words = strings.Fields(e.Text)
		}
		out.Examples = append(out.Examples, e)
	})
	return out, nil
}

// augmentation makes new examples.
type augmentation struct {
	t     *thesaurus
	o     AugmentOptions
	texts [][]wordsOf // for each example: the text, the pair, the choices
}

// draw says that a word is replaced by one of its candidates.
type draw struct{ place, candidate int }

// copies draws the replacements for every copy of every example. Which words are drawn does not
// depend on the candidates, so the candidates can be found in between.
func (a *augmentation) copies(visit func(example int, draws [][]draw)) {
	r := rand.New(rand.NewPCG(a.o.Seed, 0x61756d))
	var draws [][]draw
	for i, texts := range a.texts {
		for range a.o.Copies {
			draws = slices.Grow(draws[:0], len(texts))[:len(texts)]
			for k, w := range texts {
				draws[k] = a.draw(draws[k][:0], w.places, r)
			}
			visit(i, draws)
		}
	}
}

// draw appends what is drawn for the words of a text.
func (a *augmentation) draw(draws []draw, places []place, r *rand.Rand) []draw {
	for p := range places {
		if n := a.t.count(&places[p]); r.Float64() < a.o.Probability && n > 0 {
			draws = append(draws, draw{p, r.IntN(n)})
		}
	}
	return draws
}

// candidates finds the candidates for the words that are drawn.
func (a *augmentation) candidates(ctx context.Context) error {
	used := make([]bool, len(a.t.sources))
	var masked []*place
	var ids [][]int32
	a.copies(func(example int, draws [][]draw) {
		for k := range draws {
			w := &a.texts[example][k]
			for _, d := range draws[k] {
				p := &w.places[d.place]
				if p.token < 0 {
					used[p.source] = true
				} else if !p.drawn {
					p.drawn = true
					masked, ids = append(masked, p), append(ids, w.ids)
				}
			}
		}
	})
	workers := team.New(cmp.Or(a.o.Threads, machine.CPUs()))
	defer workers.Close()
	a.t.nearest(workers, used)
	if len(masked) == 0 {
		return nil
	}
	return a.likeliest(ctx, workers, masked, ids)
}

// augmentTokens is the largest number of tokens in a batch of masked words.
const augmentTokens = 4096

// likeliest asks the masked language model for the candidates of words. Each word is masked alone
// in its text.
func (a *augmentation) likeliest(ctx context.Context, workers *team.Team, places []*place, ids [][]int32) error {
	engine, err := infer.New(a.t.model, infer.Options{Threads: a.o.Threads, DType: infer.F32})
	if err != nil {
		return err
	}
	defer engine.Close()
	_, _, _, _, mask := a.t.tok.Special()
	bar := progress.Begin(a.o.Progress, "augment", 0, len(places))
	defer bar.Finish("")
	vocabulary := a.t.model.Config.VocabSize
	var b data.Batch
	var rows []int32
	var logits []float32
	for lo, hi := 0, 0; lo < len(places); lo = hi {
		if err := ctx.Err(); err != nil {
			return err
		}
		b.IDs, b.Offsets, rows = b.IDs[:0], append(b.Offsets[:0], 0), rows[:0]
		for hi = lo; hi < len(places) && (hi == lo || len(b.IDs)+len(ids[hi]) <= augmentTokens); hi++ {
			rows = append(rows, int32(len(b.IDs)+places[hi].token))
			b.IDs = append(b.IDs, ids[hi]...)
			b.IDs[rows[len(rows)-1]] = mask
			b.Offsets = append(b.Offsets, int32(len(b.IDs)))
		}
		b.TypeIDs = make([]int32, len(b.IDs))
		if logits, err = engine.PredictMasked(logits, b.IDs, b.TypeIDs, b.Offsets, rows); err != nil {
			return err
		}
		workers.Run(hi-lo, func(_, i int) {
			row := logits[i*vocabulary:][:vocabulary]
			p := places[lo+i]
			p.near = a.t.best(a.t.sources[p.source].word, func(word int) float32 { return row[a.t.words[word]] })
		})
		bar.Set(hi, "")
	}
	return nil
}

// thesaurus holds the whole words of a vocabulary and their embeddings.
type thesaurus struct {
	model *checkpoints.Model
	tok   *tokenize.Tokenizer
	// masked says that the model proposes replacements.
	masked     bool
	candidates int
	words      []int32       // ids
	at         map[int32]int // index in words
	rows       []float32     // of unit length [words, width]
	embeddings []float32     // [vocabulary, width]
	width      int
	e          tokenize.Encoding

	// sources are the words of the texts, keyed by their ids.
	sources  []source
	sourceOf map[string]int
}

// source is a word of the texts.
type source struct {
	word int       // its index in words, -1 for several tokens
	row  []float32 // of unit length [width]
	near []int32   // indices in words
}

func newThesaurus(m *checkpoints.Model, tok *tokenize.Tokenizer, o AugmentOptions) *thesaurus {
	t := &thesaurus{
		model: m, tok: tok, masked: m.Config.Head.Outputs() == head.Tokens, candidates: o.Candidates,
		at: map[int32]int{}, width: m.Config.EmbeddingWidth(), sourceOf: map[string]int{},
	}
	pieces := false
	for id := range int32(tok.VocabSize()) {
		word := tok.Token(id)
		pieces = pieces || strings.HasPrefix(word, "##")
		if len(word) > 1 && letters(word) {
			t.at[id] = len(t.words)
			t.words = append(t.words, id)
		}
	}
	if !pieces {
		t.words = nil
		return t
	}
	t.embeddings = m.Tensors[checkpoints.WordEmbeddings.Part().Weight()].Float32s()
	t.rows = make([]float32, len(t.words)*t.width)
	for i, id := range t.words {
		t.mean(t.rows[i*t.width:][:t.width], []int32{id})
	}
	return t
}

func letters(word string) bool {
	return strings.IndexFunc(word, func(r rune) bool { return !unicode.IsLetter(r) }) < 0
}

// mean sets row to the mean of some tokens' embeddings, scaled to unit length.
func (t *thesaurus) mean(row []float32, ids []int32) {
	for _, id := range ids {
		kernels.Add(row, row, t.embeddings[int(id)*t.width:][:t.width])
	}
	if length := math.Sqrt(kernels.SumSquares(row)); length > 0 {
		kernels.Scale(row, float32(1/length), row)
	}
}

// wordsOf holds the words of a text that may be replaced.
type wordsOf struct {
	text   []rune
	ids    []int32 // of the text, if the model is asked
	places []place
}

type place struct {
	source, lo, hi int // source in thesaurus.sources; range in runes
	// token is the number of the word's token if the model is asked for its candidates, near. It
	// is -1 if the candidates are those of the source.
	token int
	drawn bool
	near  []int32
}

func (t *thesaurus) find(text string) (wordsOf, error) {
	w := wordsOf{text: []rune(text)}
	limit := 0
	if t.masked {
		// Words beyond the model's maximum length are replaced by their nearest words.
		limit = t.model.Config.MaxTokens() - 1
		if err := t.tok.Encode(&t.e, text, tokenize.Options{MaxLength: limit + 1}); err != nil {
			return w, err
		}
		w.ids = slices.Clone(t.e.IDs)
	}
	if err := t.tok.Encode(&t.e, text, tokenize.Options{Offsets: true}); err != nil {
		return w, err
	}
	ids := t.e.IDs
	for lo, hi := 0, 0; lo < len(ids); lo = hi {
		for hi = lo + 1; hi < len(ids) && strings.HasPrefix(t.tok.Token(ids[hi]), "##"); hi++ {
		}
		p := place{lo: int(t.e.Offsets[lo][0]), hi: int(t.e.Offsets[hi-1][1]), token: -1}
		word, whole := t.at[ids[lo]]
		switch {
		case hi == lo+1 && whole:
			if lo < limit {
				p.token = lo
			}
		case hi > lo+1 && t.masked && letters(string(w.text[p.lo:p.hi])):
			word = -1
		default:
			continue
		}
		p.source = t.source(ids[lo:hi], word)
		w.places = append(w.places, p)
	}
	return w, nil
}

// source returns the number of the source with these tokens.
func (t *thesaurus) source(ids []int32, word int) int {
	key := fmt.Sprint(ids)
	n, ok := t.sourceOf[key]
	if !ok {
		row := make([]float32, t.width)
		t.mean(row, ids)
		n = len(t.sources)
		t.sources, t.sourceOf[key] = append(t.sources, source{word: word, row: row}), n
	}
	return n
}

// count returns the number of a word's candidates.
func (t *thesaurus) count(p *place) int {
	n := len(t.words)
	if t.sources[p.source].word >= 0 {
		n-- // all but the word itself
	}
	return min(n, t.candidates)
}

// nearest finds the nearest words of the sources that are used.
func (t *thesaurus) nearest(workers *team.Team, used []bool) {
	workers.Run(len(used), func(_, i int) {
		if s := &t.sources[i]; used[i] {
			s.near = t.best(s.word, func(word int) float32 {
				return kernels.Dot(s.row, t.rows[word*t.width:][:t.width])
			})
		}
	})
}

// best returns the candidates among the words, except for the word but, by descending score.
// Equal scores are ordered by id.
func (t *thesaurus) best(but int, score func(word int) float32) []int32 {
	type candidate struct {
		word  int32
		score float32
	}
	n := t.candidates
	var best []candidate
	for w := range t.words {
		v := score(w)
		if w == but || len(best) == n && v <= best[n-1].score {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, v, func(b candidate, v float32) int {
			if b.score == v {
				return -1
			}
			return cmp.Compare(v, b.score)
		})
		best = slices.Insert(best, at, candidate{int32(w), v})
		best = best[:min(n, len(best))]
	}
	near := make([]int32, len(best))
	for i, b := range best {
		near[i] = b.word
	}
	return near
}

// replaced returns the text with the drawn words replaced.
func (t *thesaurus) replaced(w wordsOf, draws []draw) string {
	var b strings.Builder
	end := 0
	for _, d := range draws {
		p := &w.places[d.place]
		near := p.near
		if p.token < 0 {
			near = t.sources[p.source].near
		}
		b.WriteString(string(w.text[end:p.lo]))
		b.WriteString(t.tok.Token(t.words[near[d.candidate]]))
		end = p.hi
	}
	b.WriteString(string(w.text[end:]))
	return b.String()
}
