package autograd

import (
	"fmt"
	"math"

	"github.com/skive-ml/skive/internal/kernels"
)

// Relative are terms of the scores of attention that depend on the distance of query
// and key as well as on one of them (DeBERTa, He et al., arXiv 2006.03654): a head's
// score of query i and key j, before the scaling, is
//
//	q[i]·k[j] + q[i]·K[r] + k[j]·Q[r],  r = Rows[reach-1+j-i]
//
// and the scale is 1/√(3*headDim).
type Relative struct {
	// Projections hold Q and K, as the inputs of the attention hold queries and keys: in
	// one node [rows, 3*heads*headDim], or for the first tokens' queries in two, [rows,
	// heads*headDim] and [rows, 2*heads*headDim]. Values do not count.
	Projections []*Node
	// Rows is the row for each distance of a key from a query, from 1-reach to reach-1.
	// Rows never rise. Sequences have up to reach tokens.
	Rows []int32
}

// relativeTerms are the Rows of an operation's Relative, and the numbers of the inputs
// that hold Q and K, which may be one. They are empty where there are none.
type relativeTerms struct {
	rows    []int32
	queries int
	keys    int
}

// terms adds the projections of r, which may be nil, to an operation's inputs.
func (r *Relative) terms(inputs []*Node, differentiable []bool, diff bool) (relativeTerms, []*Node, []bool) {
	if r == nil {
		return relativeTerms{}, inputs, differentiable
	}
	t := relativeTerms{rows: r.Rows, queries: len(inputs), keys: len(inputs) + len(r.Projections) - 1}
	for _, p := range r.Projections {
		inputs, differentiable = append(inputs, p), append(differentiable, diff)
	}
	return t, inputs, differentiable
}

// there tells whether there are terms.
func (t *relativeTerms) there() bool { return len(t.rows) > 0 }

// scale multiplies the scores of heads of the given width.
func (t *relativeTerms) scale(width int) float32 {
	return float32(1 / math.Sqrt(float64(t.products()*width)))
}

// products is the number of products that a score is the sum of.
func (t *relativeTerms) products() int {
	if t.there() {
		return 3
	}
	return 1
}

// check checks the projections beside queries of the given width.
func (t *relativeTerms) check(in []array, width int) error {
	if !t.there() {
		return nil
	}
	for i := t.queries; i <= t.keys; i++ {
		columns := 3 * width
		if t.keys > t.queries {
			columns = (1 + i - t.queries) * width
		}
		if p := in[i]; p.dims != 2 || p.columns != columns || p.rows <= int(t.rows[0]) {
			return fmt.Errorf("projections are %v, want more than %d rows of %d columns", p, t.rows[0], columns)
		}
	}
	return nil
}

// checkReach checks that sequences are no longer than the distances reach.
func (t *relativeTerms) checkReach(offsets []int32) error {
	reach := (len(t.rows) + 1) / 2
	for s := range len(offsets) - 1 {
		if n := int(offsets[s+1] - offsets[s]); t.there() && n > reach {
			return fmt.Errorf("sequence %d has %d tokens, the distances reach %d", s, n, reach)
		}
	}
	return nil
}

// relativeHead are the terms of a head in a sequence, with where its Q and K begin in
// their inputs.
type relativeHead struct {
	kernels.Relative
	queries, keys int
	ldq, ldk      int
}

// of returns the terms of a head of the given width, whose queries begin in the given
// column, in a sequence of n tokens.
func (t *relativeTerms) of(in []array, column, width, n int) relativeHead {
	if !t.there() {
		return relativeHead{}
	}
	q, k := in[t.queries], in[t.keys]
	h := relativeHead{queries: column, keys: column, ldq: q.columns, ldk: k.columns}
	if t.queries == t.keys {
		h.keys += width
	}
	h.Q, h.K = kernels.RowMajor(q.f[h.queries:], q.columns), kernels.RowMajor(k.f[h.keys:], k.columns)
	h.Rows = t.rows[len(t.rows)/2-(n-1):][:2*n-1]
	return h
}

// relativeGradients are where gradients of a head's queries and keys, which are there
// already, and of its Q and K are added; nil for those that are not wanted.
type relativeGradients struct {
	q, k, queries, keys []float32
}

// backward adds the gradients of the terms to d. ds is the gradient of the scores before they are
// scaled, with a row for each query in q and a column for each of the n keys in k. Queries and keys
// have dim columns. Their gradients have the same layout as they do.
func (h *relativeHead) backward(w *worker, rounded bool, ds []float32, n, dim int, q, k kernels.ViewF32,
	d relativeGradients) {
	queries := len(ds) / n
	first := int(h.Rows[2*n-2])
	width := int(h.Rows[n-queries]) + 1 - first
	w.ofQueries, w.ofKeys = grow(w.ofQueries, queries*width), grow(w.ofKeys, n*width)
	clear(w.ofQueries)
	clear(w.ofKeys)
	for i := range queries {
		ofQuery := w.ofQueries[i*width:][:width]
		for j, row := range h.Rows[n-1-i:][:n] {
			at, v := int(row)-first, ds[i*n+j]
			ofQuery[at] += v
			w.ofKeys[j*width+at] += v
		}
	}
	add := func(dst []float32, ld, m, inner int, a, b kernels.ViewF32) {
		w.added = grow(w.added, m*dim)
		w.product(rounded, m, inner, dim, a, b, w.added, dim)
		for i := range m {
			row := dst[i*ld:][:dim]
			kernels.Add(row, row, w.added[i*dim:][:dim])
		}
	}
	if d.q != nil {
		add(d.q, q.RowStride, queries, width, kernels.RowMajor(w.ofQueries, width), rowsFrom(h.K, first))
	}
	if d.k != nil {
		add(d.k, k.RowStride, n, width, kernels.RowMajor(w.ofKeys, width), rowsFrom(h.Q, first))
	}
	if d.keys != nil {
		add(d.keys[h.keys+first*h.ldk:], h.ldk, width, queries, kernels.Transposed(w.ofQueries, width), q)
	}
	if d.queries != nil {
		add(d.queries[h.queries+first*h.ldq:], h.ldq, width, n, kernels.Transposed(w.ofKeys, width), k)
	}
}

// each calls f for the parts of so many sequences, each with so many heads: part is
// sequence*heads + head. With terms, it first clears the gradients of the projections,
// to which a head's sequences then add one after the other, so that their bits do not
// depend on the number of threads.
func (t *relativeTerms) each(g *Graph, heads, sequences int, d []array, f func(worker, part int)) {
	if !t.there() {
		g.team.Run(sequences*heads, f)
		return
	}
	for i := t.queries; i <= t.keys; i++ {
		clear(d[i].f)
	}
	g.team.Run(heads, func(worker, head int) {
		for s := range sequences {
			f(worker, s*heads+head)
		}
	})
}

// from is x from an index on, nil where x is.
func from(x []float32, at int) []float32 {
	if x == nil {
		return nil
	}
	return x[at:]
}

// rowsFrom is the view of a matrix without its rows before the first.
func rowsFrom(v kernels.ViewF32, first int) kernels.ViewF32 {
	v.Data = v.Data[first*v.RowStride:]
	return v
}
