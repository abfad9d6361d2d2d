package tokenize

import (
	"bytes"
	"encoding/json"
	"maps"
)

// WithJSON returns a tokenizer's files with a tokenizer.json, which is what
// Hugging Face's tokenizers library reads. If there is none it is made of a
// vocab.txt, with the ids that Load's tokenizer gives; vocab.json and merges.txt
// stay as they are.
func WithJSON(files map[string][]byte) (map[string][]byte, error) {
	t, err := Load(files)
	if err != nil || files[tokenizerFile] != nil {
		return files, err
	}
	m, ok := t.model.(*wordPiece)
	if !ok {
		return files, nil
	}
	files = maps.Clone(files)
	files[tokenizerFile], err = t.formatJSON(m)
	return files, err
}

// formatJSON writes a WordPiece tokenizer that was read from vocab.txt as tokenizer.json.
func (t *Tokenizer) formatJSON(m *wordPiece) ([]byte, error) {
	type object = map[string]any
	vocab := make(map[string]int, len(t.vocab))
	for i, token := range t.vocab {
		vocab[token] = i // of equal tokens the last counts
	}
	var added []object
	for i, token := range t.vocab {
		switch int32(i) {
		case t.pad, t.unk, t.cls, t.sep, t.mask_:
			added = append(added, object{
				"id": i, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true,
			})
		}
	}
	cls, sep := t.vocab[t.cls], t.vocab[t.sep]
	special := func(token string, typ int) object {
		return object{"SpecialToken": object{"id": token, "type_id": typ}}
	}
	sequence := func(id string, typ int) object { return object{"Sequence": object{"id": id, "type_id": typ}} }
	file := object{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added,
		"normalizer": object{
			"type": "BertNormalizer", "clean_text": m.cleanText, "handle_chinese_chars": m.chineseChars,
			"strip_accents": m.stripAccents, "lowercase": m.lowercase,
		},
		"pre_tokenizer": object{"type": "BertPreTokenizer"},
		"post_processor": object{
			"type":   "TemplateProcessing",
			"single": []object{special(cls, 0), sequence("A", 0), special(sep, 0)},
			"pair":   []object{special(cls, 0), sequence("A", 0), special(sep, 0), sequence("B", 1), special(sep, 1)},
			"special_tokens": object{
				cls: object{"id": cls, "ids": []int32{t.cls}, "tokens": []string{cls}},
				sep: object{"id": sep, "ids": []int32{t.sep}, "tokens": []string{sep}},
			},
		},
		"decoder": object{"type": "WordPiece", "prefix": "##", "cleanup": true},
		"model": object{
			"type": "WordPiece", "unk_token": t.vocab[t.unk], "continuing_subword_prefix": "##",
			"max_input_chars_per_word": m.maxChars, "vocab": vocab,
		},
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(file)
	return b.Bytes(), err
}
