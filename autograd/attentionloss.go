package autograd

import (
	"fmt"
	"math"

	"github.com/skive-ml/skive/internal/exact"
	"github.com/skive-ml/skive/internal/kernels"
)

// AttentionDistance measures how far apart the attention of two models is. Below, A is
// a head's Q·Kᵀ/√d, plus its bias if there is one, or the scaled sum of Relative, and
// softmax(A) is its attention map.
type AttentionDistance int

const (
	// ScoreMSE is the mean squared difference of a row of A, before the softmax
	// (TinyBERT, Jiao et al., arXiv 1909.10351, equation 7).
	ScoreMSE AttentionDistance = iota
	// MapCosine is 1 - cosine of a row of the maps.
	MapCosine
	// MapCrossEntropy is -Σ target·log x of a row of the maps.
	MapCrossEntropy
	// MapKL is KL(target || x) of a row of the maps, which is MapCrossEntropy minus the
	// target's entropy (MiniLM, Wang et al., arXiv 2002.10957, equation 3).
	MapKL
)

// AttentionLossOptions says what AttentionLoss compares.
type AttentionLossOptions struct {
	// Heads and TargetHeads are the numbers of attention heads.
	Heads, TargetHeads int
	Distance           AttentionDistance
	// HeadMeans compares means over the heads, of A or of the maps, so that the two
	// numbers of heads may differ.
	HeadMeans bool
	// Bias and TargetBias, if not nil, are added to A, see AttentionOptions.Bias.
	Bias, TargetBias *Node
	// Relative and TargetRelative, if not nil, have what AttentionOptions.Relative adds to
	// the scores, in one node each. The target's get no gradient.
	Relative, TargetRelative *Relative
	// Window is that of both models, see AttentionOptions.Window: of a row, the keys
	// within it alone are compared, and make up the map.
	Window int
}

// attentionLoss compares the attention of two models.
type attentionLoss struct {
	o        AttentionLossOptions
	gradient []float32
	sums     []float64 // by part
	// bias and targetBias are the numbers of these inputs, 0 if there are none.
	bias, targetBias int
	biasGradient     biasGradient
	// relative and targetRelative are empty where there are none.
	relative, targetRelative relativeTerms
	relativeGradient         []float32
}

// AttentionLoss is the distance between the attention of two models. It compares each
// token's row of the attention matrix within its sequence, and takes the mean over all
// tokens of the batch and all heads.
//
// x and target hold queries, keys and values side by side, as in SelfAttention:
// [tokens, 3*heads*headDim]. Their head widths may differ. offsets is [sequences+1].
// The target is a constant: it gets no gradient.
func (g *Graph) AttentionLoss(x, target, offsets *Node, o AttentionLossOptions) *Node {
	l := &attentionLoss{o: o}
	inputs, differentiable := []*Node{x, target, offsets}, []bool{true, false, false}
	if o.Bias != nil {
		l.bias = len(inputs)
		inputs, differentiable = append(inputs, o.Bias), append(differentiable, true)
	}
	if o.TargetBias != nil {
		l.targetBias = len(inputs)
		inputs, differentiable = append(inputs, o.TargetBias), append(differentiable, false)
	}
	l.relative, inputs, differentiable = o.Relative.terms(inputs, differentiable, true)
	l.targetRelative, inputs, differentiable = o.TargetRelative.terms(inputs, differentiable, false)
	return g.apply(l, differentiable, inputs...)
}

func (*attentionLoss) name() string { return "AttentionLoss" }

func (l *attentionLoss) shape(in []array) (array, error) {
	for i, heads := range []int{l.o.Heads, l.o.TargetHeads} {
		if err := checkPacked(in[i], in[2]); err != nil {
			return array{}, err
		}
		if heads < 1 || in[i].columns%(3*heads) != 0 {
			return array{}, fmt.Errorf("%d heads do not divide an input of %d columns, three times the width of queries", heads, in[i].columns)
		}
	}
	if l.bias > 0 {
		if err := checkBias(in[l.bias], l.o.Heads); err != nil {
			return array{}, err
		}
	}
	if l.targetBias > 0 {
		if err := checkBias(in[l.targetBias], l.o.TargetHeads); err != nil {
			return array{}, err
		}
	}
	if err := l.relative.check(in, in[0].columns/3); err != nil {
		return array{}, err
	}
	if err := l.targetRelative.check(in, in[1].columns/3); err != nil {
		return array{}, err
	}
	if l.o.Window < 0 {
		return array{}, fmt.Errorf("window is %d, want a number of tokens, or 0 for all", l.o.Window)
	}
	if l.o.Heads != l.o.TargetHeads && !l.o.HeadMeans {
		return array{}, fmt.Errorf("%d heads and %d of the target, want equal numbers or head means", l.o.Heads, l.o.TargetHeads)
	}
	return array{rows: 1, columns: 1}, nil
}

// heads is a range of attention heads in one sequence.
type heads struct {
	x         []float32 // from the sequence's first token
	n, ld     int       // tokens, columns
	dim, keys int       // width of a head, column of the first key
	lo, hi    int
	bias      array // empty if there is none
	relative  relativeTerms
	in        []array // of the operation, for them
}

func headsOf(a array, offsets []int32, s, all, lo, hi int) heads {
	at := int(offsets[s])
	return heads{x: a.f[at*a.columns:], n: int(offsets[s+1]) - at, ld: a.columns, dim: a.columns / (3 * all), keys: a.columns / 3, lo: lo, hi: hi}
}

func (h heads) query(i int) int { return i * h.dim }
func (h heads) key(i int) int   { return h.keys + i*h.dim }

// terms returns what Relative adds to the scores of a head.
func (h heads) terms(i int) relativeHead { return h.relative.of(h.in, i*h.dim, h.keys, h.n) }

// scores sets s to the scaled scores of a head, without its bias.
func (h heads) scores(w *worker, s []float32, i int) {
	q, k := kernels.RowMajor(h.x[h.query(i):], h.ld), kernels.RowMajor(h.x[h.key(i):], h.ld)
	w.product(false, h.n, h.dim, h.n, q, k.T(), s, h.n)
	a := kernels.Attention{Tokens: h.n, Queries: h.n, Width: h.dim, Q: q, K: k, Relative: h.terms(i).Relative}
	a.AddRelative(s, false, &w.kernels[0])
	kernels.Scale(s, h.relative.scale(h.dim), s)
}

// logs tells whether rows are compared by their logarithms.
func (l *attentionLoss) logs() bool {
	return l.o.Distance == MapCrossEntropy || l.o.Distance == MapKL
}

// span returns the keys that the query of a row sees, of n.
func (l *attentionLoss) span(row, n int) (lo, hi int) {
	if l.o.Window == 0 {
		return 0, n
	}
	return max(0, row-l.o.Window), min(n, row+l.o.Window+1)
}

// attention sets s to one head's A or map, or with logs to the map's logarithm. Beyond
// the window it is 0.
func (l *attentionLoss) attention(w *worker, s []float32, h heads, i int, logs bool) {
	h.scores(w, s, i)
	if h.bias.f != nil {
		distances := biasOf(h.bias, i, h.n)
		for r := range h.n {
			kernels.Add(s[r*h.n:][:h.n], s[r*h.n:][:h.n], distances[h.n-1-r:][:h.n])
		}
	}
	for r := range h.n {
		row := s[r*h.n:][:h.n]
		lo, hi := l.span(r, h.n)
		clear(row[:lo])
		clear(row[hi:])
		switch {
		case l.o.Distance == ScoreMSE:
		case logs:
			logSoftmax(row[lo:hi])
		default:
			kernels.Softmax(row[lo:hi], 1)
		}
	}
}

// smallest is the smallest mean probability that a logarithm is taken of.
const smallest = 1e-30

// compared sets s to what is compared: one head's attention, or the mean over several.
func (l *attentionLoss) compared(w *worker, s []float32, h heads) {
	if h.hi-h.lo == 1 {
		l.attention(w, s, h, h.lo, l.logs())
		return
	}
	clear(s)
	w.d = grow(w.d, len(s))
	for i := h.lo; i < h.hi; i++ {
		l.attention(w, w.d, h, i, false)
		kernels.Axpy(s, 1/float32(h.hi-h.lo), w.d)
	}
	if l.logs() {
		for j, p := range s {
			s[j] = float32(exact.Log(math.Max(float64(p), smallest)))
		}
	}
}

// row returns the distance of two rows from compared, and sets d to its gradient. For
// ScoreMSE that is the gradient with respect to A, and for MapCosine to the map. For
// the others it is with respect to A of a single head, or to the map of a mean.
func (l *attentionLoss) row(d, a, b []float32, mean bool) float64 {
	sum := 0.0
	switch l.o.Distance {
	case ScoreMSE:
		f := 1 / float64(len(a))
		for j, v := range a {
			e := float64(v - b[j])
			sum += float64(f * e * e)
			d[j] = float32(2 * f * e)
		}
	case MapCosine:
		c, na, nb := cosine(a, b)
		sum = 1 - c
		for j, v := range a {
			d[j] = float32(c*float64(v)/(na*na) - float64(b[j])/(na*nb))
		}
	default:
		for j, v := range a {
			p := exact.Exp(float64(b[j]))
			sum -= float64(p * float64(v))
			if l.o.Distance == MapKL {
				sum += float64(p * float64(b[j]))
			}
			if mean {
				d[j] = float32(-p / exact.Exp(float64(v)))
			} else {
				d[j] = float32(exact.Exp(float64(v)) - p)
			}
		}
	}
	return sum
}

func (l *attentionLoss) forward(g *Graph, in []array, out array, keep bool) error {
	x, t, offsets := in[0], in[1], in[2].i
	groups := l.o.Heads
	if l.o.HeadMeans {
		groups = 1
	}
	parts := (len(offsets) - 1) * groups
	l.sums = grow(l.sums, parts)
	if keep {
		l.gradient = grow(l.gradient, len(x.f))
		clear(l.gradient) // the values' stays 0
	}
	for _, input := range []int{l.bias, l.targetBias} {
		if input > 0 {
			if err := checkReach(in[input], offsets); err != nil {
				return err
			}
		}
	}
	if keep && l.bias > 0 {
		l.biasGradient.reset(offsets, l.o.Heads)
	}
	for _, terms := range []relativeTerms{l.relative, l.targetRelative} {
		if err := terms.checkReach(offsets); err != nil {
			return err
		}
	}
	l.relativeGradient = l.relativeGradient[:0]
	if keep && l.relative.there() {
		l.relativeGradient = grow(l.relativeGradient, len(in[l.relative.queries].f))
	}
	d := make([]array, len(in))
	d[l.relative.queries].f = l.relativeGradient
	scale := 1 / (float64(x.rows) * float64(groups))
	l.relative.each(g, groups, len(offsets)-1, d, func(worker, part int) {
		w := &g.workers[worker]
		s, i := part/groups, part%groups
		hx, ht := headsOf(x, offsets, s, l.o.Heads, i, i+1), headsOf(t, offsets, s, l.o.TargetHeads, i, i+1)
		if l.o.HeadMeans {
			hx.lo, hx.hi, ht.lo, ht.hi = 0, l.o.Heads, 0, l.o.TargetHeads
		}
		if l.bias > 0 {
			hx.bias = in[l.bias]
		}
		if l.targetBias > 0 {
			ht.bias = in[l.targetBias]
		}
		hx.relative, hx.in, ht.relative, ht.in = l.relative, in, l.targetRelative, in
		n := hx.n
		w.a, w.b, w.c = grow(w.a, n*n), grow(w.b, n*n), grow(w.c, n*n)
		l.compared(w, w.a, hx)
		l.compared(w, w.b, ht)
		mean := hx.hi-hx.lo > 1
		sum := 0.0
		for r := range n {
			lo, hi := l.span(r, n)
			row := w.c[r*n:][:n]
			clear(row[:lo])
			clear(row[hi:])
			lo, hi = r*n+lo, r*n+hi
			sum += l.row(w.c[lo:hi], w.a[lo:hi], w.b[lo:hi], mean)
		}
		l.sums[part] = sum
		if keep {
			gradient := l.gradient[int(offsets[s])*x.columns:]
			for i := hx.lo; i < hx.hi; i++ {
				l.scoresGradient(w, hx, i, float32(scale), mean)
				if l.bias > 0 {
					l.biasGradient.add(s, i, 0, 0, w.b, n)
				}
				q, k := kernels.RowMajor(hx.x[hx.query(i):], hx.ld), kernels.RowMajor(hx.x[hx.key(i):], hx.ld)
				w.product(false, n, n, hx.dim, kernels.RowMajor(w.b, n), k, gradient[hx.query(i):], hx.ld)
				w.product(false, n, n, hx.dim, kernels.Transposed(w.b, n), q, gradient[hx.key(i):], hx.ld)
				if l.relative.there() {
					terms := hx.terms(i)
					terms.backward(w, false, w.b, n, hx.dim, q, k, relativeGradients{gradient[hx.query(i):], gradient[hx.key(i):], l.relativeGradient, l.relativeGradient})
				}
			}
		}
	})
	total := 0.0
	for _, s := range l.sums {
		total += s
	}
	out.f[0] = float32(total * scale)
	return nil
}

// scoresGradient sets w.b to the gradient of the loss with respect to head i's Q·Kᵀ.
// The gradients of the rows are in w.c. For a single head, its attention is in w.a.
func (l *attentionLoss) scoresGradient(w *worker, h heads, i int, scale float32, mean bool) {
	scale /= float32(float64(h.hi-h.lo) * math.Sqrt(float64(h.relative.products()*h.dim)))
	if l.o.Distance == ScoreMSE || l.logs() && !mean {
		kernels.Scale(w.b, scale, w.c)
		return
	}
	p := w.a
	if mean {
		w.d = grow(w.d, len(w.b))
		p = w.d
		l.attention(w, p, h, i, false)
	}
	for r := range h.n {
		at := r * h.n
		kernels.SoftmaxBackward(w.b[at:at+h.n], w.c[at:at+h.n], p[at:at+h.n], scale)
	}
}

func (l *attentionLoss) backward(g *Graph, in []array, out, dout array, d []array) error {
	g.rows(in[0].rows, func(_, _, lo, hi int) {
		c := in[0].columns
		kernels.Scale(d[0].of(lo, hi), dout.f[0], l.gradient[lo*c:hi*c])
	})
	if l.relative.there() && d[l.relative.queries].f != nil {
		kernels.Scale(d[l.relative.queries].f, dout.f[0], l.relativeGradient)
	}
	if l.bias > 0 && d[l.bias].f != nil {
		// The sums are gradients with respect to Q·Kᵀ before the scaling.
		width := in[0].columns / (3 * l.o.Heads)
		l.biasGradient.total(d[l.bias], dout.f[0]*float32(math.Sqrt(float64(width))))
	}
	return nil
}
