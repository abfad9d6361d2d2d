package tokenize

import (
	"fmt"
	"math/bits"
	"unicode"
	"unicode/utf8"
)

// bytePair is byte-level byte-pair encoding. GPT-2's pre-tokenizer cuts text into words that
// include the space before them, and merges join the bytes of each word (Radford et al., 2019;
// Sennrich et al., arXiv 1508.07909).
type bytePair struct {
	normalizers normalizerList
	// keepsASCII tells that the normalizers leave ASCII text unchanged.
	keepsASCII  bool
	prefixSpace bool // put a space before each text that does not start with one

	alphabet [256]int32 // the token of each byte
	merges   mergeTable
	unk      int32 // token of bytes that have none of their own; -1 if all have one
	vocab    []string
}

// byteChars are the characters that stand for bytes in a vocabulary. Printable ones stand for
// themselves; the others follow in order from U+0100.
var byteChars = func() (chars [256]rune) {
	next := rune(0x100)
	for b := range chars {
		c := rune(b)
		if c < '!' || c > '~' && c < '¡' || c == 0xad {
			c, next = next, next+1
		}
		chars[b] = c
	}
	return chars
}()

// spaceChar stands for the space.
const spaceChar = 'Ġ'

// mergeTable maps a pair of neighbours to the token that they merge into and to the rank of the
// merge. It is open-addressed.
type mergeTable struct {
	slots []mergeSlot
	shift int
}

type mergeSlot struct {
	pair     uint64 // left+1 and right; 0 is an empty slot
	rank, id int32
}

// tokens returns the two tokens that merge.
func (s *mergeSlot) tokens() (left, right int32) { return int32(s.pair>>32) - 1, int32(uint32(s.pair)) }

func pairKey(left, right int32) uint64 { return uint64(left+1)<<32 | uint64(uint32(right)) }

// newMergeTable makes the table of merges in order of rank. Of equal pairs the last
// counts, as in Hugging Face's library.
func newMergeTable(ids *tokenIDs, merges [][2]string) (mergeTable, error) {
	log2 := bits.Len(uint(2*len(merges))) + 1
	t := mergeTable{slots: make([]mergeSlot, 1<<log2), shift: 64 - log2}
	for rank, pair := range merges {
		var of [3]int32
		for i, token := range []string{pair[0], pair[1], pair[0] + pair[1]} {
			id, ok := ids.find(token)
			if !ok {
				return mergeTable{}, fmt.Errorf("merge %d (%q, %q): the vocabulary lacks the token %q", rank+1, pair[0], pair[1], token)
			}
			of[i] = id
		}
		key := pairKey(of[0], of[1])
		*t.slot(key) = mergeSlot{key, int32(rank), of[2]}
	}
	return t, nil
}

// slot returns the place of a pair, which is empty if the pair is missing.
func (t *mergeTable) slot(pair uint64) *mergeSlot {
	mask := len(t.slots) - 1
	for i := int(pair * 0x9E3779B97F4A7C15 >> t.shift); ; i++ {
		s := &t.slots[i&mask]
		if s.pair == pair || s.pair == 0 {
			return s
		}
	}
}

// noMerge is the rank of a pair that does not merge, after all others.
const noMerge = 1<<31 - 1

func (t *mergeTable) rank(left, right int32) int32 {
	if s := t.slot(pairKey(left, right)); s.pair != 0 {
		return s.rank
	}
	return noMerge
}

// newBytePair makes a model from a vocabulary by id and its merges in order of rank. unk is the
// id of the unknown token, or -1.
func newBytePair(vocab []string, ids *tokenIDs, merges [][2]string, unk int32, prefixSpace bool) (*bytePair, error) {
	m := &bytePair{prefixSpace: prefixSpace, unk: unk, vocab: vocab}
	for b, c := range byteChars {
		id, ok := ids.find(string(c))
		if !ok {
			if id = unk; unk < 0 {
				return nil, fmt.Errorf("the vocabulary lacks the byte 0x%02x (%q) and has no unknown token", b, c)
			}
		}
		m.alphabet[b] = id
	}
	table, err := newMergeTable(ids, merges)
	m.merges = table
	return m, err
}

func (m *bytePair) tokens() []string { return m.vocab }

func (m *bytePair) normalizes() bool { return len(m.normalizers) > 0 }

func (m *bytePair) normalize(w *wordBuffer, text string, at int32) { m.normalizers.keep(w, text, at) }

func (m *bytePair) normalizeString(text string) string { return m.normalizers.string(text) }

// words appends the tokens of a normalized text. from holds the rune that each byte comes from.
func (m *bytePair) words(p *pieces, w *wordBuffer, text []byte, from []int32) {
	if len(text) == 0 {
		return
	}
	w.bytes = w.bytes[:0]
	if m.prefixSpace && text[0] != ' ' {
		w.bytes = append(w.bytes, ' ') // belongs to the first rune
	}
	shift := len(w.bytes)
	w.bytes = append(w.bytes, text...)
	at := -shift // index of the byte in text
	for rest := w.bytes; len(rest) > 0; {
		n := wordLength(rest)
		word := rest[:n]
		rest = rest[n:]
		ids := m.word(w, word)
		p.ids = append(p.ids, ids...)
		if !p.want {
			continue
		}
		for _, id := range ids {
			size := 1
			if id != m.unk {
				size = utf8.RuneCountInString(m.vocab[id])
			}
			first, last := from[max(at, 0)], from[max(at+size-1, 0)]
			p.offsets = append(p.offsets, [2]int32{first, last + 1})
			at += size
		}
	}
}

func (m *bytePair) tokenize(p *pieces, w *wordBuffer, text string, at int32) {
	if m.normalizes() && !(m.keepsASCII && ascii(text)) {
		a := m.normalizers.apply(w, text, at)
		m.words(p, w, a.bytes, a.from)
		return
	}
	prefix := m.prefixSpace && text[0] != ' '
	w.bytes = w.bytes[:0]
	if prefix {
		w.bytes = append(w.bytes, ' ')
	}
	if utf8.ValidString(text) {
		w.bytes = append(w.bytes, text...)
	} else {
		for _, r := range text {
			w.bytes = utf8.AppendRune(w.bytes, r)
		}
	}
	next := at - 1 // number of the last rune seen
	for rest := w.bytes; len(rest) > 0; {
		n := wordLength(rest)
		word := rest[:n]
		rest = rest[n:]
		ids := m.word(w, word)
		p.ids = append(p.ids, ids...)
		if !p.want {
			continue
		}
		for _, id := range ids {
			size := 1
			if id != m.unk {
				size = utf8.RuneCountInString(m.vocab[id])
			}
			first := next
			for i, c := range word[:size] {
				if utf8.RuneStart(c) {
					next++
				}
				if i == 0 {
					first = next
				}
			}
			word = word[size:]
			if prefix {
				// The added space is not a rune of the text. It belongs to the first rune.
				prefix = false
				next--
				first = at
				p.offsets = append(p.offsets, [2]int32{at, max(next, at) + 1})
				continue
			}
			p.offsets = append(p.offsets, [2]int32{first, next + 1})
		}
	}
}

// wordLength returns the length of the first word of text, as defined by GPT-2's regular
// expression:
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func wordLength(text []byte) int {
	if text[0] == '\'' && len(text) > 1 {
		switch text[1] {
		case 's', 't', 'm', 'd':
			return 2
		}
		if len(text) > 2 {
			switch string(text[1:3]) {
			case "re", "ve", "ll":
				return 3
			}
		}
	}
	kind, n := kindOf(text)
	if text[0] == ' ' && len(text) > 1 {
		if after, size := kindOf(text[1:]); after != whiteKind {
			kind, n = after, 1+size
		}
	}
	last := 0 // start of the run's last character
	for n < len(text) {
		k, size := kindOf(text[n:])
		if k != kind {
			// The last character of white space belongs to the word that follows.
			if kind == whiteKind && last > 0 {
				return last
			}
			return n
		}
		last = n
		n += size
	}
	return n
}

// charKind is the class of a character in GPT-2's regular expression.
type charKind uint8

const (
	otherKind charKind = iota
	letterKind
	numberKind
	whiteKind
)

var asciiKinds = func() (kinds [utf8.RuneSelf]charKind) {
	for i := range kinds {
		kinds[i] = classifyKind(rune(i))
	}
	return kinds
}()

func classifyKind(r rune) charKind {
	switch {
	case unicode.Is(letterChars, r):
		return letterKind
	case unicode.Is(numberChars, r):
		return numberKind
	case unicode.IsSpace(r):
		return whiteKind
	}
	return otherKind
}

// kindOf returns the class of the first character of text and its length.
func kindOf(text []byte) (charKind, int) {
	if c := text[0]; c < utf8.RuneSelf {
		return asciiKinds[c], 1
	}
	r, n := utf8.DecodeRune(text)
	return classifyKind(r), n
}

// pairBuffer is the memory for merging: the tokens of the current word.
type pairBuffer struct {
	ids   []int32
	sizes []int32 // of charPair alone: the bytes of unknown tokens
	ranks []int32
	nodes []pairNode
	queue []pairCandidate
}

// shortWord is the length in bytes up to which scanning all pairs is faster than a queue of them.
const shortWord = 40

// word returns the tokens of a word. They are in w and valid until the next call.
func (m *bytePair) word(w *wordBuffer, word []byte) []int32 {
	c := w.cache.slot(m, word)
	if c != nil && c.holds(word) {
		return c.ids[:c.n]
	}
	ids := m.merge(&w.pair, word)
	if c != nil {
		c.put(word, ids)
	}
	return ids
}

// merge returns the tokens of a word.
func (m *bytePair) merge(b *pairBuffer, word []byte) []int32 {
	b.ids = b.ids[:0]
	for _, c := range word {
		b.ids = append(b.ids, m.alphabet[c])
	}
	m.merges.merge(b)
	return b.ids
}

// merge repeatedly merges the neighbours of lowest rank in b.ids, the first of equals, until
// no pair merges.
func (t *mergeTable) merge(b *pairBuffer) {
	ids := b.ids
	if len(ids) > shortWord {
		t.mergeLong(b)
		return
	}
	ranks := b.ranks[:0]
	for i := range len(ids) - 1 {
		ranks = append(ranks, t.rank(ids[i], ids[i+1]))
	}
	b.ranks = ranks
	for {
		at, least := -1, int32(noMerge)
		for i, r := range ranks {
			if r < least {
				at, least = i, r
			}
		}
		if at < 0 {
			break
		}
		ids[at] = t.slot(pairKey(ids[at], ids[at+1])).id
		ids = append(ids[:at+1], ids[at+2:]...)
		ranks = append(ranks[:at], ranks[at+1:]...)
		if at > 0 {
			ranks[at-1] = t.rank(ids[at-1], ids[at])
		}
		if at < len(ranks) {
			ranks[at] = t.rank(ids[at], ids[at+1])
		}
	}
	b.ids = ids
}

// pairNode is a token of a long word, in a doubly linked list.
type pairNode struct {
	id         int32
	prev, next int32 // -1 at the ends
}

// pairCandidate is a merge that was possible when it was queued.
type pairCandidate struct {
	rank, at    int32
	left, right int32 // tokens
}

func (c pairCandidate) before(d pairCandidate) bool {
	return c.rank < d.rank || c.rank == d.rank && c.at < d.at
}

// mergeLong is merge in time n log n: the candidates are a heap.
func (t *mergeTable) mergeLong(b *pairBuffer) {
	nodes, queue := b.nodes[:0], b.queue[:0]
	for i, id := range b.ids {
		nodes = append(nodes, pairNode{id, int32(i) - 1, int32(i) + 1})
	}
	nodes[len(nodes)-1].next = -1
	push := func(at int32) {
		right := nodes[at].next
		if right < 0 {
			return
		}
		c := pairCandidate{at: at, left: nodes[at].id, right: nodes[right].id}
		if c.rank = t.rank(c.left, c.right); c.rank == noMerge {
			return
		}
		queue = append(queue, c)
		for i := len(queue) - 1; i > 0; {
			parent := (i - 1) / 2
			if !queue[i].before(queue[parent]) {
				break
			}
			queue[i], queue[parent] = queue[parent], queue[i]
			i = parent
		}
	}
	for i := range nodes {
		push(int32(i))
	}
	for len(queue) > 0 {
		c := queue[0]
		last := len(queue) - 1
		queue[0] = queue[last]
		queue = queue[:last]
		for i := 0; ; {
			child := 2*i + 1
			if child >= len(queue) {
				break
			}
			if child+1 < len(queue) && queue[child+1].before(queue[child]) {
				child++
			}
			if !queue[child].before(queue[i]) {
				break
			}
			queue[i], queue[child] = queue[child], queue[i]
			i = child
		}
		// A node that was merged into the one before it has id -1.
		left := &nodes[c.at]
		if left.id != c.left || left.next < 0 || nodes[left.next].id != c.right {
			continue
		}
		gone := &nodes[left.next]
		left.id = t.slot(pairKey(c.left, c.right)).id
		left.next, gone.id = gone.next, -1
		if left.next >= 0 {
			nodes[left.next].prev = c.at
		}
		if left.prev >= 0 {
			push(left.prev)
		}
		push(c.at)
	}
	b.nodes, b.queue = nodes, queue
	b.ids = b.ids[:0]
	for i := int32(0); i >= 0; i = nodes[i].next {
		b.ids = append(b.ids, nodes[i].id)
	}
}

// trim is trim_offsets of Hugging Face's library: a token's offsets exclude its white space.
type trim struct {
	on     bool
	prefix bool // a single space before the first token counts as added and stays
}

// apply shortens the offsets of token number i of a text. spaces is how much white space the
// token has at its start and its end.
func (t trim) apply(offsets *[2]int32, i int, spaces [2]int32) {
	if n := spaces[0]; n > 1 || n == 1 && !(t.prefix && (i == 0 || offsets[0] == 0)) {
		offsets[0] = min(offsets[0]+n, offsets[1])
	}
	if n := spaces[1]; n > 0 && offsets[1] >= n {
		offsets[1] = max(offsets[1]-n, offsets[0])
	}
}

func isSpaceChar(r rune) bool { return r == spaceChar || unicode.IsSpace(r) }

func runes(s string) int32 { return int32(utf8.RuneCountInString(s)) }
