package autograd

import (
	"fmt"

	"github.com/skive-ml/skive/internal/kernels"
)

// layerNorm is y = LayerNorm(x [+ residual])*gamma + beta.
type layerNorm struct {
	eps        float32
	residual   bool
	sum        []float32 // x + residual
	mean, rstd []float32
	dgamma     []float32 // by part
	dbeta      []float32
}

// LayerNorm normalizes each row of x [rows, hidden] to mean 0 and variance 1,
// eps being added to the variance, and scales it with gamma [hidden] and beta
// [hidden].
func (g *Graph) LayerNorm(x, gamma, beta *Node, eps float32) *Node {
	return g.apply(&layerNorm{eps: eps}, []bool{true, true, true}, x, gamma, beta)
}

// AddLayerNorm is LayerNorm of x + residual, both [rows, hidden].
func (g *Graph) AddLayerNorm(x, residual, gamma, beta *Node, eps float32) *Node {
	return g.apply(&layerNorm{eps: eps, residual: true}, []bool{true, true, true, true}, x, gamma, beta, residual)
}

func (l *layerNorm) name() string { return "LayerNorm" }

// twinOf tells that the residual's gradient is that of x.
func (l *layerNorm) twinOf(input int) int {
	if input == 3 {
		return 0
	}
	return input
}

func (l *layerNorm) shape(in []array) (array, error) {
	x := in[0]
	for _, p := range in[1:3] {
		if x.dims != 2 || p.dims != 1 || p.rows != x.columns {
			return array{}, fmt.Errorf("input is %v, gamma %v and beta %v, want [rows hidden], [hidden] and [hidden]", x, in[1], in[2])
		}
	}
	if l.residual && (in[3].dims != 2 || in[3].rows != x.rows || in[3].columns != x.columns) {
		return array{}, fmt.Errorf("residual is %v, want %v", in[3], x)
	}
	return array{dims: 2, rows: x.rows, columns: x.columns}, nil
}

func (l *layerNorm) forward(g *Graph, in []array, out array, keep bool) error {
	x, gamma, beta := in[0], in[1].f, in[2].f
	l.mean, l.rstd = grow(l.mean, x.rows), grow(l.rstd, x.rows)
	if l.residual {
		l.sum = grow(l.sum, len(out.f))
	}
	g.rows(x.rows, func(_, _, lo, hi int) {
		from, to := lo*x.columns, hi*x.columns
		mean, rstd := l.mean[lo:hi], l.rstd[lo:hi]
		if l.residual {
			kernels.AddLayerNorm(out.f[from:to], l.sum[from:to], x.f[from:to], in[3].f[from:to], gamma, beta, l.eps, mean, rstd)
		} else {
			kernels.LayerNorm(out.f[from:to], x.f[from:to], gamma, beta, l.eps, mean, rstd)
		}
	})
	return nil
}

func (l *layerNorm) backward(g *Graph, in []array, out, dout array, d []array) error {
	x, gamma, h := in[0], in[1].f, out.columns
	sum := x.f
	if l.residual {
		sum = l.sum
	}
	parts := (x.rows + grain - 1) / grain
	l.dgamma, l.dbeta = grow(l.dgamma, parts*h), grow(l.dbeta, parts*h)
	dx := d[0].f
	if dx == nil && l.residual {
		dx = d[3].f
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
	for i, partial := range [][]float32{l.dgamma, l.dbeta} {
		if to := d[1+i].f; to != nil {
			kernels.ColumnSums(to, partial, parts, h, h)
		}
	}
	return nil
}
