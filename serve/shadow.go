package serve

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/skive-ml/skive/infer"
)

// maxShadows is how many requests shadows may be behind; others are not mirrored.
const maxShadows = 64

// sameEmbedding is the cosine from which on embeddings count as the same.
const sameEmbedding = 0.99

// shadowOf is the model that some of this one's requests are sent to as well, nil for none
// or not this one.
func (m *model) shadowOf() *model {
	if m.options.Shadow == "" || rand.Float64() >= cmp.Or(m.options.ShadowShare, 1) {
		return nil
	}
	return m.server.named(m.options.Shadow)
}

// mirror sends what was answered to the model's shadow, if it has one and its turn has
// come, and counts how alike the answers are. The request does not wait for that.
func (x *exchange) mirror(compare func(shadow *version, call *infer.Call) (similarity float64, same bool, err error)) {
	s, m := x.server, x.version.model
	shadow := m.shadowOf()
	if shadow == nil {
		return
	}
	count := func(result string) {
		s.metrics.shadowed.WithLabelValues(m.options.Name, shadow.options.Name, result).Inc()
	}
	select {
	case s.shadows <- struct{}{}:
	default:
		count("dropped")
		return
	}
	call := infer.Call{
		Cut: x.call.Cut, Whole: x.call.Whole, Prompt: x.call.Prompt, Unscaled: x.call.Unscaled,
		Windows: x.call.Windows, Stride: x.call.Stride, Fills: x.call.Fills, Targets: x.call.Targets,
	}
	s.mirrors.Go(func() {
		defer func() { <-s.shadows }()
		v, ok := shadow.acquire()
		if !ok {
			count("failed")
			return
		}
		defer v.release()
		similarity, same, err := compare(v, &call)
		switch {
		case err != nil:
			count("failed")
			s.log.Debug("shadow failed", "model", m.options.Name, "shadow", shadow.options.Name, "error", err.Error())
			return
		case same:
			count("same")
		default:
			count("different")
		}
		s.metrics.similarity.WithLabelValues(m.options.Name, shadow.options.Name).Observe(similarity)
	})
}

// mirrorEmbeddings compares embeddings by the smallest of their cosines.
func (x *exchange) mirrorEmbeddings(inputs []infer.Input, answered [][]float32) {
	x.mirror(func(shadow *version, call *infer.Call) (float64, bool, error) {
		ctx, cancel := x.server.background()
		defer cancel()
		others, err := shadow.pool.EmbedCall(ctx, call, inputs)
		least := 1.0
		for i := range others {
			least = min(least, cosine(answered[i], others[i]))
		}
		return least, least >= sameEmbedding, err
	})
}

// mirrorPredictions compares labels, and the probabilities by what they have in common.
func (x *exchange) mirrorPredictions(inputs []infer.Input, answered []infer.Prediction) {
	x.mirror(func(shadow *version, call *infer.Call) (float64, bool, error) {
		ctx, cancel := x.server.background()
		defer cancel()
		others, err := shadow.pool.PredictCall(ctx, call, inputs)
		least, same := 1.0, true
		for i := range others {
			a, b := &answered[i], &others[i]
			same = same && sameAnswer(a, b)
			least = min(least, overlap(a, b))
		}
		return least, same, err
	})
}

func sameAnswer(a, b *infer.Prediction) bool {
	if a.Label != b.Label || len(a.Words) != len(b.Words) {
		return false
	}
	for i := range a.Words {
		if a.Words[i].Label != b.Words[i].Label {
			return false
		}
	}
	first := func(a, b []infer.Fill) bool { return len(a) > 0 && len(b) > 0 && a[0].ID == b[0].ID }
	return slices.Equal(a.Labels, b.Labels) && slices.EqualFunc(a.Masks, b.Masks, first)
}

// overlap is one less the largest difference of two answers' probabilities.
func overlap(a, b *infer.Prediction) float64 {
	if len(a.Logits) != len(b.Logits) {
		return 0
	}
	largest := 0.0
	for i := range a.Logits {
		x, y := sigmoid(a.Logits[i]), sigmoid(b.Logits[i])
		if a.Probabilities != nil {
			x, y = a.Probabilities[i], b.Probabilities[i]
		}
		largest = max(largest, math.Abs(float64(x)-float64(y)))
	}
	return 1 - largest
}

func cosine(a, b []float32) float64 {
	if len(a) != len(b) {
		return 0
	}
	var ab, aa, bb float64
	for i, x := range a {
		y := float64(b[i])
		ab += float64(float64(x) * y)
		aa += float64(float64(x) * float64(x))
		bb += float64(y * y)
	}
	return ab / max(math.Sqrt(aa*bb), 1e-24)
}
