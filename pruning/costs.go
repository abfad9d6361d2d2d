package pruning

import (
	"fmt"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
)

// Costs says what a model costs, depending on how much of its layers is left: in FLOPs, or in the
// milliseconds that MeasureCosts found. A model's cost is the sum of Fixed and of the layers'
// curves.
type Costs struct {
	// Fixed is the cost of everything that cannot be pruned.
	Fixed float64 `json:"fixed"`
	// Heads and FFN hold for each layer the cost of its attention heads and of its feed-forward
	// units, by the number that is left.
	Heads []Curve `json:"heads"`
	FFN   []Curve `json:"ffn"`
}

// Curve is a cost as a function of the number kept. Its points ascend; in between it is linear.
type Curve []Point

// Point is a point of a Curve.
type Point struct {
	Kept int     `json:"kept"`
	Cost float64 `json:"cost"`
}

// At returns the cost of n.
func (c Curve) At(n int) float64 {
	i, found := slices.BinarySearchFunc(c, n, func(p Point, n int) int { return p.Kept - n })
	switch {
	case len(c) == 0:
		return 0
	case found:
		return c[i].Cost
	case i == 0:
		return c[0].Cost
	case i == len(c):
		return c[i-1].Cost
	}
	a, b := c[i-1], c[i]
	return a.Cost + (b.Cost-a.Cost)*float64(n-a.Kept)/float64(b.Kept-a.Kept)
}

// Of returns the cost of a model whose layers have these sizes.
func (c *Costs) Of(sizes []checkpoints.LayerSize) float64 {
	sum := c.Fixed
	for l, size := range sizes {
		sum += c.Heads[l].At(size.Heads) + c.FFN[l].At(size.Intermediate)
	}
	return sum
}

func (c *Costs) check(cfg checkpoints.Config) error {
	if len(c.Heads) != len(cfg.Layers) || len(c.FFN) != len(cfg.Layers) {
		return fmt.Errorf("costs of %d and %d layers, the model has %d", len(c.Heads), len(c.FFN), len(cfg.Layers))
	}
	return nil
}

// FLOPs counts the floating-point operations of the encoder's products for a sequence of the
// given number of tokens. A multiplication with its addition counts as two. The last layer
// computes queries, output and feed-forward for the first token only. A query computes scores for
// the keys inside its window only. With relative scores, queries and keys are also multiplied by
// the distances.
func FLOPs(cfg checkpoints.Config, tokens int) *Costs {
	c := &Costs{}
	hidden, width, t := float64(cfg.HiddenSize), float64(cfg.HeadDim), float64(tokens)
	for l, size := range cfg.Layers {
		rows := t
		if l == len(cfg.Layers)-1 {
			rows = 1
		}
		// The three terms: keys and values; queries and the output; scores and context.
		keys := t
		if w := cfg.Block(l).Window; w > 0 {
			keys = float64(min(tokens, 2*w+1))
		}
		head := 2 * width * (float64(2*t*hidden) + float64(2*rows*hidden) + float64(2*rows*keys) + distances(cfg.Block(l), tokens, rows))
		c.Heads = append(c.Heads, Curve{{0, 0}, {size.Heads, float64(size.Heads) * head}})
		c.FFN = append(c.FFN, Curve{{0, 0}, {size.Intermediate, float64(size.Intermediate) * float64(2*products(cfg)) * rows * hidden}})
	}
	return c
}

// products returns the number of products in the feed-forward block.
func products(cfg checkpoints.Config) int {
	if cfg.Block(0).Gated {
		return 3
	}
	return 2
}

// distances is how many products of a query or key with a distance of tokens a head
// has, for so many rows of queries.
func distances(b checkpoints.Block, tokens int, rows float64) float64 {
	if b.Relative == nil {
		return 0
	}
	reached := float64(min(2*tokens-1, 2*b.Relative.Buckets))
	if rows == 1 { // the first token's distances are to one side
		reached = float64(min(tokens, b.Relative.Buckets))
	}
	return float64(reached * (rows + float64(tokens)))
}
