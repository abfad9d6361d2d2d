// Package tokenize turns text into the token ids of Hugging Face's tokenizers, with type ids and
// character offsets.
//
// A Tokenizer uses one of four models. WordPiece with BERT's normalization, cased or uncased, is
// for BERT, DistilBERT, ELECTRA and MiniLM. Byte-level byte-pair encoding is for RoBERTa and
// ModernBERT, and byte-pair encoding of characters for Gemma's vocabulary (mmBERT). A unigram
// language model with SentencePiece's normalization is for XLM-RoBERTa, CamemBERT, ALBERT and
// DeBERTa. The files beside a model are read as transformers 5 reads them. If they ask for
// something that is not implemented, the error names it.
//
// In text that is not valid UTF-8, each wrong byte is read as U+FFFD, which BERT's normalizer
// removes.
package tokenize

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"unicode/utf8"
)

// Encoding is the result of encoding a text or a pair of texts. The zero value is ready for use.
// The next call that gets the Encoding reuses its buffers, so concurrent calls need one each.
type Encoding struct {
	// IDs are the token ids, including special tokens. TypeIDs are 0 in the first text and 1 in
	// the second.
	IDs, TypeIDs []int32
	// Offsets are half-open ranges of runes in the text, one for each token. They are only filled
	// on request. Special tokens that do not come from the text have {0, 0}. Ranges in the second
	// text of a pair count from its start.
	Offsets [][2]int32
	// Whole is the number of tokens without a maximum length.
	Whole int

	a, b pieces
	word wordBuffer
}

// Options says how to encode.
type Options struct {
	// MaxLength is the largest number of tokens, including special tokens; 0 means no limit.
	// Tokens of a pair are removed from the end of the longer text (longest_first of Hugging
	// Face).
	MaxLength int
	// Cut is the end at which a text that is too long loses tokens.
	Cut Side
	// Offsets requests the character offsets.
	Offsets bool
}

// ErrText says that a text cannot be encoded.
var ErrText = errors.New("the text holds what has no token")

// Side is an end of a text.
type Side uint8

// The ends of a text. The zero value means the end that the tokenizer's files name
// (truncation_side), and the right one if they name none.
const (
	OfFiles Side = iota
	Left
	Right
)

// pieces holds the tokens of one text, without special tokens.
type pieces struct {
	ids     []int32
	offsets [][2]int32
	spaces  [][2]int32 // white space at the start and end of each token, if offsets are trimmed
	want    bool       // whether offsets are requested
	unknown []unknownPiece
}

// unknownPiece is a token whose text is not in the vocabulary: its number, and the white space at
// the start and the end of its text.
type unknownPiece struct {
	number int
	spaces [2]int32
}

func (p *pieces) reset(offsets bool) {
	p.ids, p.offsets, p.spaces, p.unknown, p.want = p.ids[:0], p.offsets[:0], p.spaces[:0], p.unknown[:0], offsets
}

func (p *pieces) add(id int32, start, end int32) {
	p.ids = append(p.ids, id)
	if p.want {
		p.offsets = append(p.offsets, [2]int32{start, end})
	}
}

// model splits the text between special tokens into tokens. Implementations are safe for
// concurrent use: they only change their arguments.
type model interface {
	// tokenize appends the tokens of text. Its first rune is rune number at of the whole text.
	tokenize(p *pieces, w *wordBuffer, text string, at int32)
	tokens() []string // by id
	same(model) bool
}

// normalizing is a model that changes the text before it splits it.
type normalizing interface {
	model
	// normalizes tells whether it does.
	normalizes() bool
	// normalize sets w.texts[1] to the normalized text, and w.from1 to the rune of the whole text
	// that each byte comes from.
	normalize(w *wordBuffer, text string, at int32)
	normalizeString(text string) string
	// words appends the tokens of normalized text. from holds the rune that each byte comes from.
	words(p *pieces, w *wordBuffer, text []byte, from []int32)
}

// frame is the special tokens around the texts.
type frame struct {
	before, between, after []int32 // ids; between is only used for pairs
	opensB                 int     // how many tokens at the end of between belong to the second text
	typeB                  int32   // type id of the second text and everything after it
}

// Tokenizer encodes texts. It is safe for concurrent use.
type Tokenizer struct {
	model    model
	added    []addedToken
	matchers [2]matcher // for the text as written, and for normalized text
	frame    frame
	trim     trim
	cutLeft  bool             // texts that are too long lose their beginning
	decoder  decoder          // nil puts spaces between tokens
	cleanUp  bool             // clean_up_tokenization_spaces
	shown    map[int32]string // what Decode writes for added tokens, by id
	special  map[string]bool  // tokens that Decode leaves out
	files    map[string][]byte
	class    string // of transformers, without "Fast"; "" where tokenizer.json is all that there is

	decoderErr error // why decoder is missing

	once sync.Once // guards ids
	ids  tokenIDs  // for ID

	vocab                     []string
	blank                     int32 // id of the model's empty token, which no text has; -1 if there is none
	pad, unk, cls, sep, mask_ int32
}

// Encode sets e to the encoding of one text: [CLS] text [SEP], or <s> text </s> for RoBERTa. It
// allocates nothing once e's buffers have grown. It fails if MaxLength leaves no room for the
// special tokens, and if the text contains a special token that the vocabulary lacks.
func (t *Tokenizer) Encode(e *Encoding, text string, o Options) error {
	room, err := t.room(o, len(t.frame.before)+len(t.frame.after))
	if err != nil {
		return err
	}
	e.a.reset(o.Offsets)
	if err := t.split(&e.a, &e.word, text, 0, 0); err != nil {
		return err
	}
	n := min(len(e.a.ids), room)
	e.reset()
	e.special(t.frame.before, 0, o)
	e.text(&e.a, n, t.keepsEnd(o), t.trim, 0, o)
	e.special(t.frame.after, 0, o)
	e.Whole = len(e.IDs) - n + len(e.a.ids)
	return nil
}

// EncodePair sets e to the encoding of a pair of texts: [CLS] a [SEP] b [SEP], where b and the
// last [SEP] have type id 1. For RoBERTa it is <s> a </s></s> b </s>, all with type id 0. It
// allocates nothing once e's buffers have grown. It fails for the same reasons as Encode.
func (t *Tokenizer) EncodePair(e *Encoding, a, b string, o Options) error {
	room, err := t.room(o, len(t.frame.before)+len(t.frame.between)+len(t.frame.after))
	if err != nil {
		return err
	}
	e.a.reset(o.Offsets)
	e.b.reset(o.Offsets)
	if err := t.split(&e.a, &e.word, a, 0, 0); err != nil {
		return err
	}
	if err := t.split(&e.b, &e.word, b, 0, 0); err != nil {
		return err
	}
	na, nb := longestFirst(len(e.a.ids), len(e.b.ids), room)
	e.reset()
	e.special(t.frame.before, 0, o)
	e.text(&e.a, na, t.keepsEnd(o), t.trim, 0, o)
	first := len(t.frame.between) - t.frame.opensB
	e.special(t.frame.between[:first], 0, o)
	e.special(t.frame.between[first:], t.frame.typeB, o)
	e.text(&e.b, nb, t.keepsEnd(o), t.trim, t.frame.typeB, o)
	e.special(t.frame.after, t.frame.typeB, o)
	e.Whole = len(e.IDs) - na - nb + len(e.a.ids) + len(e.b.ids)
	return nil
}

// keepsEnd tells whether texts that are too long lose their beginning.
func (t *Tokenizer) keepsEnd(o Options) bool {
	return o.Cut == Left || o.Cut == OfFiles && t.cutLeft
}

// room returns the number of tokens that the texts may have.
func (t *Tokenizer) room(o Options, special int) (int, error) {
	if o.MaxLength == 0 {
		return 1<<31 - 1, nil
	}
	if o.MaxLength < special {
		return 0, fmt.Errorf("maximum length %d is less than the %d special tokens", o.MaxLength, special)
	}
	return o.MaxLength - special, nil
}

func (e *Encoding) reset() {
	e.IDs, e.TypeIDs, e.Offsets = e.IDs[:0], e.TypeIDs[:0], e.Offsets[:0]
}

func (e *Encoding) special(ids []int32, typ int32, o Options) {
	for _, id := range ids {
		e.IDs = append(e.IDs, id)
		e.TypeIDs = append(e.TypeIDs, typ)
		if o.Offsets {
			e.Offsets = append(e.Offsets, [2]int32{})
		}
	}
}

// text appends n tokens of a text, the first or the last ones.
func (e *Encoding) text(p *pieces, n int, last bool, trim trim, typ int32, o Options) {
	from := 0
	if last {
		from = len(p.ids) - n
	}
	e.IDs = append(e.IDs, p.ids[from:from+n]...)
	for range n {
		e.TypeIDs = append(e.TypeIDs, typ)
	}
	if o.Offsets {
		e.Offsets = append(e.Offsets, p.offsets[from:from+n]...)
		for i := range p.spaces[min(from, len(p.spaces)):min(from+n, len(p.spaces))] {
			trim.apply(&e.Offsets[len(e.Offsets)-n+i], i, p.spaces[from+i])
		}
	}
}

// split appends the tokens of a text. Its first rune is rune number at of the whole text. A pass
// finds its added tokens and leaves the text between them to the next pass, and after both passes
// to the model.
func (t *Tokenizer) split(p *pieces, w *wordBuffer, text string, at int32, pass int) error {
	if text == "" {
		return nil
	}
	if pass == len(t.matchers) {
		t.model.tokenize(p, w, text, at)
		t.countSpaces(p)
		return nil
	}
	m := &t.matchers[pass]
	if pass == 1 && m.n > 0 {
		if normalizer, ok := t.model.(normalizing); ok && normalizer.normalizes() {
			return t.splitNormalized(p, w, normalizer, text, at)
		}
	}
	if !m.mayHold(text) {
		return t.split(p, w, text, at, pass+1)
	}
	w.texts[pass] = append(w.texts[pass][:0], text...)
	var c cursor
	for {
		done := c.end
		if !m.next(w.texts[pass], &c) {
			return t.split(p, w, text[done:], at, pass+1)
		}
		if done < c.start {
			if err := t.split(p, w, text[done:c.start], at, pass+1); err != nil {
				return err
			}
			at += runes(text[done:c.start])
		} else { // a token that begins with white space that the one before it has taken
			at -= runes(text[c.start:done])
		}
		end := at + runes(text[c.start:c.end])
		if err := t.addAdded(p, c.token, w.texts[pass][c.start:c.end], at, end); err != nil {
			return err
		}
		at = end
	}
}

// splitNormalized is the second pass for a model that normalizes. It searches for added tokens in
// the normalized text, and gives the rest to the model.
func (t *Tokenizer) splitNormalized(p *pieces, w *wordBuffer, m normalizing, text string, at int32) error {
	m.normalize(w, text, at)
	b, from := w.texts[1], w.from1
	var c cursor
	for {
		done := c.end
		found := t.matchers[1].next(b, &c)
		until := len(b)
		if found {
			until = max(done, c.start)
		}
		m.words(p, w, b[done:until], from[done:until])
		t.countSpaces(p)
		if !found {
			return nil
		}
		if err := t.addAdded(p, c.token, b[c.start:c.end], from[c.start], from[c.end-1]+1); err != nil {
			return err
		}
	}
}

// addAdded appends an added token that occurs in the text as written.
func (t *Tokenizer) addAdded(p *pieces, token *addedToken, written []byte, start, end int32) error {
	if token.absent {
		return fmt.Errorf("%w: %s, a special token that the vocabulary lacks", ErrText, token.text)
	}
	p.add(token.id, start, end)
	if t.trim.on && p.want {
		p.spaces = append(p.spaces, spacesOf(written))
	}
	return nil
}

// spacesOf counts the white space at the start and the end of a token.
func spacesOf(token []byte) [2]int32 {
	n := utf8.RuneCount(token)
	left, right := bytes.TrimLeftFunc(token, isSpaceChar), bytes.TrimRightFunc(token, isSpaceChar)
	return [2]int32{int32(n - utf8.RuneCount(left)), int32(n - utf8.RuneCount(right))}
}

// countSpaces counts the white space of those of the model's tokens that were appended last.
func (t *Tokenizer) countSpaces(p *pieces) {
	if !t.trim.on || !p.want {
		return
	}
	for _, id := range p.ids[len(p.spaces):] {
		token := t.vocab[id]
		p.spaces = append(p.spaces, [2]int32{
			runes(token) - runes(strings.TrimLeftFunc(token, isSpaceChar)), runes(token) - runes(strings.TrimRightFunc(token, isSpaceChar)),
		})
	}
	for _, u := range p.unknown {
		p.spaces[u.number] = u.spaces
	}
}

// longestFirst returns how many tokens of each text to keep if a pair has room for so many. It
// follows Hugging Face's arithmetic. A text that takes less than half is kept whole. Otherwise
// each text gets half, and an odd token goes to the longer text, or to the second of two equally
// long ones.
func longestFirst(a, b, room int) (int, int) {
	if a+b <= room {
		return a, b
	}
	short := min(a, b)
	long := max(short, room-short)
	if short+long > room {
		short = room / 2
		long = short + room%2
	}
	if a > b {
		return long, short
	}
	return short, long
}

// Special returns the ids of the padding, unknown, classification, separator and mask tokens, and
// -1 for each that the vocabulary lacks.
func (t *Tokenizer) Special() (pad, unk, cls, sep, mask int32) {
	return t.pad, t.unk, t.cls, t.sep, t.mask_
}

// inModel tells whether a token is in the model's vocabulary.
func (t *Tokenizer) inModel(id int32) bool {
	vocab := t.model.tokens()
	return int(id) < len(vocab) && vocab[id] == t.vocab[id]
}

// VocabSize returns the largest token id plus one.
func (t *Tokenizer) VocabSize() int { return len(t.vocab) }

// Token returns the text of a token, or "" if the id is outside the vocabulary.
func (t *Tokenizer) Token(id int32) string {
	if id < 0 || int(id) >= len(t.vocab) {
		return ""
	}
	return t.vocab[id]
}

// Files returns files, by name, from which Load makes the same tokenizer. Do not change the
// contents.
func (t *Tokenizer) Files() map[string][]byte { return maps.Clone(t.files) }
