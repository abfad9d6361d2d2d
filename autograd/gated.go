package autograd

import (
	"fmt"

	"github.com/skive-ml/skive/internal/kernels"
)

// gated is activation(a) * b of the halves of each row.
type gated struct{ activation Activation }

// Gated computes activation(a) * b, element by element, where the first half of each
// row of x [rows, 2*units] is a and the second b (gated linear units, Shazeer, arXiv
// 2002.05202). The result is [rows, units].
func (g *Graph) Gated(x *Node, activation Activation) *Node {
	return g.apply(gated{activation}, []bool{true}, x)
}

func (gated) name() string { return "Gated" }

func (gated) shape(in []array) (array, error) {
	x := in[0]
	if x.dims != 2 || x.columns%2 != 0 {
		return array{}, fmt.Errorf("input is %v, want [rows, twice the units]", x)
	}
	return array{dims: 2, rows: x.rows, columns: x.columns / 2}, nil
}

func (o gated) forward(g *Graph, in []array, out array, _ bool) error {
	n := out.columns
	g.rows(out.rows, func(_, _, lo, hi int) {
		for i := lo; i < hi; i++ {
			x, y := in[0].row(i), out.row(i)
			kernels.Activate(kernels.Activation(o.activation), y, x[:n])
			kernels.Mul(y, y, x[n:])
		}
	})
	return nil
}

func (o gated) backward(g *Graph, in []array, out, dout array, d []array) error {
	n, a := out.columns, kernels.Activation(o.activation)
	g.rows(out.rows, func(worker, _, lo, hi int) {
		w := &g.workers[worker]
		w.a = grow(w.a, n)
		for i := lo; i < hi; i++ {
			x, dx, dy := in[0].row(i), d[0].row(i), dout.f[i*n:][:n]
			kernels.Activate(a, w.a, x[:n])
			kernels.Mul(dx[n:], dy, w.a)
			kernels.Mul(w.a, dy, x[n:])
			kernels.ActivateBackward(a, dx[:n], w.a, x[:n])
		}
	})
	return nil
}
