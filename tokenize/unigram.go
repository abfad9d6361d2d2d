package tokenize

import (
	"bytes"
	"math"
	"slices"
	"unicode"
	"unicode/utf8"
)

// unigram is a unigram language model (Kudo, arXiv 1804.10959). It cuts a word into the tokens
// whose scores, logarithms of probabilities, have the largest sum. Its normalizers and its
// pre-tokenizer are those of models with a SentencePiece vocabulary.
type unigram struct {
	normalizers normalizerList
	// splitsSpace is WhitespaceSplit: white space ends words and is left out.
	splitsSpace bool
	metaspace   metaspace

	vocab        []string
	scores       []float64
	pieces       *forest
	unk          int32 // -1 for none; files that would need it are refused when they are read
	unknown      float64
	bytes        [256]int32 // the tokens of bytes, -1 if there is none
	byteFallback bool
}

// metaspace is Metaspace: a character stands for the space, and a word begins with it.
type metaspace struct {
	replacement rune
	prepend     prependScheme
	split       bool // a word ends before each replacement
}

// prependScheme says which words get the replacement character in front if they lack it.
type prependScheme string

const (
	prependAlways prependScheme = "always"
	prependFirst  prependScheme = "first" // word of the text
	prependNever  prependScheme = "never"
)

const defaultReplacement = '▁'

// unknownPenalty is how far the score of an unknown character is below the lowest score.
const unknownPenalty = 10

// prepare computes what follows from the vocabulary. It returns false if that is too large.
func (m *unigram) prepare() bool {
	total := 0
	for _, token := range m.vocab {
		total += len(token)
	}
	if total > maxNodes {
		return false
	}
	m.pieces = newForest(m.vocab, "")
	m.unknown = slices.Min(m.scores) - unknownPenalty
	return true
}

func (m *unigram) tokens() []string { return m.vocab }

// unigramBuffer is the memory for cutting words.
type unigramBuffer struct {
	texts [2]aligned
	paths []pathEnd
	cuts  []int32 // bytes at which tokens end, from the last to the first, and 0
}

// pathEnd is the best way to cut a word up to a byte.
type pathEnd struct {
	score float64
	start int32 // byte at which the last token begins; -1 if no token ends here
	id    int32
}

func (m *unigram) tokenize(p *pieces, w *wordBuffer, text string, at int32) {
	a := m.normalizers.apply(w, text, at)
	m.words(p, w, a.bytes, a.from)
}

// normalizerList is several normalizers in a row.
type normalizerList []normalizer

// apply returns the text after all normalizers. It is in w and valid until the next call.
func (list normalizerList) apply(w *wordBuffer, text string, at int32) *aligned {
	a, b := &w.unigram.texts[0], &w.unigram.texts[1]
	a.reset()
	for i := 0; i < len(text); at++ {
		if c := text[i]; c < utf8.RuneSelf {
			a.bytes, a.from = append(a.bytes, c), append(a.from, at)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		a.add(r, at)
		i += size
	}
	for _, n := range list {
		b.reset()
		n.normalize(b, a)
		a, b = b, a
	}
	return a
}

// keep is apply with a result that stays in w.texts[1] and w.from1.
func (list normalizerList) keep(w *wordBuffer, text string, at int32) {
	a := list.apply(w, text, at)
	w.texts[1], w.from1 = append(w.texts[1][:0], a.bytes...), append(w.from1[:0], a.from...)
}

func (list normalizerList) string(text string) string {
	var w wordBuffer
	return string(list.apply(&w, text, 0).bytes)
}

func (list normalizerList) same(o normalizerList) bool {
	return slices.EqualFunc(list, o, func(n, m normalizer) bool {
		a, aok := n.(*charsMap)
		b, bok := m.(*charsMap)
		if aok && bok {
			return bytes.Equal(a.file, b.file)
		}
		return aok == bok && n == m
	})
}

// format returns the list as in tokenizer.json, or nil if it is empty.
func (list normalizerList) format() any {
	if len(list) == 0 {
		return nil
	}
	all := make([]dict, len(list))
	for i, n := range list {
		all[i] = n.format()
	}
	return dict{"type": "Sequence", "normalizers": all}
}

func (m *unigram) normalizes() bool { return true }

func (m *unigram) normalize(w *wordBuffer, text string, at int32) { m.normalizers.keep(w, text, at) }

func (m *unigram) normalizeString(text string) string { return m.normalizers.string(text) }

// words appends the tokens of a normalized text. from holds the rune that each byte comes from.
func (m *unigram) words(p *pieces, w *wordBuffer, text []byte, from []int32) {
	if !m.splitsSpace {
		m.word(p, w, text, from)
		return
	}
	for len(text) > 0 {
		n := bytes.IndexFunc(text, unicode.IsSpace)
		if n < 0 {
			n = len(text)
		}
		if n > 0 {
			m.word(p, w, text[:n], from[:n])
			text, from = text[n:], from[n:]
		} else {
			_, size := utf8.DecodeRune(text)
			text, from = text[size:], from[size:]
		}
	}
}

// word applies metaspace and appends the tokens of the parts.
func (m *unigram) word(p *pieces, w *wordBuffer, text []byte, from []int32) {
	if len(text) == 0 {
		return
	}
	first, _ := utf8.DecodeRune(text)
	prepend := first != ' ' && first != m.metaspace.replacement &&
		(m.metaspace.prepend == prependAlways || m.metaspace.prepend == prependFirst && from[0] == 0)
	w.clear()
	if prepend {
		w.add(m.metaspace.replacement, from[0])
	}
	for i := 0; i < len(text); {
		size := 1
		if text[i] == ' ' {
			if i > 0 {
				m.flush(p, w)
			}
			w.add(m.metaspace.replacement, from[i])
		} else {
			r := rune(text[i])
			if r >= utf8.RuneSelf {
				r, size = utf8.DecodeRune(text[i:])
			}
			if r == m.metaspace.replacement && i > 0 {
				m.flush(p, w)
			}
			w.bytes, w.from = append(w.bytes, text[i:i+size]...), append(w.from, from[i:i+size]...)
		}
		i += size
	}
	m.cut(p, w)
}

// flush ends a word before a replacement.
func (m *unigram) flush(p *pieces, w *wordBuffer) {
	if m.metaspace.split {
		m.cut(p, w)
		w.clear()
	}
}

// cut appends the tokens of a word.
func (m *unigram) cut(p *pieces, w *wordBuffer) {
	word := w.bytes
	if len(word) == 0 {
		return
	}
	b := &w.unigram
	slot := w.cache.slot(m, word)
	if slot != nil && slot.holds(word) {
		m.addKnown(p, w, slot.ids[:slot.n])
		return
	}
	m.bestPath(b, word)
	b.cuts = append(b.cuts[:0], int32(len(word)))
	unknown := false // whether the token before (in reverse order) is unknown
	for end := int32(len(word)); end > 0; end = b.paths[end].start {
		isUnknown := b.paths[end].id == m.unk
		if isUnknown && unknown { // unknown neighbours become one token
			b.cuts[len(b.cuts)-1] = b.paths[end].start
		} else {
			b.cuts = append(b.cuts, b.paths[end].start)
		}
		unknown = isUnknown
	}
	mark, known := len(p.ids), true
	for i := len(b.cuts) - 1; i > 0; i-- {
		start, end := b.cuts[i], b.cuts[i-1]
		id := b.paths[end].id
		if id == m.unk { // several unknown characters may be one token
			if whole, n := m.pieces.longest(word[start:end]); n == int(end-start) {
				id = whole
			} else {
				known = false
				m.addUnknown(p, word[start:end], w.from[start], w.from[end-1]+1)
				continue
			}
		}
		p.add(id, w.from[start], w.from[end-1]+1)
	}
	if slot != nil && known {
		slot.put(word, p.ids[mark:])
	}
}

// addKnown appends the tokens of a word that consists of tokens of the vocabulary only.
func (m *unigram) addKnown(p *pieces, w *wordBuffer, ids []int32) {
	start := 0
	for _, id := range ids {
		end := start + len(m.vocab[id])
		p.add(id, w.from[start], w.from[end-1]+1)
		start = end
	}
}

// addUnknown appends the token for a text that the vocabulary lacks, or the tokens of its bytes.
func (m *unigram) addUnknown(p *pieces, text []byte, start, end int32) {
	whole := m.byteFallback
	for _, c := range text {
		whole = whole && m.bytes[c] >= 0
	}
	if !whole {
		if p.want {
			p.unknown = append(p.unknown, unknownPiece{len(p.ids), spacesOf(text)})
		}
		p.add(m.unk, start, end)
		return
	}
	for _, c := range text {
		p.add(m.bytes[c], start, end)
	}
}

// bestPath fills b.paths with the best way to cut a word up to each byte, from left to right
// (Viterbi). Of equally good ways it keeps the first.
func (m *unigram) bestPath(b *unigramBuffer, word []byte) {
	b.paths = slices.Grow(b.paths[:0], len(word)+1)[:len(word)+1]
	paths := b.paths
	for i := range paths {
		paths[i] = pathEnd{start: -1}
	}
	for i := 0; i < len(word); {
		so := paths[i].score
		size := 1
		if word[i] >= utf8.RuneSelf {
			_, size = utf8.DecodeRune(word[i:])
		}
		single := false // whether a token is exactly this character
		t := m.pieces.trie(word[i])
		node := uint32(0)
		for end := i + 1; ; end++ {
			if id := t.ids[node]; id >= 0 {
				if score := so + m.scores[id]; paths[end].start < 0 || score > paths[end].score {
					paths[end] = pathEnd{score, int32(i), id}
				}
				single = single || end-i == size
			}
			if end == len(word) {
				break
			}
			next := t.slot((node<<8 | uint32(word[end])) + 1)
			if next.key == 0 {
				break
			}
			node = next.next
		}
		if !single {
			if end, score := i+size, so+m.unknown; paths[end].start < 0 || score > paths[end].score {
				paths[end] = pathEnd{score, int32(i), m.unk}
			}
		}
		i += size
	}
}

func (m *unigram) same(o model) bool {
	u, ok := o.(*unigram)
	if !ok || m.splitsSpace != u.splitsSpace || m.metaspace != u.metaspace || m.unk != u.unk || m.byteFallback != u.byteFallback || !m.normalizers.same(u.normalizers) {
		return false
	}
	return slices.Equal(m.vocab, u.vocab) && slices.EqualFunc(m.scores, u.scores, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })
}
