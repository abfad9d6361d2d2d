package tokenize

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// unigramModelJSON holds the settings of a model in tokenizer.json that only a unigram language
// model has.
type unigramModelJSON struct {
	UnkID *int `json:"unk_id"`
}

// vocabJSON is the vocabulary of a tokenizer.json: tokens with their ids, or tokens with their
// scores in order of the ids.
type vocabJSON struct {
	tokenIDs
	scored []scoredToken
}

type scoredToken struct {
	text  string
	score float64
}

// UnmarshalJSON reads an object of ids or a list of pairs. It parses the plain form itself, which
// tokenizers write, and leaves any other to encoding/json.
func (v *vocabJSON) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '[' {
		return v.tokenIDs.UnmarshalJSON(b)
	}
	if v.readPairs(string(b)) {
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	v.scored = make([]scoredToken, len(list))
	for i, raw := range list {
		var pair []json.RawMessage
		t := &v.scored[i]
		if json.Unmarshal(raw, &pair) != nil || len(pair) != 2 || json.Unmarshal(pair[0], &t.text) != nil || json.Unmarshal(pair[1], &t.score) != nil {
			return fmt.Errorf("model.vocab[%d]: expected a token and its score", i)
		}
	}
	return nil
}

// readPairs reads a valid JSON list of tokens and scores, and returns false for anything else.
// The tokens are substrings of b.
func (v *vocabJSON) readPairs(b string) bool {
	const shortest = 8 // bytes of an entry: ["a",0],
	r := plainReader{rest: b}
	list := make([]scoredToken, 0, min(strings.Count(b, "],"), len(b)/shortest)+1)
	if !r.next('[') {
		return false
	}
	for {
		if !r.next('[') {
			return false
		}
		token, ok := r.text()
		if !ok || !r.next(',') {
			return false
		}
		r.space()
		n := 0
		for n < len(r.rest) && strings.IndexByte("+-.0123456789eE", r.rest[n]) >= 0 {
			n++
		}
		score, err := strconv.ParseFloat(r.rest[:n], 64)
		if r.rest = r.rest[n:]; err != nil || !r.next(']') {
			return false
		}
		list = append(list, scoredToken{token, score})
		if !r.next(',') {
			break
		}
	}
	v.scored = list
	return r.next(']') && r.rest == ""
}

// setScored sets the vocabulary from tokens in order of their ids. Of equal tokens the last one
// counts.
func (m *unigram) setScored(list []scoredToken) (*tokenIDs, error) {
	if len(list) == 0 {
		return nil, errors.New("the vocabulary is empty")
	}
	if len(list) > maxTokenID {
		return nil, fmt.Errorf("the vocabulary has more than %d tokens", maxTokenID)
	}
	ids := newTokenIDs(len(list))
	m.vocab, m.scores = make([]string, len(list)), make([]float64, len(list))
	for i, t := range list {
		if t.text == "" || !utf8.ValidString(t.text) {
			return nil, fmt.Errorf("entry %d: %q, expected a token", i, t.text)
		}
		if math.IsNaN(t.score) || math.IsInf(t.score, 0) {
			return nil, fmt.Errorf("entry %d, %q: the score is %v, expected a finite number", i, t.text, t.score)
		}
		m.vocab[i], m.scores[i] = t.text, t.score
		ids.set(t.text, int32(i))
	}
	for i := range m.bytes {
		m.bytes[i] = -1
		if id, ok := ids.find(byteToken(i)); ok {
			m.bytes[i] = id
		}
	}
	if !m.prepare() {
		return nil, errVocabSize
	}
	return &ids, nil
}

// unigram sets the tokenizer's model. It returns the vocabulary and the unknown token.
func (j *tokenizerJSON) unigram(t *Tokenizer) (vocab []string, unk string, err error) {
	model := j.Model
	m := &unigram{byteFallback: model.ByteFallback}
	ids, err := m.setScored(model.Vocab.scored)
	if err != nil {
		return nil, "", fmt.Errorf("model.vocab: %w", err)
	}
	model.Vocab.tokenIDs = *ids
	if model.UnkID == nil {
		return nil, "", errors.New("model.unk_id is missing, expected the id of the unknown token")
	}
	if *model.UnkID < 0 || *model.UnkID >= len(m.vocab) {
		return nil, "", fmt.Errorf("model.unk_id is %d, expected 0 to %d", *model.UnkID, len(m.vocab)-1)
	}
	m.unk = int32(*model.UnkID)
	if m.normalizers, err = readNormalizers("normalizer", j.Normalizer); err != nil {
		return nil, "", err
	}
	if err := m.readPreTokenizer(j.PreTokenizer); err != nil {
		return nil, "", err
	}
	t.model = m
	return m.vocab, m.vocab[m.unk], nil
}

// readNormalizers reads a normalizer. It returns the parts of a sequence one by one.
func readNormalizers(field string, raw json.RawMessage) ([]normalizer, error) {
	const want = "Precompiled, Replace, NFC, NFD, NFKC, NFKD, StripAccents, Lowercase, Strip, Sequence with this model"
	typ := typeOf(raw)
	for _, form := range unicodeForms {
		if typ == form.name {
			return []normalizer{form}, nil
		}
	}
	switch typ {
	case "":
		if len(raw) == 0 || string(raw) == "null" {
			return nil, nil
		}
	case "Sequence":
		var s struct {
			Normalizers []json.RawMessage `json:"normalizers"`
		}
		if err := decodeJSON(raw, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		var all []normalizer
		for i, raw := range s.Normalizers {
			some, err := readNormalizers(fmt.Sprintf("%s.normalizers[%d]", field, i), raw)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
		return all, nil
	case "Precompiled":
		var p struct {
			Map string `json:"precompiled_charsmap"`
		}
		if err := decodeJSON(raw, &p); err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		file, err := base64.StdEncoding.DecodeString(p.Map)
		if err != nil {
			return nil, fmt.Errorf("%s: precompiled_charsmap: %w", field, err)
		}
		m, err := newCharsMap(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		return []normalizer{m}, nil
	case "Replace":
		n, err := readReplace(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		return []normalizer{n}, nil
	case "StripAccents":
		return []normalizer{stripMarks{}}, nil
	case "Lowercase":
		return []normalizer{lowercase{}}, nil
	case "Strip":
		var s struct {
			Left  bool `json:"strip_left"`
			Right bool `json:"strip_right"`
		}
		if err := decodeJSON(raw, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		return []normalizer{strip{s.Left, s.Right}}, nil
	}
	return nil, unsupported(field, raw, want)
}

func readReplace(raw json.RawMessage) (normalizer, error) {
	var r struct {
		Pattern struct{ String, Regex *string }
		Content string
	}
	if err := decodeJSON(raw, &r); err != nil {
		return nil, err
	}
	n := replacePattern{content: r.Content}
	switch p := r.Pattern; {
	case p.String != nil && *p.String != "":
		n.pattern = literal(*p.String)
	case p.Regex != nil && slices.Contains([]regex{manySpaces, anyBlanks}, regex(*p.Regex)):
		n.pattern = regex(*p.Regex)
	case p.Regex != nil:
		return nil, fmt.Errorf("the pattern %q is not supported (supported: a String, and the Regex %q and %q)", *p.Regex, manySpaces, anyBlanks)
	default:
		return nil, errors.New("pattern: expected a String or a Regex")
	}
	return n, nil
}

// readPreTokenizer reads Metaspace, after WhitespaceSplit or alone.
func (m *unigram) readPreTokenizer(raw json.RawMessage) error {
	const want = "Metaspace, WhitespaceSplit before Metaspace with the model Unigram"
	list, field := []json.RawMessage{raw}, "pre_tokenizer"
	if typeOf(raw) == "Sequence" {
		var s struct {
			List []json.RawMessage `json:"pretokenizers"`
		}
		if err := decodeJSON(raw, &s); err != nil {
			return fmt.Errorf("pre_tokenizer: %w", err)
		}
		list, field = s.List, "pre_tokenizer.pretokenizers"
	}
	if len(list) > 1 && typeOf(list[0]) == "WhitespaceSplit" {
		m.splitsSpace, list = true, list[1:]
	}
	if len(list) != 1 || typeOf(list[0]) != "Metaspace" {
		if len(list) == 0 {
			list = append(list, nil)
		}
		return unsupported(field, list[0], want)
	}
	var err error
	if m.metaspace, err = readMetaspace(list[0]); err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}

// readMetaspace reads a pre-tokenizer or a decoder of that name.
func readMetaspace(raw json.RawMessage) (metaspace, error) {
	p := struct {
		Replacement string
		Prepend     prependScheme `json:"prepend_scheme"`
		Old         *bool         `json:"add_prefix_space"`
		Split       *bool
	}{Prepend: prependAlways}
	if err := decodeJSON(raw, &p); err != nil {
		return metaspace{}, err
	}
	r, size := utf8.DecodeRuneInString(p.Replacement)
	switch {
	case size == 0 || size != len(p.Replacement):
		return metaspace{}, fmt.Errorf("replacement: %q, expected one character", p.Replacement)
	case !slices.Contains([]prependScheme{prependAlways, prependFirst, prependNever}, p.Prepend):
		return metaspace{}, fmt.Errorf("prepend_scheme: %q, expected always, first or never", p.Prepend)
	case p.Old != nil && !*p.Old && p.Prepend != prependNever:
		return metaspace{}, errors.New("add_prefix_space is false, expected the prepend_scheme never beside it")
	}
	return metaspace{replacement: r, prepend: p.Prepend, split: p.Split == nil || *p.Split}, nil
}

func (m *unigram) format() dict {
	space := dict{
		"type": "Metaspace", "replacement": string(m.metaspace.replacement), "prepend_scheme": m.metaspace.prepend, "split": m.metaspace.split,
	}
	before := space
	if m.splitsSpace {
		before = dict{"type": "Sequence", "pretokenizers": []dict{{"type": "WhitespaceSplit"}, space}}
	}
	vocab := make([][2]any, len(m.vocab))
	for i, token := range m.vocab {
		vocab[i] = [2]any{token, m.scores[i]}
	}
	return dict{
		"normalizer":    m.normalizers.format(),
		"pre_tokenizer": before,
		"decoder":       space,
		"model":         dict{"type": unigramModel, "unk_id": m.unk, "vocab": vocab, "byte_fallback": m.byteFallback},
	}
}

// loadUnigram reads a directory as a class with a vocabulary of SentencePiece does.
func (t *Tokenizer) loadUnigram(s *settings, j *tokenizerJSON) error {
	class := s.class.unigram
	m := &unigram{splitsSpace: !class.wholeText, metaspace: metaspace{defaultReplacement, prependAlways, true}}
	var scored []scoredToken
	var table *charsMap
	var err error
	file, unk := tokenizerFile, 1
	switch {
	case j != nil:
		if err = j.only(unigramModel, s); err == nil {
			scored = j.Model.Vocab.scored
			table, err = j.charsMap()
		}
		s.defaultExtra(class.extra)
	case t.files[class.file] != nil:
		file = class.file
		var model *sentencePiece
		if model, err = readSentencePiece(t.files[file]); err == nil {
			scored, unk = model.pieces, model.unkID
			if class.pieces != nil {
				scored = class.pieces(s, scored)
			}
			if !s.hasExtra {
				s.extra = model.added
			}
			if len(model.charsMap) > 0 {
				table, err = newCharsMap(model.charsMap)
			}
		}
	default:
		return fmt.Errorf("%s: tokenizer_class: %q reads %s or %s, and both are missing", configFile, s.className, tokenizerFile, class.file)
	}
	var ids *tokenIDs
	if err == nil {
		ids, err = m.setScored(scored)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if unk = class.unk(s, scored, unk); unk < 0 || unk >= len(scored) {
		return fmt.Errorf("%s: the unknown token has the id %d, expected 0 to %d", file, unk, len(scored)-1)
	}
	m.unk = int32(unk)
	if class.normalizers != nil {
		if m.normalizers, err = class.normalizers(s); err != nil {
			return err
		}
	}
	if table != nil && !class.noCharsMap {
		m.normalizers = append(m.normalizers, table)
	}
	prefix, err := s.flag("add_prefix_space", true)
	if err != nil {
		return err
	}
	if !prefix {
		m.metaspace.prepend = class.noPrefix
	}
	t.model = m
	if err := t.addSpecial(s, file, ids, m.vocab, class.front, class.back); err != nil {
		return err
	}
	if s.class.robertaPairs {
		t.roberta(trim{})
	}
	for _, name := range []string{"add_bos_token", "add_eos_token"} {
		if f, ok := s.values.get(name); ok && class.ownFrame {
			return f.errorf("not supported with the class %s, expected no such key", s.className)
		}
	}
	if class.ownFrame && j != nil {
		if err := t.readFrame(j.PostProcessor); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return t.applySettings(s)
}

// charsMap returns the first SentencePiece table among the normalizers, or nil.
func (j *tokenizerJSON) charsMap() (*charsMap, error) {
	all, err := readNormalizers("normalizer", j.Normalizer)
	for _, n := range all {
		if m, ok := n.(*charsMap); ok {
			return m, err
		}
	}
	return nil, err
}

// defaultExtra sets a class's special tokens without a name, if no file says which they are.
func (s *settings) defaultExtra(texts []string) {
	if s.hasExtra || s.hasAdditional {
		return
	}
	for _, text := range texts {
		s.extra = append(s.extra, plainToken(text))
	}
}
