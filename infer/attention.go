package infer

import (
	"github.com/skive-ml/skive/internal/kernels"
)

// maskedBuffers is the memory of one worker for attention over padded sequences.
type maskedBuffers struct {
	mask, scores []float32
	keys, values kernels.PanelsF32
}

// attentionPart computes one head of one sequence. In the last layer each sequence has
// one query.
func (r *run) attentionPart(worker, part int) {
	w := &r.workers[worker]
	w.start()
	l := &r.weights.layers[r.layer]
	d := r.weights.config.HeadDim
	s, head := part/l.heads, part%l.heads*d
	lo, n, real := r.span(s)
	size, ld := l.heads*d, l.project.out
	tokens := r.projected[lo*ld : (lo+n)*ld]

	a := kernels.Attention{Tokens: n, Queries: n, Width: d, Q: kernels.RowMajor(tokens[head:], ld), Scale: l.scale, Mask: 1, Window: l.window}
	keys := size
	context := r.context[lo*size+head:]
	switch {
	case l.query != nil && r.want == hiddenStates:
		keys = 0
		a.Q = kernels.RowMajor(r.queries[lo*size+head:], size)
	case l.query != nil:
		a.Queries, keys = 1, 0
		a.Q = kernels.RowMajor(r.firstQuery[s*size+head:], size)
		context = r.firstContext[s*size+head:]
	}
	a.K = kernels.RowMajor(tokens[keys+head:], ld)
	a.V = kernels.RowMajor(tokens[keys+size+head:], ld)
	if l.bias != nil {
		reach := len(l.bias) / l.heads // distances, for each head
		a.Bias = l.bias[part%l.heads*reach:][:reach][reach/2-(n-1):]
	}
	a.Relative = l.relative.of(part%l.heads, n, d)
	if r.padTo > 0 {
		w.maskedAttention(a, real, context, size)
	} else {
		l.attention(a, context, size, nil, &w.scratch)
	}
	w.stop(stageAttention)
}

// maskedAttention is Attention.Forward with padding: keys from number real on are
// padding, and a large negative number is added to their scores, as runtimes do that
// are given a mask.
func (w *worker) maskedAttention(a kernels.Attention, real int, context []float32, ld int) {
	b, n, d := &w.masked, a.Tokens, a.Width
	b.mask = grow(b.mask, n)
	clear(b.mask[:real])
	for i := real; i < n; i++ {
		b.mask[i] = -1e30
	}
	b.keys.Pack(a.K.T(), d, n)
	b.values.Pack(a.V, n, d)
	b.scores = grow(b.scores, a.Queries*n)
	kernels.GemmF32(a.Queries, a.Q, &b.keys, 0, b.keys.Panels(), b.scores, n, kernels.Epilogue{Bias: b.mask}, &w.scratch)
	a.AddRelative(b.scores, false, &w.scratch)
	a.Softmax(b.scores)
	kernels.GemmF32(a.Queries, kernels.RowMajor(b.scores, n), &b.values, 0, b.values.Panels(), context, ld, kernels.Epilogue{}, &w.scratch)
}
