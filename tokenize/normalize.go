package tokenize

import (
	"bytes"
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// aligned is a text, possibly changed, and for each of its bytes the rune of the whole text that
// it comes from.
type aligned struct {
	bytes []byte
	from  []int32
}

func (a *aligned) reset() { a.bytes, a.from = a.bytes[:0], a.from[:0] }

func (a *aligned) add(r rune, from int32) {
	n := len(a.bytes)
	a.bytes = utf8.AppendRune(a.bytes, r)
	for range len(a.bytes) - n {
		a.from = append(a.from, from)
	}
}

// keep appends a part of another text unchanged.
func (a *aligned) keep(b *aligned, start, end int) {
	a.bytes = append(a.bytes, b.bytes[start:end]...)
	a.from = append(a.from, b.from[start:end]...)
}

// normalizer is one of the normalizers of Hugging Face's library.
type normalizer interface {
	// normalize appends the normalized text of in to out.
	normalize(out, in *aligned)
	// format returns the normalizer as in tokenizer.json.
	format() dict
}

// charChange says where a character of a new text comes from. 1: it is added after the one before
// it. 0: it replaces one character of the old text. -n: it replaces that one and n more.
type charChange struct {
	r rune
	n int
}

// rewriting makes a new text from changes to an old one. It computes where characters come from
// exactly as the library does.
type rewriting struct {
	out, in *aligned
	at      int // byte of in at which the next change begins
	added   bool
}

func (w *rewriting) add(c charChange) {
	if w.added = c.n > 0; w.added {
		w.out.add(c.r, w.in.from[max(w.at-1, 0)])
		return
	}
	w.out.add(c.r, w.in.from[w.at])
	w.skip(1 - c.n)
}

func (w *rewriting) skip(characters int) {
	for range characters {
		_, size := utf8.DecodeRune(w.in.bytes[w.at:])
		w.at += size
	}
}

// drop leaves out characters. If a character was added just before, it replaces the first of
// them. At the start of a text the library does not count them, so the origin of everything that
// follows is so many characters too early.
func (w *rewriting) drop(characters int) {
	if len(w.out.bytes) == 0 {
		return
	}
	if w.added {
		_, size := utf8.DecodeLastRune(w.out.bytes)
		for i := len(w.out.from) - size; i < len(w.out.from); i++ {
			w.out.from[i] = w.in.from[w.at]
		}
		w.added = false
	}
	w.skip(characters)
}

// replacePattern is Replace: it replaces the matches of a pattern.
type replacePattern struct {
	pattern pattern
	content string
}

// pattern searches text.
type pattern interface {
	// find returns the first match that begins at byte from or later. A match is never empty.
	// start is negative if there is none.
	find(text []byte, from int) (start, end int)
	// format returns the pattern as in tokenizer.json.
	format() dict
}

func (n replacePattern) normalize(out, in *aligned) {
	done := 0
	for {
		start, end := n.pattern.find(in.bytes, done)
		if start < 0 {
			out.keep(in, done, len(in.bytes))
			return
		}
		out.keep(in, done, start)
		for _, r := range n.content {
			out.add(r, in.from[end-1])
		}
		done = end
	}
}

func (n replacePattern) format() dict {
	return dict{"type": "Replace", "pattern": n.pattern.format(), "content": n.content}
}

// literal is a pattern that matches itself.
type literal string

func (p literal) find(text []byte, from int) (start, end int) {
	i := bytes.Index(text[from:], []byte(p))
	if i < 0 {
		return -1, -1
	}
	return from + i, from + i + len(p)
}

func (p literal) format() dict { return dict{"String": string(p)} }

// regex is a regular expression. Only those that published tokenizers use are implemented.
type regex string

const (
	manySpaces regex = ` {2,}`
	anyBlanks  regex = `\s{2,}|[\n\r\t]`
)

func (p regex) find(text []byte, from int) (start, end int) {
	for i := from; i < len(text); {
		n, size := 0, 0 // length of the white space that begins here, in characters and bytes
		for i+size < len(text) {
			r, k := utf8.DecodeRune(text[i+size:])
			if r != ' ' && (p == manySpaces || !unicode.IsSpace(r)) {
				break
			}
			n++
			size += k
		}
		switch {
		case n > 1, p == anyBlanks && n == 1 && (text[i] == '\n' || text[i] == '\r' || text[i] == '\t'):
			return i, i + size
		case n == 0:
			_, size = utf8.DecodeRune(text[i:])
		}
		i += size
	}
	return -1, -1
}

func (p regex) format() dict { return dict{"Regex": string(p)} }

// unicodeForm is a normalization form of Unicode.
type unicodeForm struct {
	name     string
	parts    norm.Form // NFD or NFKD
	composes bool
}

var (
	nfc  = unicodeForm{"NFC", norm.NFD, true}
	nfkd = unicodeForm{"NFKD", norm.NFKD, false}

	unicodeForms = []unicodeForm{nfc, {"NFD", norm.NFD, false}, {"NFKC", norm.NFKD, true}, nfkd}
)

func (n unicodeForm) format() dict { return dict{"type": n.name} }

func (n unicodeForm) normalize(out, in *aligned) {
	form := n.parts
	if n.composes {
		form = map[norm.Form]norm.Form{norm.NFD: norm.NFC, norm.NFKD: norm.NFKC}[n.parts]
	}
	if ascii(in.bytes) || form.IsNormal(in.bytes) {
		out.keep(in, 0, len(in.bytes))
		return
	}
	text := n.decompose(in.bytes)
	if n.composes {
		text = compose(text)
	}
	w := rewriting{out: out, in: in}
	for _, c := range text {
		w.add(c)
	}
}

func ascii[T string | []byte](text T) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// decompose splits characters and puts their marks in order.
func (n unicodeForm) decompose(text []byte) []charChange {
	var out []charChange
	marks := 0 // start of the marks at the end
	order := func() {
		slices.SortStableFunc(out[marks:], func(a, b charChange) int { return int(combiningClass(a.r)) - int(combiningClass(b.r)) })
	}
	for len(text) > 0 {
		_, size := utf8.DecodeRune(text)
		for i, r := range decomposition(n.parts, text[:size]) {
			if combiningClass(r) == 0 {
				order()
				marks = len(out) + 1
			}
			out = append(out, charChange{r, min(i, 1)})
		}
		text = text[size:]
	}
	order()
	return out
}

// decomposition returns the characters that a character consists of, or the character itself. The
// library uses the tables of an older Unicode.
func decomposition(form norm.Form, char []byte) []rune {
	r, _ := utf8.DecodeRune(char)
	if s := r - 0xac00; 0 <= s && s < 11172 { // a Hangul syllable, Unicode 3.12
		parts := []rune{0x1100 + s/588, 0x1161 + s%588/28, 0x11a7 + s%28}
		if s%28 == 0 {
			return parts[:2]
		}
		return parts
	}
	if d := form.Properties(char).Decomposition(); d != nil && r != 0x11938 {
		return []rune(string(d))
	}
	return []rune{r}
}

func combiningClass(r rune) uint8 {
	if r < 0x300 {
		return 0
	}
	return norm.NFD.PropertiesString(string(r)).CCC()
}

// compose joins characters and the marks after them if one character stands for both and no mark
// of the same class is in between (Unicode 3.11).
func compose(text []charChange) []charChange {
	out := make([]charChange, 0, len(text))
	starter := -1 // index in out
	var last uint8
	for _, c := range text {
		class := combiningClass(c.r)
		if starter >= 0 && (starter == len(out)-1 || last < class) {
			if r, ok := composition(out[starter].r, c.r); ok {
				out[starter] = charChange{r, out[starter].n + c.n - 1}
				continue
			}
		}
		if class == 0 {
			starter = len(out)
		}
		last = class
		out = append(out, c)
	}
	return out
}

// composition returns the character that two make.
func composition(a, b rune) (rune, bool) {
	if b < 0x300 {
		return 0, false
	}
	c := norm.NFC.String(string([]rune{a, b}))
	r, size := utf8.DecodeRuneInString(c)
	return r, size == len(c) && r != 0x11938
}

// stripMarks is StripAccents: it removes marks.
type stripMarks struct{}

func (stripMarks) normalize(out, in *aligned) {
	for i := 0; i < len(in.bytes); {
		r, size := utf8.DecodeRune(in.bytes[i:])
		if r < 0x300 || !unicode.Is(combiningChars, r) {
			out.keep(in, i, i+size)
		}
		i += size
	}
}

func (stripMarks) format() dict { return dict{"type": "StripAccents"} }

// lowercase is Lowercase: it folds the case of each character.
type lowercase struct{}

func (lowercase) normalize(out, in *aligned) {
	for i := 0; i < len(in.bytes); {
		r, size := utf8.DecodeRune(in.bytes[i:])
		if r == 'İ' { // the only character whose lower case is two: i and a dot above
			out.add('i', in.from[i])
			r = '\u0307'
		} else {
			r = lower(r)
		}
		out.add(r, in.from[i])
		i += size
	}
}

func (lowercase) format() dict { return dict{"type": "Lowercase"} }

// strip is Strip: it removes white space at the ends.
type strip struct{ left, right bool }

func (n strip) normalize(out, in *aligned) {
	start, end := 0, len(in.bytes)
	if n.left {
		start = end - len(bytes.TrimLeftFunc(in.bytes, unicode.IsSpace))
	}
	if n.right {
		end = max(start, len(bytes.TrimRightFunc(in.bytes, unicode.IsSpace)))
	}
	out.keep(in, start, end)
}

func (n strip) format() dict {
	return dict{"type": "Strip", "strip_left": n.left, "strip_right": n.right}
}
