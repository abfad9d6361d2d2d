package tokenize

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The files that Load reads.
const (
	tokenizerFile  = "tokenizer.json"
	vocabFile      = "vocab.txt"
	bpeVocabFile   = "vocab.json"
	mergesFile     = "merges.txt"
	configFile     = "tokenizer_config.json"
	specialMapFile = "special_tokens_map.json"
	addedFile      = "added_tokens.json"
)

// pieceFiles are the names of SentencePiece model files, by class.
var pieceFiles = []string{xlmRoberta.file, albert.file, debertaV2.file}

var knownFiles = append([]string{tokenizerFile, vocabFile, bpeVocabFile, mergesFile, configFile, specialMapFile, addedFile}, pieceFiles...)

// maxTokenID bounds the ids of a vocabulary.
const maxTokenID = 1 << 24

// ErrNoTokenizer says that Load cannot read a tokenizer from any of the files.
var ErrNoTokenizer = errors.New("no tokenizer: neither " + tokenizerFile + " nor " + vocabFile + " nor " + bpeVocabFile + " with " + mergesFile + ", nor a SentencePiece model and its tokenizer_class")

// Load returns the tokenizer that a model's files describe, as AutoTokenizer of transformers 5
// reads them. tokenizer_class in tokenizer_config.json decides how:
//
//   - BertTokenizer and its kin take the vocabulary of tokenizer.json, else of
//     vocab.txt (WordPiece). The rest follows from tokenizer_config.json, whatever
//     tokenizer.json says: do_lower_case is true unless it is false there.
//     MPNetTokenizer is one of them, with RoBERTa's special tokens.
//   - RobertaTokenizer takes vocabulary and merges of tokenizer.json, else of
//     vocab.json and merges.txt (byte-level byte-pair encoding). The rest is as for BERT.
//   - XLMRobertaTokenizer, CamembertTokenizer, AlbertTokenizer and DebertaV2Tokenizer
//     take vocabulary and table of characters of tokenizer.json, else of a
//     SentencePiece model (sentencepiece.bpe.model, spiece.model, spm.model: a unigram
//     language model). The rest is as for BERT.
//   - GemmaTokenizer takes vocabulary and merges of tokenizer.json (byte-pair encoding of
//     characters) and builds the rest likewise.
//   - PreTrainedTokenizerFast takes tokenizer.json as it is.
//   - Any other class is an error.
//
// Without a class, tokenizer.json is taken as it is, vocab.txt is read like BERT's, and
// vocab.json with merges.txt like RoBERTa's. In every case the special and added tokens come from
// tokenizer_config.json, special_tokens_map.json, added_tokens.json and tokenizer.json. Load
// ignores other files, and the maximum length and padding that the files ask for; Options has the
// length.
//
// Errors name the file and the field. A tokenizer.json that asks for a normalizer, a model or
// anything else that is not implemented is an error.
//
// The schema is that of Hugging Face's library. Package github.com/sugarme/tokenizer reads it,
// too, and the tests compare with it. The product does not link it: it would add net/http, and so
// cgo's name resolver, to every program that serves, and its loader ends the process if a file is
// wrong.
func Load(files map[string][]byte) (*Tokenizer, error) { return loadAs("", files) }

// loadAs is Load with a class for files that name none.
func loadAs(class string, files map[string][]byte) (*Tokenizer, error) {
	t := &Tokenizer{files: make(map[string][]byte)}
	for _, name := range knownFiles {
		if b := files[name]; b != nil {
			t.files[name] = b
		}
	}
	if err := t.load(class); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Tokenizer) load(class string) error {
	var j *tokenizerJSON
	if file := t.files[tokenizerFile]; file != nil {
		j = new(tokenizerJSON)
		if err := j.decode(file); err != nil {
			return fmt.Errorf("%s: %w", tokenizerFile, err)
		}
	}
	s, err := readSettings(t.files, j)
	if err != nil {
		return err
	}
	if s.className == "" {
		switch {
		case class != "":
			s.className = class
		case j != nil:
		case t.files[vocabFile] != nil:
			s.className = "BertTokenizer"
		case t.files[bpeVocabFile] != nil && t.files[mergesFile] != nil:
			s.className = "RobertaTokenizer"
		default:
			return ErrNoTokenizer
		}
		s.class = libraryClass
		if s.className != "" {
			s.class = tokenizerClasses[s.className]
		}
	}
	t.class = s.className
	switch s.class.backend {
	case bertBackend:
		err = t.loadBERT(s, j)
	case robertaBackend:
		err = t.loadRoBERTa(s, j)
	case unigramBackend:
		err = t.loadUnigram(s, j)
	case gemmaBackend:
		err = t.loadGemma(s, j)
	default:
		if j == nil {
			return fmt.Errorf("%s: tokenizer_class: %q reads %s, which is missing", configFile, s.className, tokenizerFile)
		}
		err = t.loadLibrary(s, j)
	}
	if err == nil {
		t.setDecoder(s, j)
	}
	return err
}

// NewWordPiece returns BERT's tokenizer for a vocabulary by token id, which must contain [UNK],
// [CLS] and [SEP]. lowercase also strips accents, as the uncased models do.
func NewWordPiece(vocab []string, lowercase bool) (*Tokenizer, error) {
	for i, v := range vocab {
		switch {
		case !utf8.ValidString(v):
			return nil, fmt.Errorf("token %d is not valid UTF-8: %q", i, v)
		case strings.ContainsAny(v, "\r\n"):
			return nil, fmt.Errorf("token %d: %q holds a line break", i, v)
		case strings.TrimRightFunc(v, unicode.IsSpace) != v:
			return nil, fmt.Errorf("token %d: %q ends in white space", i, v)
		}
	}
	config := fmt.Sprintf("{\n  \"do_lower_case\": %t,\n  \"tokenizer_class\": \"BertTokenizer\"\n}\n", lowercase)
	return Load(map[string][]byte{
		vocabFile:  []byte(strings.Join(vocab, "\n") + "\n"),
		configFile: []byte(config),
	})
}

// loadBERT reads a directory as the class BertTokenizer does.
func (t *Tokenizer) loadBERT(s *settings, j *tokenizerJSON) error {
	var ids *tokenIDs
	var err error
	file := vocabFile
	switch {
	case j != nil:
		file, ids, err = tokenizerFile, &j.Model.Vocab.tokenIDs, j.only(wordPieceModel, s)
	case t.files[vocabFile] != nil:
		ids, err = readVocab(t.files[file])
	default:
		return fmt.Errorf("%s: tokenizer_class: %q reads %s or %s, and both are missing", configFile, s.className, tokenizerFile, vocabFile)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	m := &wordPiece{cleanText: true, prefix: "##", maxChars: 100}
	if m.lowercase, err = s.flag("do_lower_case", true); err != nil {
		return err
	}
	if m.stripAccents, err = s.flag("strip_accents", m.lowercase); err != nil {
		return err
	}
	if m.chineseChars, err = s.flag("tokenize_chinese_chars", true); err != nil {
		return err
	}
	unk, err := s.need(unkToken, file, ids)
	if err != nil {
		return err
	}
	var ok bool
	if m.unk, ok = ids.find(unk); !ok {
		return lacks(file, unk, ids)
	}
	if err := m.setVocab(ids); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	t.model = m
	if err := t.addSpecial(s, file, ids, m.vocab, clsToken, sepToken); err != nil {
		return err
	}
	if s.class.robertaPairs {
		t.roberta(trim{on: true})
	}
	return t.applySettings(s)
}

// addSpecial adds the special tokens of the settings to the vocabulary, for a class that builds
// the frame itself as BERT does: front before the texts, and back after each.
func (t *Tokenizer) addSpecial(s *settings, file string, ids *tokenIDs, vocab []string, front, back string) error {
	for _, name := range []string{front, back} {
		text, err := s.need(name, file, ids)
		if err != nil {
			return err
		}
		if strings.ContainsFunc(text, unicode.IsSpace) || strings.Contains(text, ":") || text[0] == '$' {
			return fmt.Errorf("%s: %q, expected no white space, no colon and no $ at the start", name, text)
		}
	}
	a := newAddedTokens(t.model, ids)
	s.addTo(a)
	split, err := s.flag("split_special_tokens", false)
	if err != nil {
		return err
	}
	if err := t.setAdded(a, vocab, split); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	t.setSpecial(a, s.special(padToken), s.special(unkToken), s.special(clsToken), s.special(sepToken), s.special(maskToken))
	first, _ := a.find(s.special(front))
	last, _ := a.find(s.special(back))
	t.frame = frame{before: []int32{first}, between: []int32{last}, after: []int32{last}, typeB: 1}
	return nil
}

// applySettings applies the settings that are common to all classes.
func (t *Tokenizer) applySettings(s *settings) error {
	side, ok := s.values.get("truncation_side")
	if ok {
		text, err := side.text()
		if err != nil {
			return err
		}
		if text != "left" && text != "right" {
			return side.errorf("expected left or right, found %s", side.raw)
		}
		t.cutLeft = text == "left"
	}
	if s.className == "" {
		return nil
	}
	typeIDs := s.class.typeIDs
	if f, ok := s.values.get("model_input_names"); ok {
		names, err := f.list()
		if err != nil {
			return err
		}
		typeIDs = slices.ContainsFunc(names, func(t tokenSetting) bool { return t.text == "token_type_ids" })
	}
	if !typeIDs {
		t.frame.typeB = 0
	}
	return nil
}

var errVocabSize = fmt.Errorf("the vocabulary is larger than %d bytes", maxNodes)

// setSpecial sets the ids of the special tokens, and -1 for missing ones.
func (t *Tokenizer) setSpecial(a *addedTokens, pad, unk, cls, sep, mask string) {
	for p, token := range map[*int32]string{&t.pad: pad, &t.unk: unk, &t.cls: cls, &t.sep: sep, &t.mask_: mask} {
		*p = -1
		if id, ok := a.find(token); ok && token != "" && !a.byID[id].absent {
			*p = id
		}
	}
}

// readVocab reads vocab.txt: one token per line, without the white space at its end. The number
// of the line is the id. Of equal tokens the last one counts.
func readVocab(file []byte) (*tokenIDs, error) {
	lines := strings.Split(strings.TrimSuffix(string(file), "\n"), "\n")
	if len(lines) > maxTokenID {
		return nil, fmt.Errorf("the vocabulary has more than %d tokens", maxTokenID)
	}
	ids := newTokenIDs(len(lines))
	for i, line := range lines {
		if !utf8.ValidString(line) {
			return nil, fmt.Errorf("line %d is not valid UTF-8: %q", i+1, line)
		}
		if n := len(line); n > 0 && (line[n-1] <= ' ' || line[n-1] >= utf8.RuneSelf) {
			line = strings.TrimRightFunc(line, unicode.IsSpace)
		}
		ids.set(line, int32(i))
	}
	return &ids, nil
}

// decodeJSON decodes one JSON document. Its errors say where the document is wrong.
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
