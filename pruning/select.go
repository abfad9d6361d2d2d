package pruning

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
)

// Masks names the attention heads and feed-forward units that stay, by their
// index in ascending order, for each layer.
type Masks struct {
	Heads [][]int `json:"heads"`
	FFN   [][]int `json:"ffn"`
}

// Select keeps the highest scoring heads attention heads and ffn feed-forward
// units of each layer. 0 keeps all; a layer that has fewer keeps all of its own.
// Of equal scores, the lower index stays.
func Select(s *Scores, cfg checkpoints.Config, heads, ffn int) (Masks, error) {
	if err := s.check(cfg); err != nil {
		return Masks{}, err
	}
	most := checkpoints.LayerSize{}
	for _, l := range cfg.Layers {
		most.Heads, most.Intermediate = max(most.Heads, l.Heads), max(most.Intermediate, l.Intermediate)
	}
	if heads < 0 || heads > most.Heads {
		return Masks{}, fmt.Errorf("heads %d: want 1 to %d kept in each layer, or 0 for all", heads, most.Heads)
	}
	if ffn < 0 || ffn > most.Intermediate {
		return Masks{}, fmt.Errorf("ffn %d: want 1 to %d units kept in each layer, or 0 for all", ffn, most.Intermediate)
	}
	m := Masks{Heads: make([][]int, len(cfg.Layers)), FFN: make([][]int, len(cfg.Layers))}
	for l := range cfg.Layers {
		m.Heads[l] = top(s.Heads[l], heads)
		m.FFN[l] = top(s.FFN[l], ffn)
	}
	return m, nil
}

// top returns the indices of the n highest scores, ascending; n = 0 and n
// beyond the number of scores give all.
func top(scores []float64, n int) []int {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	if n > 0 && n < len(order) {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
		order = order[:n]
		slices.Sort(order)
	}
	return order
}

// check reports masks that do not fit the architecture.
func (m Masks) check(cfg checkpoints.Config) error {
	if len(m.Heads) != len(cfg.Layers) || len(m.FFN) != len(cfg.Layers) {
		return fmt.Errorf("masks: %d layers of heads and %d of units, the model has %d", len(m.Heads), len(m.FFN), len(cfg.Layers))
	}
	for l, size := range cfg.Layers {
		if err := checkKept(m.Heads[l], size.Heads); err != nil {
			return fmt.Errorf("masks: layer %d: heads: %w", l, err)
		}
		if err := checkKept(m.FFN[l], size.Intermediate); err != nil {
			return fmt.Errorf("masks: layer %d: units: %w", l, err)
		}
	}
	return nil
}

func checkKept(kept []int, n int) error {
	if len(kept) == 0 {
		return fmt.Errorf("none is kept, want at least one")
	}
	for i, k := range kept {
		if k < 0 || k >= n {
			return fmt.Errorf("index %d, want 0 to %d", k, n-1)
		}
		if i > 0 && k <= kept[i-1] {
			return fmt.Errorf("index %d after %d, want ascending ones", k, kept[i-1])
		}
	}
	return nil
}
