package tokenize

import (
	"slices"
	"testing"
)

// The tokenizer.json that is made of a vocab.txt is read as the same tokenizer.
func TestWithJSONKeepsTheIDs(t *testing.T) {
	vocab := []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nThe\ncaf\n##é\ncafe\n,\n<b>\n中\n[START]\n")
	for _, config := range []string{"", `{"do_lower_case": false}`, `{"strip_accents": false}`, `{"cls_token": "[START]", "tokenize_chinese_chars": false}`} {
		files := map[string][]byte{"vocab.txt": vocab}
		if config != "" {
			files["tokenizer_config.json"] = []byte(config)
		}
		with, err := WithJSON(files)
		if err != nil {
			t.Fatal(err)
		}
		if len(with) != len(files)+1 || len(files) > 2 {
			t.Errorf("%s: %d files of %d", config, len(with), len(files))
		}
		again, err := WithJSON(with)
		if err != nil || len(again) != len(with) {
			t.Errorf("%s: a second time: %v", config, err)
		}
		var got, want Encoding
		for e, f := range map[*Encoding]map[string][]byte{&want: files, &got: {"tokenizer.json": with["tokenizer.json"]}} {
			tok, err := Load(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := tok.EncodePair(e, "The café, <b>[MASK] 中the中", "unknown [SEP]", Options{}); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got.IDs, want.IDs) || !slices.Equal(got.TypeIDs, want.TypeIDs) {
			t.Errorf("%s: ids %v, from vocab.txt %v", config, got.IDs, want.IDs)
		}
	}
	if _, err := WithJSON(nil); err == nil {
		t.Error("a tokenizer out of nothing")
	}
}
