package kernels

// attentionRows is the number of queries whose scores are held at a time, when
// the caller does not keep them.
const attentionRows = 96

// Attention is one head of attention over one sequence.
type Attention struct {
	// Tokens is the number of keys and values, Queries that of the queries, and
	// Width the length of each.
	Tokens, Queries, Width int
	// Q is Queries×Width, K and V are Tokens×Width.
	Q, K, V ViewF32
	// Scale multiplies the products of queries and keys, Mask the context.
	Scale, Mask float32
	// Bias is added to the products after Scale, unless it is nil: Bias[Tokens-1+j-i]
	// for query i and key j.
	Bias []float32
}

// Forward computes
//
//	probs = softmax(q·kᵀ * scale + bias)    Queries×Tokens, by rows
//	ctx = mask * (probs·v)                  Queries×Width, rows ldctx floats apart
//
// The products are those of GemmF32, the softmax is Softmax, and the mask is
// multiplied last. When probs is not nil it receives the probabilities, row after
// row.
func (a Attention) Forward(ctx []float32, ldctx int, probs []float32, s *Scratch) {
	n, d := a.Tokens, a.Width
	if !a.check(probs) {
		return
	}
	s.keys.Pack(a.K.T(), d, n)
	s.vals.Pack(a.V, n, d)
	a.eachQueries(probs, s, func(top, rows int, block ViewF32, scores []float32) {
		GemmF32(rows, block, &s.keys, 0, s.keys.Panels(), scores, n, Epilogue{}, s)
		a.Softmax(scores, top, rows)
		out := ctx[top*ldctx:]
		GemmF32(rows, RowMajor(scores, n), &s.vals, 0, s.vals.Panels(), out, ldctx, Epilogue{}, s)
		if a.Mask != 1 {
			for i := range rows {
				row := out[i*ldctx:][:d]
				Scale(row, a.Mask, row)
			}
		}
	})
}

// ForwardBF16 is Forward with the products of GemmBF16:
//
//	weights = bf16(exp(q·kᵀ * scale + bias - max))    Queries×Tokens, by rows
//	ctx = mask / Σ weights * (weights·v)              Queries×Width
//
// so that probs receives weights / Σ weights.
func (a Attention) ForwardBF16(ctx []float32, ldctx int, probs []float32, s *Scratch) {
	n, d := a.Tokens, a.Width
	if !a.check(probs) {
		return
	}
	s.keysBF16.Pack(a.K.T(), d, n)
	s.valsBF16.Pack(a.V, n, d)
	a.eachQueries(probs, s, func(top, rows int, block ViewF32, scores []float32) {
		GemmBF16(rows, block, &s.keysBF16, 0, s.keysBF16.Panels(), scores, n, Epilogue{}, s)
		softmaxWeights(scores, rows, n, a.biased(scores, top, rows), s.sums[:])
		out := ctx[top*ldctx:]
		GemmBF16(rows, RowMajor(scores, n), &s.valsBF16, 0, s.valsBF16.Panels(), out, ldctx, Epilogue{}, s)
		for i := range rows {
			row, f := out[i*ldctx:][:d], 1/s.sums[i]
			Scale(row, f, row)
			if a.Mask != 1 {
				Scale(row, a.Mask, row)
			}
			if probs != nil {
				row = scores[i*n:][:n]
				Scale(row, f, row)
			}
		}
	})
}

// Softmax turns the products of the queries from top on and all keys, rows×Tokens,
// into probabilities, by SoftmaxRows.
func (a *Attention) Softmax(scores []float32, top, rows int) {
	SoftmaxRows(scores, rows, a.Tokens, a.Tokens, a.biased(scores, top, rows))
}

// biased scales these products and adds their biases, where there are any, and
// returns what is left to multiply them by. Each is rounded after the product and
// after the sum.
func (a *Attention) biased(scores []float32, top, rows int) float32 {
	if a.Bias == nil {
		return a.Scale
	}
	n := a.Tokens
	for i := range rows {
		row := scores[i*n:][:n]
		Scale(row, a.Scale, row)
		Add(row, row, a.Bias[n-1-top-i:][:n])
	}
	return 1
}

// check panics unless queries and probabilities have room, and tells whether there
// is anything to compute.
func (a *Attention) check(probs []float32) bool {
	if a.Tokens <= 0 || a.Queries <= 0 || a.Width <= 0 {
		return false
	}
	a.Q.check(a.Queries, a.Width)
	if a.Bias != nil && (len(a.Bias) < 2*a.Tokens-1 || a.Queries > a.Tokens) {
		panic("kernels: biases too short")
	}
	if probs != nil && len(probs) < a.Queries*a.Tokens {
		panic("kernels: probabilities too short")
	}
	return true
}

// eachQueries calls f for some queries at a time, the rows from top on, with a
// place for their scores.
func (a *Attention) eachQueries(probs []float32, s *Scratch, f func(top, rows int, block ViewF32, scores []float32)) {
	if probs == nil {
		s.scores = grow(s.scores, min(a.Queries, attentionRows)*a.Tokens)
	}
	for top := 0; top < a.Queries; top += attentionRows {
		scores := s.scores
		if probs != nil {
			scores = probs[top*a.Tokens:]
		}
		block := ViewF32{Data: a.Q.Data[top*a.Q.RowStride:], RowStride: a.Q.RowStride, ColStride: a.Q.ColStride}
		f(top, min(attentionRows, a.Queries-top), block, scores)
	}
}
