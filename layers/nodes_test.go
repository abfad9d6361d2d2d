package layers

import (
	"runtime"
	"testing"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
)

// A layer is some operations and no more, each within one of its blocks, and its
// gradients are nodes of the same graph.
func TestNodesPerLayer(t *testing.T) {
	t.Parallel()
	count := func(layers int) (forward, total int) {
		g := newGraph(t)
		in := NewInputs(g)
		c, err := NewClassifier(g, in, checkpoints.InitBERT(benchConfig(16, layers, 2, 10), 1), Options{})
		check(t, err)
		loss := g.CrossEntropy(c.Logits, g.Ints("labels", autograd.Sequences), autograd.Mean)
		operations := func() int {
			n := 0
			for _, node := range c.Logits.Graph().AllNodes() {
				if node.Op() != nil {
					n++
				}
			}
			return n
		}
		forward = operations()
		_, err = autograd.NewSession(g, loss)
		check(t, err)
		return forward, operations()
	}
	forward2, total2 := count(2)
	forward3, total3 := count(3)
	// QKV, attention, its output, LayerNorm, intermediate, output, LayerNorm.
	if n := forward3 - forward2; n != 7 {
		t.Errorf("a layer has %d operations, want 7", n)
	}
	// Seven backward operations, twelve further gradients of weights and biases,
	// and the two sums at the residual connections.
	if n := total3 - total2 - 7; n != 7+12+2 {
		t.Errorf("a layer's gradients are %d operations, want 21", n)
	}
}

// What it takes to make a training graph grows with its layers, not with their
// square. Allocations tell as times do, whatever else the machine does.
func TestGraphsOfManyLayers(t *testing.T) {
	allocated := func(layers int) uint64 {
		m := checkpoints.InitBERT(benchConfig(16, layers, 2, 10), 1)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		g := newGraph(t)
		c, err := NewClassifier(g, NewInputs(g), m, Options{})
		check(t, err)
		_, err = autograd.NewSession(g, g.CrossEntropy(c.Logits, g.Ints("labels", autograd.Sequences), autograd.Mean))
		check(t, err)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	few, many := allocated(32), allocated(128)
	if many > 6*few {
		t.Errorf("32 layers allocate %d bytes, 128 layers %d", few, many)
	}
}
