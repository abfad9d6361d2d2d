package tokenize

import (
	"bytes"
	"hash/maphash"
)

// wordCache keeps the tokens of words seen before. Its size is fixed.
type wordCache struct {
	words []cachedWord
	owner model // the model whose words these are
	seed  maphash.Seed
}

// cachedWord is a word and its tokens. Words that do not fit are not kept.
type cachedWord struct {
	word [30]byte
	size uint8 // of word; 0 is an empty place
	n    uint8 // of ids
	ids  [8]int32
}

const cacheLog2 = 12

// slot returns the place for a word of a model, or nil if the word is too long.
func (c *wordCache) slot(m model, word []byte) *cachedWord {
	if len(word) > len(cachedWord{}.word) {
		return nil
	}
	if c.owner != m {
		if c.words == nil {
			c.words, c.seed = make([]cachedWord, 1<<cacheLog2), maphash.MakeSeed()
		}
		clear(c.words)
		c.owner = m
	}
	return &c.words[maphash.Bytes(c.seed, word)&(1<<cacheLog2-1)]
}

// holds tells whether the place holds the tokens of this word.
func (c *cachedWord) holds(word []byte) bool {
	return int(c.size) == len(word) && bytes.Equal(c.word[:c.size], word)
}

// put keeps the tokens of a word if there are few enough.
func (c *cachedWord) put(word []byte, ids []int32) {
	if len(ids) > len(c.ids) {
		return
	}
	c.size, c.n = uint8(len(word)), uint8(len(ids))
	copy(c.word[:], word)
	copy(c.ids[:], ids)
}
