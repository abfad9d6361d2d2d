package tokenize

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/maphash"
	"math/bits"
	"unicode/utf8"
)

// tokenIDs are the ids of tokens, a hash table. Reading a vocabulary is most of
// the time that a small model takes to start, and a table that holds no memory of
// its own for each token is read in half the time of a map.
type tokenIDs struct {
	list  []tokenID // in the order in which they came
	slots []int32   // number in the list plus 1, or 0; open-addressed
}

type tokenID struct {
	token string
	id    int32
}

var idsSeed = maphash.MakeSeed()

// newTokenIDs returns a table with room for n tokens; it grows beyond.
func newTokenIDs(n int) tokenIDs {
	return tokenIDs{list: make([]tokenID, 0, n), slots: make([]int32, 1<<bits.Len(uint(2*n+2)))}
}

// slot returns the place of a token, which is empty where the token is not there.
func (v *tokenIDs) slot(token string) *int32 {
	mask := len(v.slots) - 1
	for i := int(maphash.String(idsSeed, token)); ; i++ {
		s := &v.slots[i&mask]
		if *s == 0 || v.list[*s-1].token == token {
			return s
		}
	}
}

// find returns the id of a token.
func (v *tokenIDs) find(token string) (int32, bool) {
	if len(v.list) == 0 {
		return 0, false
	}
	s := *v.slot(token)
	if s == 0 {
		return 0, false
	}
	return v.list[s-1].id, true
}

// set gives a token an id, and reports whether the token is new.
func (v *tokenIDs) set(token string, id int32) bool {
	if 2*len(v.list) >= len(v.slots) {
		grown := newTokenIDs(2*len(v.list) + 8)
		for _, t := range v.list {
			grown.set(t.token, t.id)
		}
		*v = grown
	}
	s := v.slot(token)
	if *s != 0 {
		v.list[*s-1].id = id
		return false
	}
	v.list = append(v.list, tokenID{token, id})
	*s = int32(len(v.list))
	return true
}

// UnmarshalJSON reads a JSON object. The plain form of it, which tokenizers
// write, is read here and any other by encoding/json.
func (v *tokenIDs) UnmarshalJSON(b []byte) error {
	const shortest = 6 // bytes of an entry: "a":1,
	*v = newTokenIDs(min(bytes.Count(b, []byte(":")), len(b)/shortest))
	if v.readPlain(string(b)) {
		return nil
	}
	var ids map[string]int32
	if err := json.Unmarshal(b, &ids); err != nil {
		var typ *json.UnmarshalTypeError
		if errors.As(err, &typ) {
			typ.Field = "model.vocab"
		}
		return err
	}
	*v = newTokenIDs(len(ids))
	for token, id := range ids {
		v.set(token, id)
	}
	return nil
}

// readPlain reads a valid JSON object whose values are natural numbers of few
// digits and whose tokens are all different. It reports false for any other.
// Tokens are parts of b.
func (v *tokenIDs) readPlain(b string) bool {
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
		if !v.set(token, id) {
			return false
		}
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
func plainString(b string) (s, rest string, ok bool) {
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
	if escaped || !utf8.ValidString(text) {
		ok = json.Unmarshal([]byte(`"`+text+`"`), &s) == nil
		return s, rest, ok
	}
	return text, rest, true
}
