package tokenize

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// charPair is byte-pair encoding of characters, as for Gemma and mmBERT. A normalizer replaces
// each space by a mark, neighbouring tokens merge across the whole text, and a character that the
// vocabulary lacks becomes its bytes.
type charPair struct {
	normalizers normalizerList
	// splitsSpace is Split: a space ends a word and is its last character.
	splitsSpace bool

	chars        map[rune]int32 // tokens of single characters
	bytes        [256]int32     // tokens of bytes, -1 where there is none
	byteFallback bool
	fuseUnk      bool // unknown neighbours become one token
	unk          int32
	merges       mergeTable
	vocab        []string
	// atMarks tells that no token has a mark after another character. Words can then be cut
	// before marks, and their tokens kept.
	atMarks bool
}

// newCharPair makes a model from a vocabulary by id and its merges in order of rank. unk is the
// id of the unknown token. If it is -1, unknown characters are left out.
func newCharPair(vocab []string, ids *tokenIDs, merges [][2]string, unk int32) (*charPair, error) {
	m := &charPair{chars: map[rune]int32{}, unk: unk, vocab: vocab}
	for id, token := range vocab {
		if r, size := utf8.DecodeRuneInString(token); size > 0 && size == len(token) {
			m.chars[r] = int32(id)
		}
	}
	atomic := map[string]bool{} // tokens that do not stand for their own text
	if unk >= 0 {
		atomic[vocab[unk]] = true
	}
	for b := range m.bytes {
		m.bytes[b] = -1
		token := byteToken(b)
		if id, ok := ids.find(token); ok {
			m.bytes[b], atomic[token] = id, true
		}
	}
	_, m.atMarks = m.chars[defaultReplacement]
	for rank, pair := range merges {
		whole := pair[0] + pair[1]
		for _, token := range []string{pair[0], pair[1], whole} {
			if atomic[token] {
				return nil, fmt.Errorf("merge %d (%q, %q): %q is a byte or the unknown token, expected none in a merge", rank+1, pair[0], pair[1], token)
			}
		}
		m.atMarks = m.atMarks && !strings.ContainsRune(strings.TrimLeft(whole, string(defaultReplacement)), defaultReplacement)
	}
	var err error
	m.merges, err = newMergeTable(ids, merges)
	return m, err
}

// byteToken returns the token that stands for a byte.
func byteToken(b int) string { return fmt.Sprintf("<0x%02X>", b) }

const byteTokenSize = len("<0x00>")

func (m *charPair) tokens() []string { return m.vocab }

func (m *charPair) normalizes() bool { return len(m.normalizers) > 0 }

func (m *charPair) normalize(w *wordBuffer, text string, at int32) { m.normalizers.keep(w, text, at) }

func (m *charPair) normalizeString(text string) string { return m.normalizers.string(text) }

func (m *charPair) tokenize(p *pieces, w *wordBuffer, text string, at int32) {
	a := m.normalizers.apply(w, text, at)
	m.words(p, w, a.bytes, a.from)
}

// words appends the tokens of a normalized text. from holds the rune that each byte comes from.
func (m *charPair) words(p *pieces, w *wordBuffer, text []byte, from []int32) {
	for len(text) > 0 {
		n := m.wordLength(text)
		m.word(p, w, text[:n], from[:n])
		text, from = text[n:], from[n:]
	}
}

// wordLength returns the length of the first word of text.
func (m *charPair) wordLength(text []byte) int {
	for i, c := range text {
		switch {
		case m.splitsSpace && c == ' ':
			return i + 1
		case m.atMarks && i > 0 && c == mark[0] && bytes.HasPrefix(text[i:], mark) && !bytes.HasSuffix(text[:i], mark):
			return i
		}
	}
	return len(text)
}

// mark stands for a space.
var mark = []byte(string(defaultReplacement))

// word appends the tokens of a word.
func (m *charPair) word(p *pieces, w *wordBuffer, word []byte, from []int32) {
	slot := w.cache.slot(m, word)
	if slot != nil && slot.holds(word) {
		m.add(p, w, slot.ids[:slot.n], from)
		return
	}
	b := &w.pair
	b.ids, b.sizes = b.ids[:0], b.sizes[:0]
	unknown := 0 // unknown bytes before the next token
	flush := func() {
		if unknown > 0 {
			b.ids, b.sizes = append(b.ids, m.unk), append(b.sizes, int32(unknown))
			unknown = 0
		}
	}
	for i := 0; i < len(word); {
		r, size := utf8.DecodeRune(word[i:])
		char := word[i : i+size]
		i += size
		if id, ok := m.chars[r]; ok {
			flush()
			b.ids = append(b.ids, id)
			if id == m.unk {
				b.sizes = append(b.sizes, int32(size))
			}
			continue
		}
		if m.byteFallback && !slices.ContainsFunc(char, func(c byte) bool { return m.bytes[c] < 0 }) {
			// An unknown character before them comes after them, as in Hugging Face's library.
			for _, c := range char {
				b.ids = append(b.ids, m.bytes[c])
			}
			continue
		}
		if m.unk < 0 {
			continue
		}
		if !m.fuseUnk {
			flush()
		}
		unknown += size
	}
	flush()
	m.merges.merge(b)
	if slot != nil && len(b.sizes) == 0 {
		slot.put(word, b.ids)
	}
	m.add(p, w, b.ids, from)
}

// add appends the tokens of a word. from holds the rune that each byte comes from, and
// w.pair.sizes the number of bytes of each unknown token.
func (m *charPair) add(p *pieces, w *wordBuffer, ids, from []int32) {
	start, unknown := 0, 0
	for _, id := range ids {
		end := start + len(m.vocab[id])
		switch {
		case id == m.unk:
			end = start + int(w.pair.sizes[unknown])
			unknown++
		case m.isByte(id):
			end = start + 1
		}
		p.add(id, from[start], from[end-1]+1)
		start = end
	}
}

// isByte tells whether a token stands for a byte.
func (m *charPair) isByte(id int32) bool {
	b, ok := byteOf(m.vocab[id])
	return ok && m.bytes[b] == id
}

func (m *charPair) same(o model) bool {
	c, ok := o.(*charPair)
	return ok && m.normalizers.same(c.normalizers) && m.splitsSpace == c.splitsSpace && m.byteFallback == c.byteFallback && m.fuseUnk == c.fuseUnk &&
		m.unk == c.unk && slices.Equal(m.vocab, c.vocab) && slices.Equal(m.merges.pairs(m.vocab), c.merges.pairs(c.vocab))
}

func (m *charPair) format(t *Tokenizer) dict {
	var unk any
	if m.unk >= 0 {
		unk = m.vocab[m.unk]
	}
	var before any
	if m.splitsSpace {
		before = splitAtSpaces
	}
	return dict{
		"normalizer":    m.normalizers.format(),
		"pre_tokenizer": before,
		"decoder": dict{"type": "Sequence", "decoders": []dict{
			{"type": "Replace", "pattern": dict{"String": string(defaultReplacement)}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
		}},
		"model": dict{
			"type": bpeModel, "dropout": nil, "unk_token": unk, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": m.fuseUnk, "byte_fallback": m.byteFallback, "vocab": formatVocab(m.vocab, t.blank), "merges": m.merges.pairs(m.vocab),
		},
	}
}

// splitAtSpaces is the pre-tokenizer that cuts after each space.
var splitAtSpaces = dict{"type": "Split", "pattern": dict{"String": " "}, "behavior": "MergedWithPrevious", "invert": false}
