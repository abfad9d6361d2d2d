package tokenize

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/maphash"
	"math/bits"
	"unicode/utf8"
)

// tokenIDs is a hash table from tokens to ids. A small model starts mostly by reading a
// vocabulary. This table allocates nothing for each token, and is read in half the time of a map.
type tokenIDs struct {
	list  []tokenID // in order of insertion
	slots []int32   // index in list plus 1, or 0; open-addressed
}

type tokenID struct {
	token string
	id    int32
}

var idsSeed = maphash.MakeSeed()

// newTokenIDs returns a table with room for n tokens. It can grow.
func newTokenIDs(n int) tokenIDs {
	return tokenIDs{list: make([]tokenID, 0, n), slots: make([]int32, 1<<bits.Len(uint(2*n+2)))}
}

// slot returns the place of a token, which is empty if the token is missing.
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

// UnmarshalJSON reads a JSON object. It parses the plain form itself, which tokenizers write, and
// leaves any other to encoding/json.
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

// readPlain reads a valid JSON object with different tokens, whose values are natural numbers of
// few digits. It returns false for any other. The tokens are substrings of b.
func (v *tokenIDs) readPlain(b string) bool {
	r := plainReader{rest: b}
	if !r.next('{') {
		return false
	}
	for {
		token, ok := r.text()
		if !ok || !r.next(':') {
			return false
		}
		r.space()
		id, digits := int32(0), 0
		for ; digits < len(r.rest) && '0' <= r.rest[digits] && r.rest[digits] <= '9'; digits++ {
			id = 10*id + int32(r.rest[digits]-'0')
		}
		r.rest = r.rest[digits:]
		if digits < 1 || digits > 9 || !v.set(token, id) {
			return false
		}
		if !r.next(',') {
			return r.next('}') && r.rest == ""
		}
	}
}

// plainReader reads JSON from its start on.
type plainReader struct{ rest string }

func (r *plainReader) space() {
	for r.rest != "" && (r.rest[0] == ' ' || r.rest[0] == '\n' || r.rest[0] == '\r' || r.rest[0] == '\t') {
		r.rest = r.rest[1:]
	}
}

// next reads the character c after white space, if it is there.
func (r *plainReader) next(c byte) bool {
	r.space()
	ok := r.rest != "" && r.rest[0] == c
	if ok {
		r.rest = r.rest[1:]
	}
	return ok
}

// text reads a string.
func (r *plainReader) text() (s string, ok bool) {
	if !r.next('"') {
		return "", false
	}
	s, r.rest, ok = plainString(r.rest)
	return s, ok
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
