package tokenize

import (
	"fmt"
	"slices"
	"testing"
)

func TestFirstTokensOfWords(t *testing.T) {
	t.Parallel()
	tok, err := NewWordPiece([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "par", "##is", "-", "in", "é"}, false)
	if err != nil {
		t.Fatal(err)
	}
	files := tok.Files()
	files["tokenizer_config.json"] = []byte(`{"do_lower_case": true, "added_tokens_decoder": {
		"10": {"content": "New York", "normalized": true}, "11": {"content": "漢字", "normalized": true},
		"12": {"content": "é", "normalized": true, "lstrip": true, "rstrip": true}}}`)
	added, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tok    *Tokenizer
		text   string
		length int
		words  string
		want   []int32
	}{
		{tok, "paris in  par-par", 0, "[[0 5] [6 8] [10 17]]", []int32{1, 3, 4}},
		{tok, " é\tparis\n", 0, "[[1 2] [3 8]]", []int32{1, 2}},
		{tok, "in \u00ad\u200b in", 0, "[[0 2] [3 5] [6 8]]", []int32{1, -1, 2}}, // the normalizer leaves nothing
		{tok, "paris in par", 5, "[[0 5] [6 8] [9 12]]", []int32{1, 3, -1}},      // cut
		{tok, "what [SEP] in", 0, "[[0 4] [5 10] [11 13]]", []int32{1, 2, 3}},    // unknown, and a special token written out
		{tok, "", 0, "[]", nil},
		{added, "in NEW YORK in", 0, "[[0 2] [3 6] [7 11] [12 14]]", []int32{1, 2, -1, 3}}, // one token for two words
		{added, "inNew Yorkin in", 0, "[[0 5] [6 12] [13 15]]", []int32{1, 3, 4}},
		{added, "in 漢字in in", 0, "[[0 2] [3 7] [8 10]]", []int32{1, 2, 4}},
		{added, "in  É  in e\u0301", 0, "[[0 2] [4 5] [7 9] [10 12]]", []int32{1, 2, 3, 4}}, // takes the white space
		{added, "\u200bnew\u00ad york in", 0, "[[0 5] [6 10] [11 13]]", []int32{1, -1, 2}},
	} {
		var e Encoding
		if err := c.tok.Encode(&e, c.text, Options{MaxLength: c.length, Offsets: true}); err != nil {
			t.Fatal(err)
		}
		words := Words(nil, c.text)
		if got := FirstTokens(nil, e.Offsets, words); fmt.Sprint(words) != c.words || !slices.Equal(got, c.want) {
			t.Errorf("%q: words %v at tokens %v, want %s, %v", c.text, words, got, c.words, c.want)
		}
	}
}
