package pruning

import (
	"math"

	"github.com/skive-ml/skive/checkpoints"
)

// MagnitudeScores scores heads and units by the L2 norm of the weights into and out of them,
// without biases. It needs no data. Gradient methods are compared with it.
func MagnitudeScores(m *checkpoints.Model) (*Scores, error) {
	s := newScores(m.Config)
	d := m.Config.HeadDim
	for spec := range m.Config.Tensors() {
		if !spec.EncoderLinear() {
			continue
		}
		w, err := m.Float32s(spec.Name)
		if err != nil {
			return nil, err
		}
		cols := spec.Shape[1]
		for i, v := range w {
			for axis, at := range []int{i / cols, i % cols} {
				switch spec.Axes[axis] {
				case checkpoints.Heads:
					s.Heads[spec.Layer][at/d] += float64(float64(v) * float64(v))
				case checkpoints.Units:
					s.FFN[spec.Layer][at] += float64(float64(v) * float64(v))
				}
			}
		}
	}
	for _, layers := range [][][]float64{s.Heads, s.FFN} {
		for _, scores := range layers {
			for i, v := range scores {
				scores[i] = math.Sqrt(v)
			}
		}
	}
	return s, nil
}
