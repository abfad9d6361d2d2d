package autograd

import (
	"fmt"

	"github.com/skive-ml/skive/internal/kernels"
)

// embedding is the sum of one row of each of three matrices.
type embedding struct {
	// touched holds the rows of each gradient that the run before wrote to: all
	// others are zero.
	touched [3][]int32
	cleared [3]bool
	tables  [3]*Node
}

// Embedding computes words[ids] + positions[positionIDs] + types[typeIDs], the
// matrices being [number, hidden] and the ids [tokens]. The result is
// [tokens, hidden].
func (g *Graph) Embedding(words, positions, types, ids, positionIDs, typeIDs *Node) *Node {
	e := &embedding{tables: [3]*Node{words, positions, types}}
	return g.apply(e, []bool{true, true, true, false, false, false}, words, positions, types, ids, positionIDs, typeIDs)
}

func (e *embedding) name() string { return "Embedding" }

func (e *embedding) shape(in []array) (array, error) {
	for i := range 3 {
		table, ids := in[i], in[3+i]
		if table.dims != 2 || table.columns != in[0].columns || ids.dims != 1 || ids.i == nil || ids.rows != in[3].rows {
			return array{}, fmt.Errorf("matrix %d is %v with ids %v, want [number %d] and %v integers", i, table, ids, in[0].columns, in[3])
		}
	}
	return array{dims: 2, rows: in[3].rows, columns: in[0].columns}, nil
}

func (e *embedding) forward(g *Graph, in []array, out array, keep bool) error {
	for i, what := range []string{"word", "position", "type"} {
		for t, id := range in[3+i].i {
			if id < 0 || int(id) >= in[i].rows {
				return fmt.Errorf("%s id %d of token %d, want 0 to %d", what, id, t, in[i].rows-1)
			}
		}
	}
	g.rows(out.rows, func(_, _, lo, hi int) {
		for t := lo; t < hi; t++ {
			row := out.row(t)
			// The order of Hugging Face: words, types, positions.
			kernels.Add(row, in[0].row(int(in[3].i[t])), in[2].row(int(in[5].i[t])))
			kernels.Add(row, row, in[1].row(int(in[4].i[t])))
		}
	})
	return nil
}

func (e *embedding) backward(g *Graph, in []array, out, dout array, d []array) error {
	for i := range 3 {
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
		ids := in[3+i].i
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
