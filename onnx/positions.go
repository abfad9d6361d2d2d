package onnx

import (
	"fmt"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
)

// positions appends the positions of the tokens: 0, 1, 2, ..., or RoBERTa's, see
// checkpoints.Config.Positions.
func (b *builder) positions() string {
	c := &b.m.Config
	if c.PositionsByID() {
		pad := b.ints("pad_token_id", nil, int64(c.PaddingPosition(0)))
		real := b.op("Not", "position_ids/Not", b.op("Equal", "position_ids/Equal", "input_ids", pad))
		real = b.cast("position_ids/Cast", real, int64Type)
		ids := b.op("CumSum", "position_ids/CumSum", real, b.ints("one", nil, 1))
		return b.op("Add", "position_ids", b.op("Mul", "position_ids/Mul", ids, real), pad)
	}
	return b.count("position_ids")
}

// count returns the numbers 0, 1, 2, ... of the tokens, [1, sequence]. The first call appends
// them to the graph.
func (b *builder) count(name string) string {
	if b.numbers != "" {
		return b.numbers
	}
	b.numbers = name
	positions := make([]int64, b.m.Config.MaxPositions)
	for i := range positions {
		positions[i] = int64(i)
	}
	return b.upToLength(name, b.ints("positions", []int{1, len(positions)}, positions...), 1)
}

// upToLength appends the part of a constant, along an axis, that the batch's longest text needs.
func (b *builder) upToLength(name, x string, axis int) string {
	zeroList, oneList := b.ints("zero_list", []int{1}, 0), b.ints("one_list", []int{1}, 1)
	if b.length == "" {
		length := b.op("Gather", "sequence_length", b.op("Shape", "input_shape", "input_ids"), b.ints("one", nil, 1))
		b.length = b.op("Unsqueeze", "sequence_end", length, zeroList)
	}
	along := oneList
	if axis == 0 {
		along = zeroList
	}
	return b.op("Slice", name, x, zeroList, b.length, along, oneList)
}

// between appends the distances between keys and queries, [queries, keys], counted from the least
// distance that is below reach.
func (b *builder) between(reach int) string {
	if b.distances == "" {
		keys := b.count("score_bias/keys")
		queries := b.nodes(1, "Transpose", "score_bias/queries", []string{keys}, attribute{"perm", []int64{1, 0}})[0]
		first := b.ints("score_bias/reach", nil, int64(reach-1))
		b.distances = b.op("Add", "score_bias/Add", b.op("Sub", "score_bias/Sub", keys, queries), first)
	}
	return b.distances
}

// window returns the mask plus what hides the keys outside of a query's window.
func (b *builder) window(reach int, mask string) string {
	if y, ok := b.windows[reach]; ok {
		return y
	}
	longest := b.m.Config.MaxTokens()
	outside := make([]float32, 2*longest-1)
	for i := range outside {
		if d := i - (longest - 1); d < -reach || d > reach {
			outside[i] = float32(b.leastFloat())
		}
	}
	name := fmt.Sprintf("window_%d", reach)
	table := b.floats(name+"/table", []int{len(outside)}, outside)
	y := b.nodes(1, "Gather", name+"/Gather", []string{table, b.between(longest)}, attribute{"axis", 0})[0]
	// Where both hide a key, the sum of two least numbers is infinite. Softmax still works,
	// because a query always sees itself.
	y = b.op("Add", name, y, mask)
	b.windows[reach] = y
	return y
}

// rotated appends the rotation of queries or keys x, [batch, heads, tokens, width], by their
// positions: each element times its cosine, plus the other element of its pair times its sine.
func (b *builder) rotated(name string, block checkpoints.Block, x string) string {
	width, half := block.HeadDim, block.HeadDim/2
	kind := [2]float64{block.RotaryBase, block.RotaryScale}
	turns, ok := b.turns[kind]
	if !ok {
		longest := b.m.Config.MaxTokens()
		cos, sin := block.Turns(0, longest)
		cosines, sines := make([]float32, longest*width), make([]float32, longest*width)
		for p := range longest {
			for k := range half {
				c, s := cos[p*half+k], sin[p*half+k]
				cosines[p*width+k], cosines[p*width+half+k] = c, c
				sines[p*width+k], sines[p*width+half+k] = -s, s
			}
		}
		table := func(name string, v []float32) string {
			name = fmt.Sprintf("rotary_%g/%s", block.RotaryBase, name)
			return b.upToLength(name, b.floats(name+"/table", []int{longest, width}, v), 0)
		}
		turns = [2]string{table("cos", cosines), table("sin", sines)}
		b.turns[kind] = turns
	}
	others := make([]int64, width)
	for k := range others {
		others[k] = int64((k + half) % width)
	}
	other := b.nodes(1, "Gather", name+"/rotary/Gather", []string{x, b.ints(fmt.Sprintf("other_halves_%d", width), []int{width}, others...)}, attribute{"axis", 3})[0]
	return b.op("Add", name+"/rotary", b.op("Mul", name+"/rotary/cos", x, turns[0]), b.op("Mul", name+"/rotary/sin", other, turns[1]))
}

// scoreBias returns what is added to the attention scores of layer l, [batch, heads, queries,
// keys]: the mask, plus the biases of a family that has them. Layers with the same biases share
// the sum.
func (b *builder) scoreBias(l int, mask string) string {
	block := b.m.Config.Block(l)
	bias := block.ScoreBias
	switch {
	case block.Window > 0:
		return b.window(block.Window, mask)
	case bias == nil:
		return mask
	}
	for i := range l {
		if slices.Equal(b.m.Config.Block(i).ScoreBias.Columns, bias.Columns) {
			return b.biases[i]
		}
	}
	table, err := bias.ByDistance(b.m)
	if err != nil {
		b.fail(err)
		return mask
	}
	name := fmt.Sprintf("score_bias_%d", l)
	heads, distances := len(bias.Columns), 2*bias.Reach-1
	y := b.floats(name+"/table", []int{distances, heads}, transpose(table, heads, distances))
	y = b.nodes(1, "Gather", name+"/Gather", []string{y, b.between(bias.Reach)}, attribute{"axis", 0})[0]
	y = b.nodes(1, "Transpose", name+"/Transpose", []string{y}, attribute{"perm", []int64{2, 0, 1}})[0]
	return b.op("Add", name, y, mask)
}
