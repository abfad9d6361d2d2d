package autograd

import (
	"fmt"
	"math"

	"github.com/skive-ml/skive/internal/kernels"
)

// relationKL compares the self-attention relations of two models.
type relationKL struct {
	heads    int
	parts    []int // of queries, keys and values
	gradient []float32
	sums     []float64 // by part
}

// RelationKL is the loss of MiniLMv2 (Wang et al., arXiv 2012.15828). For X
// among queries, keys and values, split into relationHeads heads of width d, the
// relation of a sequence is R = softmax(X·Xᵀ/√d) by rows; the loss is the sum
// over the three X of the mean, over all tokens of the batch and all relation
// heads, of KL(R of the target || R of x) of the token's row.
// Whatever the windows of the layers' attention, R is over all tokens of a sequence.
//
// x and target are queries, keys and values side by side, as SelfAttention takes
// them, [tokens, 3*width] with widths that may differ and which relationHeads
// divides; offsets is [sequences+1]. The target is taken as a constant.
func (g *Graph) RelationKL(x, target, offsets *Node, relationHeads int) *Node {
	return g.apply(&relationKL{heads: relationHeads, parts: []int{0, 1, 2}}, []bool{true, false, false}, x, target, offsets)
}

// ValueRelationKL is RelationKL of the values alone, the second loss of MiniLM
// (Wang et al., arXiv 2002.10957, equation 4) where relationHeads is the number
// of attention heads.
func (g *Graph) ValueRelationKL(x, target, offsets *Node, relationHeads int) *Node {
	return g.apply(&relationKL{heads: relationHeads, parts: []int{2}}, []bool{true, false, false}, x, target, offsets)
}

func (l *relationKL) name() string {
	if len(l.parts) == 1 {
		return "ValueRelationKL"
	}
	return "RelationKL"
}

func (l *relationKL) shape(in []array) (array, error) {
	for _, a := range in[:2] {
		if err := checkPacked(a, in[2]); err != nil {
			return array{}, err
		}
		if l.heads < 1 || a.columns%(3*l.heads) != 0 {
			return array{}, fmt.Errorf("%d relation heads do not divide an input of %d columns, three times the width of queries", l.heads, a.columns)
		}
	}
	return array{rows: 1, columns: 1}, nil
}

// scores sets s to a·bᵀ/√d, a and b being n×d with rows ld floats apart.
func (w *worker) scores(s, a, b []float32, n, d, ld int) {
	w.product(false, n, d, n, kernels.RowMajor(a, ld), kernels.Transposed(b, ld), s, n)
	kernels.Scale(s, float32(1/math.Sqrt(float64(d))), s)
}

// logSoftmax replaces a row by the logarithm of its softmax.
func logSoftmax(row []float32) {
	sum := kernels.LogSumExp(row)
	for j := range row {
		row[j] -= sum
	}
}

// relation sets logR to the logarithm of the relation of x, n×d with rows ld
// floats apart.
func (w *worker) relation(logR, x []float32, n, d, ld int) {
	w.scores(logR, x, x, n, d, ld)
	for i := range n {
		logSoftmax(logR[i*n:][:n])
	}
}

func (l *relationKL) forward(g *Graph, in []array, out array, keep bool) error {
	x, t, offsets := in[0], in[1], in[2].i
	perSequence := len(l.parts) * l.heads
	parts := (len(offsets) - 1) * perSequence
	dx, dt := x.columns/(3*l.heads), t.columns/(3*l.heads)
	l.sums = grow(l.sums, parts)
	if keep {
		l.gradient = grow(l.gradient, len(x.f))
		if len(l.parts) < 3 {
			clear(l.gradient)
		}
	}
	scale := 1 / (float64(x.rows) * float64(l.heads))
	g.team.Run(parts, func(worker, part int) {
		w := &g.workers[worker]
		// The heads of queries, keys and values follow one another.
		s, h := part/perSequence, part%perSequence
		h += l.parts[0] * l.heads
		lo := int(offsets[s])
		n := int(offsets[s+1]) - lo
		w.a, w.b, w.c = grow(w.a, n*n), grow(w.b, n*n), grow(w.c, n*n)
		xs := x.f[lo*x.columns+h*dx:]
		w.relation(w.a, xs, n, dx, x.columns)
		w.relation(w.b, t.f[lo*t.columns+h*dt:], n, dt, t.columns)
		kernels.Exp(w.c, w.b)
		kl := 0.0
		for i, p := range w.c {
			kl += float64(float64(p) * float64(w.b[i]-w.a[i]))
		}
		l.sums[part] = kl
		if !keep {
			return
		}
		// The gradient with respect to the scores is R(x) - R(target), and a
		// score x_i·x_j has both as its factors.
		kernels.Exp(w.a, w.a)
		f := float32(scale / math.Sqrt(float64(dx)))
		for i := range n {
			for j := range n {
				w.b[i*n+j] = f * ((w.a[i*n+j] - w.c[i*n+j]) + (w.a[j*n+i] - w.c[j*n+i]))
			}
		}
		w.product(false, n, n, dx, kernels.RowMajor(w.b, n), kernels.RowMajor(xs, x.columns), l.gradient[lo*x.columns+h*dx:], x.columns)
	})
	total := 0.0
	for _, s := range l.sums {
		total += s
	}
	out.f[0] = float32(total * scale)
	return nil
}

func (l *relationKL) backward(g *Graph, in []array, out, dout array, d []array) error {
	g.rows(in[0].rows, func(_, _, lo, hi int) {
		c := in[0].columns
		kernels.Scale(d[0].of(lo, hi), dout.f[0], l.gradient[lo*c:hi*c])
	})
	return nil
}
