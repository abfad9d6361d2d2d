package tokenize

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The keys of the special tokens.
const (
	unkToken, sepToken, padToken, clsToken, maskToken = "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"
	extraTokens, additionalTokens                     = "extra_special_tokens", "additional_special_tokens"
	specificTokens                                    = "model_specific_special_tokens"
)

// namedTokens are the special tokens with a name, in the order in which
// transformers adds them.
var namedTokens = []string{"bos_token", "eos_token", unkToken, sepToken, padToken, clsToken, maskToken}

// settings are the contents of the files beside a vocabulary, merged as transformers 5 does it.
type settings struct {
	class     tokenizerClass
	className string // "" where no file names a class
	values    fields
	// decoder holds the added tokens of added_tokens_decoder, or else those of added_tokens.json
	// and tokenizer.json, by the id that the files give them.
	decoder map[int]tokenSetting
	// named holds the special tokens; nil stands for one that the files remove.
	named    map[string]*tokenSetting
	specific []tokenSetting // tokens whose names only models of their kind know
	extra    []tokenSetting
	hasExtra bool
	// hasAdditional says that they are given under the name of transformers version 4.
	hasAdditional bool
}

// tokenSetting is an added token before its id is known.
type tokenSetting struct {
	addedToken
	// auto says that no file tells whether the token is normalized. It is if it is not special.
	auto bool
}

func plainToken(text string) tokenSetting {
	return tokenSetting{addedToken{text: text, special: true}, true}
}

// plain returns the special token of this name, if the files give it as plain text or not at all.
func (c *tokenizerClass) plain(name, text string) tokenSetting {
	t := plainToken(text)
	t.lstrip = c.stripMask && name == maskToken
	return t
}

// field is a value of a JSON object, with the file that it comes from.
type field struct {
	file, name string
	raw        json.RawMessage
	special    bool // an added token that is special whatever the file says
}

func (f field) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", f.file, f.name, fmt.Errorf(format, args...))
}

func (f field) isNull() bool   { return string(f.raw) == "null" }
func (f field) isObject() bool { return f.raw[0] == '{' }
func (f field) isString() bool { return f.raw[0] == '"' }

// isAddedToken recognizes an object that transformers reads as a token anywhere.
func (f field) isAddedToken() bool {
	var v struct {
		Type string `json:"__type"`
	}
	return f.isObject() && json.Unmarshal(f.raw, &v) == nil && v.Type == "AddedToken"
}

// fields holds the values of an object in the order of the file. Tokens get their ids in this
// order.
type fields struct {
	list []field // a field that was taken out has no name
	at   map[string]int
}

func parseFields(file string, b []byte) (fields, error) {
	var values map[string]json.RawMessage
	if err := decodeJSON(b, &values); err != nil {
		return fields{}, fmt.Errorf("%s: %w", file, err)
	}
	return orderedFields(file, bytes.TrimPrefix(b, []byte("\ufeff")), values), nil
}

// orderedFields returns the values of a valid object. Of equal names the last value counts, at
// the place of the first.
func orderedFields(file string, b []byte, values map[string]json.RawMessage) fields {
	var out fields
	d := json.NewDecoder(bytes.NewReader(b))
	_, _ = d.Token()
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			break
		}
		if name, ok := name.(string); ok {
			out.set(field{file: file, name: name, raw: bytes.TrimSpace(values[name])})
		}
	}
	return out
}

// object returns the values of a field that is an object.
func (f field) object() (fields, error) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(f.raw, &values); err != nil {
		return fields{}, f.errorf("expected an object, found %s", f.raw)
	}
	return orderedFields(f.file, f.raw, values), nil
}

func (f *fields) get(name string) (field, bool) {
	if i, ok := f.at[name]; ok {
		return f.list[i], true
	}
	return field{}, false
}

func (f *fields) set(v field) {
	if i, ok := f.at[v.name]; ok {
		f.list[i] = v
		return
	}
	if f.at == nil {
		f.at = map[string]int{}
	}
	f.at[v.name] = len(f.list)
	f.list = append(f.list, v)
}

// take removes a field and returns it.
func (f *fields) take(name string) (field, bool) {
	i, ok := f.at[name]
	if !ok {
		return field{}, false
	}
	v := f.list[i]
	f.list[i] = field{}
	delete(f.at, name)
	return v, true
}

// all visits the fields in order.
func (f *fields) all(visit func(field) error) error {
	for i := range f.list {
		if at, ok := f.at[f.list[i].name]; ok && at == i {
			if err := visit(f.list[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// flag returns a setting that is true or false. null means the default.
func (s *settings) flag(name string, def bool) (bool, error) {
	f, ok := s.values.get(name)
	if !ok || f.isNull() {
		return def, nil
	}
	var v bool
	if json.Unmarshal(f.raw, &v) != nil {
		return false, f.errorf("expected true or false, found %s", f.raw)
	}
	return v, nil
}

// text returns a setting that is a string, or "" if there is none.
func (f field) text() (string, error) {
	if len(f.raw) == 0 || f.isNull() {
		return "", nil
	}
	var v string
	if json.Unmarshal(f.raw, &v) != nil {
		return "", f.errorf("expected a string, found %s", f.raw)
	}
	return v, nil
}

// tokenJSON is an added token in a file.
type tokenJSON struct {
	Content    *string `json:"content"`
	SingleWord bool    `json:"single_word"`
	LStrip     bool    `json:"lstrip"`
	RStrip     bool    `json:"rstrip"`
	Normalized *bool   `json:"normalized"`
	Special    bool    `json:"special"`
}

func (j tokenJSON) setting() tokenSetting {
	t := tokenSetting{addedToken{
		text: *j.Content, singleWord: j.SingleWord, lstrip: j.LStrip, rstrip: j.RStrip, special: j.Special,
	}, j.Normalized == nil}
	if j.Normalized != nil {
		t.normalized = *j.Normalized
	}
	return t
}

// token reads a special token: a string, or an object with content.
func (f field) token() (tokenSetting, error) {
	if f.isString() {
		text, err := f.text()
		return plainToken(text), err
	}
	var j tokenJSON
	if json.Unmarshal(f.raw, &j) != nil || j.Content == nil {
		return tokenSetting{}, f.errorf("expected a string or an object with content, found %s", f.raw)
	}
	t := j.setting()
	t.special = t.special || f.special
	return t, nil
}

// list reads a list of tokens. null is an empty list.
func (f field) list() ([]tokenSetting, error) {
	var raws []json.RawMessage
	if json.Unmarshal(f.raw, &raws) != nil {
		return nil, f.errorf("expected a list of tokens, found %s", f.raw)
	}
	list := make([]tokenSetting, len(raws))
	for i, raw := range raws {
		element := field{file: f.file, name: fmt.Sprintf("%s[%d]", f.name, i), raw: raw, special: f.special}
		var err error
		if list[i], err = element.token(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// isEmpty tells whether Python takes the value for false.
func (f field) isEmpty() bool {
	var v any
	_ = json.Unmarshal(f.raw, &v)
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	case string:
		return v == ""
	}
	return false
}

// readSettings reads and merges tokenizer_config.json, special_tokens_map.json, added_tokens.json
// and the same settings in tokenizer.json, which may be nil.
func readSettings(files map[string][]byte, j *tokenizerJSON) (*settings, error) {
	s := &settings{decoder: map[int]tokenSetting{}, named: map[string]*tokenSetting{}}
	if config := files[configFile]; config != nil {
		var err error
		if s.values, err = parseFields(configFile, config); err != nil {
			return nil, err
		}
	}
	if err := s.readClass(); err != nil {
		return nil, err
	}
	if err := s.readExtra(); err != nil {
		return nil, err
	}
	specific, err := s.takeSpecific()
	if err != nil {
		return nil, err
	}
	byText := map[string]tokenSetting{} // of equal tokens the last one
	put := func(id int, t tokenSetting) { s.decoder[id], byText[t.text] = t, t }
	if f, ok := s.values.take("added_tokens_decoder"); ok {
		if err := readDecoder(f, put); err != nil {
			return nil, err
		}
	} else {
		if files[specialMapFile] != nil {
			if err := s.readSpecialMap(files[specialMapFile], &specific); err != nil {
				return nil, err
			}
		}
		if files[addedFile] != nil {
			if err := s.readAddedTokens(files[addedFile], put); err != nil {
				return nil, err
			}
		}
		if j != nil {
			for _, a := range j.AddedTokens {
				put(int(a.ID), a.setting())
			}
		}
	}
	if _, ok := s.values.get("truncation_side"); !ok && j != nil && j.Truncation != nil && j.Truncation.Direction == "Left" {
		s.values.set(field{file: tokenizerFile, name: "truncation_side", raw: json.RawMessage(`"left"`)})
	}
	if f, ok := s.values.take(additionalTokens); ok && !s.hasExtra {
		s.hasAdditional = true
		f.special = true
		if s.extra, err = f.list(); err != nil {
			return nil, err
		}
	}
	if err := s.readSpecific(specific); err != nil {
		return nil, err
	}
	return s, s.readNamed(byText)
}

func (s *settings) readClass() error {
	f, _ := s.values.take("tokenizer_class")
	name, err := f.text()
	if err != nil {
		return err
	}
	if name != "" {
		var ok bool
		s.className = strings.TrimSuffix(name, "Fast")
		if s.class, ok = tokenizerClasses[s.className]; !ok {
			return fmt.Errorf("%s, else config.json: tokenizer_class: %q is not supported (supported: %s)", configFile, name, strings.Join(slices.Sorted(maps.Keys(tokenizerClasses)), ", "))
		}
	}
	if f, ok := s.values.get("fast_tokenizer_files"); ok {
		list, err := f.list()
		if err != nil {
			return err
		}
		for _, t := range list {
			if t.text != tokenizerFile {
				return f.errorf("%q is not supported (supported: %s)", t.text, tokenizerFile)
			}
		}
	}
	if f, ok := s.values.get("init_inputs"); ok && !f.isEmpty() {
		return f.errorf("expected an empty list, found %s", f.raw)
	}
	return nil
}

// readExtra reads the special tokens without a name, which transformers version 4 calls
// additional.
func (s *settings) readExtra() error {
	extra, ok := s.values.get(extraTokens)
	if additional, found := s.values.get(additionalTokens); found && (!ok || extra.isEmpty()) {
		s.values.take(additionalTokens)
		additional.special = true
		extra, ok = additional, true
		s.values.set(field{file: extra.file, name: extraTokens, raw: extra.raw, special: true})
	}
	if !ok || extra.isObject() {
		return nil
	}
	s.hasExtra = true
	s.values.take(extraTokens)
	var err error
	s.extra, err = extra.list()
	return err
}

// takeSpecific removes the special tokens that only models of their kind know: keys that end in
// _token, and the named tokens in extra_special_tokens.
func (s *settings) takeSpecific() (specific fields, err error) {
	_ = s.values.all(func(f field) error {
		if isSpecificKey(f.name) && f.isString() {
			specific.set(f)
			s.values.take(f.name)
		}
		return nil
	})
	if f, ok := s.values.take(extraTokens); ok {
		if err := specific.setObject(f); err != nil {
			return specific, err
		}
	}
	if f, ok := s.values.take(specificTokens); ok && len(specific.list) == 0 && !f.isNull() {
		return specific, specific.setObject(f)
	}
	return specific, nil
}

func isSpecificKey(name string) bool {
	return strings.HasSuffix(name, "_token") && !slices.Contains(namedTokens, name)
}

// setObject sets the values of a field that is an object.
func (f *fields) setObject(v field) error {
	values, err := v.object()
	if err != nil {
		return err
	}
	return values.all(func(v field) error {
		f.set(v)
		return nil
	})
}

func readDecoder(f field, put func(int, tokenSetting)) error {
	tokens, err := f.object()
	if err != nil {
		return err
	}
	return tokens.all(func(t field) error {
		id, err := strconv.Atoi(t.name)
		if err != nil {
			return f.errorf("%q is not a token id", t.name)
		}
		t.name = f.name + "." + t.name
		if !t.isObject() {
			return t.errorf("expected an object, found %s", t.raw)
		}
		token, err := t.token()
		if err == nil {
			put(id, token)
		}
		return err
	})
}

// readSpecialMap reads special_tokens_map.json. Its values override those of
// tokenizer_config.json.
func (s *settings) readSpecialMap(file []byte, specific *fields) error {
	values, err := parseFields(specialMapFile, file)
	if err != nil {
		return err
	}
	return values.all(func(f field) error {
		switch {
		case f.name == extraTokens && f.isObject():
			s.extra, s.hasExtra = nil, false
			return specific.setObject(f)
		case f.name == extraTokens:
			f.special = true
			more, err := f.list()
			if err != nil {
				return err
			}
			s.hasExtra = true
			s.extra = append(s.extra, more...)
		default:
			f.special = f.isObject()
			s.values.set(f)
		}
		return nil
	})
}

func (s *settings) readAddedTokens(file []byte, put func(int, tokenSetting)) error {
	ids, err := parseFields(addedFile, file)
	if err != nil {
		return err
	}
	special := map[string]bool{}
	for _, name := range namedTokens {
		// Tokens given as objects in tokenizer_config.json are not among the special ones yet.
		if f, ok := s.values.get(name); ok && (f.isString() || f.special) {
			t, err := f.token()
			if err != nil {
				return err
			}
			special[t.text] = true
		}
	}
	for _, t := range s.extra {
		special[t.text] = true
	}
	return ids.all(func(f field) error {
		id, err := strconv.Atoi(string(f.raw))
		if err != nil {
			return f.errorf("expected a token id, found %s", f.raw)
		}
		put(id, tokenSetting{addedToken{text: f.name, special: special[f.name], normalized: !special[f.name]}, false})
		return nil
	})
}

// readNamed reads the special tokens with a name. One that is also an added token has the
// settings of that token.
func (s *settings) readNamed(byText map[string]tokenSetting) error {
	for _, name := range namedTokens {
		f, ok := s.values.get(name)
		if !ok {
			continue
		}
		s.named[name] = nil
		if f.isNull() {
			continue
		}
		t, err := f.token()
		if err != nil {
			return err
		}
		if f.isString() {
			t = s.class.plain(name, t.text)
		}
		if added, ok := byText[t.text]; ok {
			t = added
		}
		if t.text != "" {
			s.named[name] = &t
		}
	}
	return nil
}

// readSpecific reads the special tokens that takeSpecific removed, and those found since.
func (s *settings) readSpecific(specific fields) error {
	var list fields
	_ = s.values.all(func(f field) error {
		if isSpecificKey(f.name) && (f.isString() || f.special || f.isAddedToken()) {
			list.set(f)
		}
		return nil
	})
	_ = specific.all(func(f field) error {
		list.set(f)
		return nil
	})
	return list.all(func(f field) error {
		t, err := f.token()
		s.specific = append(s.specific, t)
		return err
	})
}

// special returns the text of a special token, or "" if there is none.
func (s *settings) special(name string) string {
	if t, ok := s.named[name]; ok {
		if t == nil {
			return ""
		}
		return t.text
	}
	return s.class.defaults[name]
}

// need returns the text of a special token that every tokenizer needs. If no file names it, it
// must be in the vocabulary, which comes from file.
func (s *settings) need(name, file string, vocab *tokenIDs) (string, error) {
	text := s.special(name)
	if text == "" {
		return "", fmt.Errorf("%s: %s is null or empty, expected a token", configFile, name)
	}
	if _, named := s.named[name]; !named && !s.adds(text) {
		if _, ok := vocab.find(text); !ok {
			return "", lacks(file, text, vocab)
		}
	}
	return text, nil
}

// adds tells whether the files add this token.
func (s *settings) adds(text string) bool {
	for _, t := range s.decoder {
		if t.text == text {
			return true
		}
	}
	return false
}

func lacks(file, text string, vocab *tokenIDs) error {
	err := fmt.Errorf("%s: the vocabulary lacks the token %s", file, text)
	if _, ok := vocab.find("\ufeff" + text); ok {
		return fmt.Errorf("%w: the file begins with a byte-order mark, which transformers takes for a part of the token; remove it", err)
	}
	return err
}

// addTo adds the tokens of the settings to those in a, as transformers does when it makes a
// tokenizer.
func (s *settings) addTo(a *addedTokens) {
	known := map[string]bool{}
	for text := range a.ids {
		known[text] = true
	}
	var tokens []tokenSetting
	for _, id := range slices.Sorted(maps.Keys(s.decoder)) {
		tokens = append(tokens, s.decoder[id])
		known[s.decoder[id].text] = true
	}
	named, explicit := map[string]bool{}, map[string]bool{}
	var implicit []string
	add := func(t tokenSetting) {
		if !known[t.text] {
			tokens = append(tokens, t)
		}
	}
	for _, name := range namedTokens {
		t, ok := s.named[name]
		switch {
		case t != nil:
			named[t.text], explicit[t.text] = true, true
			add(*t)
		case !ok && s.class.defaults[name] != "":
			text := s.class.defaults[name]
			named[text] = true
			add(s.class.plain(name, text))
			if _, ok := a.find(text); !ok && !known[text] && !slices.Contains(implicit, text) {
				implicit = append(implicit, text)
			}
		}
	}
	for _, t := range s.specific {
		named[t.text], explicit[t.text] = true, true
		add(t)
	}
	for _, t := range s.extra {
		explicit[t.text] = true
		add(t)
	}
	for _, t := range tokens {
		t.special = t.special || named[t.text]
		if t.auto {
			t.normalized = !t.special
		}
		a.add(t.addedToken)
	}
	// Special tokens that no file names and that come last stay out of the vocabulary, because
	// the model has no row for them.
	for i := len(implicit) - 1; i >= 0 && !explicit[implicit[i]]; i-- {
		id := a.ids[implicit[i]]
		if id != a.next-1 {
			break
		}
		a.next--
		last := a.byID[id]
		last.absent = true
		a.byID[id] = last
	}
}
