package tokenize

import (
	"unicode"
	"unicode/utf8"
)

// Words appends the words of a text, which white space separates, as half-open ranges of runes.
func Words(dst [][2]int32, text string) [][2]int32 {
	var at, start int32 = 0, -1
	for _, r := range text {
		switch space := unicode.IsSpace(r); {
		case space && start >= 0:
			dst = append(dst, [2]int32{start, at})
			start = -1
		case !space && start < 0:
			start = at
		}
		at++
	}
	if start >= 0 {
		dst = append(dst, [2]int32{start, int32(utf8.RuneCountInString(text))})
	}
	return dst
}

// FirstTokens appends the number of the first token of each word. It appends -1 for a word
// without a token: the normalizer may remove it, it may be beyond the maximum length, or it may
// share the token of the word before it. A token may include the white space before its word.
// Both arguments are ordered ranges of runes in the same text; offsets are those of
// Encoding.Offsets.
func FirstTokens(dst []int32, offsets, words [][2]int32) []int32 {
	t := 0
	end := int32(0) // end of the word before
	for _, w := range words {
		before := func(o [2]int32) bool { return o[0] == o[1] || o[0] < w[0] && (o[0] < end || o[1] <= w[0]) }
		for t < len(offsets) && before(offsets[t]) {
			t++
		}
		end = w[1]
		if t < len(offsets) && offsets[t][0] < w[1] {
			dst = append(dst, int32(t))
		} else {
			dst = append(dst, -1)
		}
	}
	return dst
}
