package autograd

import (
	"fmt"
	"time"

	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/team"
)

// grain is the number of rows in one part of a row-wise operation. It is fixed, so that
// sums over rows are grouped in the same way for any number of threads.
const grain = 32

// rows runs f over the rows [0, n) in parts of grain rows.
func (g *Graph) rows(n int, f func(worker, part, lo, hi int)) {
	g.team.Run((n+grain-1)/grain, func(worker, part int) {
		f(worker, part, part*grain, min((part+1)*grain, n))
	})
}

// columns runs f over the columns [0, n) in parts of 64.
func (g *Graph) columns(n int, f func(lo, hi int)) {
	const wide = 64
	g.team.Run((n+wide-1)/wide, func(_, part int) { f(part*wide, min((part+1)*wide, n)) })
}

// panels is a packed right-hand matrix with k rows and n columns.
type panels struct {
	k, n    int
	rounded bool // which of the two it is
	f32     kernels.PanelsF32
	bf16    kernels.PanelsBF16
}

// pack packs the k×n matrix b with the workers of t. With rounded, it rounds to
// bfloat16.
func (p *panels) pack(t *team.Team, b kernels.ViewF32, k, n int, rounded bool) {
	p.k, p.n, p.rounded = k, n, rounded
	if rounded {
		kernels.ParallelPackBF16(t, &p.bf16, b, k, n)
	} else {
		kernels.ParallelPackF32(t, &p.f32, b, k, n)
	}
}

// multiply sets c to act(a·p + bias) with the workers of t. a is m×p.k, and the rows of
// c are ldc floats apart.
func (p *panels) multiply(t *team.Team, m int, a kernels.ViewF32, c []float32, ldc int, ep kernels.Epilogue, s []kernels.Scratch) {
	if p.rounded {
		kernels.ParallelGemmBF16(t, m, a, &p.bf16, c, ldc, ep, s)
	} else {
		kernels.ParallelGemmF32(t, m, a, &p.f32, c, ldc, ep, s)
	}
}

// pack packs the k×n matrix b into p with the graph's workers. With rounded, it rounds
// to bfloat16.
func (g *Graph) pack(p *panels, b kernels.ViewF32, k, n int, rounded bool) {
	if g.profile != nil {
		start := time.Now()
		defer func() { g.profile.Packing += time.Since(start) }()
	}
	p.pack(g.team, b, k, n, rounded)
}

// multiply sets c to act(a·b + bias) with the graph's workers. a is m×b.k.
func (g *Graph) multiply(m int, a kernels.ViewF32, b *panels, c []float32, ep kernels.Epilogue) {
	if g.profile != nil {
		start := time.Now()
		defer func() {
			g.profile.Products += time.Since(start)
			g.profile.FLOPs += 2 * int64(m) * int64(b.k) * int64(b.n)
		}()
	}
	b.multiply(g.team, m, a, c, b.n, ep, g.scratch)
}

// activateBackward replaces pre, the input of an activation, by the gradient with
// respect to it. dout is the gradient with respect to the result. Both have the shape
// of out.
func (g *Graph) activateBackward(a Activation, pre, dout []float32, out array) {
	g.rows(out.rows, func(_, _, lo, hi int) {
		lo, hi = lo*out.columns, hi*out.columns
		kernels.ActivateBackward(kernels.Activation(a), pre[lo:hi], dout[lo:hi], pre[lo:hi])
	})
}

// columnSums sets dst to the column sums of x, which has the shape of out.
func (g *Graph) columnSums(dst, x []float32, out array) {
	g.columns(out.columns, func(lo, hi int) {
		kernels.ColumnSums(dst[lo:hi], x[lo:], out.rows, hi-lo, out.columns)
	})
}

// linear is y = act(x·Wᵀ + b).
type linear struct {
	activation Activation
	bias       bool
	frozen     bool
	bf16       bool
	pre        []float32 // x·Wᵀ + b; in the backward pass its gradient
	panels     panels    // packed once, if the weight is frozen
}

// Linear computes activation(x·weightᵀ + bias) with x [rows, in], weight
// [out, in] as Hugging Face stores it, and bias [out] or nil. The result is
// [rows, out].
func (g *Graph) Linear(x, weight, bias *Node, activation Activation) *Node {
	return g.linear(&linear{activation: activation, bias: bias != nil}, x, weight, bias)
}

// LinearBF16 is Linear with the factors of its products rounded to bfloat16, forward
// and backward, as in mixed-precision training (Kalamkar et al., arXiv 1905.12322).
// Weights, values, gradients and sums are float32.
func (g *Graph) LinearBF16(x, weight, bias *Node, activation Activation) *Node {
	return g.linear(&linear{activation: activation, bias: bias != nil, bf16: true}, x, weight, bias)
}

func (g *Graph) linear(l *linear, x, weight, bias *Node) *Node {
	if info := g.nodes[weight]; info != nil {
		l.frozen = info.constant
	}
	if bias == nil {
		return g.apply(l, []bool{true, true}, x, weight)
	}
	return g.apply(l, []bool{true, true, true}, x, weight, bias)
}

func (l *linear) name() string { return "Linear" }

func (l *linear) shape(in []array) (array, error) {
	x, w := in[0], in[1]
	if x.dims != 2 || w.dims != 2 || x.columns != w.columns {
		return array{}, fmt.Errorf("input is %v and weight %v, want [rows in] and [out in]", x, w)
	}
	if l.bias && (in[2].dims != 1 || in[2].rows != w.rows) {
		return array{}, fmt.Errorf("bias is %v, want [%d]", in[2], w.rows)
	}
	return array{dims: 2, rows: x.rows, columns: w.rows}, nil
}

func (l *linear) forward(g *Graph, in []array, out array, keep bool) error {
	x, w := in[0], in[1]
	ep := kernels.Epilogue{Activation: kernels.Activation(l.activation)}
	if l.bias {
		ep.Bias = in[2].f
	}
	if keep && l.activation != Identity {
		l.pre = grow(l.pre, len(out.f))
		ep.PreActivation = l.pre
	}
	panels := &g.panels
	if l.frozen {
		panels = &l.panels
	}
	if !l.frozen || panels.k == 0 {
		g.pack(panels, kernels.Transposed(w.f, w.columns), w.columns, w.rows, l.bf16)
	}
	g.multiply(x.rows, kernels.RowMajor(x.f, x.columns), panels, out.f, ep)
	return nil
}

func (l *linear) backward(g *Graph, in []array, out, dout array, d []array) error {
	x, w := in[0], in[1]
	dz := dout.f
	if l.activation != Identity {
		dz = l.pre
		g.activateBackward(l.activation, dz, dout.f, out)
	}
	if l.bias && d[2].f != nil {
		g.columnSums(d[2].f, dz, out)
	}
	if d[1].f != nil {
		g.pack(&g.panels, kernels.RowMajor(x.f, x.columns), x.rows, w.columns, l.bf16)
		g.multiply(w.rows, kernels.Transposed(dz, out.columns), &g.panels, d[1].f, kernels.Epilogue{})
	}
	if d[0].f != nil {
		g.pack(&g.panels, kernels.RowMajor(w.f, w.columns), w.rows, w.columns, l.bf16)
		g.multiply(x.rows, kernels.RowMajor(dz, out.columns), &g.panels, d[0].f, kernels.Epilogue{})
	}
	return nil
}
