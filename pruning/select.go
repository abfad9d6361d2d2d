package pruning

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/settings"
)

// Masks lists, for each layer, the attention heads and feed-forward units to keep, by index in
// ascending order.
type Masks struct {
	Heads [][]int `json:"heads"`
	FFN   [][]int `json:"ffn"`
}

// Select keeps the attention heads and the feed-forward units with the highest scores in each
// layer: heads of the former, ffn of the latter. 0 keeps all; a layer with fewer keeps all of
// them. Of equal scores the lower index stays.
func Select(s *Scores, cfg checkpoints.Config, heads, ffn int) (Masks, error) {
	if err := CheckSizes(cfg, heads, ffn); err != nil {
		return Masks{}, err
	}
	sizes := make([]checkpoints.LayerSize, len(cfg.Layers))
	for l, size := range cfg.Layers {
		sizes[l] = checkpoints.LayerSize{Heads: atMost(heads, size.Heads), Intermediate: atMost(ffn, size.Intermediate)}
	}
	return SelectSizes(s, cfg, sizes)
}

// SelectSizes is Select with a separate size for each layer.
func SelectSizes(s *Scores, cfg checkpoints.Config, sizes []checkpoints.LayerSize) (Masks, error) {
	if err := s.check(cfg); err != nil {
		return Masks{}, err
	}
	if len(sizes) != len(cfg.Layers) {
		return Masks{}, fmt.Errorf("sizes of %d layers, the model has %d", len(sizes), len(cfg.Layers))
	}
	m := newMasks(len(sizes))
	for l, size := range sizes {
		m.Heads[l] = top(s.Heads[l], size.Heads)
		m.FFN[l] = top(s.FFN[l], size.Intermediate)
	}
	return m, m.check(cfg)
}

// UnitMultiple is the number of feed-forward units that the kernels compute together. Any number
// of units takes as long as the next multiple of it.
const UnitMultiple = 16

// SelectGlobal ranks the heads of all layers together, and likewise the units, and keeps the best
// ones: on average heads attention heads and ffn units per layer, 0 for all. Layers end up with
// different sizes. Each keeps at least one head, and units in multiples of UnitMultiple.
//
// With normalize, the scores of a layer are first divided by their L2 norm (Molchanov et al.,
// arXiv 1611.06440, section 2.3). This removes differences between layers that are only of scale.
func SelectGlobal(s *Scores, cfg checkpoints.Config, heads, ffn int, normalize bool) (Masks, error) {
	if err := CheckSizes(cfg, heads, ffn); err != nil {
		return Masks{}, err
	}
	if err := s.check(cfg); err != nil {
		return Masks{}, err
	}
	sizes := make([]checkpoints.LayerSize, len(cfg.Layers))
	for l, n := range share(s.Heads, heads*len(sizes), 1, normalize) {
		sizes[l].Heads = n
	}
	for l, n := range share(s.FFN, ffn*len(sizes), UnitMultiple, normalize) {
		sizes[l].Intermediate = n
	}
	return SelectSizes(s, cfg, sizes)
}

// share distributes kept places (0: all) over the layers in blocks of the given size. Each layer
// gets at least one block; the others go to the blocks with the highest mean scores.
func share(scores [][]float64, kept, block int, normalize bool) []int {
	type candidate struct {
		layer, size int
		score       float64
	}
	if kept == 0 {
		kept = math.MaxInt
	}
	var blocks []candidate
	counts := make([]int, len(scores))
	for l, layer := range scores {
		sorted := slices.Sorted(slices.Values(layer))
		slices.Reverse(sorted)
		scale := 1.0
		if norm := l2(layer); normalize && norm > 0 {
			scale = 1 / norm
		}
		for first := true; len(sorted) > 0; first = false {
			n := min(block, len(sorted))
			var sum float64
			for _, v := range sorted[:n] {
				sum += v
			}
			sorted = sorted[n:]
			if first {
				counts[l] = n
				kept -= n
				continue
			}
			blocks = append(blocks, candidate{l, n, sum / float64(n) * scale})
		}
	}
	slices.SortStableFunc(blocks, func(a, b candidate) int { return cmp.Compare(b.score, a.score) })
	for _, b := range blocks {
		if b.size <= kept {
			counts[b.layer] += b.size
			kept -= b.size
		}
	}
	return counts
}

func l2(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += float64(x * x)
	}
	return math.Sqrt(sum)
}

// CheckSizes reports numbers of heads and units to keep that exceed every layer, as Select does.
func CheckSizes(cfg checkpoints.Config, heads, ffn int) error {
	most := checkpoints.LayerSize{}
	for _, l := range cfg.Layers {
		most.Heads, most.Intermediate = max(most.Heads, l.Heads), max(most.Intermediate, l.Intermediate)
	}
	if heads < 0 || heads > most.Heads {
		return settings.Wrong("heads", heads, "1 to %d kept in each layer, or 0 for all", most.Heads)
	}
	if ffn < 0 || ffn > most.Intermediate {
		return settings.Wrong("ffn", ffn, "1 to %d units kept in each layer, or 0 for all", most.Intermediate)
	}
	return nil
}

// atMost returns n, but all if n is 0 or larger than all.
func atMost(n, all int) int {
	if n == 0 {
		return all
	}
	return min(n, all)
}

// whole returns masks that keep everything.
func whole(cfg checkpoints.Config) Masks {
	m := newMasks(len(cfg.Layers))
	for l, size := range cfg.Layers {
		m.Heads[l], m.FFN[l] = firsts(size.Heads), firsts(size.Intermediate)
	}
	return m
}

func newMasks(layers int) Masks {
	return Masks{Heads: make([][]int, layers), FFN: make([][]int, layers)}
}

// top returns the indices of the n highest scores, ascending.
func top(scores []float64, n int) []int {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	if n >= 0 && n < len(order) {
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

// sizes returns the sizes of the layers under the masks.
func (m Masks) sizes() []checkpoints.LayerSize {
	sizes := make([]checkpoints.LayerSize, len(m.Heads))
	for l := range sizes {
		sizes[l] = checkpoints.LayerSize{Heads: len(m.Heads[l]), Intermediate: len(m.FFN[l])}
	}
	return sizes
}
