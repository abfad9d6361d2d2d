package tokenize

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// wordPiece is BERT's normalizer and pre-tokenizer followed by the WordPiece
// model, in one pass over the text: a word goes to the model as soon as it
// ends.
type wordPiece struct {
	// The settings of Hugging Face's BertNormalizer, strip_accents resolved.
	cleanText, chineseChars, stripAccents, lowercase bool

	vocab    []string
	start    *forest // tokens that a word can begin with
	inner    *forest // those that can continue it
	unk      int32
	maxChars int // runes of a word beyond which it is unknown

	// onWord, where it is set, gets the words in place of the model.
	onWord func(word []byte, runes int)

	// ascii is what becomes of each ASCII character.
	ascii [utf8.RuneSelf]asciiChar
}

// asciiChar is what normalization and pre-tokenization make of a character.
type asciiChar struct {
	class charClass
	as    byte // what a letter turns into
}

type charClass uint8

const (
	inWord  charClass = iota // part of a word
	space                    // ends a word
	punct                    // a word of its own
	dropped                  // removed
)

// wordBuffer is the word being collected: its normalized bytes, and the rune of
// the text that each byte comes from.
type wordBuffer struct {
	bytes []byte
	from  []int32
	runes int
	char  []byte
	pair  pairBuffer // of byte-pair encoding, whose bytes are those of the text
}

func (w *wordBuffer) add(r rune, at int32) {
	n := len(w.bytes)
	w.bytes = utf8.AppendRune(w.bytes, r)
	for range len(w.bytes) - n {
		w.from = append(w.from, at)
	}
	w.runes++
}

func (w *wordBuffer) clear() {
	w.bytes, w.from, w.runes = w.bytes[:0], w.from[:0], 0
}

// prepare fills what is derived from the settings. prefix is what the pieces
// inside a word start with in the vocabulary.
func (m *wordPiece) prepare(prefix string) bool {
	total := 0
	for _, token := range m.vocab {
		total += len(token)
	}
	if total > maxNodes {
		return false
	}
	m.start, m.inner = newForest(m.vocab, ""), newForest(m.vocab, prefix)
	for i := range m.ascii {
		r := rune(i)
		c := &m.ascii[i]
		c.as = byte(i)
		if m.lowercase && 'A' <= r && r <= 'Z' {
			c.as += 'a' - 'A'
		}
		c.class = m.classOf(r)
	}
	return true
}

// classOf returns what becomes of a character, Chinese ones and case left aside.
func (m *wordPiece) classOf(r rune) charClass {
	switch {
	case m.cleanText && (r == 0 || r == utf8.RuneError || unicode.Is(droppedChars, r)):
		return dropped
	case unicode.IsSpace(r):
		return space
	case unicode.Is(punctChars, r):
		return punct
	}
	return inWord
}

func (m *wordPiece) tokenize(p *pieces, w *wordBuffer, text string, at int32) {
	w.clear()
	for i := 0; i < len(text); at++ {
		c := text[i]
		if c < utf8.RuneSelf {
			i++
			switch a := m.ascii[c]; a.class {
			case inWord:
				w.bytes = append(w.bytes, a.as)
				w.from = append(w.from, at)
				w.runes++
			case space:
				m.flush(p, w)
			case punct:
				m.flush(p, w)
				w.add(rune(a.as), at)
				m.flush(p, w)
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		i += n
		m.other(p, w, r, at)
	}
	m.flush(p, w)
}

// other handles a character beyond ASCII.
func (m *wordPiece) other(p *pieces, w *wordBuffer, r rune, at int32) {
	switch m.classOf(r) {
	case dropped:
		return
	case space:
		m.flush(p, w)
		return
	}
	han := m.chineseChars && unicode.Is(hanChars, r)
	if han {
		m.flush(p, w)
	}
	if m.stripAccents {
		m.decompose(p, w, r, at)
	} else {
		m.normalized(p, w, r, at)
	}
	if han {
		m.flush(p, w)
	}
}

// decompose takes the canonical decomposition of a character apart and leaves
// its marks out.
func (m *wordPiece) decompose(p *pieces, w *wordBuffer, r rune, at int32) {
	if s := r - 0xac00; 0 <= s && s < 11172 { // a Hangul syllable, Unicode 3.12
		m.normalized(p, w, 0x1100+s/588, at)
		m.normalized(p, w, 0x1161+s%588/28, at)
		if t := s % 28; t > 0 {
			m.normalized(p, w, 0x11a7+t, at)
		}
		return
	}
	w.char = utf8.AppendRune(w.char[:0], r)
	d := norm.NFD.Properties(w.char).Decomposition()
	// U+11938 decomposes since Unicode 13, which the library is behind.
	if d == nil || r == 0x11938 {
		d = w.char
	}
	for len(d) > 0 {
		c, n := utf8.DecodeRune(d)
		d = d[n:]
		if !unicode.Is(markChars, c) {
			m.normalized(p, w, c, at)
		}
	}
}

// normalized takes a character after decomposition: its case is folded, and it
// is looked at as the pre-tokenizer sees it.
func (m *wordPiece) normalized(p *pieces, w *wordBuffer, r rune, at int32) {
	if m.lowercase {
		if r == 'İ' {
			// The one character whose lower case is two: i and a dot above.
			w.add('i', at)
			r = '\u0307'
		} else {
			r = lower(r)
		}
	}
	switch {
	case unicode.IsSpace(r):
		m.flush(p, w)
	case unicode.Is(punctChars, r):
		m.flush(p, w)
		w.add(r, at)
		m.flush(p, w)
	default:
		w.add(r, at)
	}
}

// flush ends the word, if there is one, and adds its pieces: from its start the
// longest token of the vocabulary, again and again, or the unknown token for the
// whole word where that fails.
func (m *wordPiece) flush(p *pieces, w *wordBuffer) {
	if len(w.bytes) == 0 {
		return
	}
	if m.onWord != nil {
		m.onWord(w.bytes, w.runes)
		w.clear()
		return
	}
	mark := len(p.ids)
	known := w.runes <= m.maxChars
	tokens := m.start
	for i := 0; known && i < len(w.bytes); {
		id, n := tokens.longest(w.bytes[i:])
		if known = id >= 0; known {
			p.add(id, w.from[i], w.from[i+n-1]+1)
			i += n
			tokens = m.inner
		}
	}
	if !known {
		p.ids = p.ids[:mark]
		if p.want {
			p.offsets = p.offsets[:mark]
		}
		p.add(m.unk, w.from[0], w.from[len(w.from)-1]+1)
	}
	w.clear()
}
