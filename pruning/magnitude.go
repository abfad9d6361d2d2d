package pruning

import (
	"fmt"
	"math"

	"github.com/skive-ml/skive/checkpoints"
)

// MagnitudeScores scores heads and units by the L2 norm of the weights that lead
// into them and out of them, biases left out. It needs no data and is the
// baseline that the gradient methods are compared with.
func MagnitudeScores(m *checkpoints.Model) (*Scores, error) {
	s := newScores(m.Config)
	d := m.Config.HeadDim
	for l := range m.Config.Layers {
		prefix := fmt.Sprintf("bert.encoder.layer.%d.", l)
		for _, part := range []struct {
			name   string
			rows   bool // units are rows; else columns
			width  int  // rows or columns of one unit
			scores []float64
		}{
			{"attention.self.query.weight", true, d, s.Heads[l]},
			{"attention.self.key.weight", true, d, s.Heads[l]},
			{"attention.self.value.weight", true, d, s.Heads[l]},
			{"attention.output.dense.weight", false, d, s.Heads[l]},
			{"intermediate.dense.weight", true, 1, s.FFN[l]},
			{"output.dense.weight", false, 1, s.FFN[l]},
		} {
			w, err := m.Float32s(prefix + part.name)
			if err != nil {
				return nil, err
			}
			cols := m.Tensors[prefix+part.name].Shape[1]
			for i, v := range w {
				at := i % cols
				if part.rows {
					at = i / cols
				}
				part.scores[at/part.width] += float64(v) * float64(v)
			}
		}
		for _, scores := range [][]float64{s.Heads[l], s.FFN[l]} {
			for i, v := range scores {
				scores[i] = math.Sqrt(v)
			}
		}
	}
	return s, nil
}
