package autograd

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/quant"
)

// embedding is the sum of one row of each of one to three matrices.
type embedding struct {
	tables []*Node
	what   []string // what each is of
	// int8 quantizes the rows of words and positions.
	int8 bool
	// touched holds the rows of each gradient that the run before wrote to: all
	// others are zero.
	touched [3][]int32
	cleared [3]bool
}

// Embedding computes words[ids] + positions[positionIDs] + types[typeIDs], the
// matrices being [number, hidden] and the ids [tokens]. The result is
// [tokens, hidden]. Where positions or types is nil, as in a family that has none,
// the sum goes without and its ids are not read.
func (g *Graph) Embedding(words, positions, types, ids, positionIDs, typeIDs *Node) *Node {
	return g.embedding(false, words, positions, types, ids, positionIDs, typeIDs)
}

func (g *Graph) embedding(int8 bool, words, positions, types, ids, positionIDs, typeIDs *Node) *Node {
	e := &embedding{int8: int8}
	var rows []*Node
	for _, t := range []struct {
		table, ids *Node
		what       string
	}{{words, ids, wordTable}, {positions, positionIDs, positionTable}, {types, typeIDs, typeTable}} {
		if t.table != nil || t.what == wordTable {
			e.tables, e.what, rows = append(e.tables, t.table), append(e.what, t.what), append(rows, t.ids)
		}
	}
	differentiable := make([]bool, 2*len(rows))
	for i := range rows {
		differentiable[i] = true
	}
	return g.apply(e, differentiable, append(slices.Clone(e.tables), rows...)...)
}

// What tables are of.
const (
	wordTable     = "word"
	positionTable = "position"
	typeTable     = "type"
)

func (e *embedding) name() string { return "Embedding" }

func (e *embedding) shape(in []array) (array, error) {
	n := len(e.tables)
	for i := range n {
		table, ids := in[i], in[n+i]
		if table.dims != 2 || table.columns != in[0].columns || ids.dims != 1 || ids.i == nil || ids.rows != in[n].rows {
			return array{}, fmt.Errorf("matrix %d is %v with ids %v, want [number %d] and %v integers", i, table, ids, in[0].columns, in[n])
		}
	}
	return array{dims: 2, rows: in[n].rows, columns: in[0].columns}, nil
}

func (e *embedding) forward(g *Graph, in []array, out array, keep bool) error {
	n := len(e.tables)
	for i, what := range e.what {
		for t, id := range in[n+i].i {
			if id < 0 || int(id) >= in[i].rows {
				return fmt.Errorf("%s id %d of token %d, want 0 to %d", what, id, t, in[i].rows-1)
			}
		}
	}
	// The order of Hugging Face: words, types, positions.
	order := []int{0, 1, 2}[:n]
	if n == 3 {
		order[1], order[2] = 2, 1
	}
	var failed atomic.Bool
	g.rows(out.rows, func(worker, _, lo, hi int) {
		w := &g.workers[worker]
		w.a = grow(w.a, out.columns)
		for t := lo; t < hi; t++ {
			row := out.row(t)
			for k, i := range order {
				from := in[i].row(int(in[n+i].i[t]))
				if e.int8 && e.what[i] != typeTable {
					if !w.throughInt8(w.a, from) {
						failed.Store(true)
					}
					from = w.a
				}
				if k == 0 {
					copy(row, from)
				} else {
					kernels.Add(row, row, from)
				}
			}
		}
	})
	if failed.Load() {
		return fmt.Errorf("an embedding %w", quant.ErrNotFinite)
	}
	return nil
}

func (e *embedding) backward(g *Graph, in []array, out, dout array, d []array) error {
	for i := range e.tables {
		if d[i].f == nil {
			continue
		}
		// Where another operation uses the matrix, Gorgonia may add into this
		// buffer: all of it is to be cleared then.
		whole := !e.cleared[i] || g.nodes[e.tables[i]].uses > 1
		if whole {
			clear(d[i].f)
			e.cleared[i] = true
		}
		ids := in[len(e.tables)+i].i
		g.columns(out.columns, func(lo, hi int) {
			if !whole {
				for _, id := range e.touched[i] {
					clear(d[i].row(int(id))[lo:hi])
				}
			}
			for t, id := range ids {
				to := d[i].row(int(id))[lo:hi]
				kernels.Add(to, to, dout.row(t)[lo:hi])
			}
		})
		e.touched[i] = append(e.touched[i][:0], ids...)
	}
	return nil
}
