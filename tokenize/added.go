package tokenize

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token that is searched for in the text itself. The model never splits it.
type addedToken struct {
	text string
	id   int32
	// singleWord finds the token only if it does not touch a word's character on either side.
	singleWord bool
	// lstrip and rstrip extend the token over the white space before or after it.
	lstrip, rstrip bool
	// normalized searches for the normalized token in normalized text, in the parts that the
	// other added tokens leave.
	normalized bool
	special    bool
	// absent marks a special token that no file names and the vocabulary lacks. Its id is beyond
	// the vocabulary, and a text that contains it is an error.
	absent bool
}

// addedTokens collects added tokens as the AddedVocabulary of Hugging Face's library does. A
// token that the model's vocabulary lacks gets its id from the order, whatever id the files give
// it. If a token occurs several times, its last settings count.
type addedTokens struct {
	model *tokenIDs
	ids   map[string]int32
	byID  map[int32]addedToken
	next  int32 // id of the next token that the vocabulary lacks
	// special holds the tokens that any file calls special, even if a later one says otherwise.
	special map[string]bool
}

func newAddedTokens(m model, ids *tokenIDs) *addedTokens {
	next := len(ids.list)
	if u, ok := m.(*unigram); ok { // empty tokens count, too
		next = len(u.vocab)
	}
	return &addedTokens{model: ids, ids: map[string]int32{}, byID: map[int32]addedToken{}, next: int32(next), special: map[string]bool{}}
}

// find returns the id of an added token or of one of the model's.
func (a *addedTokens) find(text string) (int32, bool) {
	if id, ok := a.ids[text]; ok {
		return id, true
	}
	return a.model.find(text)
}

func (a *addedTokens) add(t addedToken) {
	if t.text == "" {
		return
	}
	id, ok := a.find(t.text)
	if !ok {
		id = a.next
	}
	t.id = id
	a.ids[t.text], a.byID[id] = id, t
	if t.special {
		a.special[t.text] = true
	}
	a.next = max(a.next, id+1)
}

// setAdded sets the tokenizer's added tokens. vocab is the model's vocabulary. With splitSpecial,
// special tokens are not searched for.
func (t *Tokenizer) setAdded(a *addedTokens, vocab []string, splitSpecial bool) error {
	t.blank = -1
	if id, ok := a.model.find(""); ok {
		t.blank = id
	}
	t.special, t.shown = a.special, map[int32]string{}
	t.added = slices.SortedFunc(maps.Values(a.byID), func(a, b addedToken) int { return cmp.Compare(a.id, b.id) })
	size := len(vocab)
	for _, s := range t.added {
		if s.id >= maxTokenID {
			return fmt.Errorf("the added token %q gets the id %d, expected at most %d", s.text, s.id, maxTokenID-1)
		}
		if !s.absent {
			size = max(size, int(s.id)+1)
		}
	}
	t.vocab = append(slices.Clip(vocab), make([]string, size-len(vocab))...)
	owned := size > len(vocab)
	for _, s := range t.added {
		if s.absent || t.vocab[s.id] == s.text {
			continue
		}
		if other := t.vocab[s.id]; other != "" {
			return fmt.Errorf("the added token %q gets the id %d, which %q has", s.text, s.id, other)
		}
		if !owned {
			t.vocab, owned = slices.Clone(vocab), true
		}
		t.vocab[s.id] = s.text
	}
	var lists [2][]addedToken
	var patterns [2][]string
	seen := [2]map[string]string{{}, {}}
	normalizer, ok := t.model.(normalizing)
	if ok && !normalizer.normalizes() {
		normalizer = nil
	}
	for _, s := range t.added {
		if (s.lstrip || s.rstrip) && strings.TrimSpace(s.text) == "" {
			return fmt.Errorf("the added token %q is white space and takes what is beside it (lstrip, rstrip), which is not supported", s.text)
		}
		pass, pattern := 0, s.text
		if s.normalized {
			pass = 1
			if normalizer != nil {
				if pattern = normalizer.normalizeString(s.text); pattern == "" {
					return fmt.Errorf("the added token %q is looked for in normalized text, and normalization leaves nothing of it", s.text)
				}
			}
		}
		t.shown[s.id] = pattern
		if other, ok := seen[pass][pattern]; ok {
			return fmt.Errorf("the added tokens %q and %q are both %q in normalized text, and which of them transformers finds there is chance", other, s.text, pattern)
		}
		seen[pass][pattern] = s.text
		lists[pass], patterns[pass] = append(lists[pass], s), append(patterns[pass], pattern)
	}
	for pass := range t.matchers {
		var err error
		if t.matchers[pass], err = newMatcher(lists[pass], patterns[pass], splitSpecial); err != nil {
			return err
		}
	}
	return nil
}

// matcher finds added tokens in a text: the leftmost first, and of several at one place the
// longest.
type matcher struct {
	tokens       []addedToken // by the number of the pattern
	patterns     *forest
	splitSpecial bool
	first        [256]bool // bytes with which a pattern starts
	one          byte      // the only such byte, if there is only one
	n            int       // how many such bytes there are
}

func newMatcher(tokens []addedToken, patterns []string, splitSpecial bool) (matcher, error) {
	m := matcher{tokens: tokens, splitSpecial: splitSpecial, patterns: newForest(patterns, "")}
	total := 0
	for _, p := range patterns {
		if c := p[0]; !m.first[c] {
			m.first[c], m.one = true, c
			m.n++
		}
		total += len(p)
	}
	if total > maxNodes {
		return m, fmt.Errorf("the added tokens are larger than %d bytes", maxNodes)
	}
	return m, nil
}

// mayHold tells cheaply that a text contains no added token.
func (m *matcher) mayHold(text string) bool {
	switch m.n {
	case 0:
		return false
	case 1:
		return strings.IndexByte(text, m.one) >= 0
	}
	for i := range len(text) {
		if m.first[text[i]] {
			return true
		}
	}
	return false
}

// cursor is a place in a text that is searched: the last token found and the bytes that it spans.
type cursor struct {
	token      *addedToken
	start, end int
	from       int // where the search continues
}

// next moves the cursor to the next token and reports whether there is one.
func (m *matcher) next(text []byte, c *cursor) bool {
	for i := c.from; i < len(text); i++ {
		if m.n == 1 {
			k := bytes.IndexByte(text[i:], m.one)
			if k < 0 {
				break
			}
			i += k
		} else if !m.first[text[i]] {
			continue
		}
		number, n := m.patterns.longest(text[i:])
		if number < 0 {
			continue
		}
		t := &m.tokens[number]
		start, end := i, i+n
		if t.special && m.splitSpecial || t.singleWord && (endsWithWord(text[:start]) || startsWithWord(text[end:])) {
			i = end - 1
			continue
		}
		c.from = end
		if t.lstrip {
			start = max(c.end, len(bytes.TrimRightFunc(text[:start], unicode.IsSpace)))
		}
		if t.rstrip {
			end = len(text) - len(bytes.TrimLeftFunc(text[end:], unicode.IsSpace))
		}
		c.token, c.start, c.end = t, start, end
		return true
	}
	c.from = len(text)
	return false
}

func endsWithWord(text []byte) bool {
	r, n := utf8.DecodeLastRune(text)
	return n > 0 && unicode.Is(wordChars, r)
}

func startsWithWord(text []byte) bool {
	r, n := utf8.DecodeRune(text)
	return n > 0 && unicode.Is(wordChars, r)
}
