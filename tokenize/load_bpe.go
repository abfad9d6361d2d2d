package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// bpeModelJSON holds the settings of a model in tokenizer.json that WordPiece lacks.
type bpeModelJSON struct {
	Merges       json.RawMessage `json:"merges"`
	Dropout      *float64        `json:"dropout"`
	Suffix       *string         `json:"end_of_word_suffix"`
	FuseUnk      bool            `json:"fuse_unk"`
	ByteFallback bool            `json:"byte_fallback"`
	IgnoreMerges bool            `json:"ignore_merges"`
}

// bytePair sets the tokenizer's model: bytes after the pre-tokenizer ByteLevel, else
// characters. It returns the vocabulary and the unknown token, "" if there is none.
func (j *tokenizerJSON) bytePair(t *Tokenizer) (vocab []string, unk string, err error) {
	model := j.Model
	ofBytes := typeOf(j.PreTokenizer) == "ByteLevel"
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"dropout", model.Dropout != nil && *model.Dropout != 0},
		{"continuing_subword_prefix", model.Prefix != nil && *model.Prefix != ""},
		{"end_of_word_suffix", model.Suffix != nil && *model.Suffix != ""},
		{"fuse_unk with the pre_tokenizer ByteLevel", model.FuseUnk && ofBytes},
		{"byte_fallback with the pre_tokenizer ByteLevel", model.ByteFallback && ofBytes},
		{"ignore_merges", model.IgnoreMerges},
	} {
		if f.set {
			return nil, "", fmt.Errorf("model.%s is not supported", f.name)
		}
	}
	normalizers, err := readNormalizers("normalizer", j.Normalizer)
	if err != nil {
		return nil, "", err
	}
	if vocab, err = vocabulary(&model.Vocab.tokenIDs); err != nil {
		return nil, "", fmt.Errorf("model.vocab: %w", err)
	}
	id := int32(-1)
	if model.Unk != nil {
		var ok bool
		if id, ok = model.Vocab.find(*model.Unk); !ok {
			return nil, "", fmt.Errorf("model.unk_token %q is not in model.vocab", *model.Unk)
		}
		unk = *model.Unk
	}
	merges, err := mergesJSON(model.Merges)
	if err != nil {
		return nil, "", fmt.Errorf("model.merges: %w", err)
	}
	if !ofBytes {
		splitsSpace, err := readSplit(j.PreTokenizer)
		if err != nil {
			return nil, "", err
		}
		m, err := newCharPair(vocab, &model.Vocab.tokenIDs, merges, id)
		if err != nil {
			return nil, "", fmt.Errorf("model: %w", err)
		}
		m.normalizers, m.splitsSpace, m.byteFallback, m.fuseUnk = normalizers, splitsSpace, model.ByteFallback, model.FuseUnk
		t.model = m
		return vocab, unk, nil
	}
	level := struct {
		Prefix bool `json:"add_prefix_space"`
		Regex  bool `json:"use_regex"`
	}{true, true}
	if err := decodeJSON(j.PreTokenizer, &level); err != nil {
		return nil, "", fmt.Errorf("pre_tokenizer: %w", err)
	}
	if !level.Regex {
		return nil, "", errors.New("pre_tokenizer.use_regex false is not supported")
	}
	m, err := newBytePair(vocab, &model.Vocab.tokenIDs, merges, id, level.Prefix)
	if err != nil {
		return nil, "", fmt.Errorf("model: %w", err)
	}
	m.normalizers = normalizers
	m.keepsASCII = !slices.ContainsFunc(normalizers, func(n normalizer) bool { _, form := n.(unicodeForm); return !form })
	t.model = m
	return vocab, unk, nil
}

// readSplit reads the pre-tokenizer of a charPair. It tells whether that splits at spaces.
func readSplit(raw json.RawMessage) (splitsSpace bool, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return false, nil
	}
	var split struct {
		typed
		Pattern  struct{ String *string }
		Behavior string
		Invert   bool
	}
	if typeOf(raw) != "Split" {
		return false, unsupported("pre_tokenizer", raw, "ByteLevel, Split at spaces, none with the model BPE")
	}
	if err := decodeJSON(raw, &split); err != nil {
		return false, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if p := split.Pattern.String; p == nil || *p != " " || split.Behavior != "MergedWithPrevious" || split.Invert {
		return false, errors.New(`pre_tokenizer: expected Split with the pattern {"String": " "} and the behavior MergedWithPrevious`)
	}
	return true, nil
}

// mergesJSON reads the merges of a tokenizer.json: pairs, or strings with a space in between.
func mergesJSON(raw json.RawMessage) ([][2]string, error) {
	if merges, ok := plainMerges(string(raw)); ok {
		return merges, nil
	}
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

// plainMerges reads a valid JSON list of merges and returns false for anything else. The
// tokens share memory with b.
func plainMerges(b string) ([][2]string, bool) {
	r := plainReader{rest: b}
	merges := make([][2]string, 0, strings.Count(b, ",")+1)
	if !r.next('[') {
		return nil, false
	}
	for {
		var pair [2]string
		var ok bool
		if r.next('[') {
			if pair[0], ok = r.text(); !ok || !r.next(',') {
				return nil, false
			}
			if pair[1], ok = r.text(); !ok || !r.next(']') {
				return nil, false
			}
		} else {
			line, ok := r.text()
			if !ok {
				return nil, false
			}
			if pair, ok = splitMerge(line); !ok {
				return nil, false
			}
		}
		merges = append(merges, pair)
		if !r.next(',') {
			return merges, r.next(']') && r.rest == ""
		}
	}
}

func splitMerge(line string) (pair [2]string, ok bool) {
	a, b, ok := strings.Cut(line, " ")
	return [2]string{a, b}, ok && a != "" && b != "" && !strings.Contains(b, " ")
}

// loadRoBERTa reads a directory as the class RobertaTokenizer does.
func (t *Tokenizer) loadRoBERTa(s *settings, j *tokenizerJSON) error {
	var ids *tokenIDs
	var merges [][2]string
	var err error
	file, mergesIn := bpeVocabFile, mergesFile
	switch {
	case j != nil:
		file, mergesIn, ids = tokenizerFile, "model.merges", &j.Model.Vocab.tokenIDs
		if err = j.only(bpeModel, s); err == nil {
			if merges, err = mergesJSON(j.Model.Merges); err != nil {
				err = fmt.Errorf("model.merges: %w", err)
			}
		}
	case t.files[bpeVocabFile] != nil && t.files[mergesFile] != nil:
		ids = new(tokenIDs)
		if err = decodeJSON(t.files[file], ids); err == nil && len(ids.list) == 0 {
			err = errors.New("the vocabulary is empty")
		}
		if err == nil {
			if merges, err = readMerges(t.files[mergesFile]); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%s: tokenizer_class: %q reads %s, or %s and %s, and they are missing", configFile, s.className, tokenizerFile, bpeVocabFile, mergesFile)
	}
	var vocab []string
	if err == nil {
		vocab, err = vocabulary(ids)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	prefix, err := s.flag("add_prefix_space", false)
	if err != nil {
		return err
	}
	trimOffsets, err := s.flag("trim_offsets", true)
	if err != nil {
		return err
	}
	if t.model, err = newBytePair(vocab, ids, merges, -1, prefix); err != nil {
		return fmt.Errorf("%s, %s: %w", file, mergesIn, err)
	}
	if err := t.addSpecial(s, file, ids, vocab, clsToken, sepToken); err != nil {
		return err
	}
	t.roberta(trim{on: trimOffsets, prefix: prefix})
	return t.applySettings(s)
}

// readMerges reads merges.txt: two tokens per line, in order of rank.
func readMerges(file []byte) ([][2]string, error) {
	var merges [][2]string
	for i, line := range strings.Split(strings.TrimPrefix(string(file), "\ufeff"), "\n") {
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
	return merges, nil
}

// loadGemma reads a directory as the class GemmaTokenizer does. It takes vocabulary, merges and
// the tokens around the texts from tokenizer.json.
func (t *Tokenizer) loadGemma(s *settings, j *tokenizerJSON) error {
	if j == nil {
		return fmt.Errorf("%s: tokenizer_class: %q reads %s, which is missing", configFile, s.className, tokenizerFile)
	}
	if err := j.only(bpeModel, s); err != nil {
		return fmt.Errorf("%s: %w", tokenizerFile, err)
	}
	unk := s.special(unkToken)
	j.Normalizer, _ = json.Marshal(replacePattern{literal(" "), string(defaultReplacement)}.format())
	j.PreTokenizer, _ = json.Marshal(splitAtSpaces)
	j.Model.bpeModelJSON = bpeModelJSON{Merges: j.Model.Merges, FuseUnk: true, ByteFallback: true}
	j.Model.Unk, j.Model.Prefix = &unk, nil
	return t.loadLibrary(s, j)
}
