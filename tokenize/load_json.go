package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
)

// typed is the part that every object of a tokenizer.json has.
type typed struct {
	Type string `json:"type"`
}

// tokenizerJSON is the schema of tokenizer.json.
type tokenizerJSON struct {
	AddedTokens []struct {
		ID         int32  `json:"id"`
		Content    string `json:"content"`
		SingleWord bool   `json:"single_word"`
		LStrip     bool   `json:"lstrip"`
		RStrip     bool   `json:"rstrip"`
		Normalized bool   `json:"normalized"`
		Special    bool   `json:"special"`
	} `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Model         *struct {
		typed
		Unk      *string  `json:"unk_token"`
		Prefix   *string  `json:"continuing_subword_prefix"`
		MaxChars *int     `json:"max_input_chars_per_word"`
		Vocab    tokenIDs `json:"vocab"`
		bpeModelJSON
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

// typeOf returns the type of an object, "" for none.
func typeOf(raw json.RawMessage) string {
	var t typed
	if json.Unmarshal(raw, &t) != nil {
		return ""
	}
	return t.Type
}

const models = "WordPiece, BPE"

func loadJSON(file []byte) (*Tokenizer, error) {
	var j tokenizerJSON
	err := decodeJSON(file, &j)
	model := j.Model
	// Of another model the vocabulary may have another form: its type says more
	// than the error does, and is decoded all the same.
	if model != nil && model.Type != "WordPiece" && model.Type != "BPE" && model.Type != "" {
		return nil, fmt.Errorf("model of type %q is not supported (supported: %s)", model.Type, models)
	}
	if err != nil {
		return nil, err
	}
	if model == nil {
		return nil, fmt.Errorf("model is missing (supported: %s)", models)
	}
	// Old files do not name the type. BPE is the one that has merges, WordPiece
	// one without them that has a prefix.
	if model.Type == "" && model.Merges == nil && model.Prefix == nil {
		return nil, errors.New("model.type is missing, and the model is neither WordPiece nor BPE")
	}
	if len(model.Vocab.list) == 0 {
		return nil, errors.New("model.vocab is missing or empty")
	}
	if model.Type == "BPE" || model.Type == "" && model.Merges != nil {
		return j.bytePair()
	}
	return j.wordPiece()
}

func (j *tokenizerJSON) wordPiece() (*Tokenizer, error) {
	model := j.Model
	m := &wordPiece{maxChars: 100}
	if model.MaxChars != nil {
		if m.maxChars = *model.MaxChars; m.maxChars < 0 {
			return nil, fmt.Errorf("model.max_input_chars_per_word is %d, expected at least 0", m.maxChars)
		}
	}
	unk, prefix := "[UNK]", "##"
	if model.Unk != nil {
		unk = *model.Unk
	}
	if model.Prefix != nil {
		prefix = *model.Prefix
	}
	id, ok := model.Vocab.find(unk)
	if !ok {
		return nil, fmt.Errorf("model.unk_token %q is not in model.vocab", unk)
	}
	m.unk = id
	if err := m.readNormalizer(j.Normalizer); err != nil {
		return nil, err
	}
	if typeOf(j.PreTokenizer) != "BertPreTokenizer" {
		return nil, unsupported("pre_tokenizer", j.PreTokenizer, "BertPreTokenizer")
	}
	var err error
	if m.vocab, err = vocabulary(&model.Vocab); err != nil {
		return nil, fmt.Errorf("model.vocab: %w", err)
	}
	if !m.prepare(prefix) {
		return nil, fmt.Errorf("model.vocab: %w", errVocabSize)
	}
	t := &Tokenizer{model: m}
	if err := j.finish(t, false); err != nil {
		return nil, err
	}
	t.setSpecial(&model.Vocab, "[PAD]", unk, "[CLS]", "[SEP]", "[MASK]")
	t.frameSpecial()
	return t, nil
}

// finish reads the added tokens, which it adds to the model's vocabulary, and
// what stands round the texts. Normalized says that tokens which are looked for
// in normalized text may be no special ones: the model does not normalize.
func (j *tokenizerJSON) finish(t *Tokenizer, normalized bool) error {
	// Added tokens may lie beyond the model's vocabulary or repeat its tokens.
	ids := &j.Model.Vocab
	var list []special
	for i, a := range j.AddedTokens {
		field := fmt.Sprintf("added_tokens[%d] %q", i, a.Content)
		switch {
		case a.Content == "":
			return fmt.Errorf("added_tokens[%d]: content is missing", i)
		case a.SingleWord:
			return fmt.Errorf("%s: single_word is not supported", field)
		case a.Normalized && !a.Special && !normalized:
			return fmt.Errorf("%s: normalized is not supported", field)
		}
		if old, ok := ids.find(a.Content); ok && old != a.ID {
			return fmt.Errorf("%s has the id %d, in model.vocab %d", field, a.ID, old)
		}
		ids.set(a.Content, a.ID)
		list = append(list, special{text: a.Content, id: a.ID, lstrip: a.LStrip, rstrip: a.RStrip})
	}
	t.specials = newSpecials(list)
	var err error
	if t.vocab, err = vocabulary(ids); err != nil {
		return fmt.Errorf("added_tokens: %w", err)
	}
	return t.readFrame(j.PostProcessor)
}

// frameSpecial takes the classification and separator tokens from what stands
// round the texts, where they do not have the usual names.
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
	m.stripAccents = n.Lowercase // what null stands for
	if n.StripAccents != nil {
		m.stripAccents = *n.StripAccents
	}
	return nil
}

// readFrame reads which special tokens stand round the texts.
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

// readRobertaProcessing reads what RobertaProcessing adds to BertProcessing.
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

// roberta makes the frame of BERT that of RoBERTa: two separators between the
// texts of a pair, and no types.
func (t *Tokenizer) roberta(trim trim) {
	sep := t.frame.after[0]
	t.frame.between, t.frame.typeB, t.trim = []int32{sep, sep}, 0, trim
}

// templatePart is one piece of a template: a text or a special token.
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
	// parts returns the special tokens before, between and after the texts,
	// and the type id of the last part.
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
			// All that comes before the second text has type 0; the rest has one type.
			if seen == 2 && part.Sequence != nil {
				last = typ
			} else if typ != last {
				return out, 0, fmt.Errorf("%s: type_id %d is not supported here", at, typ)
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
	t.frame = frame{before: pair[0], between: pair[1], after: pair[2], typeB: typeB}
	return nil
}
