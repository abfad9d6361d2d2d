package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// bpeModelJSON are the settings of a model in tokenizer.json that WordPiece does
// not have.
type bpeModelJSON struct {
	Merges       json.RawMessage `json:"merges"`
	Dropout      *float64        `json:"dropout"`
	Suffix       *string         `json:"end_of_word_suffix"`
	FuseUnk      bool            `json:"fuse_unk"`
	ByteFallback bool            `json:"byte_fallback"`
	IgnoreMerges bool            `json:"ignore_merges"`
}

// RoBERTa's special tokens.
const (
	robertaPad, robertaUnk, robertaCls, robertaSep, robertaMask = "<pad>", "<unk>", "<s>", "</s>", "<mask>"
)

func (j *tokenizerJSON) bytePair() (*Tokenizer, error) {
	model := j.Model
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"dropout", model.Dropout != nil && *model.Dropout != 0},
		{"continuing_subword_prefix", model.Prefix != nil && *model.Prefix != ""},
		{"end_of_word_suffix", model.Suffix != nil && *model.Suffix != ""},
		{"fuse_unk", model.FuseUnk},
		{"byte_fallback", model.ByteFallback},
		{"ignore_merges", model.IgnoreMerges},
	} {
		if f.set {
			return nil, fmt.Errorf("model.%s is not supported", f.name)
		}
	}
	if typ := typeOf(j.Normalizer); typ != "" {
		return nil, fmt.Errorf("normalizer of type %q is not supported with the model BPE (supported: none)", typ)
	}
	if typeOf(j.PreTokenizer) != "ByteLevel" {
		return nil, unsupported("pre_tokenizer", j.PreTokenizer, "ByteLevel with the model BPE")
	}
	level := struct {
		Prefix bool `json:"add_prefix_space"`
		Regex  bool `json:"use_regex"`
	}{true, true}
	if err := decodeJSON(j.PreTokenizer, &level); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if !level.Regex {
		return nil, errors.New("pre_tokenizer.use_regex false is not supported")
	}
	vocab, err := vocabulary(&model.Vocab)
	if err != nil {
		return nil, fmt.Errorf("model.vocab: %w", err)
	}
	unk := int32(-1)
	if model.Unk != nil {
		id, ok := model.Vocab.find(*model.Unk)
		if !ok {
			return nil, fmt.Errorf("model.unk_token %q is not in model.vocab", *model.Unk)
		}
		unk = id
	}
	merges, err := mergesJSON(model.Merges)
	if err != nil {
		return nil, fmt.Errorf("model.merges: %w", err)
	}
	m, err := newBytePair(vocab, &model.Vocab, merges, unk, level.Prefix)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	t := &Tokenizer{model: m}
	if err := j.finish(t, true); err != nil {
		return nil, err
	}
	t.setSpecial(&model.Vocab, robertaPad, robertaUnk, robertaCls, robertaSep, robertaMask)
	t.frameSpecial()
	return t, nil
}

// mergesJSON reads the merges of a tokenizer.json: pairs, or strings with a space
// between the two.
func mergesJSON(raw json.RawMessage) ([][2]string, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errors.New("expected a list")
	}
	merges := make([][2]string, len(list))
	for i, entry := range list {
		var line string
		if json.Unmarshal(entry, &line) == nil {
			var ok bool
			if merges[i], ok = splitMerge(line); !ok {
				return nil, fmt.Errorf("entry %d: %q, expected two tokens and a space between them", i, line)
			}
			continue
		}
		var pair []string
		if json.Unmarshal(entry, &pair) != nil || len(pair) != 2 {
			return nil, fmt.Errorf("entry %d: expected two tokens", i)
		}
		merges[i] = [2]string(pair)
	}
	return merges, nil
}

func splitMerge(line string) (pair [2]string, ok bool) {
	a, b, ok := strings.Cut(line, " ")
	return [2]string{a, b}, ok && a != "" && b != "" && !strings.Contains(b, " ")
}

// loadMerges reads vocab.json and merges.txt as RoBERTa's tokenizer.
func loadMerges(vocabJSON, mergesText, config []byte) (*Tokenizer, error) {
	var ids tokenIDs
	if err := decodeJSON(vocabJSON, &ids); err != nil {
		return nil, fmt.Errorf("%s: %w", bpeVocabFile, err)
	}
	vocab, err := vocabulary(&ids)
	if err == nil && len(vocab) == 0 {
		err = errors.New("the vocabulary is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", bpeVocabFile, err)
	}
	var merges [][2]string
	for i, line := range strings.Split(strings.TrimPrefix(string(mergesText), "\ufeff"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.HasPrefix(line, "#version") || line == "" {
			continue
		}
		pair, ok := splitMerge(line)
		if !ok {
			return nil, fmt.Errorf("%s: line %d: %q, expected two tokens and a space between them", mergesFile, i+1, line)
		}
		merges = append(merges, pair)
	}
	s := struct {
		Prefix bool            `json:"add_prefix_space"`
		Trim   *bool           `json:"trim_offsets"`
		Pad    json.RawMessage `json:"pad_token"`
		Unk    json.RawMessage `json:"unk_token"`
		Cls    json.RawMessage `json:"cls_token"`
		Sep    json.RawMessage `json:"sep_token"`
		Mask   json.RawMessage `json:"mask_token"`
	}{}
	if config != nil {
		if err := decodeJSON(config, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", configFile, err)
		}
	}
	pad, unk, cls, sep, mask := robertaPad, robertaUnk, robertaCls, robertaSep, robertaMask
	for _, f := range []struct {
		name string
		raw  json.RawMessage
		to   *string
	}{{"pad_token", s.Pad, &pad}, {"unk_token", s.Unk, &unk}, {"cls_token", s.Cls, &cls}, {"sep_token", s.Sep, &sep}, {"mask_token", s.Mask, &mask}} {
		if err := tokenText(f.raw, f.to); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", configFile, f.name, err)
		}
	}
	m, err := newBytePair(vocab, &ids, merges, -1, s.Prefix)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", bpeVocabFile, mergesFile, err)
	}
	t := &Tokenizer{model: m, vocab: vocab}
	t.setSpecial(&ids, pad, unk, cls, sep, mask)
	for _, token := range []string{cls, sep} {
		if _, ok := ids.find(token); !ok {
			return nil, fmt.Errorf("%s: the vocabulary lacks the token %s", bpeVocabFile, token)
		}
	}
	var list []special
	for _, token := range []string{pad, unk, cls, sep, mask} {
		if id, ok := ids.find(token); ok {
			list = append(list, special{text: token, id: id, lstrip: token == mask})
		}
	}
	t.specials = newSpecials(list)
	t.frame = frame{before: []int32{t.cls}, after: []int32{t.sep}}
	t.roberta(trim{on: s.Trim == nil || *s.Trim, prefix: s.Prefix})
	return t, nil
}
