package autograd

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/quant"
)

// quantizedLinear is y = act(x̂·Ŵᵀ + b), x̂ and Ŵ being x and W in int8.
type quantizedLinear struct {
	activation Activation
	// bias and static are the numbers of the inputs of the bias and of the scale of x̂,
	// 0 where there are none.
	bias, static int
	pre          []float32 // x̂·Ŵᵀ + b; in backward, the gradient with respect to it
	weight       []int8    // Ŵ, with the scales of its rows
	scale        []float32
	partial      []float64 // of the scale's gradient, by part
}

// QuantizedLinear computes activation(x̂·Ŵᵀ + bias) with the bits of the int8
// engine, x and weight being rounded to int8 as it does: weight [out, in] with a
// scale for each row, its largest magnitude / 127; x [rows, in] likewise or, if
// scale is not nil, with that one, a parameter of one positive element; bias [out]
// or nil. The result is [rows, out].
//
// Gradients are those of the rounded operands, and pass through the rounding
// (straight-through estimator; Bengio et al., arXiv 1308.3432): ∂W = ∂zᵀ·x̂ and
// ∂x = ∂z·Ŵ with z = x̂·Ŵᵀ + bias, the scales of the rows being constants. With a
// learned scale s (LSQ; Esser et al., arXiv 1902.08153, equations 3 and 5), ∂x is
// zero where |x/s| >= 127, and
//
//	∂s = g·Σ ∂x̂·(round(x/s) - x/s, or ±127 where |x/s| >= 127),  g = 1/√(127·N)
//
// over the N elements of x.
func (g *Graph) QuantizedLinear(x, weight, bias, scale *Node, activation Activation) *Node {
	l, inputs := &quantizedLinear{activation: activation}, []*Node{x, weight}
	if bias != nil {
		l.bias = len(inputs)
		inputs = append(inputs, bias)
	}
	if scale != nil {
		l.static = len(inputs)
		inputs = append(inputs, scale)
	}
	return g.apply(l, []bool{true, true, true, true}[:len(inputs)], inputs...)
}

// QuantizedEmbedding is Embedding with the rows of words and positions rounded to
// int8, each with its own scale, as the engine has them in a model with int8
// embeddings. Gradients pass through the rounding.
func (g *Graph) QuantizedEmbedding(words, positions, types, ids, positionIDs, typeIDs *Node) *Node {
	return g.embedding(true, words, positions, types, ids, positionIDs, typeIDs)
}

// throughInt8 sets dst to a row of weights as it is after rounding to int8. It
// reports false for NaN and infinity.
func (w *worker) throughInt8(dst, row []float32) bool {
	w.q = grow(w.q, len(row))
	var scale [1]float32
	if quant.Channels(w.q, scale[:], row, 1, len(row)) != nil {
		return false
	}
	kernels.DequantizeRow(dst, w.q, scale[0])
	return true
}

func (l *quantizedLinear) name() string { return "QuantizedLinear" }

func (l *quantizedLinear) shape(in []array) (array, error) {
	x, w := in[0], in[1]
	switch bias, scale := in[l.bias], in[l.static]; {
	case x.dims != 2 || w.dims != 2 || x.columns != w.columns:
		return array{}, fmt.Errorf("input is %v and weight %v, want [rows in] and [out in]", x, w)
	case w.columns > kernels.MaxKI8:
		return array{}, fmt.Errorf("weight is %v, want at most %d columns", w, kernels.MaxKI8)
	case l.bias > 0 && (bias.dims != 1 || bias.rows != w.rows):
		return array{}, fmt.Errorf("bias is %v, want [%d]", bias, w.rows)
	case l.static > 0 && (scale.dims != 1 || scale.rows != 1):
		return array{}, fmt.Errorf("scale is %v, want [1]", scale)
	}
	return array{dims: 2, rows: x.rows, columns: w.rows}, nil
}

// inputScale is the learned scale of x, 0 where each row has its own.
func (l *quantizedLinear) inputScale(in []array) float32 {
	if l.static > 0 {
		return in[l.static].f[0]
	}
	return 0
}

// quantizeInput sets g.quantized to x̂.
func (l *quantizedLinear) quantizeInput(g *Graph, in []array) {
	x, scale := in[0], l.inputScale(in)
	g.quantized.Resize(x.rows, x.columns)
	g.rows(x.rows, func(_, _, lo, hi int) {
		for i := lo; i < hi; i++ {
			g.quantized.SetRow(i, x.row(i), scale)
		}
	})
}

// stripe is the number of columns of the output that one part of the forward
// pass takes: its rows of the weight are quantized, packed and multiplied in
// cache.
const stripe = 2 * kernels.Lanes

func (l *quantizedLinear) forward(g *Graph, in []array, out array, keep bool) error {
	x, w := in[0], in[1]
	if l.static > 0 && !(l.inputScale(in) >= minScale) {
		return fmt.Errorf("the learned scale of the input is %g, want a positive number: lower the learning rate", l.inputScale(in))
	}
	l.quantizeInput(g, in)
	l.weight, l.scale = grow(l.weight, len(w.f)), grow(l.scale, w.rows)
	keep = keep && l.activation != Identity
	if keep {
		l.pre = grow(l.pre, len(out.f))
	}
	start := time.Now()
	var failed atomic.Bool
	g.team.Run((w.rows+stripe-1)/stripe, func(worker, part int) {
		lo, hi := part*stripe, min((part+1)*stripe, w.rows)
		q, scale := l.weight[lo*w.columns:hi*w.columns], l.scale[lo:hi]
		if quant.Channels(q, scale, w.of(lo, hi), hi-lo, w.columns) != nil {
			failed.Store(true)
			return
		}
		k := &g.workers[worker]
		k.int8.Pack(q, scale, w.columns, hi-lo)
		ep := kernels.Epilogue{Activation: kernels.Activation(l.activation)}
		if l.bias > 0 {
			ep.Bias = in[l.bias].f[lo:hi]
		}
		if keep {
			ep.PreActivation = l.pre[lo:]
		}
		kernels.GemmI8(&g.quantized, &k.int8, 0, k.int8.Panels(), out.f[lo:], out.columns, ep, &k.kernels[0])
	})
	if failed.Load() {
		return fmt.Errorf("weight %w", quant.ErrNotFinite)
	}
	if g.profile != nil {
		g.profile.Products += time.Since(start)
		g.profile.FLOPs += 2 * int64(x.rows) * int64(w.columns) * int64(w.rows)
	}
	return nil
}

// minScale is the least scale that a model can hold.
const minScale = 0x1p-120

func (l *quantizedLinear) backward(g *Graph, in []array, out, dout array, d []array) error {
	x, w := in[0], in[1]
	dz := dout.f
	if l.activation != Identity {
		dz = l.pre
		g.activateBackward(l.activation, dz, dout.f, out)
	}
	if to := d[l.bias].f; l.bias > 0 && to != nil {
		g.columnSums(to, dz, out)
	}
	if d[1].f != nil {
		l.quantizeInput(g, in)
		g.dequantized = grow(g.dequantized, len(x.f))
		g.rows(x.rows, func(_, _, lo, hi int) {
			for i := lo; i < hi; i++ {
				row := g.quantized.Data[i*g.quantized.Stride():][:x.columns]
				kernels.DequantizeRow(g.dequantized[i*x.columns:][:x.columns], row, g.quantized.Scale[i])
			}
		})
		g.pack(&g.panels, kernels.RowMajor(g.dequantized, x.columns), x.rows, w.columns, false)
		g.multiply(w.rows, kernels.Transposed(dz, out.columns), &g.panels, d[1].f, kernels.Epilogue{})
	}
	dx := d[0].f
	if dx == nil && (l.static == 0 || d[l.static].f == nil) {
		return nil
	}
	if dx == nil {
		dx = make([]float32, len(x.f))
	}
	g.dequantized = grow(g.dequantized, len(w.f))
	g.rows(w.rows, func(_, _, lo, hi int) {
		for o := lo; o < hi; o++ {
			kernels.DequantizeRow(g.dequantized[o*w.columns:][:w.columns], l.weight[o*w.columns:][:w.columns], l.scale[o])
		}
	})
	g.pack(&g.panels, kernels.RowMajor(g.dequantized, w.columns), w.rows, w.columns, false)
	g.multiply(x.rows, kernels.RowMajor(dz, out.columns), &g.panels, dx, kernels.Epilogue{})
	if l.static > 0 {
		ds := l.learnScale(g, x, dx, l.inputScale(in))
		if to := d[l.static].f; to != nil {
			to[0] = ds
		}
	}
	return nil
}

// learnScale returns the gradient with respect to the scale of x, given that with
// respect to x̂, which becomes that with respect to x.
func (l *quantizedLinear) learnScale(g *Graph, x array, dx []float32, scale float32) float32 {
	l.partial = grow(l.partial, (x.rows+grain-1)/grain)
	inverse := 1 / scale // as the kernels have it
	g.rows(x.rows, func(_, part, lo, hi int) {
		lo, hi = lo*x.columns, hi*x.columns
		sum := 0.0
		for i, v := range x.f[lo:hi] {
			at, to := float64(v*inverse), float64(dx[lo+i])
			switch {
			case at >= quant.Max:
				sum += float64(quant.Max * to)
				dx[lo+i] = 0
			case at <= -quant.Max:
				sum -= float64(quant.Max * to)
				dx[lo+i] = 0
			default:
				sum += float64((math.RoundToEven(at) - at) * to)
			}
		}
		l.partial[part] = sum
	})
	sum := 0.0
	for _, v := range l.partial {
		sum += v
	}
	return float32(sum / math.Sqrt(quant.Max*float64(len(x.f))))
}
