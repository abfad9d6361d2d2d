package checkpoints

import (
	"fmt"
	"slices"
)

// Pad returns a model that stock transformers can express and that gives the
// same logits: every layer gets hidden size / head width heads and as many
// feed-forward units as the largest layer, the missing ones with zero weights.
// Heads with a ScoreBias take the places that their columns have in its table.
// A padded head attends evenly but its context is zero; a padded unit is
// act(0) = 0. The sums of the remaining products only gain zeros.
//
// A model that has that form already is returned as it is; otherwise the
// tensors that needed no padding are shared, and scales of inputs left out. int8
// weights are refused, as are layers that hold more heads than fit the hidden
// size.
func (m *Model) Pad() (*Model, error) {
	c := m.Config
	if c.Stock() {
		return m, nil
	}
	heads := c.HiddenSize / c.HeadDim
	if heads*c.HeadDim != c.HiddenSize {
		return nil, fmt.Errorf("padding: hidden_size %d is not a multiple of head_dim %d: %w", c.HiddenSize, c.HeadDim, ErrUnsupported)
	}
	out := m.share()
	clear(out.Tensors)
	units := 0
	for i, l := range c.Layers {
		if l.Heads > heads {
			return nil, fmt.Errorf("padding: layer %d has %d heads, hidden_size %d holds %d: %w", i, l.Heads, c.HiddenSize, heads, ErrUnsupported)
		}
		units = max(units, l.Intermediate)
	}
	for i := range out.Config.Layers {
		out.Config.Layers[i] = LayerSize{heads, units}
	}
	out.Config.BiasColumns = nil
	if c.biasWidth() > heads {
		return nil, fmt.Errorf("padding: the biases of %d heads, hidden_size %d holds %d: %w", c.biasWidth(), c.HiddenSize, heads, ErrUnsupported)
	}
	for s := range out.Config.Tensors() {
		t, ok := m.Tensors[s.Name]
		if !ok {
			continue // a pooler may be missing
		}
		if t.DType == I8 {
			return nil, fmt.Errorf("padding: tensor %s is int8: %w", s.Name, ErrUnsupported)
		}
		t = grow(t, s.Shape)
		if i := slices.Index(s.Axes, Heads); i >= 0 && c.BiasColumns != nil {
			var along [2][]int
			along[i] = spread(places(c.BiasColumns[s.Layer], heads), c.HeadDim)
			t = take(t, along[0], along[1])
		}
		out.Tensors[s.Name] = t
	}
	return out, nil
}

// places returns, for n heads of which the first ones have the given columns, which
// head stands in the place of each column: the others, of zeros, fill the rest.
func places(columns []int, n int) []int {
	heads := make([]int, n)
	for i := range heads {
		heads[i] = -1
	}
	for head, column := range columns {
		heads[column] = head
	}
	next := len(columns)
	for i := range heads {
		if heads[i] < 0 {
			heads[i] = next
			next++
		}
	}
	return heads
}

// grow extends the tensor with zeros to a shape that is as large or larger in
// each of its one or two dimensions.
func grow(t Tensor, shape []int) Tensor {
	if slices.Equal(t.Shape, shape) {
		return t
	}
	row, stride := t.Shape[len(t.Shape)-1]*t.DType.Size(), shape[len(shape)-1]*t.DType.Size()
	out := Tensor{DType: t.DType, Shape: slices.Clone(shape)}
	out.Data = alignedBytes(out.Elements() * t.DType.Size())
	for i := 0; i*row < len(t.Data); i++ {
		copy(out.Data[i*stride:], t.Data[i*row:(i+1)*row])
	}
	return out
}
