package tokenize

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"unicode/utf8"
)

// tokenIDs are the ids of tokens as a JSON object has them. Reading it is most
// of the time that a small model takes to start, so that the plain form of it,
// which tokenizers write, is read here and any other by encoding/json.
type tokenIDs map[string]int32

func (v *tokenIDs) UnmarshalJSON(b []byte) error {
	const shortest = 6 // bytes of an entry: "a":1,
	ids := make(map[string]int32, min(bytes.Count(b, []byte(":")), len(b)/shortest))
	if !readPlainIDs(ids, b) {
		clear(ids)
		if err := json.Unmarshal(b, &ids); err != nil {
			var typ *json.UnmarshalTypeError
			if errors.As(err, &typ) {
				typ.Field = "model.vocab"
			}
			return err
		}
	}
	*v = ids
	return nil
}

// readPlainIDs reads a valid JSON object whose values are natural numbers of few
// digits. It reports false for any other.
func readPlainIDs(ids map[string]int32, b []byte) bool {
	pos := 0
	space := func() {
		for pos < len(b) && (b[pos] == ' ' || b[pos] == '\n' || b[pos] == '\r' || b[pos] == '\t') {
			pos++
		}
	}
	next := func(want byte) bool {
		space()
		ok := pos < len(b) && b[pos] == want
		if ok {
			pos++
		}
		return ok
	}
	if !next('{') || !next('"') {
		return false
	}
	for {
		token, rest, ok := plainString(b[pos:])
		pos = len(b) - len(rest)
		if !ok || !next(':') {
			return false
		}
		space()
		id, digits := int32(0), 0
		for ; pos < len(b) && '0' <= b[pos] && b[pos] <= '9'; pos++ {
			id = 10*id + int32(b[pos]-'0')
			digits++
		}
		if digits < 1 || digits > 9 {
			return false
		}
		ids[token] = id
		switch {
		case next(','):
			if !next('"') {
				return false
			}
		default:
			return next('}') && pos == len(b)
		}
	}
}

// plainString reads a string up to and with its closing quotation mark.
func plainString(b []byte) (s string, rest []byte, ok bool) {
	end, escaped := 0, false
	for ; end < len(b) && b[end] != '"'; end++ {
		if b[end] == '\\' {
			escaped = true
			end++
		}
	}
	if end >= len(b) {
		return "", b, false
	}
	text, rest := b[:end], b[end+1:]
	if escaped || !utf8.Valid(text) {
		ok = json.Unmarshal(slices.Concat([]byte{'"'}, text, []byte{'"'}), &s) == nil
		return s, rest, ok
	}
	return string(text), rest, true
}
