package data

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// Batch holds its sequences one after another, without padding. T is the number of tokens and S
// the number of sequences.
type Batch struct {
	// IDs, TypeIDs and Positions have one entry for each token [T]. Positions count from 0 in
	// each sequence. A family of models whose positions start elsewhere adds its own offset.
	IDs, TypeIDs, Positions []int32
	// Offsets are the boundaries of the sequences [S+1]: sequence s is tokens Offsets[s] to
	// Offsets[s+1].
	Offsets []int32
	// Labels holds the class index of each sequence [S], or -1 if it is unknown. In a multiple
	// choice it is 1 for the right choice and 0 for the others.
	Labels []int32
	// Index holds for each sequence the number of its example in the data set [S]. The choices of
	// an example are adjacent.
	Index []int32
	// Targets holds the numbers of a regression [S], or 1 for each label that holds and 0 for the
	// others [S × labels]. It is empty in other tasks.
	Targets []float32
	// TokenLabels is for tasks that label words and empty in others. It holds the class index of
	// each token [T]: the label of a word for its first token, and -1 for all others.
	TokenLabels []int32
	// Words is for tasks that label words. It holds the numbers of the tokens that begin a word,
	// labelled or not.
	Words []int32
}

// Sequences returns the number of sequences in the batch.
func (b *Batch) Sequences() int { return len(b.Index) }

// Examples returns the number of examples in the batch. Where sequences are choices, these are
// the questions.
func (b *Batch) Examples() int {
	n := 0
	for s, example := range b.Index {
		if s == 0 || example != b.Index[s-1] {
			n++
		}
	}
	return n
}

// Tokens returns the number of tokens in the batch.
func (b *Batch) Tokens() int { return len(b.IDs) }

// BatchOptions says how examples are grouped into batches.
type BatchOptions struct {
	// Examples is the number of examples in a batch. The last one of an epoch may have fewer.
	Examples int
	// Tokens is the largest number of tokens in a batch; only a single longer sequence may exceed
	// it. Set either Tokens or Examples. If both are 0, a batch has 32 examples.
	Tokens int
	// Shuffle draws a new order for each epoch. It depends only on Seed and the number of the
	// epoch.
	Shuffle bool
	// Bucket puts sequences of similar length into one batch. With Shuffle the
	// order of the batches is random; without it the batches go from short to long.
	Bucket bool
	Seed   uint64
}

// defaultExamples is the size of a batch if no option sets it.
const defaultExamples = 32

// bucketBatches is the number of batches in one pool of a bucketed shuffle. Sequences are sorted
// by length only within a pool, so each epoch still combines different examples.
const bucketBatches = 64

// Batches returns the example numbers of each batch of an epoch. Every example occurs once.
// Without Shuffle and Bucket, batches are consecutive examples in the order of the file. The same
// arguments give the same batches on every machine.
func Batches(enc *Encoded, o BatchOptions, epoch int) [][]int32 {
	n := enc.Len()
	if n == 0 {
		return nil
	}
	order := make([]int32, n)
	for i := range order {
		order[i] = int32(i)
	}
	r := rand.New(rand.NewPCG(o.Seed, uint64(epoch)+0x9e3779b97f4a7c15))
	if o.Shuffle {
		r.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	byLength := func(a, b int32) int { return cmp.Compare(enc.Length(int(a)), enc.Length(int(b))) }
	if !o.Bucket {
		return cut(enc, order, o, nil)
	}
	if !o.Shuffle {
		slices.SortStableFunc(order, byLength)
		return cut(enc, order, o, nil)
	}
	var batches [][]int32
	for pool := range slices.Chunk(order, poolSize(enc, o)) {
		slices.SortStableFunc(pool, byLength)
		batches = cut(enc, pool, o, batches)
	}
	r.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
	return batches
}

// poolSize is the number of examples in one pool of a bucketed shuffle.
func poolSize(enc *Encoded, o BatchOptions) int {
	examples := o.Examples
	if o.Tokens > 0 {
		mean := max(1, len(enc.ids)/enc.Len())
		examples = max(1, o.Tokens/mean)
	} else if examples <= 0 {
		examples = defaultExamples
	}
	// A pool is a whole number of batches, but not more than all examples.
	if examples >= enc.Len()/bucketBatches {
		return enc.Len()
	}
	return examples * bucketBatches
}

// cut appends the batches for an order of examples.
func cut(enc *Encoded, order []int32, o BatchOptions, batches [][]int32) [][]int32 {
	size := o.Examples
	if size <= 0 {
		size = defaultExamples
	}
	start, tokens := 0, 0
	for i, ex := range order {
		n := enc.Length(int(ex))
		full := i-start >= size
		if o.Tokens > 0 {
			full = i > start && tokens+n > o.Tokens
		}
		if full {
			batches = append(batches, order[start:i:i])
			start, tokens = i, 0
		}
		tokens += n
	}
	if start < len(order) {
		batches = append(batches, order[start:len(order):len(order)])
	}
	return batches
}
