package tokenize

import (
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
)

// forest holds the tokens that have a prefix, without that prefix, in one trie for each first
// byte. A trie is built when it is first needed. A program that answers a few questions never
// needs most of a vocabulary, and building all tries would take much of its start. A forest is
// safe for concurrent use.
type forest struct {
	vocab []string // by id
	skip  int      // length of the prefix in bytes
	ids   []int32  // of the tokens, sorted by first byte
	first [257]int // where those of each byte begin in ids

	mu    sync.Mutex // held while building
	tries [256]atomic.Pointer[trie]
}

// newForest returns the forest of a vocabulary by id. It leaves out ids with "".
func newForest(vocab []string, prefix string) *forest {
	f := &forest{vocab: vocab, skip: len(prefix)}
	var counts [256]int
	each := func(visit func(id int32, c byte)) {
		for id, token := range vocab {
			if len(token) > len(prefix) && strings.HasPrefix(token, prefix) {
				visit(int32(id), token[len(prefix)])
			}
		}
	}
	each(func(_ int32, c byte) { counts[c]++ })
	for c, n := range counts {
		f.first[c+1] = f.first[c] + n
	}
	f.ids = make([]int32, f.first[256])
	next := f.first
	each(func(id int32, c byte) {
		f.ids[next[c]] = id
		next[c]++
	})
	return f
}

// longest returns the id of the longest token with which s starts, and its length in bytes
// without the prefix. The id is -1 if there is none. s is not empty.
func (f *forest) longest(s []byte) (id int32, n int) {
	return f.trie(s[0]).longest(s)
}

// trie returns the tokens that begin with a byte.
func (f *forest) trie(c byte) *trie {
	if t := f.tries[c].Load(); t != nil {
		return t
	}
	return f.build(c)
}

func (f *forest) build(c byte) *trie {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tries[c].Load()
	if t == nil {
		t = newTrie(f.vocab, f.ids[f.first[c]:f.first[int(c)+1]], f.skip+1)
		f.tries[c].Store(t)
	}
	return t
}

// trie holds tokens with the same first byte, by the bytes that follow. Its transitions are in
// one open-addressed table keyed by (node, byte). One look-up per byte finds the longest token
// that starts a word in one pass.
type trie struct {
	slots []slot
	shift uint32
	ids   []int32 // token id by node, -1 for none
}

type slot struct {
	key  uint32 // node<<8 | byte, plus 1 so that 0 is an empty slot
	next uint32 // node
}

// maxNodes limits the bytes of a vocabulary, so that a node and a byte fit into a key.
const maxNodes = 1<<24 - 1

func hashKey(key uint32) uint32 { return key * 0x9E3779B1 }

// newTrie returns the trie of the tokens with the given ids, without their first bytes. Of equal
// tokens the last one counts.
func newTrie(vocab []string, ids []int32, skip int) *trie {
	total := 1
	for _, id := range ids {
		total += len(vocab[id]) - skip
	}
	// Most tokens share most of their bytes with others, so there are about half as many nodes as
	// bytes.
	t := &trie{ids: make([]int32, 1, total/2+16)}
	t.ids[0] = -1
	t.resize(uint32(max(4, bits.Len(uint(total)))))
	for _, id := range ids {
		node := uint32(0)
		for _, c := range []byte(vocab[id][skip:]) {
			node = t.insert(node, c)
		}
		t.ids[node] = id
	}
	return t
}

func (t *trie) resize(log2 uint32) {
	old := t.slots
	t.slots, t.shift = make([]slot, 1<<log2), 32-log2
	for _, s := range old {
		if s.key != 0 {
			*t.slot(s.key) = s
		}
	}
}

// slot returns the place of a key, which is empty if the key is missing.
func (t *trie) slot(key uint32) *slot {
	mask := uint32(len(t.slots) - 1)
	for i := hashKey(key) >> t.shift; ; i++ {
		s := &t.slots[i&mask]
		if s.key == key || s.key == 0 {
			return s
		}
	}
}

// insert returns the node to which a byte leads. It adds the node if it is missing.
func (t *trie) insert(node uint32, c byte) uint32 {
	if 2*len(t.ids) >= len(t.slots) {
		t.resize(32 - t.shift + 1)
	}
	key := (node<<8 | uint32(c)) + 1
	s := t.slot(key)
	if s.key == 0 {
		*s = slot{key, uint32(len(t.ids))}
		t.ids = append(t.ids, -1)
	}
	return s.next
}

// longest is forest.longest for tokens that begin with the first byte of s.
func (t *trie) longest(s []byte) (id int32, n int) {
	if id = t.ids[0]; id >= 0 {
		n = 1
	}
	node := uint32(0)
	for i := 1; i < len(s); i++ {
		next := t.slot((node<<8 | uint32(s[i])) + 1)
		if next.key == 0 {
			break
		}
		node = next.next
		if v := t.ids[node]; v >= 0 {
			id, n = v, i+1
		}
	}
	return id, n
}
