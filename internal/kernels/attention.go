package kernels

import "math"

// attentionRows is the number of queries whose scores are held at the same time if the caller
// does not keep them.
const attentionRows = 96

// Attention is one head of attention over one sequence.
type Attention struct {
	// Tokens is the number of keys and values, Queries the number of queries, and Width the
	// length of each.
	Tokens, Queries, Width int
	// Q is Queries×Width, K and V are Tokens×Width.
	Q, K, V ViewF32
	// Scale multiplies the products of queries and keys, Mask the context.
	Scale, Mask float32
	// Bias is added to the products after Scale, unless it is nil: Bias[Tokens-1+j-i]
	// for query i and key j.
	Bias []float32
	// Window is the largest distance |j-i| between a query and a key that it sees; 0 means any
	// distance.
	Window int
	// Relative adds to the products before Scale. It goes without a Window.
	Relative Relative
	// First is the number of the key that belongs to the first query, if the queries are only
	// some of a sequence's. Query i then counts as First+i above.
	First int
}

// Forward computes
//
//	probs = softmax((q·kᵀ + relative) * scale + bias)    Queries×Tokens, by rows
//	ctx = mask * (probs·v)                               Queries×Width, rows ldctx floats apart
//
// The products are those of GemmF32, the softmax is Softmax, and the mask is multiplied last.
// Scores outside of the window are -Inf; those far outside are not computed. probs, if not nil,
// receives the probabilities, row after row.
func (a Attention) Forward(ctx []float32, ldctx int, probs []float32, s *Scratch) {
	d := a.Width
	if !a.check(probs) {
		return
	}
	a.eachQueries(probs, s, func(b attentionBlock) {
		n := b.hi - b.lo
		if b.pack {
			s.keys.Pack(rowsFrom(a.K, b.lo).T(), d, n)
			s.vals.Pack(rowsFrom(a.V, b.lo), n, d)
		}
		GemmF32(b.rows, b.queries, &s.keys, 0, s.keys.Panels(), b.scores, n, Epilogue{}, s)
		a.addRelative(&b, false, s)
		SoftmaxRows(b.scores, b.rows, n, n, a.biased(&b))
		out := ctx[b.top*ldctx:]
		GemmF32(b.rows, RowMajor(b.scores, n), &s.vals, 0, s.vals.Panels(), out, ldctx, Epilogue{}, s)
		if a.Mask != 1 {
			for i := range b.rows {
				row := out[i*ldctx:][:d]
				Scale(row, a.Mask, row)
			}
		}
		a.widen(probs, &b)
	})
}

// ForwardBF16 is Forward with the products of GemmBF16:
//
//	weights = bf16(exp((q·kᵀ + relative) * scale + bias - max))    Queries×Tokens, by rows
//	ctx = mask / Σ weights * (weights·v)                           Queries×Width
//
// So probs receives weights / Σ weights.
func (a Attention) ForwardBF16(ctx []float32, ldctx int, probs []float32, s *Scratch) {
	d := a.Width
	if !a.check(probs) {
		return
	}
	a.eachQueries(probs, s, func(b attentionBlock) {
		n := b.hi - b.lo
		if b.pack {
			s.keysBF16.Pack(rowsFrom(a.K, b.lo).T(), d, n)
			s.valsBF16.Pack(rowsFrom(a.V, b.lo), n, d)
		}
		GemmBF16(b.rows, b.queries, &s.keysBF16, 0, s.keysBF16.Panels(), b.scores, n, Epilogue{}, s)
		a.addRelative(&b, true, s)
		softmaxWeights(b.scores, b.rows, n, a.biased(&b), s.sums[:])
		out := ctx[b.top*ldctx:]
		GemmBF16(b.rows, RowMajor(b.scores, n), &s.valsBF16, 0, s.valsBF16.Panels(), out, ldctx, Epilogue{}, s)
		for i := range b.rows {
			row, f := out[i*ldctx:][:d], 1/s.sums[i]
			Scale(row, f, row)
			if a.Mask != 1 {
				Scale(row, a.Mask, row)
			}
			if probs != nil {
				row = b.scores[i*n:][:n]
				Scale(row, f, row)
			}
		}
		a.widen(probs, &b)
	})
}

// Softmax turns the products of queries with all keys, Queries×Tokens, into probabilities with
// SoftmaxRows.
func (a *Attention) Softmax(scores []float32) {
	b := attentionBlock{rows: a.Queries, hi: a.Tokens, scores: scores}
	SoftmaxRows(scores, a.Queries, a.Tokens, a.Tokens, a.biased(&b))
}

// attentionBlock is some queries, from row top on, with the keys [lo, hi) in their windows, and
// room for their products. pack says that the keys differ from those of the block before.
type attentionBlock struct {
	top, rows, lo, hi int
	queries           ViewF32
	scores            []float32
	pack              bool
}

// biased scales the products of a block, adds their biases, if there are any, and sets those
// outside of the window to -Inf. It returns the factor that is still to be multiplied. Values are
// rounded after the product and after the sum.
func (a *Attention) biased(b *attentionBlock) float32 {
	n, scale := b.hi-b.lo, a.Scale
	if a.Bias != nil {
		scale = 1
		for i := range b.rows {
			row := b.scores[i*n:][:n]
			Scale(row, a.Scale, row)
			Add(row, row, a.Bias[a.Tokens-1-a.First-b.top-i+b.lo:][:n])
		}
	}
	if a.Window > 0 {
		for i := range b.rows {
			row, query := b.scores[i*n:][:n], a.First+b.top+i-b.lo
			outside(row[:min(max(query-a.Window, 0), n)])
			outside(row[min(query+a.Window+1, n):])
		}
	}
	return scale
}

var negativeInf = float32(math.Inf(-1))

func outside(scores []float32) {
	for i := range scores {
		scores[i] = negativeInf
	}
}

// widen copies a block's probabilities to their place among those of all keys, if the block has
// room of its own.
func (a *Attention) widen(probs []float32, b *attentionBlock) {
	if probs == nil || a.Window == 0 {
		return
	}
	n := b.hi - b.lo
	for i := range b.rows {
		row := probs[(b.top+i)*a.Tokens:][:a.Tokens]
		clear(row[:b.lo])
		copy(row[b.lo:], b.scores[i*n:][:n])
		clear(row[b.hi:])
	}
}

// rowsFrom returns the view of a matrix from row first on.
func rowsFrom(v ViewF32, first int) ViewF32 {
	v.Data = v.Data[first*v.RowStride:]
	return v
}

// check panics if queries or probabilities do not fit. It tells whether there is anything to
// compute.
func (a *Attention) check(probs []float32) bool {
	if a.Tokens <= 0 || a.Queries <= 0 || a.Width <= 0 {
		return false
	}
	a.Q.check(a.Queries, a.Width)
	if a.Bias != nil && (len(a.Bias) < 2*a.Tokens-1 || a.First+a.Queries > a.Tokens) {
		panic("kernels: biases too short")
	}
	if n := len(a.Relative.Rows); n > 0 && (n < 2*a.Tokens-1 || a.First+a.Queries > a.Tokens || a.Window > 0) {
		panic("kernels: relative terms too short, or with a window")
	}
	if a.Window > 0 && a.First+a.Queries > a.Tokens {
		panic("kernels: queries without a key in their windows")
	}
	if probs != nil && len(probs) < a.Queries*a.Tokens {
		panic("kernels: probabilities too short")
	}
	return true
}

// firstKeys divides the number of a block's first key: the lanes of sums, and the numbers of
// bfloat16 in a row of a tile.
const firstKeys = max(Lanes, 2*tilePairs)

// FirstKey returns the first key to compute for a block of queries that begins with the given
// query. Each key then has its usual lane, or place in a tile, in sums over all keys. So a window
// gives the same bits as products with all keys of which those outside are set to -Inf.
func FirstKey(query, window int) int { return max(0, query-window) / firstKeys * firstKeys }

// WindowKeys bounds the number of keys that are computed for a block of queries.
func WindowKeys(queries, window int) int { return queries + 2*window + firstKeys }

// eachQueries calls f for some queries at a time.
func (a *Attention) eachQueries(probs []float32, s *Scratch, f func(b attentionBlock)) {
	n := a.Tokens
	b := attentionBlock{hi: n}
	for b.top = 0; b.top < a.Queries; b.top += attentionRows {
		b.rows = min(attentionRows, a.Queries-b.top)
		b.pack = b.top == 0
		if a.Window > 0 {
			b.lo = FirstKey(a.First+b.top, a.Window)
			b.hi = min(n, a.First+b.top+b.rows+a.Window)
			b.pack = true
		}
		if probs != nil && a.Window == 0 {
			b.scores = probs[b.top*n:]
		} else {
			s.scores = grow(s.scores, b.rows*(b.hi-b.lo))
			b.scores = s.scores
		}
		b.queries = rowsFrom(a.Q, b.top)
		f(b)
	}
}
