package pruning

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
)

// ErrBudget says that even the smallest model costs more than the budget.
var ErrBudget = errors.New("the budget is below the smallest model's cost")

// searchSteps is the number of equal steps into which Search divides the budget above the cost of
// the smallest model.
const searchSteps = 1 << 13

// CostExamples is a sufficient number of examples for a search under costs, which keeps the
// gradients of each. TuneExamples is one for Tune, which finds one factor for each unit.
const (
	CostExamples = 2048
	TuneExamples = 512
)

// Search keeps the heads and units with the highest total score among all choices whose cost is
// within the budget, in the unit of the costs. It weighs heads and units of all layers against
// each other, so their scores must be additive. Those of Gradients.Joint are. Fisher's also
// estimate the rise of the loss, but treat each head and unit as independent of the others; Kwon
// et al. (arXiv 2204.09656, section 4.1) search for the same optimum with them, under costs of
// one slope. Exact's are not additive: the effects of many units on the loss cancel, and their
// sum outweighs the heads. Each layer keeps at least one head, and units in multiples of
// UnitMultiple.
//
// The problem is a knapsack with one choice for each part of each layer. Search solves it by
// dynamic programming over the budget. It rounds costs up to steps, so the budget is never
// exceeded.
func Search(s *Scores, cfg checkpoints.Config, c *Costs, budget float64) (Masks, error) {
	if err := s.check(cfg); err != nil {
		return Masks{}, err
	}
	if err := c.check(cfg); err != nil {
		return Masks{}, err
	}
	parts, least := c.parts(s)
	if !(budget >= least) {
		return Masks{}, fmt.Errorf("%w: %.4g of %.4g", ErrBudget, budget, least)
	}
	if budget >= c.Of(cfg.Layers) { // rounding up might exclude this case
		return SelectSizes(s, cfg, cfg.Layers)
	}
	chosen := knapsack(parts, (budget-least)/searchSteps)
	sizes := make([]checkpoints.LayerSize, len(cfg.Layers))
	for l := range sizes {
		sizes[l] = checkpoints.LayerSize{Heads: chosen[2*l], Intermediate: chosen[2*l+1]}
	}
	return SelectSizes(s, cfg, sizes)
}

// parts returns the heads and the units of each layer. least is the cost of the smallest model.
func (c *Costs) parts(s *Scores) (all []part, least float64) {
	least = c.Fixed
	for l := range s.Heads {
		for _, p := range []part{newPart(s.Heads[l], 1, c.Heads[l]), newPart(s.FFN[l], UnitMultiple, c.FFN[l])} {
			least += p.least
			all = append(all, p)
		}
	}
	return all, least
}

// part is the heads or the units of a layer: the numbers that may be kept, the score that each
// number loses, and its cost. least is the smallest cost.
type part struct {
	kept        []int
	loss, costs []float64
	least       float64
}

func newPart(scores []float64, block int, curve Curve) part {
	ascending := slices.Sorted(slices.Values(scores))
	p := part{least: math.Inf(1)}
	lost, at := 0.0, 0
	for dropped := range len(scores) {
		kept := len(scores) - dropped
		if dropped > 0 && (kept%block != 0 || kept < block) {
			continue
		}
		for ; at < dropped; at++ {
			lost += ascending[at]
		}
		cost := curve.At(kept)
		p.kept, p.loss, p.costs = append(p.kept, kept), append(p.loss, lost), append(p.costs, cost)
		p.least = min(p.least, cost)
	}
	return p
}

// knapsack chooses the number to keep of each part. The total loss is least among the choices
// whose costs, above the least cost of each part, take at most searchSteps steps.
func knapsack(parts []part, step float64) []int {
	best := make([]float64, searchSteps+1) // indexed by the steps that may be spent
	next := make([]float64, len(best))
	choices := make([][]int32, len(parts))
	for i, p := range parts {
		choice := make([]int32, len(best))
		for b := range next {
			next[b] = math.Inf(1)
		}
		for k, loss := range p.loss {
			spent := 0
			if above := p.costs[k] - p.least; above > 0 {
				steps := math.Ceil(above / step)
				if !(steps <= searchSteps) {
					continue
				}
				spent = int(steps)
			}
			for b := spent; b < len(best); b++ {
				if v := best[b-spent] + loss; v < next[b] {
					next[b], choice[b] = v, int32(k)
				}
			}
		}
		best, next = next, best
		choices[i] = choice
	}
	kept := make([]int, len(parts))
	b := searchSteps
	for i := len(parts) - 1; i >= 0; i-- {
		p := &parts[i]
		k := choices[i][b]
		kept[i] = p.kept[k]
		if above := p.costs[k] - p.least; above > 0 {
			b -= int(math.Ceil(above / step))
		}
	}
	return kept
}
