package tokenize

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decoder makes the parts of a text from tokens.
type decoder interface {
	decode(tokens []string) []string
}

// Decode returns the text of tokens, as transformers' decode does. It restores the spaces that
// the model leaves out, so the result may differ from the text that was encoded. With skipSpecial
// it leaves out special tokens. It always leaves out ids without a token. An error names a
// decoder of tokenizer.json that is not implemented.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) (string, error) {
	if t.decoderErr != nil {
		return "", t.decoderErr
	}
	var tokens []string
	for _, id := range ids {
		if token, special, ok := t.written(id); ok && !(special && skipSpecial) {
			tokens = append(tokens, token)
		}
	}
	if t.decoder == nil {
		return t.tidy(strings.Join(tokens, " ")), nil
	}
	return t.tidy(strings.Join(t.decoder.decode(tokens), "")), nil
}

// ID returns the id of a token, added or the model's. Of equal tokens it returns the first. The
// first call is slower, because it indexes all tokens.
func (t *Tokenizer) ID(token string) (id int32, ok bool) {
	t.once.Do(func() {
		t.ids = newTokenIDs(len(t.vocab))
		for id, token := range slices.Backward(t.vocab) {
			t.ids.set(token, int32(id))
		}
	})
	id, ok = t.ids.find(token)
	return id, ok && token != ""
}

// Around returns how many special tokens stand before and after one text.
func (t *Tokenizer) Around() (before, after int) { return len(t.frame.before), len(t.frame.after) }

// written returns the text of a token and whether it is special. ok tells whether it exists.
func (t *Tokenizer) written(id int32) (token string, special, ok bool) {
	if token, ok = t.shown[id]; !ok {
		token = t.Token(id)
		ok = token != "" || id >= 0 && id == t.blank
	}
	return token, t.special[token], ok
}

// tidy applies clean_up_tokenization_spaces.
func (t *Tokenizer) tidy(text string) string {
	switch t.model.(type) {
	case *bytePair, *charPair: // whose spaces are the text's own
		return text
	}
	if !t.cleanUp {
		return text
	}
	return replaceAll(text, tidied)
}

// tidied lists the replacements of clean_up_tokenization_spaces in order.
var tidied = [][2]string{
	{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
}

func replaceAll(text string, pairs [][2]string) string {
	for _, p := range pairs {
		text = strings.ReplaceAll(text, p[0], p[1])
	}
	return text
}

// wordPieceDecoder puts a space before each token that begins a word.
type wordPieceDecoder struct {
	prefix  string
	cleanup bool
}

// cleanedUp lists the replacements in each token with the space before it. The library has one
// more than transformers.
var cleanedUp = slices.Insert(slices.Clone(tidied), 7, [2]string{" do not", " don't"})

func (d wordPieceDecoder) decode(tokens []string) []string {
	out := make([]string, len(tokens))
	for i, token := range tokens {
		switch rest, ok := strings.CutPrefix(token, d.prefix); {
		case i == 0:
		case ok:
			token = rest
		default:
			token = " " + token
		}
		if d.cleanup {
			token = replaceAll(token, cleanedUp)
		}
		out[i] = token
	}
	return out
}

// byteDecoder turns the characters that stand for bytes back into bytes.
type byteDecoder struct{}

// charBytes is the inverse of byteChars.
var charBytes = func() map[rune]byte {
	m := map[rune]byte{}
	for b, c := range byteChars {
		m[c] = byte(b)
	}
	return m
}()

func (byteDecoder) decode(tokens []string) []string {
	var all []byte
	for _, token := range tokens {
		n := len(all)
		for _, c := range token {
			b, ok := charBytes[c]
			if !ok { // an added token, which stays as it is
				all = append(all[:n], token...)
				break
			}
			all = append(all, b)
		}
	}
	return []string{lossy(all)}
}

// lossy replaces invalid bytes by U+FFFD: each incomplete character, and each byte that begins
// none.
func lossy(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		s.WriteRune(r)
		if r == utf8.RuneError && n == 1 {
			n = begun(b)
		}
		b = b[n:]
	}
	return s.String()
}

// begun returns the length of the incomplete character at the start of b, at least 1.
func begun(b []byte) int {
	least, most := byte(0x80), byte(0xbf) // bounds of the second byte
	switch b[0] {
	case 0xe0:
		least = 0xa0
	case 0xed:
		most = 0x9f
	case 0xf0:
		least = 0x90
	case 0xf4:
		most = 0x8f
	}
	switch {
	case b[0] < 0xe0 || b[0] > 0xf4 || len(b) < 2 || b[1] < least || b[1] > most:
		return 1
	case b[0] < 0xf0 || len(b) < 3 || b[2]&0xc0 != 0x80:
		return 2
	}
	return 3
}

// decode turns each replacement into a space, except before the first token.
func (m metaspace) decode(tokens []string) []string {
	out := make([]string, len(tokens))
	for i, token := range tokens {
		space := " "
		if i == 0 && m.prepend != prependNever {
			space = ""
		}
		out[i] = strings.ReplaceAll(token, string(m.replacement), space)
	}
	return out
}

// sequenceDecoder applies one decoder after the other.
type sequenceDecoder []decoder

func (d sequenceDecoder) decode(tokens []string) []string {
	for _, one := range d {
		tokens = one.decode(tokens)
	}
	return tokens
}

// gemmaDecoder is the decoder of GemmaTokenizer.
var gemmaDecoder = sequenceDecoder{replaceDecoder{replacePattern{literal(string(defaultReplacement)), " "}}, fallbackDecoder{}, fuseDecoder{}}

// replaceDecoder replaces parts of each token.
type replaceDecoder struct{ by normalizer }

func (d replaceDecoder) decode(tokens []string) []string {
	out := make([]string, len(tokens))
	for i, token := range tokens {
		out[i] = normalizerList{d.by}.string(token)
	}
	return out
}

// fallbackDecoder makes characters of neighbouring tokens that stand for bytes. If these are
// not valid UTF-8, each of them becomes U+FFFD.
type fallbackDecoder struct{}

func (fallbackDecoder) decode(tokens []string) []string {
	var out []string
	var run []byte
	flush := func() {
		switch {
		case len(run) == 0:
		case utf8.Valid(run):
			out = append(out, string(run))
		default:
			for range run {
				out = append(out, string(utf8.RuneError))
			}
		}
		run = run[:0]
	}
	for _, token := range tokens {
		if b, ok := byteOf(token); ok {
			run = append(run, b)
			continue
		}
		flush()
		out = append(out, token)
	}
	flush()
	return out
}

// byteOf returns the byte that a token such as <0x0A> stands for.
func byteOf(token string) (byte, bool) {
	hex, ok := strings.CutPrefix(token, "<0x")
	if !ok || len(token) != byteTokenSize || !strings.HasSuffix(hex, ">") {
		return 0, false
	}
	b, err := strconv.ParseUint(strings.TrimSuffix(hex, ">"), 16, 8)
	return byte(b), err == nil
}

// fuseDecoder joins all tokens into one.
type fuseDecoder struct{}

func (fuseDecoder) decode(tokens []string) []string { return []string{strings.Join(tokens, "")} }

// decoderOf reads the decoder of a tokenizer.json.
func decoderOf(raw json.RawMessage) (decoder, error) {
	switch typeOf(raw) {
	case "":
		if len(raw) == 0 || string(raw) == "null" {
			return nil, nil
		}
	case "WordPiece":
		d := struct {
			Prefix  string
			Cleanup bool
		}{"##", true}
		if err := decodeJSON(raw, &d); err != nil {
			return nil, fmt.Errorf("%s: decoder: %w", tokenizerFile, err)
		}
		return wordPieceDecoder{d.Prefix, d.Cleanup}, nil
	case "ByteLevel":
		return byteDecoder{}, nil
	case "Metaspace":
		m, err := readMetaspace(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: decoder: %w", tokenizerFile, err)
		}
		return m, nil
	case "Sequence":
		var s struct{ Decoders []json.RawMessage }
		if err := decodeJSON(raw, &s); err != nil {
			return nil, fmt.Errorf("%s: decoder: %w", tokenizerFile, err)
		}
		all := make(sequenceDecoder, len(s.Decoders))
		for i, raw := range s.Decoders {
			var err error
			if all[i], err = decoderOf(raw); err == nil && all[i] == nil {
				err = fmt.Errorf("%s: decoder.decoders[%d]: expected an object", tokenizerFile, i)
			}
			if err != nil {
				return nil, err
			}
		}
		return all, nil
	case "Replace":
		n, err := readReplace(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: decoder: %w", tokenizerFile, err)
		}
		return replaceDecoder{n}, nil
	case "ByteFallback":
		return fallbackDecoder{}, nil
	case "Fuse":
		return fuseDecoder{}, nil
	}
	return nil, fmt.Errorf("%s: %w", tokenizerFile, unsupported("decoder", raw, "WordPiece, ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Sequence"))
}

// setDecoder chooses the decoder of the class, or of a tokenizer.json that is taken as it is.
// Only Decode reports what is wrong with it, because nothing else needs it.
func (t *Tokenizer) setDecoder(s *settings, j *tokenizerJSON) {
	switch m := t.model.(type) {
	case *wordPiece:
		t.decoder = wordPieceDecoder{m.prefix, true}
	case *bytePair:
		t.decoder = byteDecoder{}
	case *charPair:
		t.decoder = gemmaDecoder
	case *unigram:
		t.decoder = m.metaspace
	}
	if s.class.backend == libraryBackend {
		t.decoder, t.decoderErr = decoderOf(j.Decoder)
	}
	if t.decoderErr == nil {
		t.cleanUp, t.decoderErr = s.flag("clean_up_tokenization_spaces", false)
	}
}
