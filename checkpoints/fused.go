package checkpoints

import (
	"fmt"
	"slices"
)

// fusedName is the beginning of the names of the tensors of fused linear layers.
func (c Config) fusedName(layer int, u fused) string {
	f := c.family()
	return fmt.Sprintf("%s%s%d.%s", f.prefix, f.layers, layer, u.name)
}

// fusedRows returns the numbers of rows of fused linear layers.
func (c Config) fusedRows(layer int, u fused) (rows []int, sum int) {
	for _, r := range u.parts {
		n := c.Layers[layer].Intermediate
		if r == Query || r == Key || r == Value {
			n = c.AttentionSize(layer)
		}
		rows, sum = append(rows, n), sum+n
	}
	return rows, sum
}

// divide replaces the tensors of fused linear layers by their parts, which are views of
// them.
func (c Config) divide(byName map[string]namedTensor) error {
	for l := range c.Layers {
		for _, u := range c.family().fused {
			rows, sum := c.fusedRows(l, u)
			for _, suffix := range []string{weightSuffix, biasSuffix} {
				name := c.fusedName(l, u) + suffix
				whole, ok := byName[name]
				if !ok {
					continue
				}
				shape, data := whole.t.tensor.Shape, whole.t.tensor.Data
				if whole.t.known && len(shape) == 0 || len(shape) > 0 && shape[0] != sum {
					return fmt.Errorf("tensor %s: shape %v, the configuration says %d rows", whole.original, shape, sum)
				}
				delete(byName, name)
				row := len(data) / sum
				for i, r := range u.parts {
					part := whole
					if len(shape) > 0 {
						part.t.tensor.Shape = append([]int{rows[i]}, shape[1:]...)
						part.t.tensor.Data, data = data[:rows[i]*row], data[rows[i]*row:]
					}
					own := r.In(l).String() + suffix
					if other, ok := byName[own]; ok {
						return fmt.Errorf("tensor %s: part of %s too, expected one of them", other.original, whole.original)
					}
					byName[own] = part
				}
			}
		}
	}
	return nil
}

// fuse replaces the tensors of linear layers that the family keeps in one by that one,
// under the family's own name. The scales of their inputs, which no other program
// reads, stay separate.
func (c Config) fuse(tensors map[string]Tensor) error {
	for l := range c.Layers {
		for _, u := range c.family().fused {
			_, rows := c.fusedRows(l, u)
			for _, suffix := range []string{weightSuffix, biasSuffix} {
				var whole Tensor
				for _, r := range u.parts {
					name := r.In(l).String() + suffix
					t, ok := tensors[name]
					switch {
					case !ok:
						continue // it is a bias
					case whole.Shape == nil:
						whole = Tensor{DType: t.DType, Shape: slices.Clone(t.Shape)}
						whole.Shape[0] = rows
						whole.Data = alignedBytes(whole.Elements() * t.DType.Size())[:0]
					case t.DType != whole.DType:
						return fmt.Errorf("tensor %s: %v beside %v of what shares a tensor with it: %w", name, t.DType, whole.DType, ErrUnsupported)
					}
					whole.Data = append(whole.Data, t.Data...)
					delete(tensors, name)
				}
				if whole.Shape != nil {
					tensors[c.fusedName(l, u)+suffix] = whole
				}
			}
		}
	}
	return nil
}
