package infer

import (
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/kernels"
)

// distances are what checkpoints.RelativeScores says of all layers.
type distances struct {
	embeddings []float32 // normalized, [count, hidden size]
	count      int
	rows       []int32 // by distance
}

// relative are the queries and keys that a layer makes of the distances: each [heads,
// count, width of a head].
type relative struct {
	queries, keys []float32
	count         int
	rows          []int32
}

// readDistances reads the embeddings of distances.
func (l *loader) readDistances(r *checkpoints.RelativeScores) {
	d := &l.distances
	d.count, d.rows = 2*r.Buckets, r.Rows()
	if n := l.norm(r.Norm()); l.err == nil {
		table := l.values(r.Table().Weight())
		d.embeddings = make([]float32, len(table))
		kernels.LayerNorm(d.embeddings, table, n.gamma, n.beta, l.m.Config.LayerNormEps, nil, nil)
	}
}

// relative projects the embeddings as a layer projects its input, in its number format.
// They do not depend on the input, so that this happens once. Where int8 has a scale for
// the input, it is not theirs: each row has its own.
func (d *distances) relative(y *layer, block checkpoints.Block) relative {
	r := relative{count: d.count, rows: d.rows}
	size := block.Heads * block.HeadDim
	project := func(l *linear) []float32 {
		var rows kernels.RowsI8
		if l.int8() {
			rows.Quantize(d.embeddings, d.count, l.in, l.in, 0)
		}
		c := make([]float32, d.count*l.out)
		l.apply(&kernels.Scratch{}, &rows, d.count, d.embeddings, l.in, 0, l.panels(), c, l.out, kernels.Identity)
		return c
	}
	// byHead takes the columns from the given one on apart.
	byHead := func(c []float32, ld, column int) []float32 {
		out := make([]float32, 0, d.count*size)
		for head := range block.Heads {
			for i := range d.count {
				out = append(out, c[i*ld+column+head*block.HeadDim:][:block.HeadDim]...)
			}
		}
		return out
	}
	c, key := project(y.project), size
	if y.query != nil {
		r.queries, key = byHead(project(y.query), size, 0), 0
	} else {
		r.queries = byHead(c, y.project.out, 0)
	}
	r.keys = byHead(c, y.project.out, key)
	return r
}

// of returns a head's terms for sequences of n tokens.
func (r *relative) of(head, n, width int) kernels.Relative {
	if r.count == 0 {
		return kernels.Relative{}
	}
	at, reach := head*r.count*width, len(r.rows)/2
	q, k := kernels.RowMajor(r.queries[at:], width), kernels.RowMajor(r.keys[at:], width)
	return kernels.Relative{Q: q, K: k, Rows: r.rows[reach-(n-1):][:2*n-1]}
}
