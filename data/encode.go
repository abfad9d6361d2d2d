package data

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/skive-ml/skive/tokenize"
)

// Encoded is the token ids of a whole data set, laid end to end.
type Encoded struct {
	Task Task

	ids, types []int32
	offsets    []int32 // [examples+1]
	labels     []int32
}

// Len returns the number of examples.
func (e *Encoded) Len() int { return len(e.labels) }

// Length returns the number of tokens of example i, special tokens included.
func (e *Encoded) Length(i int) int { return int(e.offsets[i+1] - e.offsets[i]) }

// Tokens returns the number of tokens of all examples.
func (e *Encoded) Tokens() int { return len(e.ids) }

// Label returns the class index of example i, or -1.
func (e *Encoded) Label(i int) int { return int(e.labels[i]) }

// Longest returns the number of tokens of the longest example.
func (e *Encoded) Longest() int {
	n := 0
	for i := range e.labels {
		n = max(n, e.Length(i))
	}
	return n
}

// encodeChunk is the number of examples that a worker encodes at a time.
const encodeChunk = 256

// Encode turns the texts of a data set into token ids, each cut to maxLength
// tokens (0: not cut), on all processors. The order of the examples stays.
func Encode(ds *Dataset, tok *tokenize.Tokenizer, maxLength int) (*Encoded, error) {
	n := len(ds.Examples)
	chunks := (n + encodeChunk - 1) / encodeChunk
	type part struct {
		ids, types []int32
		lengths    []int32
		err        error
	}
	parts := make([]part, chunks)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), max(1, chunks)) {
		workers.Go(func() {
			var e tokenize.Encoding
			o := tokenize.Options{MaxLength: maxLength}
			for {
				c := int(next.Add(1)) - 1
				if c >= chunks {
					return
				}
				p := &parts[c]
				lo, hi := c*encodeChunk, min((c+1)*encodeChunk, n)
				for i := lo; i < hi; i++ {
					ex := &ds.Examples[i]
					var err error
					if ex.HasPair {
						err = tok.EncodePair(&e, ex.Text, ex.Pair, o)
					} else {
						err = tok.Encode(&e, ex.Text, o)
					}
					if err != nil {
						p.err = fmt.Errorf("example %d: %w", i+1, err)
						return
					}
					p.ids = append(p.ids, e.IDs...)
					p.types = append(p.types, e.TypeIDs...)
					p.lengths = append(p.lengths, int32(len(e.IDs)))
				}
			}
		})
	}
	workers.Wait()

	total := 0
	for i := range parts {
		if parts[i].err != nil {
			return nil, parts[i].err
		}
		total += len(parts[i].ids)
	}
	if total > 1<<31-1 {
		return nil, fmt.Errorf("data set of %d tokens is larger than 2^31-1", total)
	}
	out := &Encoded{
		Task:    ds.Task,
		ids:     make([]int32, 0, total),
		types:   make([]int32, 0, total),
		offsets: make([]int32, 1, n+1),
		labels:  make([]int32, n),
	}
	for i := range parts {
		out.ids = append(out.ids, parts[i].ids...)
		out.types = append(out.types, parts[i].types...)
		for _, l := range parts[i].lengths {
			out.offsets = append(out.offsets, out.offsets[len(out.offsets)-1]+l)
		}
		parts[i] = part{}
	}
	for i := range ds.Examples {
		out.labels[i] = int32(ds.Examples[i].Label)
	}
	return out, nil
}

// Fill makes b the batch of the given examples. It reuses b's buffers and
// allocates nothing once they have grown.
func (e *Encoded) Fill(b *Batch, examples []int32) {
	b.IDs, b.TypeIDs, b.Positions = b.IDs[:0], b.TypeIDs[:0], b.Positions[:0]
	b.Offsets, b.Labels, b.Index = append(b.Offsets[:0], 0), b.Labels[:0], b.Index[:0]
	for _, ex := range examples {
		lo, hi := e.offsets[ex], e.offsets[ex+1]
		b.IDs = append(b.IDs, e.ids[lo:hi]...)
		b.TypeIDs = append(b.TypeIDs, e.types[lo:hi]...)
		for p := range hi - lo {
			b.Positions = append(b.Positions, p)
		}
		b.Offsets = append(b.Offsets, int32(len(b.IDs)))
		b.Labels = append(b.Labels, e.labels[ex])
		b.Index = append(b.Index, ex)
	}
}
