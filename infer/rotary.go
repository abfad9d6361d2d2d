package infer

import (
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/kernels"
)

// rotary describes the angles by which positions turn queries and keys: those of
// checkpoints.Block.RotaryBase, for heads of one width.
type rotary struct {
	base, scale float64
	width       int
}

// turns holds the cosines and sines of these angles, [positions, width/2], as far as
// they have been needed.
type turns struct {
	cos, sin []float32
}

// rotary returns the number of a layer's angles in w.rotaries, -1 for none.
func (w *weights) rotary(b checkpoints.Block) int {
	if b.RotaryBase == 0 {
		return -1
	}
	r := rotary{b.RotaryBase, b.RotaryScale, b.HeadDim}
	i := slices.Index(w.rotaries, r)
	if i < 0 {
		i = len(w.rotaries)
		w.rotaries = append(w.rotaries, r)
	}
	return i
}

// reserveTurns computes the angles for the longest sequence of the call, if no earlier
// call had one as long.
func (r *run) reserveTurns() {
	if len(r.weights.rotaries) == 0 {
		return
	}
	longest := 0
	for s := range r.sequences {
		_, n, _ := r.span(s)
		longest = max(longest, n)
	}
	if r.turns == nil {
		r.turns = make([]turns, len(r.weights.rotaries))
	}
	for i, y := range r.weights.rotaries {
		r.turns[i].extend(y, longest)
	}
}

// extend computes the angles of the first positions.
func (t *turns) extend(y rotary, positions int) {
	if first := len(t.cos) / (y.width / 2); first < positions {
		cos, sin := checkpoints.Block{HeadDim: y.width, RotaryBase: y.base, RotaryScale: y.scale}.Turns(first, positions)
		t.cos, t.sin = append(t.cos, cos...), append(t.sin, sin...)
	}
}

// turn turns the queries and keys of the rows [lo, hi) by their positions. Queries of
// first tokens that are stored apart are at position 0, and stay as they are.
func (r *run) turn(w *worker, layer, lo, hi int) {
	l := &r.weights.layers[layer]
	n := 2 * l.heads * r.weights.config.HeadDim
	if l.query != nil {
		n /= 2
	}
	r.turnRows(w, l.rotary, r.projected, l.project.out, n, lo, hi)
}

// turnRows turns the first n numbers of the rows [lo, hi) of x, which lie ld apart.
func (r *run) turnRows(w *worker, rotary int, x []float32, ld, n, lo, hi int) {
	if rotary < 0 {
		return
	}
	w.start()
	t, half := &r.turns[rotary], r.weights.rotaries[rotary].width/2
	for i := lo; i < hi; i++ {
		at := int(r.positions[i]) * half
		kernels.Rotate(x[i*ld:][:n], t.cos[at:][:half], t.sin[at:][:half])
	}
	w.stop(stageAttention)
}
