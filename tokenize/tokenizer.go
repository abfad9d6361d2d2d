// Package tokenize turns text into the token ids of Hugging Face's tokenizers,
// with their type ids and character offsets.
//
// A Tokenizer is WordPiece with BERT's normalization, the model of BERT,
// DistilBERT, ELECTRA and MiniLM, cased or uncased, byte-level byte-pair encoding,
// the model of RoBERTa, or a unigram language model, that of XLM-RoBERTa, CamemBERT,
// ALBERT and DeBERTa, with SentencePiece's normalization. It is read from the files that lie beside a
// model, as transformers 5 reads them, and refuses by name whatever they ask for
// that it does not do.
//
// Text that is not valid UTF-8 is read as if each wrong byte were U+FFFD, which
// BERT's normalizer removes.
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

// Encoding is the result of encoding a text or a pair of texts. Its buffers are
// reused by the next call that is given it; the zero value is ready for use.
// Concurrent calls need an Encoding each.
type Encoding struct {
	// IDs are the token ids, special tokens included, and TypeIDs tell the
	// first text (0) from the second (1).
	IDs, TypeIDs []int32
	// Offsets are the half-open ranges of runes of the text that the tokens
	// stand for, filled only on request. They are {0, 0} for special tokens
	// that no text stands behind, and those of the second text of a pair count
	// from its own start.
	Offsets [][2]int32
	// Whole is the number of tokens that there would be without a maximum length.
	Whole int

	a, b pieces
	word wordBuffer
}

// Options says how to encode.
type Options struct {
	// MaxLength cuts the encoding to this many tokens, special tokens
	// included. Of a pair, tokens are taken from the end of the longer text
	// (Hugging Face's longest_first). 0 means no limit.
	MaxLength int
	// Cut is the end at which a text that is too long loses tokens.
	Cut Side
	// Offsets asks for the character offsets.
	Offsets bool
}

// ErrText says that a text cannot be encoded.
var ErrText = errors.New("the text holds what has no token")

// Side is an end of a text.
type Side uint8

// Ends of a text. The zero value is the one that the tokenizer's files name
// (truncation_side), and the right one where they name none.
const (
	OfFiles Side = iota
	Left
	Right
)

// pieces are the tokens of one text, before the special tokens are added.
type pieces struct {
	ids     []int32
	offsets [][2]int32
	spaces  [][2]int32 // of tokens whose offsets are trimmed: white space at the start and at the end
	want    bool       // offsets wanted
	unknown []unknownPiece
}

// unknownPiece is a token whose own text the vocabulary lacks: its number, and the
// white space at the start and at the end of its text.
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

// model splits the text between special tokens into tokens. An implementation
// is safe for concurrent use: all that it changes is in its arguments.
type model interface {
	// tokenize appends the tokens of text, whose first rune is rune number at
	// of the whole text.
	tokenize(p *pieces, w *wordBuffer, text string, at int32)
	tokens() []string // by id
	same(model) bool
}

// normalizing is a model that changes the text before it cuts it.
type normalizing interface {
	model
	// normalizes tells whether it does.
	normalizes() bool
	// normalize makes w.texts[1] the normalized text, and w.from1 the rune of the
	// whole text that each byte comes from.
	normalize(w *wordBuffer, text string, at int32)
	normalizeString(text string) string
	// words appends the tokens of text that is normalized already, whose bytes come
	// from these runes.
	words(p *pieces, w *wordBuffer, text []byte, from []int32)
}

// frame is the arrangement of special tokens round the texts.
type frame struct {
	before, between, after []int32 // ids; between is used for pairs alone
	typeB                  int32   // type id of the second text and what follows it
}

// Tokenizer encodes texts. It is safe for concurrent use.
type Tokenizer struct {
	model    model
	added    []addedToken
	matchers [2]matcher // of the text as it is, and of normalized text
	frame    frame
	trim     trim
	cutLeft  bool             // texts that are too long lose their beginning
	decoder  decoder          // nil puts spaces between tokens
	cleanUp  bool             // clean_up_tokenization_spaces
	shown    map[int32]string // what Decode shows of added tokens, by id
	special  map[string]bool  // tokens that Decode leaves out
	files    map[string][]byte
	class    string // of transformers, without "Fast"; "" where tokenizer.json is all that there is

	decoderErr error // why there is no decoder

	once sync.Once // for ids
	ids  tokenIDs  // of ID

	vocab                     []string
	blank                     int32 // id of the model's empty token, which no text has; -1 for none
	pad, unk, cls, sep, mask_ int32
}

// Encode makes e the encoding of one text: [CLS] text [SEP], of RoBERTa
// <s> text </s>. It allocates nothing once e's buffers have grown. Errors are a
// MaxLength that has no room for the special tokens, and a text that holds a
// special token which the vocabulary lacks.
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

// EncodePair makes e the encoding of a pair of texts: [CLS] a [SEP] b [SEP],
// where b and the last [SEP] have type id 1; of RoBERTa <s> a </s></s> b </s>,
// all of type id 0. It allocates nothing once e's buffers have grown. Errors are
// those of Encode.
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
	e.special(t.frame.between, 0, o)
	e.text(&e.b, nb, t.keepsEnd(o), t.trim, t.frame.typeB, o)
	e.special(t.frame.after, t.frame.typeB, o)
	e.Whole = len(e.IDs) - na - nb + len(e.a.ids) + len(e.b.ids)
	return nil
}

// keepsEnd tells whether texts that are too long lose their beginning.
func (t *Tokenizer) keepsEnd(o Options) bool {
	return o.Cut == Left || o.Cut == OfFiles && t.cutLeft
}

// room returns the number of tokens that are left for the texts.
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

// text appends n tokens of a text, its first ones or its last.
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

// split appends the tokens of a text whose first rune is rune number at of the
// whole text: the added tokens of this pass, and what the next one makes of that
// which lies between them. After both passes it is the model's.
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
		} else { // a token that begins with the white space that the one before it took
			at -= runes(text[c.start:done])
		}
		end := at + runes(text[c.start:c.end])
		if err := t.addAdded(p, c.token, w.texts[pass][c.start:c.end], at, end); err != nil {
			return err
		}
		at = end
	}
}

// splitNormalized is the second pass for a model that normalizes: it looks for
// added tokens in the normalized text, and gives the model what is left of that.
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

// addAdded appends an added token, which stands in the text as written.
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

// spacesOf counts the white space at the start and at the end of a token.
func spacesOf(token []byte) [2]int32 {
	n := utf8.RuneCount(token)
	left, right := bytes.TrimLeftFunc(token, isSpaceChar), bytes.TrimRightFunc(token, isSpaceChar)
	return [2]int32{int32(n - utf8.RuneCount(left)), int32(n - utf8.RuneCount(right))}
}

// countSpaces counts the white space of the model's tokens that were added last.
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

// longestFirst returns how many tokens of each text are kept of a pair that
// has room for so many. It is Hugging Face's arithmetic: the shorter text is
// kept whole where it takes less than half, else each gets half, and an odd
// token goes to the longer text, to the second of two alike.
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

// Special returns the ids of the padding, unknown, classification, separator
// and mask tokens; -1 for one that the vocabulary does not have.
func (t *Tokenizer) Special() (pad, unk, cls, sep, mask int32) {
	return t.pad, t.unk, t.cls, t.sep, t.mask_
}

// inModel tells whether a token is of the model's vocabulary.
func (t *Tokenizer) inModel(id int32) bool {
	vocab := t.model.tokens()
	return int(id) < len(vocab) && vocab[id] == t.vocab[id]
}

// VocabSize returns one more than the largest token id.
func (t *Tokenizer) VocabSize() int { return len(t.vocab) }

// Token returns the text of a token id, "" for an id outside the vocabulary.
func (t *Tokenizer) Token(id int32) string {
	if id < 0 || int(id) >= len(t.vocab) {
		return ""
	}
	return t.vocab[id]
}

// Files returns the files that make the same tokenizer when loaded, by name.
// The contents must not be changed.
func (t *Tokenizer) Files() map[string][]byte { return maps.Clone(t.files) }
