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
	if n <= 0 || nq <= 0 || d <= 0 {
		return
	}
	q.check(nq, d)
	if probs != nil && len(probs) < nq*n {
		panic("kernels: probabilities too short")
	}
	s.keys.Pack(k.T(), d, n)
	s.vals.Pack(v, n, d)
	step := attentionRows
	if probs == nil {
		s.scores = grow(s.scores, min(nq, step)*n)
	}
	for top := 0; top < nq; top += step {
		rows := min(step, nq-top)
		scores := s.scores
		if probs != nil {
			scores = probs[top*n:]
		}
		block := ViewF32{Data: q.Data[top*q.RowStride:], RowStride: q.RowStride, ColStride: q.ColStride}
		GemmF32(rows, block, &s.keys, 0, s.keys.Panels(), scores, n, Epilogue{}, s)
		for i := range rows {
			Softmax(scores[i*n:][:n], scale)
		}
		out := ctx[top*ldctx:]
		GemmF32(rows, RowMajor(scores, n), &s.vals, 0, s.vals.Panels(), out, ldctx, Epilogue{}, s)
		if mask == 1 {
			continue
		}
		for i := range rows {
			row := out[i*ldctx:][:d]
			for j := range row {
				row[j] *= mask
			}
		}
	}
}
