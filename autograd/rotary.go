package autograd

import (
	"fmt"

	"github.com/skive-ml/skive/internal/kernels"
)

// Turns are the cosines and sines of the angles by which Rotary turns, as far as
// positions have needed them. Operations of one graph may share them.
type Turns struct {
	half    int
	compute func(first, end int) (cos, sin []float32)
	// back are the sines of the opposite angles.
	cos, sin, back []float32
}

// NewTurns returns the turns of heads of a width, an even number. Compute gives the
// cosines and sines of the positions [first, end), [end - first, width/2].
func NewTurns(width int, compute func(first, end int) (cos, sin []float32)) *Turns {
	return &Turns{half: width / 2, compute: compute}
}

// extend computes the angles up to a number of positions.
func (t *Turns) extend(positions int) {
	if first := len(t.cos) / t.half; first < positions {
		cos, sin := t.compute(first, positions)
		t.cos, t.sin = append(t.cos, cos...), append(t.sin, sin...)
		for _, v := range sin {
			t.back = append(t.back, -v)
		}
	}
}

// rotary turns queries and keys by their positions.
type rotary struct {
	turns   *Turns
	columns int
}

// Rotary turns the first columns of x [tokens, ...], which are heads of the width of
// t, by the angles of the tokens' positions [tokens]: elements k and k + width/2 of a
// head are a pair (rotary positions, Su et al., arXiv 2104.09864). The other columns
// stay.
func (g *Graph) Rotary(x, positions *Node, columns int, t *Turns) *Node {
	if t == nil || t.half < 1 || columns < 1 || columns%(2*t.half) != 0 {
		return g.fail("Rotary: %d columns, want heads of a positive even width", columns)
	}
	return g.apply(&rotary{t, columns}, []bool{true, false}, x, positions)
}

func (*rotary) name() string { return "Rotary" }

func (r *rotary) shape(in []array) (array, error) {
	x, positions := in[0], in[1]
	if x.dims != 2 || x.columns < r.columns || positions.dims != 1 || positions.i == nil || positions.rows != x.rows {
		return array{}, fmt.Errorf("input is %v and positions %v, want [tokens, at least %d] and [tokens] integers", x, positions, r.columns)
	}
	return x, nil
}

func (r *rotary) forward(g *Graph, in []array, out array, _ bool) error {
	longest := 0
	for t, p := range in[1].i {
		if p < 0 || int(p) >= out.rows {
			return fmt.Errorf("position %d of token %d, want 0 to %d", p, t, out.rows-1)
		}
		longest = max(longest, int(p)+1)
	}
	r.turns.extend(longest)
	r.turn(g, out, in[0].f, in[1].i, r.turns.sin)
	return nil
}

func (r *rotary) backward(g *Graph, in []array, out, dout array, d []array) error {
	r.turn(g, d[0], dout.f, in[1].i, r.turns.back)
	return nil
}

func (r *rotary) turn(g *Graph, to array, from []float32, positions []int32, sin []float32) {
	half := r.turns.half
	g.rows(to.rows, func(_, _, lo, hi int) {
		copy(to.of(lo, hi), from[lo*to.columns:])
		for i := lo; i < hi; i++ {
			at := int(positions[i]) * half
			kernels.Rotate(to.row(i)[:r.columns], r.turns.cos[at:][:half], sin[at:][:half])
		}
	})
}
