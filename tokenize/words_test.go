package tokenize

import (
	"fmt"
	"slices"
	"testing"
)

func TestFirstTokensOfWords(t *testing.T) {
	tok, err := NewWordPiece([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "par", "##is", "-", "in", "é"}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text   string
		length int
		words  string
		want   []int32
	}{
		{"paris in  par-par", 0, "[[0 5] [6 8] [10 17]]", []int32{1, 3, 4}},
		{" é\tparis\n", 0, "[[1 2] [3 8]]", []int32{1, 2}},
		{"in \u00ad\u200b in", 0, "[[0 2] [3 5] [6 8]]", []int32{1, -1, 2}}, // the normalizer leaves nothing
		{"paris in par", 5, "[[0 5] [6 8] [9 12]]", []int32{1, 3, -1}},      // cut
		{"what [SEP] in", 0, "[[0 4] [5 10] [11 13]]", []int32{1, 2, 3}},    // unknown, and a special token written out
		{"", 0, "[]", nil},
	} {
		var e Encoding
		if err := tok.Encode(&e, c.text, Options{MaxLength: c.length, Offsets: true}); err != nil {
			t.Fatal(err)
		}
		words := Words(nil, c.text)
		if got := FirstTokens(nil, e.Offsets, words); fmt.Sprint(words) != c.words || !slices.Equal(got, c.want) {
			t.Errorf("%q: words %v at tokens %v, want %s, %v", c.text, words, got, c.words, c.want)
		}
	}
}
