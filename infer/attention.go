package infer

import (
	"math"

	"github.com/skive-ml/skive/internal/kernels"
)

// maskedBuffers are what a worker needs for attention over padded sequences.
type maskedBuffers struct {
	mask, scores []float32
	keys, values kernels.PanelsF32
}

// attentionPart computes one head of one sequence. In the last layer there is
// one query a sequence.
func (r *run) attentionPart(worker, part int) {
	w := &r.workers[worker]
	w.start()
	l := &r.weights.layers[r.layer]
	d := r.weights.config.HeadDim
	s, head := part/l.heads, part%l.heads*d
	lo, n, real := r.span(s)
	size, ld := l.heads*d, l.project.out
	tokens := r.projected[lo*ld : (lo+n)*ld]
	scale := float32(1 / math.Sqrt(float64(d)))

	queries, keys := n, size
	q := kernels.RowMajor(tokens[head:], ld)
	context := r.context[lo*size+head:]
	if l.query != nil {
		queries, keys = 1, 0
		q = kernels.RowMajor(r.firstQuery[s*size+head:], size)
		context = r.firstContext[s*size+head:]
	}
	k := kernels.RowMajor(tokens[keys+head:], ld)
	v := kernels.RowMajor(tokens[keys+size+head:], ld)
	if r.padTo > 0 {
		r.maskedAttention(w, n, real, queries, d, q, k, v, scale, context, size)
	} else {
		l.attention(n, queries, d, q, k, v, scale, 1, context, size, nil, &w.scratch)
	}
	w.stop(stageAttention)
}

// maskedAttention is kernels.AttentionForward over n keys of which those from
// real on are padding: their scores get a large negative number added, as in
// runtimes that are given a mask.
func (r *run) maskedAttention(w *worker, n, real, queries, d int, q, k, v kernels.ViewF32, scale float32, context []float32, ld int) {
	b := &w.masked
	b.mask = grow(b.mask, n)
	clear(b.mask[:real])
	for i := real; i < n; i++ {
		b.mask[i] = -1e30
	}
	b.keys.Pack(k.T(), d, n)
	b.values.Pack(v, n, d)
	b.scores = grow(b.scores, queries*n)
	kernels.GemmF32(queries, q, &b.keys, 0, b.keys.Panels(), b.scores, n, kernels.Epilogue{Bias: b.mask}, &w.scratch)
	kernels.SoftmaxRows(b.scores, queries, n, n, scale)
	kernels.GemmF32(queries, kernels.RowMajor(b.scores, n), &b.values, 0, b.values.Panels(), context, ld, kernels.Epilogue{}, &w.scratch)
}
