package tokenize

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The files that Load knows.
const (
	tokenizerFile = "tokenizer.json"
	vocabFile     = "vocab.txt"
	bpeVocabFile  = "vocab.json"
	mergesFile    = "merges.txt"
	configFile    = "tokenizer_config.json"
)

// maxTokenID bounds the ids of a vocabulary.
const maxTokenID = 1 << 24

// ErrNoTokenizer says that none of the files is one that Load can read a
// tokenizer from.
var ErrNoTokenizer = errors.New("no tokenizer: neither " + tokenizerFile + " nor " + vocabFile + " nor " + bpeVocabFile + " with " + mergesFile)

// Load returns the tokenizer that a model's files describe: tokenizer.json,
// else vocab.txt (WordPiece), else vocab.json and merges.txt (byte-level
// byte-pair encoding), these with the settings of tokenizer_config.json where it
// is there: do_lower_case is true unless it says otherwise, as in Hugging Face's
// BertTokenizer, add_prefix_space false as in RobertaTokenizer, and RoBERTa's
// <mask> takes the white space before it, as the published tokenizer.json has it.
// Other files are left aside, and so are the truncation and padding written in a
// tokenizer.json: Options has the length.
//
// An error names the file and the field. A tokenizer.json that asks for a
// normalizer, a model or anything else that is not implemented is refused.
//
// The schema is that of Hugging Face's library. github.com/sugarme/tokenizer
// reads it too, but linking it brings net/http and, with it, cgo's name resolver
// into every program that serves, and its loader ends the process where a file
// is wrong; so the tests read the files with it, and the product does not.
func Load(files map[string][]byte) (*Tokenizer, error) {
	var t *Tokenizer
	var err error
	keep := []string{configFile, "special_tokens_map.json", "added_tokens.json"}
	switch {
	case files[tokenizerFile] != nil:
		keep = append(keep, tokenizerFile, vocabFile, bpeVocabFile, mergesFile)
		if t, err = loadJSON(files[tokenizerFile]); err != nil {
			return nil, fmt.Errorf("%s: %w", tokenizerFile, err)
		}
	case files[vocabFile] != nil:
		keep = append(keep, vocabFile)
		if t, err = loadVocab(files[vocabFile], files[configFile]); err != nil {
			return nil, err
		}
	case files[bpeVocabFile] != nil && files[mergesFile] != nil:
		keep = append(keep, bpeVocabFile, mergesFile)
		if t, err = loadMerges(files[bpeVocabFile], files[mergesFile], files[configFile]); err != nil {
			return nil, err
		}
	default:
		return nil, ErrNoTokenizer
	}
	t.files = make(map[string][]byte)
	for _, name := range keep {
		if b := files[name]; b != nil {
			t.files[name] = b
		}
	}
	return t, nil
}

// NewWordPiece returns BERT's tokenizer for a vocabulary by token id, which
// must hold [UNK], [CLS] and [SEP]. lowercase also strips accents, as in the
// uncased models.
func NewWordPiece(vocab []string, lowercase bool) (*Tokenizer, error) {
	for i, v := range vocab {
		if strings.ContainsAny(v, "\r\n") {
			return nil, fmt.Errorf("token %d: %q holds a line break", i, v)
		}
	}
	t, err := newBERT(vocab, bertSettings{lowercase: lowercase, stripAccents: lowercase, chineseChars: true})
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf("{\n  \"do_lower_case\": %t,\n  \"tokenizer_class\": \"BertTokenizer\"\n}\n", lowercase)
	t.files = map[string][]byte{
		vocabFile:  []byte(strings.Join(vocab, "\n") + "\n"),
		configFile: []byte(config),
	}
	return t, nil
}

// bertSettings are the settings of a BertTokenizer that vocab.txt does not hold.
type bertSettings struct {
	lowercase, stripAccents, chineseChars bool
	pad, unk, cls, sep, mask              string
}

func newBERT(vocab []string, s bertSettings) (*Tokenizer, error) {
	for p, def := range map[*string]string{&s.pad: "[PAD]", &s.unk: "[UNK]", &s.cls: "[CLS]", &s.sep: "[SEP]", &s.mask: "[MASK]"} {
		if *p == "" {
			*p = def
		}
	}
	m := &wordPiece{
		cleanText: true, chineseChars: s.chineseChars, stripAccents: s.stripAccents, lowercase: s.lowercase,
		vocab: vocab, maxChars: 100,
	}
	ids, err := index(vocab)
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{model: m, vocab: vocab}
	t.setSpecial(ids, s.pad, s.unk, s.cls, s.sep, s.mask)
	for _, need := range []struct {
		token string
		id    int32
	}{{s.unk, t.unk}, {s.cls, t.cls}, {s.sep, t.sep}} {
		if need.id < 0 {
			return nil, fmt.Errorf("the vocabulary lacks the token %s", need.token)
		}
	}
	m.unk = t.unk
	if !m.prepare("##") {
		return nil, errVocabSize
	}
	var list []special
	for _, token := range []string{s.pad, s.unk, s.cls, s.sep, s.mask} {
		if id, ok := ids.find(token); ok {
			list = append(list, special{text: token, id: id})
		}
	}
	t.specials = newSpecials(list)
	t.frame = frame{before: []int32{t.cls}, between: []int32{t.sep}, after: []int32{t.sep}, typeB: 1}
	return t, nil
}

var errVocabSize = fmt.Errorf("the vocabulary is larger than %d bytes", maxNodes)

// setSpecial sets the ids of the special tokens, -1 for those that are missing.
func (t *Tokenizer) setSpecial(ids *tokenIDs, pad, unk, cls, sep, mask string) {
	for p, token := range map[*int32]string{&t.pad: pad, &t.unk: unk, &t.cls: cls, &t.sep: sep, &t.mask_: mask} {
		*p = -1
		if id, ok := ids.find(token); ok {
			*p = id
		}
	}
}

// index returns the ids of a vocabulary. Of equal tokens the last counts, as in
// Hugging Face's reader of vocab.txt.
func index(vocab []string) (*tokenIDs, error) {
	if len(vocab) == 0 {
		return nil, errors.New("the vocabulary is empty")
	}
	if len(vocab) > maxTokenID {
		return nil, fmt.Errorf("the vocabulary has more than %d tokens", maxTokenID)
	}
	ids := newTokenIDs(len(vocab))
	for i, v := range vocab {
		if !utf8.ValidString(v) {
			return nil, fmt.Errorf("token %d is not valid UTF-8: %q", i, v)
		}
		ids.set(v, int32(i))
	}
	return &ids, nil
}

// loadVocab reads vocab.txt: one token a line, whose number is the id.
func loadVocab(vocab, config []byte) (*Tokenizer, error) {
	text := strings.TrimPrefix(string(vocab), "\ufeff")
	text = strings.TrimSuffix(text, "\n")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSuffix(line, "\r")
	}
	s := bertSettings{lowercase: true, stripAccents: true, chineseChars: true}
	if config != nil {
		var c struct {
			Lower   *bool           `json:"do_lower_case"`
			Strip   *bool           `json:"strip_accents"`
			Chinese *bool           `json:"tokenize_chinese_chars"`
			Basic   *bool           `json:"do_basic_tokenize"`
			Pad     json.RawMessage `json:"pad_token"`
			Unk     json.RawMessage `json:"unk_token"`
			Cls     json.RawMessage `json:"cls_token"`
			Sep     json.RawMessage `json:"sep_token"`
			Mask    json.RawMessage `json:"mask_token"`
		}
		if err := decodeJSON(config, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", configFile, err)
		}
		if c.Basic != nil && !*c.Basic {
			return nil, fmt.Errorf("%s: do_basic_tokenize false is not supported", configFile)
		}
		if c.Lower != nil {
			s.lowercase = *c.Lower
		}
		s.stripAccents = s.lowercase
		if c.Strip != nil {
			s.stripAccents = *c.Strip
		}
		if c.Chinese != nil {
			s.chineseChars = *c.Chinese
		}
		for _, f := range []struct {
			name string
			raw  json.RawMessage
			to   *string
		}{{"pad_token", c.Pad, &s.pad}, {"unk_token", c.Unk, &s.unk}, {"cls_token", c.Cls, &s.cls}, {"sep_token", c.Sep, &s.sep}, {"mask_token", c.Mask, &s.mask}} {
			if err := tokenText(f.raw, f.to); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", configFile, f.name, err)
			}
		}
	}
	t, err := newBERT(lines, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", vocabFile, err)
	}
	return t, nil
}

// tokenText reads a special token, which is written as a string or as an object
// with the key content.
func tokenText(raw json.RawMessage, to *string) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if raw[0] == '"' {
		return json.Unmarshal(raw, to)
	}
	var o struct{ Content string }
	if err := json.Unmarshal(raw, &o); err != nil {
		return errors.New("expected a string or an object with content")
	}
	*to = o.Content
	return nil
}

// decodeJSON decodes one JSON document and says where it is wrong.
func decodeJSON(b []byte, v any) error {
	err := json.Unmarshal(bytes.TrimPrefix(b, []byte("\ufeff")), v)
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not valid JSON at byte %d: %v", syntax.Offset, err)
	case errors.As(err, &typ):
		return fmt.Errorf("field %s: expected %s, found %s", typ.Field, typ.Type, typ.Value)
	}
	return err
}

// vocabulary turns the ids of tokens into tokens by id.
func vocabulary(ids *tokenIDs) ([]string, error) {
	size := 0
	for _, t := range ids.list {
		if t.id < 0 || t.id >= maxTokenID {
			return nil, fmt.Errorf("token %q has the id %d, expected 0 to %d", t.token, t.id, maxTokenID-1)
		}
		size = max(size, int(t.id)+1)
	}
	if size > 16*len(ids.list)+1024 {
		return nil, fmt.Errorf("%d tokens have ids up to %d", len(ids.list), size-1)
	}
	vocab := make([]string, size)
	for _, t := range ids.list {
		if other := vocab[t.id]; other != "" {
			return nil, fmt.Errorf("tokens %q and %q have the same id %d", min(t.token, other), max(t.token, other), t.id)
		}
		vocab[t.id] = t.token
	}
	return vocab, nil
}
