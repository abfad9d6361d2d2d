package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// typed is the field that every object of a tokenizer.json has.
type typed struct {
	Type string `json:"type"`
}

// addedTokenJSON is an added token of tokenizer.json.
type addedTokenJSON struct {
	ID int32 `json:"id"`
	tokenJSON
}

// tokenizerJSON is the schema of tokenizer.json.
type tokenizerJSON struct {
	AddedTokens []addedTokenJSON `json:"added_tokens"`
	Truncation  *struct {
		Direction string `json:"direction"`
	} `json:"truncation"`
	Padding *struct {
		Token *string `json:"pad_token"`
	} `json:"padding"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         *struct {
		typed
		Unk      *string   `json:"unk_token"`
		Prefix   *string   `json:"continuing_subword_prefix"`
		MaxChars *int      `json:"max_input_chars_per_word"`
		Vocab    vocabJSON `json:"vocab"`
		bpeModelJSON
		unigramModelJSON
	} `json:"model"`
}

// unsupported names a setting that is not implemented.
func unsupported(field string, raw json.RawMessage, want string) error {
	if len(raw) == 0 || string(raw) == "null" {
		return fmt.Errorf("%s is missing (supported: %s)", field, want)
	}
	var t typed
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("%s: expected an object", field)
	}
	return fmt.Errorf("%s of type %q is not supported (supported: %s)", field, t.Type, want)
}

// typeOf returns the type of an object, or "" if it has none.
func typeOf(raw json.RawMessage) string {
	var t typed
	if json.Unmarshal(raw, &t) != nil {
		return ""
	}
	return t.Type
}

const (
	wordPieceModel = "WordPiece"
	bpeModel       = "BPE"
	unigramModel   = "Unigram"
	models         = wordPieceModel + ", " + bpeModel + ", " + unigramModel
)

// decode reads a tokenizer.json. Afterwards its model has a type and a vocabulary.
func (j *tokenizerJSON) decode(file []byte) error {
	err := decodeJSON(file, j)
	model := j.Model
	// The vocabulary of another model may have another form. The model's type, which is decoded
	// all the same, tells more than the error.
	if model != nil && !slices.Contains([]string{wordPieceModel, bpeModel, unigramModel, ""}, model.Type) {
		return fmt.Errorf("model of type %q is not supported (supported: %s)", model.Type, models)
	}
	if err != nil {
		return err
	}
	if model == nil {
		return fmt.Errorf("model is missing (supported: %s)", models)
	}
	// Old files do not name the type. A model with merges is BPE, and one without merges but with
	// a prefix is WordPiece.
	switch {
	case model.Type != "":
	case model.Merges != nil:
		model.Type = bpeModel
	case model.Prefix != nil:
		model.Type = wordPieceModel
	default:
		return errors.New("model.type is missing, and the model is neither WordPiece nor BPE")
	}
	if len(model.Vocab.list) == 0 && len(model.Vocab.scored) == 0 {
		return errors.New("model.vocab is missing or empty")
	}
	if scored := len(model.Vocab.scored) > 0; scored != (model.Type == unigramModel) {
		return fmt.Errorf("model.vocab: expected tokens with their %s", map[bool]string{true: "ids", false: "scores"}[scored])
	}
	for i, a := range j.AddedTokens {
		if a.Content == nil || *a.Content == "" {
			return fmt.Errorf("added_tokens[%d]: content is missing", i)
		}
	}
	return nil
}

// only reports a model that the tokenizer's class cannot use.
func (j *tokenizerJSON) only(model string, s *settings) error {
	if j.Model.Type != model {
		return fmt.Errorf("model of type %s: tokenizer_class %q takes only %s", j.Model.Type, s.className, model)
	}
	return nil
}

// loadLibrary reads tokenizer.json as Hugging Face's library does, and adds the tokens of the
// other files.
func (t *Tokenizer) loadLibrary(s *settings, j *tokenizerJSON) error {
	var vocab []string
	var unk string
	var err error
	switch j.Model.Type {
	case bpeModel:
		vocab, unk, err = j.bytePair(t)
	case unigramModel:
		vocab, unk, err = j.unigram(t)
	default:
		vocab, unk, err = j.wordPiece(t)
	}
	if err == nil {
		err = j.finish(t, s, vocab, unk)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", tokenizerFile, err)
	}
	return t.applySettings(s)
}

// wordPiece sets the tokenizer's model. It returns the vocabulary and the unknown token.
func (j *tokenizerJSON) wordPiece(t *Tokenizer) (vocab []string, unk string, err error) {
	model := j.Model
	m := &wordPiece{maxChars: 100, prefix: "##"}
	if model.MaxChars != nil {
		if m.maxChars = *model.MaxChars; m.maxChars < 0 {
			return nil, "", fmt.Errorf("model.max_input_chars_per_word is %d, expected at least 0", m.maxChars)
		}
	}
	unk = "[UNK]"
	if model.Unk != nil {
		unk = *model.Unk
	}
	if model.Prefix != nil {
		m.prefix = *model.Prefix
	}
	id, ok := model.Vocab.find(unk)
	if !ok {
		return nil, "", fmt.Errorf("model.unk_token %q is not in model.vocab", unk)
	}
	m.unk = id
	if err := m.readNormalizer(j.Normalizer); err != nil {
		return nil, "", err
	}
	if typeOf(j.PreTokenizer) != "BertPreTokenizer" {
		return nil, "", unsupported("pre_tokenizer", j.PreTokenizer, "BertPreTokenizer")
	}
	if err := m.setVocab(&model.Vocab.tokenIDs); err != nil {
		return nil, "", fmt.Errorf("model.vocab: %w", err)
	}
	t.model = m
	return m.vocab, unk, nil
}

func (m *wordPiece) setVocab(ids *tokenIDs) (err error) {
	if m.vocab, err = vocabulary(ids); err != nil {
		return err
	}
	if !m.prepare() {
		return errVocabSize
	}
	return nil
}

// finish adds the added tokens of tokenizer.json, which may be beyond the model's vocabulary or
// repeat its tokens, and then those of the settings. It also reads the special tokens around the
// texts.
func (j *tokenizerJSON) finish(t *Tokenizer, s *settings, vocab []string, unk string) error {
	a := newAddedTokens(t.model, &j.Model.Vocab.tokenIDs)
	list := make([]addedToken, len(j.AddedTokens))
	for i, token := range j.AddedTokens {
		list[i] = token.setting().addedToken
	}
	for i, token := range list {
		if id, ok := j.Model.Vocab.find(token.text); ok && id != j.AddedTokens[i].ID {
			return fmt.Errorf("added_tokens[%d] %q has the id %d, in model.vocab %d", i, token.text, j.AddedTokens[i].ID, id)
		}
	}
	for _, token := range list {
		a.add(token)
	}
	if _, ok := s.named[padToken]; !ok && s.className != "" && j.Padding != nil && j.Padding.Token != nil {
		pad := plainToken(*j.Padding.Token)
		s.named[padToken] = &pad
	}
	s.addTo(a)
	split, err := s.flag("split_special_tokens", false)
	if err != nil {
		return err
	}
	if err := t.setAdded(a, vocab, split); err != nil {
		return fmt.Errorf("added_tokens: %w", err)
	}
	if err := t.readFrame(j.PostProcessor); err != nil {
		return err
	}
	usual := bertTokens
	if _, named := a.find(bertTokens[maskToken]); j.Model.Type != wordPieceModel && !named {
		usual = robertaTokens
	}
	if unk == "" {
		unk = usual[unkToken]
	}
	name := func(key, text string) string {
		if s.named[key] != nil {
			return s.named[key].text
		}
		return text
	}
	t.setSpecial(a, name(padToken, usual[padToken]), unk, name(clsToken, usual[clsToken]), name(sepToken, usual[sepToken]), name(maskToken, usual[maskToken]))
	t.frameSpecial()
	return nil
}

// frameSpecial takes the classification and separator tokens from those around the texts if they
// do not have the usual names.
func (t *Tokenizer) frameSpecial() {
	if t.cls < 0 && len(t.frame.before) == 1 {
		t.cls = t.frame.before[0]
	}
	if t.sep < 0 && len(t.frame.after) == 1 {
		t.sep = t.frame.after[0]
	}
}

func (m *wordPiece) readNormalizer(raw json.RawMessage) error {
	if typeOf(raw) != "BertNormalizer" {
		return unsupported("normalizer", raw, "BertNormalizer")
	}
	n := struct {
		CleanText    bool  `json:"clean_text"`
		ChineseChars bool  `json:"handle_chinese_chars"`
		StripAccents *bool `json:"strip_accents"`
		Lowercase    bool  `json:"lowercase"`
	}{true, true, nil, true}
	if err := decodeJSON(raw, &n); err != nil {
		return fmt.Errorf("normalizer: %w", err)
	}
	m.cleanText, m.chineseChars, m.lowercase = n.CleanText, n.ChineseChars, n.Lowercase
	m.stripAccents = n.Lowercase // the meaning of null
	if n.StripAccents != nil {
		m.stripAccents = *n.StripAccents
	}
	return nil
}

// readFrame reads the special tokens around the texts.
func (t *Tokenizer) readFrame(raw json.RawMessage) error {
	const want = "BertProcessing, RobertaProcessing, TemplateProcessing"
	switch typeOf(raw) {
	case "BertProcessing":
		return t.readBertProcessing(raw)
	case "RobertaProcessing":
		if err := t.readBertProcessing(raw); err != nil {
			return err
		}
		return t.readRobertaProcessing(raw)
	case "TemplateProcessing":
		return t.readTemplate(raw)
	}
	return unsupported("post_processor", raw, want)
}

func (t *Tokenizer) checkID(field string, id int32) error {
	if id < 0 || int(id) >= len(t.vocab) {
		return fmt.Errorf("%s: the id %d is not in the vocabulary", field, id)
	}
	return nil
}

func (t *Tokenizer) readBertProcessing(raw json.RawMessage) error {
	var p struct {
		Sep, Cls []json.RawMessage
	}
	if err := decodeJSON(raw, &p); err != nil {
		return fmt.Errorf("post_processor: %w", err)
	}
	id := func(field string, pair []json.RawMessage) (int32, error) {
		var id int32
		if len(pair) != 2 || json.Unmarshal(pair[1], &id) != nil {
			return 0, fmt.Errorf("%s: expected a token and its id", field)
		}
		return id, t.checkID(field, id)
	}
	sep, err := id("post_processor.sep", p.Sep)
	if err != nil {
		return err
	}
	cls, err := id("post_processor.cls", p.Cls)
	if err != nil {
		return err
	}
	t.frame = frame{before: []int32{cls}, between: []int32{sep}, after: []int32{sep}, typeB: 1}
	return nil
}

// readRobertaProcessing reads what RobertaProcessing has in addition to BertProcessing.
func (t *Tokenizer) readRobertaProcessing(raw json.RawMessage) error {
	p := struct {
		Trim   bool `json:"trim_offsets"`
		Prefix bool `json:"add_prefix_space"`
	}{true, true}
	if err := decodeJSON(raw, &p); err != nil {
		return fmt.Errorf("post_processor: %w", err)
	}
	t.roberta(trim{p.Trim, p.Prefix})
	return nil
}

// roberta turns BERT's frame into RoBERTa's: two separators between the texts of a pair, and no
// types.
func (t *Tokenizer) roberta(trim trim) {
	sep := t.frame.after[0]
	t.frame.between, t.frame.typeB, t.trim = []int32{sep, sep}, 0, trim
}

// templatePart is an element of a template: a text or a special token.
type templatePart struct {
	Sequence *struct {
		ID     string `json:"id"`
		TypeID int32  `json:"type_id"`
	} `json:"Sequence"`
	SpecialToken *struct {
		ID     string `json:"id"`
		TypeID int32  `json:"type_id"`
	} `json:"SpecialToken"`
}

func (t *Tokenizer) readTemplate(raw json.RawMessage) error {
	var p struct {
		Single, Pair  []templatePart
		SpecialTokens map[string]struct{ IDs []int32 } `json:"special_tokens"`
	}
	if err := decodeJSON(raw, &p); err != nil {
		return fmt.Errorf("post_processor: %w", err)
	}
	opensB := 0
	// parts returns the special tokens before, between and after the texts, and the type id of
	// the last element.
	parts := func(field string, list []templatePart, order ...string) (out [3][]int32, last int32, err error) {
		seen := 0
		for i, part := range list {
			at := fmt.Sprintf("post_processor.%s[%d]", field, i)
			var typ int32
			switch {
			case part.Sequence != nil:
				if seen == len(order) || part.Sequence.ID != order[seen] {
					return out, 0, fmt.Errorf("%s: sequence %q out of order is not supported", at, part.Sequence.ID)
				}
				seen++
				typ = part.Sequence.TypeID
			case part.SpecialToken != nil:
				token, ok := p.SpecialTokens[part.SpecialToken.ID]
				if !ok {
					return out, 0, fmt.Errorf("%s: %q is not in special_tokens", at, part.SpecialToken.ID)
				}
				for _, id := range token.IDs {
					if err := t.checkID(at, id); err != nil {
						return out, 0, err
					}
				}
				slot := seen
				if seen == len(order) {
					slot = 2
				}
				out[slot] = append(out[slot], token.IDs...)
				typ = part.SpecialToken.TypeID
			default:
				return out, 0, fmt.Errorf("%s: expected Sequence or SpecialToken", at)
			}
			// What belongs to the first text has type 0. The rest shares one type: the second
			// text, everything after it, and tokens that open it.
			opens := len(order) == 2 && seen == 1 && part.SpecialToken != nil
			if last == 0 && (opens || seen == 2 && part.Sequence != nil) {
				last = typ
			}
			if typ != last {
				return out, 0, fmt.Errorf("%s: type_id %d is not supported here", at, typ)
			}
			if opens && typ != 0 {
				opensB += len(p.SpecialTokens[part.SpecialToken.ID].IDs)
			}
		}
		if seen != len(order) {
			return out, 0, fmt.Errorf("post_processor.%s lacks sequence %q", field, order[seen])
		}
		return out, last, nil
	}
	single, _, err := parts("single", p.Single, "A")
	if err != nil {
		return err
	}
	pair, typeB, err := parts("pair", p.Pair, "A", "B")
	if err != nil {
		return err
	}
	if typeB != 0 && typeB != 1 {
		return fmt.Errorf("post_processor.pair: type_id %d is not supported", typeB)
	}
	if fmt.Sprint(single[0], single[2]) != fmt.Sprint(pair[0], pair[2]) {
		return errors.New("post_processor: single and pair with different special tokens are not supported")
	}
	t.frame = frame{before: pair[0], between: pair[1], opensB: opensB, after: pair[2], typeB: typeB}
	return nil
}
