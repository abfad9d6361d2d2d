package tokenize

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// charsMap is SentencePiece's table of replacements for characters, usually NFKC with additions.
// It is applied like Precompiled in Hugging Face's library. A grapheme of fewer than 6 bytes is
// looked up whole, and replaced by the text for its shortest prefix in the table. Longer
// graphemes are looked up character by character.
type charsMap struct {
	file  []byte   // the decoded table of tokenizer.json
	units []uint32 // a double-array trie: Yata's darts-clone
	texts []byte   // replacements, each with a 0 at its end
	// ascii holds the characters that are replaced when they stand alone.
	ascii [utf8.RuneSelf]bool
}

var errCharsMap = errors.New("precompiled_charsmap: the table is damaged")

func newCharsMap(file []byte) (*charsMap, error) {
	if len(file) < 4 {
		return nil, errCharsMap
	}
	size := int(binary.LittleEndian.Uint32(file))
	if size < 4 || size%4 != 0 || size > len(file)-4 {
		return nil, errCharsMap
	}
	m := &charsMap{file: file, units: make([]uint32, size/4), texts: file[4+size:]}
	for i := range m.units {
		m.units[i] = binary.LittleEndian.Uint32(file[4+4*i:])
	}
	if !utf8.Valid(m.texts) {
		return nil, errCharsMap
	}
	for c := range m.ascii {
		_, m.ascii[c] = m.find([]byte{byte(c)})
	}
	return m, nil
}

func (m *charsMap) format() dict {
	return dict{"type": "Precompiled", "precompiled_charsmap": base64.StdEncoding.EncodeToString(m.file)}
}

// find returns the text for the shortest prefix of key that is in the table.
func (m *charsMap) find(key []byte) (text []byte, ok bool) {
	at := unitOffset(m.units[0])
	for _, c := range key {
		if c == 0 {
			return nil, false
		}
		at ^= uint32(c)
		if at >= uint32(len(m.units)) {
			return nil, false
		}
		unit := m.units[at]
		if unit&(1<<31|0xff) != uint32(c) {
			return nil, false
		}
		at ^= unitOffset(unit)
		if unit>>8&1 == 0 {
			continue
		}
		if at >= uint32(len(m.units)) {
			return nil, false
		}
		start := m.units[at] &^ (1 << 31)
		if start >= uint32(len(m.texts)) {
			return nil, false
		}
		text, _, ok = bytes.Cut(m.texts[start:], []byte{0})
		return text, ok
	}
	return nil, false
}

func unitOffset(unit uint32) uint32 { return unit >> 10 << (unit >> 6 & 8) }

func (m *charsMap) normalize(out, in *aligned) {
	w := rewriting{out: out, in: in}
	text := in.bytes
	for i := 0; i < len(text); {
		// An ASCII character before another one is a grapheme, except in \r\n.
		if c := text[i]; c < utf8.RuneSelf && !m.ascii[c] && w.at == i && (i+1 == len(text) || text[i+1] < utf8.RuneSelf) {
			out.bytes, out.from = append(out.bytes, c), append(out.from, in.from[i])
			w.at, w.added = i+1, false
			i++
			continue
		}
		n := graphemeLength(text[i:])
		grapheme := text[i : i+n]
		i += n
		if n < 6 {
			if to, ok := m.find(grapheme); ok {
				w.replace(grapheme, to)
				continue
			}
		}
		for len(grapheme) > 0 {
			r, size := utf8.DecodeRune(grapheme)
			if to, ok := m.find(grapheme[:size]); ok {
				w.replace(grapheme[:size], to)
			} else {
				w.add(charChange{r, 0})
			}
			grapheme = grapheme[size:]
		}
	}
}

// replace replaces one text by another, character by character.
func (w *rewriting) replace(old, text []byte) {
	gone, n := utf8.RuneCount(old), utf8.RuneCount(text)
	if n == 0 {
		w.drop(gone)
		return
	}
	for i := 0; len(text) > 0; i++ {
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		c := charChange{r, 0}
		switch {
		case i >= gone:
			c.n = 1
		case i == n-1:
			c.n = n - gone
		}
		w.add(c)
	}
}

// graphemeLength returns the length in bytes of the first grapheme of a text (Unicode Standard
// Annex 29). Most characters are graphemes by themselves, so these are tested first.
func graphemeLength(text []byte) int {
	r, n := utf8.DecodeRune(text)
	if n == len(text) {
		return n
	}
	if standsAlone(r) {
		if next, _ := utf8.DecodeRune(text[n:]); standsAlone(next) {
			return n
		}
	}
	cluster, _, _, _ := uniseg.FirstGraphemeCluster(text, -1)
	return len(cluster)
}

// standsAlone tells for many characters that each is a grapheme when next to another such one.
func standsAlone(r rune) bool {
	switch {
	case r < 0x300:
		return r != '\r' && r != '\n' && r != 0xad && r != 0xa9 && r != 0xae
	case r < 0x483:
		return r >= 0x370
	case r < 0x530:
		return r >= 0x48a
	case r < 0x3097:
		return r >= 0x3041
	case r < 0x30ff:
		return r >= 0x309b
	}
	return 0x4e00 <= r && r < 0xa000
}
