package kernels

// attentionRows is the number of queries whose scores are held at a time, when
// the caller does not keep them.
const attentionRows = 96

// AttentionForward computes one head of attention over one sequence of n tokens
// for nq of its queries:
//
//	probs = softmax(q·kᵀ * scale)    nq×n, by rows
//	ctx = mask * (probs·v)           nq×d, rows ldctx floats apart
//
// where q is nq×d, and k and v are n×d. The products are those of GemmF32, the
// softmax is Softmax, and the mask is multiplied last. When probs is not nil it
// receives the probabilities, row after row.
func AttentionForward(n, nq, d int, q, k, v ViewF32, scale, mask float32, ctx []float32, ldctx int, probs []float32, s *Scratch) {
	if !s.checkAttention(n, nq, d, q, probs) {
		return
	}
	s.keys.Pack(k.T(), d, n)
	s.vals.Pack(v, n, d)
	s.eachQueries(n, nq, q, probs, func(top, rows int, block ViewF32, scores []float32) {
		GemmF32(rows, block, &s.keys, 0, s.keys.Panels(), scores, n, Epilogue{}, s)
		SoftmaxRows(scores, rows, n, n, scale)
		out := ctx[top*ldctx:]
		GemmF32(rows, RowMajor(scores, n), &s.vals, 0, s.vals.Panels(), out, ldctx, Epilogue{}, s)
		if mask != 1 {
			for i := range rows {
				row := out[i*ldctx:][:d]
				Scale(row, mask, row)
			}
		}
	})
}

// AttentionBF16 is AttentionForward with the products of GemmBF16:
//
//	weights = bf16(exp(q·kᵀ * scale - max))    nq×n, by rows
//	ctx = mask / Σ weights * (weights·v)       nq×d
//
// so that probs receives weights / Σ weights.
func AttentionBF16(n, nq, d int, q, k, v ViewF32, scale, mask float32, ctx []float32, ldctx int, probs []float32, s *Scratch) {
	if !s.checkAttention(n, nq, d, q, probs) {
		return
	}
	s.keysBF16.Pack(k.T(), d, n)
	s.valsBF16.Pack(v, n, d)
	s.eachQueries(n, nq, q, probs, func(top, rows int, block ViewF32, scores []float32) {
		GemmBF16(rows, block, &s.keysBF16, 0, s.keysBF16.Panels(), scores, n, Epilogue{}, s)
		softmaxWeights(scores, rows, n, scale, s.sums[:])
		out := ctx[top*ldctx:]
		GemmBF16(rows, RowMajor(scores, n), &s.valsBF16, 0, s.valsBF16.Panels(), out, ldctx, Epilogue{}, s)
		for i := range rows {
			row, f := out[i*ldctx:][:d], 1/s.sums[i]
			Scale(row, f, row)
			if mask != 1 {
				Scale(row, mask, row)
			}
			if probs != nil {
				row = scores[i*n:][:n]
				Scale(row, f, row)
			}
		}
	})
}

// checkAttention panics unless queries and probabilities have room, and tells
// whether there is anything to compute.
func (s *Scratch) checkAttention(n, nq, d int, q ViewF32, probs []float32) bool {
	if n <= 0 || nq <= 0 || d <= 0 {
		return false
	}
	q.check(nq, d)
	if probs != nil && len(probs) < nq*n {
		panic("kernels: probabilities too short")
	}
	return true
}

// eachQueries calls f for some queries at a time, the rows from top on, with a
// place for their scores.
func (s *Scratch) eachQueries(n, nq int, q ViewF32, probs []float32, f func(top, rows int, block ViewF32, scores []float32)) {
	if probs == nil {
		s.scores = grow(s.scores, min(nq, attentionRows)*n)
	}
	for top := 0; top < nq; top += attentionRows {
		scores := s.scores
		if probs != nil {
			scores = probs[top*n:]
		}
		f(top, min(attentionRows, nq-top), ViewF32{Data: q.Data[top*q.RowStride:], RowStride: q.RowStride, ColStride: q.ColStride}, scores)
	}
}
