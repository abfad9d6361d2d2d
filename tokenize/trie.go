package tokenize

import "math/bits"

// trie holds the vocabulary by bytes. Its transitions lie in one open-addressed
// table keyed by (node, byte), which is built in a few milliseconds and walked
// at one look-up a byte, so that the longest token that starts a word is found
// in one pass.
type trie struct {
	slots []slot
	shift uint32
	ids   []int32 // token id by node, -1 for none
}

type slot struct {
	key  uint32 // node<<8 | byte, plus 1 so that 0 is an empty slot
	next uint32 // node
}

// maxNodes bounds the trie, so that a node and a byte fit a key.
const maxNodes = 1<<24 - 1

func hashKey(key uint32) uint32 { return key * 0x9E3779B1 }

// newTrie returns the trie of a vocabulary by token id; ids with "" are left
// out. It reports false where the vocabulary has too many bytes.
func newTrie(tokens []string) (*trie, bool) {
	total := 1
	for _, t := range tokens {
		total += len(t)
	}
	if total > maxNodes {
		return nil, false
	}
	// Most tokens share most of their bytes with another: about half are nodes.
	t := &trie{ids: make([]int32, 1, total/2+16)}
	t.ids[0] = -1
	t.resize(uint32(max(10, bits.Len(uint(total)))))
	for id, token := range tokens {
		if token == "" {
			continue
		}
		node := uint32(0)
		for i := range len(token) {
			next, ok := t.step(node, token[i])
			if !ok {
				next = t.insert(node, token[i])
			}
			node = next
		}
		t.ids[node] = int32(id)
	}
	return t, true
}

func (t *trie) resize(log2 uint32) {
	old := t.slots
	t.slots, t.shift = make([]slot, 1<<log2), 32-log2
	for _, s := range old {
		if s.key != 0 {
			t.put(s)
		}
	}
}

func (t *trie) put(s slot) {
	mask := uint32(len(t.slots) - 1)
	i := hashKey(s.key) >> t.shift
	for t.slots[i].key != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = s
}

func (t *trie) insert(node uint32, c byte) uint32 {
	if 2*len(t.ids) >= len(t.slots) {
		t.resize(32 - t.shift + 1)
	}
	next := uint32(len(t.ids))
	t.ids = append(t.ids, -1)
	t.put(slot{(node<<8 | uint32(c)) + 1, next})
	return next
}

// step returns the node that a byte leads to.
func (t *trie) step(node uint32, c byte) (uint32, bool) {
	key := (node<<8 | uint32(c)) + 1
	mask := uint32(len(t.slots) - 1)
	for i := hashKey(key) >> t.shift; ; i = (i + 1) & mask {
		s := t.slots[i&mask]
		if s.key == key {
			return s.next, true
		}
		if s.key == 0 {
			return 0, false
		}
	}
}

// walk returns the node that a string leads to.
func (t *trie) walk(s string) (uint32, bool) {
	node := uint32(0)
	for i := range len(s) {
		next, ok := t.step(node, s[i])
		if !ok {
			return 0, false
		}
		node = next
	}
	return node, true
}

// longest returns the id of the longest token that s starts with when read from
// a node, and its length in bytes; -1 where there is none.
func (t *trie) longest(node uint32, s []byte) (id int32, n int) {
	id = -1
	for i, c := range s {
		next, ok := t.step(node, c)
		if !ok {
			break
		}
		node = next
		if v := t.ids[node]; v >= 0 {
			id, n = v, i+1
		}
	}
	return id, n
}
