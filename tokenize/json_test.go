package tokenize

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// The tokenizer.json that is made of a vocab.txt is read as the same tokenizer.
func TestWithJSONKeepsTheIDs(t *testing.T) {
	t.Parallel()
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

// So is the one that is made of vocab.json and merges.txt.
func TestWithJSONKeepsTheIDsOfBytePairs(t *testing.T) {
	t.Parallel()
	g := goldens(t, "goldens_bpe.json.gz")[0]
	var file struct {
		Model struct {
			Vocab  json.RawMessage
			Merges json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(g.Tokenizer), &file); err != nil {
		t.Fatal(err)
	}
	pairs, err := mergesJSON(file.Model.Merges)
	if err != nil {
		t.Fatal(err)
	}
	merges := []string{"#version: 0.2"}
	for _, p := range append(pairs, pairs[0]) { // of equal pairs the last counts
		merges = append(merges, p[0]+" "+p[1])
	}
	for _, config := range []string{`{}`, `{"add_prefix_space": true}`, `{"trim_offsets": false, "mask_token": "<pad>"}`} {
		files := map[string][]byte{
			"vocab.json": file.Model.Vocab, "merges.txt": []byte(strings.Join(merges, "\n")), "tokenizer_config.json": []byte(config),
		}
		with, err := WithJSON(files)
		if err != nil {
			t.Fatal(err)
		}
		var toks []*Tokenizer
		for _, f := range []map[string][]byte{files, {"tokenizer.json": with["tokenizer.json"]}} {
			tok, err := Load(f)
			if err != nil {
				t.Fatal(err)
			}
			toks = append(toks, tok)
		}
		if len(with) != len(files)+1 || toks[0].VocabSize() != toks[1].VocabSize() {
			t.Errorf("%s: %d files, vocabularies of %d and %d", config, len(with), toks[0].VocabSize(), toks[1].VocabSize())
		}
		for _, c := range g.Cases {
			var e [2]Encoding
			for i, tok := range toks {
				if err := tok.EncodePair(&e[i], c.A, "a <mask> b", Options{Offsets: true}); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(e[0].IDs, e[1].IDs) || !slices.Equal(e[0].TypeIDs, e[1].TypeIDs) || !slices.Equal(e[0].Offsets, e[1].Offsets) {
				t.Fatalf("%s: %q: %v and %v", config, c.A, e[0].IDs, e[1].IDs)
			}
		}
	}
}
