package autograd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/skive-ml/skive/internal/gradcheck"
	"github.com/skive-ml/skive/internal/kernels"
)

// windowed is attention over long sequences, with its gradients: by a window, or by
// biases that do the same.
func windowed(t *testing.T, window, threads int, first, byBias bool, o AttentionOptions) (out []float32, gradients [][]float32) {
	t.Helper()
	const heads, dim = 2, 6
	lengths := []int{230, 3, 97, 1}
	r := rand.New(rand.NewPCG(3, 4))
	random := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		return v
	}
	g := New(Options{Threads: threads, Seed: 5})
	t.Cleanup(g.Close)
	boundaries := []int32{0}
	for _, n := range lengths {
		boundaries = append(boundaries, boundaries[len(boundaries)-1]+int32(n))
	}
	tokens := int(boundaries[len(lengths)])
	offsets := g.Ints("offsets", Boundaries)
	check(t, g.SetInts(offsets, boundaries))
	mask := g.InputWithGradient("mask", Sequences, heads)
	check(t, g.Set(mask, random(heads*len(lengths))))
	o.HeadMask = mask
	inputs := []*Node{mask}
	if byBias {
		const reach = 230
		bias := make([]float32, heads*(2*reach-1))
		for i := range bias {
			if d := i%(2*reach-1) - (reach - 1); max(d, -d) > window {
				bias[i] = -1e9
			}
		}
		o.Bias = g.Constant("bias", bias, heads, 2*reach-1)
	} else {
		o.Window = window
	}
	var context *Node
	coefficients := tokens * heads * dim
	if first {
		q, kv := g.InputWithGradient("q", Sequences, heads*dim), g.InputWithGradient("kv", Tokens, 2*heads*dim)
		check(t, g.Set(q, random(len(lengths)*heads*dim)))
		check(t, g.Set(kv, random(tokens*2*heads*dim)))
		inputs = append(inputs, q, kv)
		context, coefficients = g.FirstAttention(q, kv, offsets, heads, dim, o), len(lengths)*heads*dim
	} else {
		qkv := g.InputWithGradient("qkv", Tokens, 3*heads*dim)
		check(t, g.Set(qkv, random(tokens*3*heads*dim)))
		inputs = append(inputs, qkv)
		context = g.SelfAttention(qkv, offsets, heads, dim, o)
	}
	s, err := NewSession(g, g.apply(&dot{random(coefficients)}, []bool{true}, context))
	check(t, err)
	for range 2 { // buffers of the run before must not matter
		check(t, s.Run())
	}
	for _, n := range inputs {
		gradients = append(gradients, slices.Clone(s.Gradient(n)))
	}
	return slices.Clone(s.Value(context)), gradients
}

// Windows in sequences of several bands give what masked scores of all keys give, and
// the same bits at every level and with any number of threads.
func TestWindows(t *testing.T) {
	for _, window := range []int{1, 64, 500} {
		for _, first := range []bool{false, true} {
			for _, o := range []AttentionOptions{{}, {BF16: true}, {Dropout: 0.3}} {
				name := fmt.Sprintf("window %d, first tokens %v, %+v", window, first, o)
				out, gradients := windowed(t, window, 1, first, false, o)
				best := kernels.Current()
				for _, level := range kernels.Available() {
					if o.BF16 && level != best {
						continue // AMX has its own definition
					}
					restore := kernels.Use(level)
					again, same := windowed(t, window, 3, first, false, o)
					if !slices.Equal(again, out) || !slices.EqualFunc(same, gradients, slices.Equal) {
						t.Errorf("%s, %v: other bits", name, level)
					}
					restore()
				}
				if o.Dropout > 0 {
					continue // which falls on other places
				}
				tolerance := 1e-5
				if o.BF16 {
					tolerance = 0.03
				}
				want, by := windowed(t, window, 2, first, true, o)
				if e := gradcheck.RelativeError(out, gradcheck.Float64s(want)); e > tolerance {
					t.Errorf("%s: the output is off by %.1e of its largest element", name, e)
				}
				for i := range gradients {
					if e := gradcheck.RelativeError(gradients[i], gradcheck.Float64s(by[i])); e > tolerance {
						t.Errorf("%s: gradient %d is off by %.1e of its largest element", name, i, e)
					}
				}
			}
		}
	}
}
