package tokenize

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// special is a token that is found in the raw text, before normalization.
type special struct {
	text string
	id   int32
	// lstrip and rstrip make the token take the white space before or after it.
	lstrip, rstrip bool
}

// specials finds special tokens: the leftmost first, of several at one place
// the longest.
type specials struct {
	list  []special // longest first
	first [256]bool // bytes that a token starts with
	one   byte      // the only such byte, where there is only one
	n     int       // number of such bytes
}

func newSpecials(list []special) specials {
	list = slices.DeleteFunc(list, func(s special) bool { return s.text == "" })
	slices.SortStableFunc(list, func(a, b special) int { return cmp.Compare(len(b.text), len(a.text)) })
	s := specials{list: list}
	for _, t := range list {
		if c := t.text[0]; !s.first[c] {
			s.first[c], s.one = true, c
			s.n++
		}
	}
	return s
}

// find returns the first special token of text and the bytes that it takes, or nil.
func (s *specials) find(text string) (found *special, start, end int) {
	for i := 0; i < len(text); i++ {
		if s.n == 1 {
			k := strings.IndexByte(text[i:], s.one)
			if k < 0 {
				return nil, 0, 0
			}
			i += k
		} else if !s.first[text[i]] {
			continue
		}
		for k := range s.list {
			t := &s.list[k]
			if !strings.HasPrefix(text[i:], t.text) {
				continue
			}
			start, end = i, i+len(t.text)
			for t.lstrip && start > 0 {
				r, n := utf8.DecodeLastRuneInString(text[:start])
				if !unicode.IsSpace(r) {
					break
				}
				start -= n
			}
			for t.rstrip && end < len(text) {
				r, n := utf8.DecodeRuneInString(text[end:])
				if !unicode.IsSpace(r) {
					break
				}
				end += n
			}
			return t, start, end
		}
	}
	return nil, 0, 0
}
