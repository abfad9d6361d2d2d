// Package tokenize turns text into the token ids of Hugging Face's tokenizers,
// with their type ids and character offsets.
//
// A Tokenizer is WordPiece with BERT's normalization, the model of BERT,
// DistilBERT, ELECTRA and MiniLM, cased or uncased, or byte-level byte-pair
// encoding, the model of RoBERTa. It is read from tokenizer.json, from vocab.txt,
// or from vocab.json and merges.txt, and refuses by name whatever a
// tokenizer.json asks for that it does not do.
//
// Text that is not valid UTF-8 is read as if each wrong byte were U+FFFD, which
// BERT's normalizer removes.
package tokenize

import (
	"fmt"
	"maps"
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

	a, b pieces
	word wordBuffer
}

// Options says how to encode.
type Options struct {
	// MaxLength cuts the encoding to this many tokens, special tokens
	// included. Of a pair, tokens are taken from the end of the longer text
	// (Hugging Face's longest_first). 0 means no limit.
	MaxLength int
	// Offsets asks for the character offsets.
	Offsets bool
}

// pieces are the tokens of one text, before the special tokens are added.
type pieces struct {
	ids     []int32
	offsets [][2]int32
	want    bool // offsets wanted
}

func (p *pieces) reset(offsets bool) {
	p.ids, p.offsets, p.want = p.ids[:0], p.offsets[:0], offsets
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
}

// frame is the arrangement of special tokens round the texts.
type frame struct {
	before, between, after []int32 // ids; between is used for pairs alone
	typeB                  int32   // type id of the second text and what follows it
}

// Tokenizer encodes texts. It is safe for concurrent use.
type Tokenizer struct {
	model    model
	specials specials
	frame    frame
	trim     trim
	files    map[string][]byte

	vocab                     []string
	pad, unk, cls, sep, mask_ int32
}

// Encode makes e the encoding of one text: [CLS] text [SEP], of RoBERTa
// <s> text </s>. It allocates
// nothing once e's buffers have grown. The only error is a MaxLength that has
// no room for the special tokens.
func (t *Tokenizer) Encode(e *Encoding, text string, o Options) error {
	room, err := t.room(o, len(t.frame.before)+len(t.frame.after))
	if err != nil {
		return err
	}
	t.split(&e.a, &e.word, text, o.Offsets)
	n := min(len(e.a.ids), room)
	e.reset()
	e.special(t.frame.before, 0, o)
	e.text(&e.a, n, 0, o)
	e.special(t.frame.after, 0, o)
	return nil
}

// EncodePair makes e the encoding of a pair of texts: [CLS] a [SEP] b [SEP],
// where b and the last [SEP] have type id 1; of RoBERTa <s> a </s></s> b </s>,
// all of type id 0. It allocates nothing once e's buffers have grown. The only error is a MaxLength that has no room for the
// special tokens.
func (t *Tokenizer) EncodePair(e *Encoding, a, b string, o Options) error {
	room, err := t.room(o, len(t.frame.before)+len(t.frame.between)+len(t.frame.after))
	if err != nil {
		return err
	}
	t.split(&e.a, &e.word, a, o.Offsets)
	t.split(&e.b, &e.word, b, o.Offsets)
	na, nb := longestFirst(len(e.a.ids), len(e.b.ids), room)
	e.reset()
	e.special(t.frame.before, 0, o)
	e.text(&e.a, na, 0, o)
	e.special(t.frame.between, 0, o)
	e.text(&e.b, nb, t.frame.typeB, o)
	e.special(t.frame.after, t.frame.typeB, o)
	return nil
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

func (e *Encoding) text(p *pieces, n int, typ int32, o Options) {
	e.IDs = append(e.IDs, p.ids[:n]...)
	for range n {
		e.TypeIDs = append(e.TypeIDs, typ)
	}
	if o.Offsets {
		e.Offsets = append(e.Offsets, p.offsets[:n]...)
	}
}

// split makes p the tokens of a text: the special tokens written out in it, and
// the model's tokens of what lies between them.
func (t *Tokenizer) split(p *pieces, w *wordBuffer, text string, offsets bool) {
	p.reset(offsets)
	var at int32 // runes before text
	between := func(text string) {
		first := len(p.ids)
		t.model.tokenize(p, w, text, at)
		if t.trim.on {
			for i := first; i < len(p.offsets); i++ {
				t.trim.apply(&p.offsets[i], i, t.vocab[p.ids[i]])
			}
		}
	}
	for {
		s, start, end := t.specials.find(text)
		if s == nil {
			break
		}
		if start > 0 {
			between(text[:start])
			at += int32(utf8.RuneCountInString(text[:start]))
		}
		n := int32(utf8.RuneCountInString(text[start:end]))
		p.add(s.id, at, at+n)
		if t.trim.on && offsets {
			i := len(p.offsets) - 1
			t.trim.apply(&p.offsets[i], i, text[start:end])
		}
		at += n
		text = text[end:]
	}
	if text != "" {
		between(text)
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
