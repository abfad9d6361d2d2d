package checkpoints

import (
	"fmt"
	"slices"
)

// Pad returns a model that unmodified transformers can express, with the same logits.
// Every layer gets hidden size / head width heads, and as many feed-forward units as
// the largest layer has; the added ones have zero weights. Heads with a ScoreBias take
// the places of their columns in its table. An added head attends evenly, but its
// context is zero; an added unit is act(0) = 0. So sums only gain zeros.
//
// A model that already has this form is returned as it is. Otherwise tensors that need
// no padding are shared, and scales of inputs are dropped. int8 weights are refused,
// and so are layers with more heads than fit the hidden size.
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
			continue // there may be no pooler
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

// places returns which of n heads stands at each column. The first heads have the given
// columns; the others, which are zeros, fill the rest.
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

// grow extends a tensor of one or two dimensions with zeros to a shape that is at least
// as large in each.
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
