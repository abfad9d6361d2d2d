package tokenize

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// wordPiece is BERT's normalizer and pre-tokenizer followed by the WordPiece model. It makes one
// pass over the text: a word goes to the model as soon as it ends.
type wordPiece struct {
	// The settings of Hugging Face's BertNormalizer, with strip_accents resolved.
	cleanText, chineseChars, stripAccents, lowercase bool

	vocab    []string
	prefix   string  // prefix of pieces inside a word in the vocabulary
	start    *forest // tokens that may begin a word
	inner    *forest // tokens that may continue one
	unk      int32
	maxChars int // a word of more runes is unknown

	// onWord, if not nil, gets the words instead of the model.
	onWord func(word []byte, runes int)

	// ascii says what becomes of each ASCII character.
	ascii [utf8.RuneSelf]asciiChar
}

// asciiChar is the result of normalization and pre-tokenization for a character.
type asciiChar struct {
	class charClass
	as    byte // what a letter becomes
}

type charClass uint8

const (
	inWord  charClass = iota // part of a word
	space                    // ends a word
	punct                    // a word of its own
	dropped                  // removed
)

// wordBuffer holds the normalized word that is being collected.
type wordBuffer struct {
	aligned
	runes int
	char  []byte
	cache wordCache
	pair  pairBuffer // for byte-pair encoding, which works on the bytes of the text

	unigram unigramBuffer

	// texts are those in which the two passes search for added tokens. from1 is the rune of the
	// whole text that each byte of the second comes from.
	texts [2][]byte
	from1 []int32
	// whole says that the caller wants the normalized text, not its words.
	whole bool
}

func (w *wordBuffer) add(r rune, at int32) {
	w.aligned.add(r, at)
	w.runes++
}

func (w *wordBuffer) clear() {
	w.reset()
	w.runes = 0
}

// prepare computes what follows from the settings. It returns false if the vocabulary is too
// large.
func (m *wordPiece) prepare() bool {
	total := 0
	for _, token := range m.vocab {
		total += len(token)
	}
	if total > maxNodes {
		return false
	}
	m.start, m.inner = newForest(m.vocab, ""), newForest(m.vocab, m.prefix)
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

// classOf returns what becomes of a character, regardless of Chinese characters and case.
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

func (m *wordPiece) tokens() []string { return m.vocab }

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
				m.word(p, w, rune(a.as), at)
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		i += n
		m.other(p, w, r, at)
	}
	m.flush(p, w)
}

func (m *wordPiece) normalizes() bool { return true }

// normalize sets w.texts[1] to the normalized text, and w.from1 to the rune of the whole text
// that each byte comes from.
func (m *wordPiece) normalize(w *wordBuffer, text string, at int32) {
	w.clear()
	w.whole = true
	for _, r := range text {
		if r < utf8.RuneSelf && m.ascii[r].class != space {
			if a := m.ascii[r]; a.class != dropped {
				w.add(rune(a.as), at)
			}
		} else {
			m.other(nil, w, r, at)
		}
		at++
	}
	w.whole = false
	w.bytes, w.texts[1] = w.texts[1], w.bytes
	w.from, w.from1 = w.from1, w.from
}

func (m *wordPiece) normalizeString(text string) string {
	var w wordBuffer
	m.normalize(&w, text, 0)
	return string(w.texts[1])
}

// words appends the tokens of normalized text. from holds the rune that each byte comes from.
func (m *wordPiece) words(p *pieces, w *wordBuffer, text []byte, from []int32) {
	w.clear()
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		m.put(p, w, r, from[i])
		i += n
	}
	m.flush(p, w)
}

// other handles a character beyond ASCII, or white space if the whole text is wanted.
func (m *wordPiece) other(p *pieces, w *wordBuffer, r rune, at int32) {
	switch class := m.classOf(r); {
	case class == dropped:
		return
	case class == space && !w.whole:
		m.flush(p, w)
		return
	case class == space && m.cleanText:
		w.add(' ', at)
		return
	}
	han := m.chineseChars && unicode.Is(hanChars, r)
	if han {
		m.gap(p, w, at)
	}
	if m.stripAccents {
		m.decompose(p, w, r, at)
	} else {
		m.normalized(p, w, r, at)
	}
	if han {
		m.gap(p, w, at)
	}
}

// gap adds the space on either side of a Chinese character.
func (m *wordPiece) gap(p *pieces, w *wordBuffer, at int32) {
	if w.whole {
		w.add(' ', at)
	} else {
		m.flush(p, w)
	}
}

// decompose splits a character by its canonical decomposition and drops its marks.
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
	// U+11938 decomposes only since Unicode 13. The library uses an older one.
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

// normalized handles a character after decomposition: it folds the case and passes the character
// to the pre-tokenizer.
func (m *wordPiece) normalized(p *pieces, w *wordBuffer, r rune, at int32) {
	if m.lowercase {
		if r == 'İ' {
			// This is the only character whose lower case is two: i and a dot above.
			w.add('i', at)
			r = '\u0307'
		} else {
			r = lower(r)
		}
	}
	if w.whole {
		w.add(r, at)
	} else {
		m.put(p, w, r, at)
	}
}

// put handles a character as the pre-tokenizer does: white space ends a word, and punctuation is
// a word by itself.
func (m *wordPiece) put(p *pieces, w *wordBuffer, r rune, at int32) {
	switch {
	case unicode.IsSpace(r):
		m.flush(p, w)
	case unicode.Is(punctChars, r):
		m.word(p, w, r, at)
	default:
		w.add(r, at)
	}
}

// word adds a word of one character.
func (m *wordPiece) word(p *pieces, w *wordBuffer, r rune, at int32) {
	m.flush(p, w)
	w.add(r, at)
	m.flush(p, w)
}

// flush ends the word, if there is one, and adds its pieces: again and again the longest token of
// the vocabulary that the rest starts with. If no token fits, the whole word is the unknown
// token.
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
