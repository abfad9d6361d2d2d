package autograd

import (
	"fmt"

	"github.com/skive-ml/skive/internal/kernels"
)

// layerNorm is y = LayerNorm(x [+ residual])*gamma [+ beta].
type layerNorm struct {
	eps float32
	// beta and residual are the numbers of these inputs, 0 where there are none.
	beta, residual int
	zeros          []float32 // in the place of beta
	sum            []float32 // x + residual
	mean, rstd     []float32
	dgamma         []float32 // by part
	dbeta          []float32
}

// LayerNorm normalizes each row of x [rows, hidden] to mean 0 and variance 1,
// eps being added to the variance, scales it with gamma [hidden] and adds beta
// [hidden], unless that is nil.
func (g *Graph) LayerNorm(x, gamma, beta *Node, eps float32) *Node {
	return g.layerNorm(x, nil, gamma, beta, eps)
}

// AddLayerNorm is LayerNorm of x + residual, both [rows, hidden].
func (g *Graph) AddLayerNorm(x, residual, gamma, beta *Node, eps float32) *Node {
	return g.layerNorm(x, residual, gamma, beta, eps)
}

func (g *Graph) layerNorm(x, residual, gamma, beta *Node, eps float32) *Node {
	l, inputs := &layerNorm{eps: eps}, []*Node{x, gamma}
	if beta != nil {
		l.beta = len(inputs)
		inputs = append(inputs, beta)
	}
	if residual != nil {
		l.residual = len(inputs)
		inputs = append(inputs, residual)
	}
	return g.apply(l, []bool{true, true, true, true}[:len(inputs)], inputs...)
}

func (l *layerNorm) name() string { return "LayerNorm" }

// twinOf tells that the residual's gradient is that of x.
func (l *layerNorm) twinOf(input int) int {
	if input == l.residual {
		return 0
	}
	return input
}

func (l *layerNorm) shape(in []array) (array, error) {
	x, beta := in[0], in[1]
	if l.beta > 0 {
		beta = in[l.beta]
	}
	for _, p := range []array{in[1], beta} {
		if x.dims != 2 || p.dims != 1 || p.rows != x.columns {
			return array{}, fmt.Errorf("input is %v, gamma %v and beta %v, want [rows hidden], [hidden] and [hidden]", x, in[1], beta)
		}
	}
	if r := in[l.residual]; l.residual > 0 && (r.dims != 2 || r.rows != x.rows || r.columns != x.columns) {
		return array{}, fmt.Errorf("residual is %v, want %v", r, x)
	}
	return array{dims: 2, rows: x.rows, columns: x.columns}, nil
}

func (l *layerNorm) forward(g *Graph, in []array, out array, keep bool) error {
	x, gamma := in[0], in[1].f
	beta := in[l.beta].f
	if l.beta == 0 {
		if len(l.zeros) != len(gamma) {
			l.zeros = make([]float32, len(gamma))
		}
		beta = l.zeros
	}
	l.mean, l.rstd = grow(l.mean, x.rows), grow(l.rstd, x.rows)
	if l.residual > 0 {
		l.sum = grow(l.sum, len(out.f))
	}
	g.rows(x.rows, func(_, _, lo, hi int) {
		from, to := lo*x.columns, hi*x.columns
		mean, rstd := l.mean[lo:hi], l.rstd[lo:hi]
		if l.residual > 0 {
			kernels.AddLayerNorm(out.f[from:to], l.sum[from:to], x.f[from:to], in[l.residual].f[from:to], gamma, beta, l.eps, mean, rstd)
		} else {
			kernels.LayerNorm(out.f[from:to], x.f[from:to], gamma, beta, l.eps, mean, rstd)
		}
	})
	return nil
}

func (l *layerNorm) backward(g *Graph, in []array, out, dout array, d []array) error {
	x, gamma, h := in[0], in[1].f, out.columns
	sum := x.f
	if l.residual > 0 {
		sum = l.sum
	}
	parts := (x.rows + grain - 1) / grain
	l.dgamma, l.dbeta = grow(l.dgamma, parts*h), grow(l.dbeta, parts*h)
	dx := d[0].f
	if dx == nil {
		dx = d[l.residual].f
	}
	g.rows(x.rows, func(worker, part, lo, hi int) {
		w := &g.workers[worker]
		dgamma, dbeta := l.dgamma[part*h:][:h], l.dbeta[part*h:][:h]
		clear(dgamma)
		clear(dbeta)
		for i := lo; i < hi; i++ {
			row := dx
			if row == nil {
				w.a = grow(w.a, h)
				row = w.a
			} else {
				row = row[i*h:][:h]
			}
			kernels.LayerNormBackward(row, dgamma, dbeta, dout.row(i), sum[i*h:][:h], gamma, l.mean[i], l.rstd[i])
		}
	})
	if to := d[1].f; to != nil {
		kernels.ColumnSums(to, l.dgamma, parts, h, h)
	}
	if to := d[l.beta].f; l.beta > 0 && to != nil {
		kernels.ColumnSums(to, l.dbeta, parts, h, h)
	}
	return nil
}
