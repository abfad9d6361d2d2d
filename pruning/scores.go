package pruning

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
)

// Scores holds the importance of every attention head and feed-forward unit. The Method decides
// how far scores can be compared between layers, and between heads and units. It is written as
// JSON.
type Scores struct {
	// Heads holds a score for each head of each layer, FFN one for each feed-forward unit.
	Heads [][]float64 `json:"heads"`
	FFN   [][]float64 `json:"ffn"`
	// Examples is the number of examples behind the scores, 0 if they are computed from the
	// weights alone.
	Examples int `json:"examples"`
}

// WriteJSON writes the scores as one JSON document.
func (s *Scores) WriteJSON(w io.Writer) error {
	return json.NewEncoder(w).Encode(s)
}

// ReadJSON reads scores that WriteJSON wrote.
func ReadJSON(r io.Reader) (*Scores, error) {
	s := &Scores{}
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("importance scores: %w", err)
	}
	return s, nil
}

// check reports scores that do not fit the architecture.
func (s *Scores) check(cfg checkpoints.Config) error {
	if len(s.Heads) != len(cfg.Layers) || len(s.FFN) != len(cfg.Layers) {
		return fmt.Errorf("importance scores: %d layers of heads and %d of units, the model has %d", len(s.Heads), len(s.FFN), len(cfg.Layers))
	}
	for l, size := range cfg.Layers {
		for _, part := range []struct {
			name   string
			scores []float64
			want   int
		}{{"heads", s.Heads[l], size.Heads}, {"units", s.FFN[l], size.Intermediate}} {
			if len(part.scores) != part.want {
				return fmt.Errorf("importance scores: layer %d has %d %s, the model has %d", l, len(part.scores), part.name, part.want)
			}
			for i, v := range part.scores {
				if math.IsNaN(v) {
					return fmt.Errorf("importance scores: layer %d: %s: number %d is NaN", l, part.name, i)
				}
			}
		}
	}
	return nil
}

// finite reports scores that are not finite because the model's loss is not.
func (s *Scores) finite(model *checkpoints.Model) error {
	for l := range s.Heads {
		for _, v := range slices.Concat(s.Heads[l], s.FFN[l]) {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				continue
			}
			err := fmt.Errorf("layer %d has a score of %v: the model's loss on these data is not finite", l, v)
			if path := model.Path(); path != "" {
				err = fmt.Errorf("%s: %w", path, err)
			}
			return err
		}
	}
	return nil
}

func newScores(cfg checkpoints.Config) *Scores {
	s := &Scores{Heads: make([][]float64, len(cfg.Layers)), FFN: make([][]float64, len(cfg.Layers))}
	for l, size := range cfg.Layers {
		s.Heads[l] = make([]float64, size.Heads)
		s.FFN[l] = make([]float64, size.Intermediate)
	}
	return s
}
