package autograd

import (
	"fmt"
	"time"

	"github.com/skive-ml/skive/internal/kernels"
)

// AttentionOptions are the optional parts of attention.
type AttentionOptions struct {
	// HeadMask, if not nil, is [sequences, heads]: head h's context in sequence s is
	// multiplied by HeadMask[s][h]. If the losses of the examples are summed, row s of
	// its gradient belongs to sequence s alone.
	HeadMask *Node
	// Bias, if not nil, is [heads, 2*reach-1]: Bias[h][reach-1+j-i] is added to head
	// h's score of query i and key j, after the scaling. Sequences have up to reach
	// tokens.
	Bias *Node
	// Relative, if not nil, adds to the scores before the scaling, and makes the scale
	// another. It goes without a Window.
	Relative *Relative
	// Window is the number of tokens to either side of a query whose keys it sees, 0
	// for all.
	Window int
	// Dropout is the probability with which attention probabilities are set to zero.
	Dropout float32
	// BF16 rounds the factors of products to bfloat16, as LinearBF16 does.
	BF16 bool
}

// attention is scaled dot-product attention within each sequence. Input 0 holds
// queries, keys and values side by side. If only the first tokens' queries are wanted,
// input 0 holds the queries, and input 1 keys and values.
type attention struct {
	heads, dim int
	first      bool
	masked     bool
	biased     bool
	bf16       bool
	window     int
	p          float32
	id         uint64
	probs      []float32
	at         []int // where each sequence's probabilities begin
	gradient   biasGradient
	relative   relativeTerms
}

// band is some of a sequence's queries, from number top on, with the keys that their
// windows reach, from number lo on. Where there is no window, one band is all of it.
type band struct {
	top, rows, lo, keys int
	at                  int // where its probabilities begin among those of its head
}

// bandRows is the number of queries of a band. A band computes more keys than each of
// its queries sees, and each band packs its keys.
const bandRows = 96

// next moves to the next of the bands of n keys and nq queries, and reports whether
// there is one.
func (b *band) next(window, n, nq int) bool {
	b.at += b.rows * b.keys
	b.top += b.rows
	b.rows, b.lo, b.keys = nq-b.top, 0, n
	if window > 0 {
		b.rows = min(b.rows, bandRows)
		b.lo = kernels.FirstKey(b.top, window)
		b.keys = min(n, b.top+b.rows+window) - b.lo
	}
	return b.rows > 0
}

// probabilities is how many there are of a head.
func (a *attention) probabilities(n, nq int) int {
	var b band
	for b.next(a.window, n, nq) {
	}
	return b.at
}

// SelfAttention computes, for each sequence and head, softmax(Q·Kᵀ/√headDim +
// bias)·V. With a window, scores of keys beyond it are -∞, and most of them are not
// computed. The input is [tokens, 3*heads*headDim]: queries, keys and values side by
// side, and in each the heads side by side. offsets is [sequences+1]. The result is
// [tokens, heads*headDim], the heads' contexts side by side.
func (g *Graph) SelfAttention(qkv, offsets *Node, heads, headDim int, o AttentionOptions) *Node {
	return g.attention(false, []*Node{qkv, offsets}, heads, headDim, o)
}

// FirstAttention is SelfAttention for the query of each sequence's first token only.
// That is enough in the last layer of a classifier. q is [sequences, heads*headDim]; kv
// holds keys and values side by side, [tokens, 2*heads*headDim]. The result is
// [sequences, heads*headDim].
func (g *Graph) FirstAttention(q, kv, offsets *Node, heads, headDim int, o AttentionOptions) *Node {
	return g.attention(true, []*Node{q, kv, offsets}, heads, headDim, o)
}

func (g *Graph) attention(first bool, inputs []*Node, heads, dim int, o AttentionOptions) *Node {
	a := &attention{heads: heads, dim: dim, first: first, masked: o.HeadMask != nil, biased: o.Bias != nil, window: o.Window, p: o.Dropout, bf16: o.BF16}
	if heads < 1 || dim < 1 {
		return g.fail("SelfAttention: %d heads of width %d, want positive numbers", heads, dim)
	}
	if o.Window < 0 {
		return g.fail("SelfAttention: window is %d, want a number of tokens, or 0 for all", o.Window)
	}
	if !(o.Dropout >= 0 && o.Dropout < 1) {
		return g.fail("SelfAttention: dropout is %v, want 0 <= p < 1", o.Dropout)
	}
	if a.p > 0 {
		a.id = g.nextDropout()
	}
	diff := []bool{true, true, true, true}[:len(inputs)]
	diff[len(inputs)-1] = false
	if a.masked {
		diff = append(diff, true)
		inputs = append(inputs, o.HeadMask)
	}
	if a.biased {
		diff = append(diff, true)
		inputs = append(inputs, o.Bias)
	}
	if o.Relative != nil && o.Window > 0 {
		return g.fail("SelfAttention: window is %d, want none with relative terms", o.Window)
	}
	a.relative, inputs, diff = o.Relative.terms(inputs, diff, true)
	return g.apply(a, diff, inputs...)
}

func (a *attention) name() string {
	if a.first {
		return "FirstAttention"
	}
	return "SelfAttention"
}

// offsets returns the index of the input that holds the offsets.
func (a *attention) offsets() int {
	if a.first {
		return 2
	}
	return 1
}

// bias returns the index of the input that holds the biases.
func (a *attention) bias() int {
	if a.masked {
		return a.offsets() + 2
	}
	return a.offsets() + 1
}

func (a *attention) shape(in []array) (array, error) {
	at, width := a.offsets(), a.heads*a.dim
	packed := in[at-1]
	n := 3
	if a.first {
		n = 2
	}
	if err := checkPacked(packed, in[at]); err != nil {
		return array{}, err
	}
	if packed.columns != n*width {
		return array{}, fmt.Errorf("input is %v, want %d columns for %d heads of width %d", packed, n*width, a.heads, a.dim)
	}
	s := sequences(in[at])
	out := array{dims: 2, rows: packed.rows, columns: width}
	if a.first {
		out.rows = s
		if in[0].dims != 2 || in[0].rows != s || in[0].columns != width {
			return array{}, fmt.Errorf("queries are %v, want %v", in[0], out)
		}
	}
	if a.masked {
		if m := in[at+1]; m.dims != 2 || m.rows != s || m.columns != a.heads {
			return array{}, fmt.Errorf("head mask is %v, want %v", m, array{dims: 2, rows: s, columns: a.heads})
		}
	}
	if a.biased {
		if err := checkBias(in[a.bias()], a.heads); err != nil {
			return array{}, err
		}
	}
	return out, a.relative.check(in, width)
}

// head is one head in one sequence.
type head struct {
	n, nq         int // tokens, queries
	mask          float32
	bias          array // empty where there is none
	relative      relativeHead
	number        int
	q, kv         []float32
	ldq, ldkv     int
	qAt, kAt, vAt int
	context       int // where the context begins in the output
	probs         int
}

func (a *attention) head(in []array, part int) (h head) {
	at, width := a.offsets(), a.heads*a.dim
	s, i := part/a.heads, part%a.heads
	offsets := in[at].i
	lo := int(offsets[s])
	h.n, h.number = int(offsets[s+1])-lo, i
	h.nq = h.n
	row := lo // first row of the queries
	q, kv := in[0], in[0]
	column := i * a.dim
	k := column + width
	if a.first {
		kv, h.nq, row, k = in[1], 1, s, column
	}
	h.q, h.kv, h.ldq, h.ldkv = q.f, kv.f, q.columns, kv.columns
	h.qAt, h.kAt = row*h.ldq+column, lo*h.ldkv+k
	h.vAt = h.kAt + width
	h.context = row*width + column
	h.mask = 1
	if a.masked {
		h.mask = in[at+1].f[part]
	}
	if a.biased {
		h.bias = in[a.bias()]
	}
	h.relative = a.relative.of(in, column, width, h.n)
	h.probs = a.at[s] + i*a.probabilities(h.n, h.nq)
	return h
}

// views are a band's queries, keys and values.
func (h *head) views(b band) (q, k, v kernels.ViewF32) {
	return kernels.RowMajor(h.q[h.qAt+b.top*h.ldq:], h.ldq), kernels.RowMajor(h.kv[h.kAt+b.lo*h.ldkv:], h.ldkv), kernels.RowMajor(h.kv[h.vAt+b.lo*h.ldkv:], h.ldkv)
}

func (a *attention) forward(g *Graph, in []array, out array, keep bool) error {
	offsets := in[a.offsets()].i
	s := len(offsets) - 1
	if a.biased {
		if err := checkReach(in[a.bias()], offsets); err != nil {
			return err
		}
	}
	if err := a.relative.checkReach(offsets); err != nil {
		return err
	}
	a.at = grow(a.at, s+1)
	total := 0
	for i := range s {
		a.at[i] = total
		n := int(offsets[i+1] - offsets[i])
		nq := n
		if a.first {
			nq = 1
		}
		total += a.heads * a.probabilities(n, nq)
	}
	if keep || a.p > 0 {
		a.probs = grow(a.probs, total)
	}
	key := g.dropoutKey(a.id)
	g.team.Run(s*a.heads, func(worker, part int) {
		w := &g.workers[worker]
		h := a.head(in, part)
		for b := (band{}); b.next(a.window, h.n, h.nq); {
			at := h.probs + b.at
			var probs []float32
			if keep || a.p > 0 {
				probs = a.probs[at:][:b.rows*b.keys]
			}
			q, k, v := h.views(b)
			o := kernels.Attention{Tokens: b.keys, Queries: b.rows, First: b.top - b.lo, Width: a.dim, Q: q, K: k, V: v, Scale: a.relative.scale(a.dim), Mask: h.mask, Window: a.window, Relative: h.relative.Relative}
			if a.biased {
				o.Bias = biasOf(h.bias, h.number, b.keys)
			}
			context := out.f[h.context+b.top*out.columns:]
			if a.p == 0 {
				w.flops += 4 * int64(b.rows) * int64(b.keys) * int64(a.dim)
				forward := kernels.Attention.Forward
				if a.bf16 {
					forward = kernels.Attention.ForwardBF16
				}
				forward(o, context, out.columns, probs, &w.kernels[0])
				continue
			}
			w.product(a.bf16, b.rows, a.dim, b.keys, q, k.T(), probs, b.keys)
			o.AddRelative(probs, a.bf16, &w.kernels[0])
			o.Softmax(probs)
			w.a = grow(w.a, len(probs))
			kernels.Dropout(w.a, probs, a.p, key, uint64(at))
			kernels.Scale(w.a, h.mask, w.a)
			w.product(a.bf16, b.rows, b.keys, a.dim, kernels.RowMajor(w.a, b.keys), v, context, out.columns)
		}
	})
	return nil
}

// product sets c to a·b on one worker. a is m×k, b is k×n, and the rows of c are ldc
// floats apart. With rounded, both factors are rounded to bfloat16.
func (w *worker) product(rounded bool, m, k, n int, a, b kernels.ViewF32, c []float32, ldc int) {
	if !w.measured {
		w.panels.pack(nil, b, k, n, rounded)
		w.panels.multiply(nil, m, a, c, ldc, kernels.Epilogue{}, w.kernels[:])
		return
	}
	start := time.Now()
	w.panels.pack(nil, b, k, n, rounded)
	packed := time.Now()
	w.panels.multiply(nil, m, a, c, ldc, kernels.Epilogue{}, w.kernels[:])
	w.packing += packed.Sub(start)
	w.products += time.Since(packed)
	w.flops += 2 * int64(m) * int64(k) * int64(n)
}

// toKeys sets the gradient of m keys or values, rows ldc floats apart, to x·y, x being
// m×k; or adds it, where there are windows: bands have keys in common.
func (a *attention) toKeys(w *worker, m, k int, x, y kernels.ViewF32, c []float32, ldc int) {
	if a.window == 0 {
		w.product(a.bf16, m, k, a.dim, x, y, c, ldc)
		return
	}
	w.c = grow(w.c, m*a.dim)
	w.product(a.bf16, m, k, a.dim, x, y, w.c, a.dim)
	for i := range m {
		row := c[i*ldc:][:a.dim]
		kernels.Add(row, row, w.c[i*a.dim:][:a.dim])
	}
}

func (a *attention) backward(g *Graph, in []array, out, dout array, d []array) error {
	key, scale := g.dropoutKey(a.id), a.relative.scale(a.dim)
	dq, dkv := d[0].f, d[a.offsets()-1].f
	var dmask, dbias []float32
	if a.masked {
		dmask = d[a.offsets()+1].f
	}
	// With biases, the softmax gives the gradient of the biased score. The biases take
	// it as it is, and q·k takes it times scale; so the multiplication by scale comes
	// later.
	sumScale := scale
	if a.biased {
		dbias, sumScale = d[a.bias()].f, 1
	}
	if dbias != nil {
		a.gradient.reset(in[a.offsets()].i, a.heads)
	}
	a.relative.each(g, a.heads, len(in[a.offsets()].i)-1, d, func(worker, part int) {
		w := &g.workers[worker]
		h := a.head(in, part)
		if a.window > 0 && dkv != nil {
			for i := range h.n {
				clear(dkv[h.kAt+i*h.ldkv:][:a.dim])
				clear(dkv[h.vAt+i*h.ldkv:][:a.dim])
			}
		}
		if dmask != nil {
			dmask[part] = 0
		}
		for b := (band{}); b.next(a.window, h.n, h.nq); {
			at, n := h.probs+b.at, b.keys
			probs := a.probs[at:][:b.rows*n]
			q, k, v := h.views(b)
			dcontext := kernels.RowMajor(dout.f[h.context+b.top*out.columns:], out.columns)
			w.a, w.b = grow(w.a, len(probs)), grow(w.b, len(probs))
			dropped, dp := w.a, w.b
			if a.p > 0 {
				kernels.Dropout(dropped, probs, a.p, key, uint64(at))
			} else {
				dropped = probs
			}
			w.product(a.bf16, b.rows, a.dim, n, dcontext, v.T(), dp, n)
			if dmask != nil {
				dmask[part] += kernels.Dot(dp, dropped)
			}
			if h.mask != 1 {
				kernels.Scale(dp, h.mask, dp)
				kernels.Scale(w.a, h.mask, dropped)
				dropped = w.a
			}
			if dkv != nil {
				a.toKeys(w, n, b.rows, kernels.Transposed(dropped, n), dcontext, dkv[h.vAt+b.lo*h.ldkv:], h.ldkv)
			}
			if a.p > 0 {
				kernels.Dropout(dp, dp, a.p, key, uint64(at))
			}
			for i := range b.rows {
				row := dp[i*n:][:n]
				kernels.SoftmaxBackward(row, row, probs[i*n:][:n], sumScale)
			}
			if dbias != nil {
				a.gradient.add(part/a.heads, h.number, b.top, b.lo, dp, n)
			}
			if a.biased {
				kernels.Scale(dp, scale, dp)
			}
			if dq != nil {
				w.product(a.bf16, b.rows, n, a.dim, kernels.RowMajor(dp, n), k, dq[h.qAt+b.top*h.ldq:], h.ldq)
			}
			if dkv != nil {
				a.toKeys(w, n, b.rows, kernels.Transposed(dp, n), q, dkv[h.kAt+b.lo*h.ldkv:], h.ldkv)
			}
			if a.relative.there() {
				h.relative.backward(w, a.bf16, dp, n, a.dim, q, k, relativeGradients{
					q: from(dq, h.qAt), k: from(dkv, h.kAt), queries: d[a.relative.queries].f, keys: d[a.relative.keys].f,
				})
			}
		}
	})
	if dbias != nil {
		a.gradient.total(d[a.bias()], 1)
	}
	return nil
}
