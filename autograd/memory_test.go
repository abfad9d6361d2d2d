package autograd

import (
	"fmt"
	"testing"
)

// used returns the bytes of the graph's buffers after a run.
func (g *Graph) used() (bytes int64) {
	seen := map[*float32]bool{}
	count := func(data []float32) {
		if cap(data) > 0 && !seen[&data[:1][0]] {
			seen[&data[:1][0]] = true
			bytes += 4 * int64(len(data))
		}
	}
	for _, info := range g.nodes {
		if info.op == nil {
			continue
		}
		count(info.op.result.data)
		for i, n := range info.op.inputs {
			if !g.nodes[n].source {
				count(info.op.grads[i].data)
			}
		}
		if l, ok := info.op.block.(*quantizedLinear); ok {
			bytes += int64(len(l.weight))
		}
		if s, ok := info.op.block.(stasher); ok {
			for _, data := range s.stash() {
				count(*data)
			}
		}
	}
	return bytes + 4*int64(len(g.panels.f32.Data)+len(g.dequantized))
}

// The estimate is an upper bound that is not far from what a run takes, and
// segments take less and give the same gradients.
func TestMemory(t *testing.T) {
	t.Parallel()
	t.Run("float", func(t *testing.T) { testMemory(t, (*Graph).Linear) })
	t.Run("int8", func(t *testing.T) {
		testMemory(t, func(g *Graph, x, w, b *Node, a Activation) *Node { return g.QuantizedLinear(x, w, b, nil, a) })
	})
}

func testMemory(t *testing.T, linear func(g *Graph, x, w, b *Node, a Activation) *Node) {
	const tokens, width, blocks = 96, 32, 6
	var bytes []int64
	var gradients [2][]float32
	for i, segments := range []bool{false, true} {
		g := New(Options{Threads: 1})
		defer g.Close()
		offsets := g.Ints("offsets", Boundaries)
		input := g.Input("x", Tokens, width)
		x := input
		for b := range blocks {
			weights := func(name string, rows, columns int) *Node {
				w := make([]float32, rows*columns)
				for i := range w {
					w[i] = float32((i*7+b)%13-6) / 40
				}
				return g.Parameter(fmt.Sprintf("%s.%d", name, b), w, rows, columns)
			}
			one := func(name string, width int) *Node {
				return g.Parameter(fmt.Sprintf("%s.%d", name, b), filled(width, 1), width)
			}
			build := func() *Node {
				y := g.SelfAttention(g.Linear(x, weights("qkv", 3*width, width), nil, Identity), offsets, 2, width/2, AttentionOptions{Dropout: 0.1})
				y = linear(g, y, weights("up", 4*width, width), one("up bias", 4*width), GELU)
				y = linear(g, y, weights("down", width, 4*width), one("down bias", width), Identity)
				return g.AddLayerNorm(g.Dropout(y, 0.1), x, one("gamma", width), one("beta", width), 1e-12)
			}
			if segments {
				x = g.Segment(build)
			} else {
				x = build()
			}
		}
		session, err := NewSession(g, g.MSE(x, input))
		check(t, err)
		check(t, g.SetInts(offsets, []int32{0, 40, 96}))
		values := make([]float32, tokens*width)
		for i := range values {
			values[i] = float32(i%17) / 17
		}
		check(t, g.Set(input, values))
		check(t, session.Run())
		for _, p := range g.Parameters() {
			gradients[i] = append(gradients[i], p.Gradient...)
		}
		estimate, used := g.Memory(Extents{Tokens: tokens, Sequences: 2, Longest: 56}), g.used()
		if used > estimate || used < estimate*3/4 {
			t.Errorf("segments %v: the estimate is %d bytes, the run took %d", segments, estimate, used)
		}
		bytes = append(bytes, used)
	}
	if bytes[1] > bytes[0]/2 {
		t.Errorf("%d bytes with segments, %d without", bytes[1], bytes[0])
	}
	for i, v := range gradients[0] {
		if gradients[1][i] != v {
			t.Fatal("segments give other gradients")
		}
	}
}

func filled(n int, v float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = v
	}
	return x
}

func TestSegmentsAreClosed(t *testing.T) {
	t.Parallel()
	g := New(Options{Threads: 1})
	defer g.Close()
	x := g.Input("x", Tokens, 2)
	w := g.Parameter("w", filled(4, 1), 2, 2)
	var inner *Node
	g.Segment(func() *Node {
		inner = g.Linear(x, w, nil, Identity)
		return g.Linear(inner, w, nil, Identity)
	})
	g.Dropout(inner, 0.5)
	if err := g.Err(); err == nil || err.Error() != "autograd: Dropout: input 0 is recomputed, and is not there outside of its segment" {
		t.Errorf("error %v", err)
	}
}
