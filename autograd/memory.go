package autograd

import "github.com/skive-ml/skive/internal/kernels"

// Extents are the numbers of rows of a batch, and its longest sequence. Selected
// is that of inputs of that extent.
type Extents struct{ Tokens, Sequences, Selected, Longest int }

// Memory estimates the bytes that runs over batches of these extents take for
// values and gradients, those of parameters not counted.
func (g *Graph) Memory(e Extents) int64 {
	actual := func(a array) array {
		switch a.rows {
		case nominalTokens:
			a.rows = e.Tokens
		case nominalSequences:
			a.rows = e.Sequences
		case nominalBoundaries:
			a.rows = e.Sequences + 1
		case nominalSelected:
			a.rows = e.Selected
		}
		return a
	}
	size := func(a array) int { return a.rows * a.columns }
	total, packed, dequantized := 0, 0, 0
	var shared [2][]int // of segments: the largest of each place
	for n, info := range g.nodes {
		o := info.op
		if o == nil {
			continue
		}
		out := actual(arrayOfShape(n.Shape()))
		in := make([]array, len(o.inputs))
		floats := size(out)
		if o.segment != nil && o.segment.kept == o {
			total, floats = total+floats, 0
		}
		for i, node := range o.inputs {
			in[i] = actual(arrayOfShape(node.Shape()))
			if o.diff[i] && !g.nodes[node].source && (o.shared(i) == i || !o.diff[o.shared(i)]) {
				floats += size(in[i])
			}
			packed = max(packed, size(in[i]))
		}
		if _, ok := o.block.(*quantizedLinear); ok {
			total += size(in[1]) / 4 // the weight in bytes
			dequantized = max(dequantized, size(in[0]), size(in[1]))
		}
		if s, ok := o.block.(stasher); ok && o.keep {
			floats += s.stashed(in, out, e.Longest)
		}
		if s := o.segment; s != nil {
			places := &shared[0]
			if s.pool == &g.pools[1] {
				places = &shared[1]
			}
			for len(*places) <= o.place {
				*places = append(*places, 0)
			}
			(*places)[o.place] = max((*places)[o.place], floats)
			continue
		}
		total += floats
	}
	for _, places := range shared {
		for _, floats := range places {
			total += floats
		}
	}
	return 4 * int64(total+packed+dequantized)
}

func (l *linear) stashed(_ []array, out array, _ int) int { return preActivations(l.activation, out) }
func (l *quantizedLinear) stashed(_ []array, out array, _ int) int {
	return preActivations(l.activation, out)
}

// preActivations is how many numbers a linear layer keeps for its activation.
func preActivations(a Activation, out array) int {
	if a == Identity {
		return 0
	}
	return out.rows * out.columns
}

func (l *layerNorm) stashed(_ []array, out array, _ int) int {
	if l.residual == 0 {
		return 0
	}
	return out.rows * out.columns
}

func (a *attention) stashed(in []array, out array, longest int) int {
	if a.window > 0 {
		longest = min(longest, kernels.WindowKeys(bandRows, a.window))
	}
	return out.rows * a.heads * longest
}
