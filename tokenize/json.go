package tokenize

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
)

// WithJSON returns a tokenizer's files with a tokenizer.json, which is what
// Hugging Face's tokenizers library reads. If there is none it is made of the
// vocabulary's files, with the ids that Load's tokenizer gives.
func WithJSON(files map[string][]byte) (map[string][]byte, error) {
	t, err := Load(files)
	if err != nil || files[tokenizerFile] != nil {
		return files, err
	}
	files = maps.Clone(files)
	switch m := t.model.(type) {
	case *wordPiece:
		files[tokenizerFile], err = t.formatWordPiece(m)
	case *bytePair:
		files[tokenizerFile], err = t.formatBytePair(m)
	}
	return files, err
}

type dict = map[string]any

// formatWordPiece writes a tokenizer that was read from vocab.txt as
// tokenizer.json.
func (t *Tokenizer) formatWordPiece(m *wordPiece) ([]byte, error) {
	cls, sep := t.vocab[t.cls], t.vocab[t.sep]
	special := func(token string, typ int) dict {
		return dict{"SpecialToken": dict{"id": token, "type_id": typ}}
	}
	sequence := func(id string, typ int) dict { return dict{"Sequence": dict{"id": id, "type_id": typ}} }
	return t.format(dict{
		"normalizer": dict{
			"type": "BertNormalizer", "clean_text": m.cleanText, "handle_chinese_chars": m.chineseChars,
			"strip_accents": m.stripAccents, "lowercase": m.lowercase,
		},
		"pre_tokenizer": dict{"type": "BertPreTokenizer"},
		"post_processor": dict{
			"type":   "TemplateProcessing",
			"single": []dict{special(cls, 0), sequence("A", 0), special(sep, 0)},
			"pair":   []dict{special(cls, 0), sequence("A", 0), special(sep, 0), sequence("B", 1), special(sep, 1)},
			"special_tokens": dict{
				cls: dict{"id": cls, "ids": []int32{t.cls}, "tokens": []string{cls}},
				sep: dict{"id": sep, "ids": []int32{t.sep}, "tokens": []string{sep}},
			},
		},
		"decoder": dict{"type": "WordPiece", "prefix": "##", "cleanup": true},
		"model": dict{
			"type": "WordPiece", "unk_token": t.vocab[t.unk], "continuing_subword_prefix": "##",
			"max_input_chars_per_word": m.maxChars, "vocab": t.tokenIDs(),
		},
	})
}

// formatBytePair writes a tokenizer that was read from vocab.json and merges.txt
// as tokenizer.json, as transformers converts a RobertaTokenizer.
func (t *Tokenizer) formatBytePair(m *bytePair) ([]byte, error) {
	merges := slices.DeleteFunc(slices.Clone(m.merges.slots), func(s mergeSlot) bool { return s.pair == 0 })
	slices.SortFunc(merges, func(a, b mergeSlot) int { return cmp.Compare(a.rank, b.rank) })
	lines := make([]string, len(merges))
	for i, s := range merges {
		left, right := s.tokens()
		lines[i] = t.vocab[left] + " " + t.vocab[right]
	}
	token := func(id int32) []any { return []any{t.vocab[id], id} }
	return t.format(dict{
		"normalizer":    nil,
		"pre_tokenizer": dict{"type": "ByteLevel", "add_prefix_space": m.prefixSpace, "trim_offsets": true, "use_regex": true},
		"post_processor": dict{
			"type": "RobertaProcessing", "sep": token(t.sep), "cls": token(t.cls),
			"trim_offsets": t.trim.on, "add_prefix_space": m.prefixSpace,
		},
		"decoder": dict{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"model": dict{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": "", "end_of_word_suffix": "",
			"fuse_unk": false, "byte_fallback": false, "vocab": t.tokenIDs(), "merges": lines,
		},
	})
}

// tokenIDs is the vocabulary as tokenizer.json has it.
func (t *Tokenizer) tokenIDs() map[string]int {
	ids := make(map[string]int, len(t.vocab))
	for i, token := range t.vocab {
		if token != "" {
			ids[token] = i // of equal tokens the last counts
		}
	}
	return ids
}

// format adds what all models have in common: the special tokens among it.
func (t *Tokenizer) format(file dict) ([]byte, error) {
	added := []dict{}
	specials := slices.SortedFunc(slices.Values(t.specials.list), func(a, b special) int { return cmp.Compare(a.id, b.id) })
	for _, s := range slices.Compact(specials) {
		added = append(added, dict{
			"id": s.id, "content": s.text, "single_word": false, "lstrip": s.lstrip, "rstrip": s.rstrip, "normalized": false, "special": true,
		})
	}
	maps.Copy(file, dict{"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added})
	return indented(file, " ")
}

// indented is v as JSON on lines, without escapes for HTML.
func indented(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	err := e.Encode(v)
	return b.Bytes(), err
}
