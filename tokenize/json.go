package tokenize

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// WithJSON returns a tokenizer's files with a tokenizer.json that is enough by itself: Hugging
// Face's tokenizers library reads it and gives the ids of Load's tokenizer. If the file is
// missing, or gives other ids because other files overrule it, WithJSON writes it anew. If the
// tokenizer's class would change the meaning of the new file, tokenizer_config.json gets the
// class that takes it as it is.
func WithJSON(files map[string][]byte) (map[string][]byte, error) {
	t, err := Load(files)
	if err != nil {
		return nil, err
	}
	given := files[tokenizerFile]
	if alone, err := Load(map[string][]byte{tokenizerFile: given}); err == nil && t.same(alone) {
		return files, nil
	}
	file, err := t.format(given)
	if err != nil {
		return nil, err
	}
	files = maps.Clone(files)
	files[tokenizerFile] = file
	alone, err := Load(map[string][]byte{tokenizerFile: file})
	if err != nil {
		return nil, err
	}
	if !t.same(alone) {
		return nil, t.noSuchFile("alone")
	}
	all, err := loadAs(t.class, files)
	if err != nil {
		return nil, err
	}
	if !t.same(all) {
		if files[configFile], err = t.withLibraryClass(files[configFile]); err != nil {
			return nil, err
		}
		if all, err = Load(files); err != nil {
			return nil, err
		}
	}
	if !t.same(all) {
		return nil, t.noSuchFile("with the other files")
	}
	return files, nil
}

func (t *Tokenizer) noSuchFile(how string) error {
	if t.matchers[0].splitSpecial {
		return fmt.Errorf("%s: split_special_tokens: true cannot be written as %s where special tokens lie beyond the vocabulary, expected false", configFile, tokenizerFile)
	}
	return fmt.Errorf("%s: no such file %s gives the tokens of %s", tokenizerFile, how, strings.Join(slices.Sorted(maps.Keys(t.files)), ", "))
}

// withLibraryClass returns tokenizer_config.json with the class that takes tokenizer.json as it
// is, including all tokens. The order of its keys stays, because tokens get their ids by it.
func (t *Tokenizer) withLibraryClass(config []byte) ([]byte, error) {
	all, err := parseFields(configFile, config)
	if err != nil {
		return nil, err
	}
	inputs := `["input_ids", "attention_mask"]`
	if t.frame.typeB != 0 {
		inputs = `["input_ids", "token_type_ids", "attention_mask"]`
	}
	all.take(additionalTokens)
	for _, f := range [][2]string{{"tokenizer_class", `"PreTrainedTokenizerFast"`}, {extraTokens, "[]"}, {"model_input_names", inputs}} {
		all.set(field{file: configFile, name: f[0], raw: json.RawMessage(f[1])})
	}
	var b bytes.Buffer
	_ = all.all(func(f field) error {
		name, _ := json.Marshal(f.name)
		fmt.Fprintf(&b, ",\n  %s: %s", name, f.raw)
		return nil
	})
	return fmt.Appendf(nil, "{%s\n}\n", b.Bytes()[1:]), nil
}

// same tells whether two tokenizers give the same ids for the texts that both accept.
func (t *Tokenizer) same(o *Tokenizer) bool {
	return t.model.same(o.model) && slices.Equal(t.vocab, o.vocab) && t.frame.same(o.frame) && t.trim == o.trim &&
		t.matchers[0].same(&o.matchers[0]) && t.matchers[1].same(&o.matchers[1])
}

func (f frame) same(o frame) bool {
	return slices.Equal(f.before, o.before) && slices.Equal(f.between, o.between) && slices.Equal(f.after, o.after) && f.typeB == o.typeB &&
		(f.typeB == 0 || f.opensB == o.opensB)
}

// same tells whether two matchers find the same, apart from tokens that the vocabulary lacks.
func (m *matcher) same(o *matcher) bool {
	present := func(m *matcher) (list []addedToken, patterns []string) {
		for i, t := range m.tokens {
			if !t.absent && !(t.special && m.splitSpecial) {
				list, patterns = append(list, t), append(patterns, m.patterns.vocab[i])
			}
		}
		return list, patterns
	}
	a, pa := present(m)
	b, pb := present(o)
	if len(a) != len(b) {
		return false
	}
	others := make(map[string]addedToken, len(b))
	for i, t := range b {
		others[pb[i]] = t
	}
	for i, t := range a {
		if others[pa[i]] != t {
			return false
		}
	}
	return true
}

func (m *wordPiece) same(o model) bool {
	w, ok := o.(*wordPiece)
	return ok && m.cleanText == w.cleanText && m.chineseChars == w.chineseChars && m.stripAccents == w.stripAccents && m.lowercase == w.lowercase &&
		m.prefix == w.prefix && m.unk == w.unk && m.maxChars == w.maxChars && slices.Equal(m.vocab, w.vocab)
}

func (m *bytePair) same(o model) bool {
	b, ok := o.(*bytePair)
	return ok && m.normalizers.same(b.normalizers) && m.prefixSpace == b.prefixSpace && m.unk == b.unk && slices.Equal(m.vocab, b.vocab) && slices.Equal(m.merges.pairs(m.vocab), b.merges.pairs(b.vocab))
}

type dict = map[string]any

// format writes the tokenizer as a tokenizer.json. Truncation and padding come from the file that
// it replaces, if there is one.
func (t *Tokenizer) format(given []byte) ([]byte, error) {
	added := []dict{}
	for _, s := range t.added {
		// Special tokens that may be split count as ordinary ones.
		if s.absent || s.special && t.matchers[0].splitSpecial && t.inModel(s.id) {
			continue
		}
		added = append(added, dict{
			"id": s.id, "content": s.text, "single_word": s.singleWord, "lstrip": s.lstrip, "rstrip": s.rstrip,
			"normalized": s.normalized, "special": s.special,
		})
	}
	file := dict{"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "post_processor": t.formatFrame()}
	if given != nil {
		var old object
		if err := decodeJSON(given, &old); err != nil {
			return nil, err
		}
		for _, name := range []string{"truncation", "padding"} {
			if old[name] != nil {
				file[name] = old[name]
			}
		}
	}
	switch m := t.model.(type) {
	case *wordPiece:
		maps.Copy(file, m.format(t))
	case *bytePair:
		maps.Copy(file, m.format(t))
	case *charPair:
		maps.Copy(file, m.format(t))
	case *unigram:
		maps.Copy(file, m.format())
	}
	return indented(file, " ")
}

func (m *wordPiece) format(t *Tokenizer) dict {
	return dict{
		"normalizer": dict{
			"type": "BertNormalizer", "clean_text": m.cleanText, "handle_chinese_chars": m.chineseChars,
			"strip_accents": m.stripAccents, "lowercase": m.lowercase,
		},
		"pre_tokenizer": dict{"type": "BertPreTokenizer"},
		"decoder":       dict{"type": "WordPiece", "prefix": m.prefix, "cleanup": true},
		"model": dict{
			"type": wordPieceModel, "unk_token": m.vocab[m.unk], "continuing_subword_prefix": m.prefix,
			"max_input_chars_per_word": m.maxChars, "vocab": formatVocab(m.vocab, t.blank),
		},
	}
}

func (m *bytePair) format(t *Tokenizer) dict {
	var unk any
	if m.unk >= 0 {
		unk = m.vocab[m.unk]
	}
	return dict{
		"normalizer":    m.normalizers.format(),
		"pre_tokenizer": dict{"type": "ByteLevel", "add_prefix_space": m.prefixSpace, "trim_offsets": true, "use_regex": true},
		"decoder":       dict{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"model": dict{
			"type": bpeModel, "dropout": nil, "unk_token": unk, "continuing_subword_prefix": "", "end_of_word_suffix": "",
			"fuse_unk": false, "byte_fallback": false, "vocab": formatVocab(m.vocab, t.blank), "merges": m.merges.lines(m.vocab),
		},
	}
}

// lines returns the merges as lines of merges.txt.
func (t *mergeTable) lines(vocab []string) []string {
	pairs := t.pairs(vocab)
	lines := make([]string, len(pairs))
	for i, p := range pairs {
		lines[i] = p[0] + " " + p[1]
	}
	return lines
}

// pairs returns the merges in order of rank.
func (t *mergeTable) pairs(vocab []string) [][2]string {
	merges := slices.DeleteFunc(slices.Clone(t.slots), func(s mergeSlot) bool { return s.pair == 0 })
	slices.SortFunc(merges, func(a, b mergeSlot) int { return cmp.Compare(a.rank, b.rank) })
	pairs := make([][2]string, len(merges))
	for i, s := range merges {
		left, right := s.tokens()
		pairs[i] = [2]string{vocab[left], vocab[right]}
	}
	return pairs
}

// formatFrame writes the special tokens around the texts.
func (t *Tokenizer) formatFrame() dict {
	f := t.frame
	if t.trim.on || t.trim.prefix {
		token := func(ids []int32) []any { return []any{t.vocab[ids[0]], ids[0]} }
		return dict{
			"type": "RobertaProcessing", "sep": token(f.after), "cls": token(f.before),
			"trim_offsets": t.trim.on, "add_prefix_space": t.trim.prefix,
		}
	}
	first := len(f.between) - f.opensB
	tokens := dict{}
	part := func(ids []int32, typ int32) (parts []dict) {
		for _, id := range ids {
			token := t.vocab[id]
			tokens[token] = dict{"id": token, "ids": []int32{id}, "tokens": []string{token}}
			parts = append(parts, dict{"SpecialToken": dict{"id": token, "type_id": typ}})
		}
		return parts
	}
	text := func(id string, typ int32) []dict { return []dict{{"Sequence": dict{"id": id, "type_id": typ}}} }
	return dict{
		"type":           "TemplateProcessing",
		"single":         slices.Concat(part(f.before, 0), text("A", 0), part(f.after, 0)),
		"pair":           slices.Concat(part(f.before, 0), text("A", 0), part(f.between[:first], 0), part(f.between[first:], f.typeB), text("B", f.typeB), part(f.after, f.typeB)),
		"special_tokens": tokens,
	}
}

// formatVocab returns a vocabulary as in tokenizer.json. It includes the empty token, because the
// ids of added tokens begin after it.
func formatVocab(vocab []string, blank int32) map[string]int32 {
	ids := make(map[string]int32, len(vocab))
	for i, token := range vocab {
		if token != "" {
			ids[token] = int32(i)
		}
	}
	if blank >= 0 {
		ids[""] = blank
	}
	return ids
}

// indented returns v as indented JSON without escapes for HTML.
func indented(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	err := e.Encode(v)
	return b.Bytes(), err
}
