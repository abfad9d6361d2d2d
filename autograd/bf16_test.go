package autograd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/skive-ml/skive/internal/kernels"
)

// rounded returns x in bfloat16.
func rounded(x []float32) []float32 {
	half, y := make([]uint16, len(x)), make([]float32, len(x))
	kernels.F32ToBF16(half, x)
	kernels.BF16ToF32(y, half)
	return y
}

// The three products of a linear layer are those of rounded factors, and nothing
// else of it is rounded.
func TestBF16RoundsTheFactorsOfProducts(t *testing.T) {
	t.Parallel()
	const rows, in, out = 40, 33, 21
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	x, w, bias, coefficients := random(rows*in), random(out*in), random(out), random(rows*out)
	var first [][]float32
	for _, threads := range []int{1, 2, 7} {
		g := New(Options{Threads: threads})
		defer g.Close()
		input := g.InputWithGradient("x", Tokens, in)
		check(t, g.Set(input, x))
		weight, b := g.Parameter("w", w, out, in), g.Parameter("b", bias, out)
		y := g.LinearBF16(input, weight, b, Identity)
		s, err := NewSession(g, g.apply(&dot{coefficients}, []bool{true}, y))
		check(t, err)
		check(t, s.Run())
		got := [][]float32{s.Value(y), s.Gradient(input), s.Gradient(weight), s.Gradient(b)}
		if first == nil {
			first = got
		}
		for i := range got {
			if !slices.Equal(got[i], first[i]) {
				t.Errorf("%d threads: other bits", threads)
			}
		}
	}
	xr, wr, dr := rounded(x), rounded(w), rounded(coefficients)
	compare := func(name string, got []float32, m, n, k int, a, b func(i, p int) float32, bias []float32) {
		t.Helper()
		for i := range m {
			for j := range n {
				want, size := 0.0, 1.0
				for p := range k {
					product := float64(a(i, p)) * float64(b(j, p))
					want, size = want+product, size+math.Abs(product)
				}
				if bias != nil {
					want += float64(bias[j])
				}
				if d := math.Abs(float64(got[i*n+j]) - want); !(d < 1e-6*size) {
					t.Fatalf("%s: element (%d, %d) is %g, want %g", name, i, j, got[i*n+j], want)
				}
			}
		}
	}
	compare("output", first[0], rows, out, in, func(i, p int) float32 { return xr[i*in+p] }, func(j, p int) float32 { return wr[j*in+p] }, bias)
	compare("input's gradient", first[1], rows, in, out, func(i, p int) float32 { return dr[i*out+p] }, func(j, p int) float32 { return wr[p*in+j] }, nil)
	compare("weight's gradient", first[2], out, in, rows, func(i, p int) float32 { return dr[p*out+i] }, func(j, p int) float32 { return xr[p*in+j] }, nil)
	compare("bias's gradient", first[3], 1, out, rows, func(i, p int) float32 { return 1 }, func(j, p int) float32 { return coefficients[p*out+j] }, nil)
	if slices.Equal(w, wr) {
		t.Error("the weights themselves are rounded")
	}
}

// Attention in bfloat16 has the values and gradients of attention in float32 but
// for the rounding of factors, head masks, dropout and first tokens included.
func TestBF16AttentionIsCloseToFloat32(t *testing.T) {
	t.Parallel()
	const heads, dim = 3, 26
	offsets := []int32{0, 1, 41, 110}
	tokens, sequences := int(offsets[3]), len(offsets)-1
	for _, c := range []struct {
		name   string
		first  bool
		masked bool
		p      float32
	}{
		{name: "plain"}, {name: "masked", masked: true}, {name: "dropout", p: 0.2}, {name: "masked, dropout", masked: true, p: 0.2},
		{name: "first", first: true}, {name: "first, masked, dropout", first: true, masked: true, p: 0.2},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := func(bf16 bool, threads int) (values [][]float32) {
				r := rand.New(rand.NewPCG(5, 6))
				g := New(Options{Threads: threads, Seed: 1})
				defer g.Close()
				input := func(name string, along Extent, rows, columns int, scale float64) *Node {
					n := g.InputWithGradient(name, along, columns)
					x := make([]float32, rows*columns)
					for i := range x {
						x[i] = float32(r.NormFloat64() * scale)
					}
					check(t, g.Set(n, x))
					return n
				}
				at := g.Ints("offsets", Boundaries)
				check(t, g.SetInts(at, offsets))
				o := AttentionOptions{Dropout: c.p, BF16: bf16}
				var inputs []*Node
				if c.masked {
					o.HeadMask = input("mask", Sequences, sequences, heads, 1)
					inputs = append(inputs, o.HeadMask)
				}
				var y *Node
				rows := tokens
				if c.first {
					q, kv := input("q", Sequences, sequences, heads*dim, 1), input("kv", Tokens, tokens, 2*heads*dim, 1)
					inputs, rows = append(inputs, q, kv), sequences
					y = g.FirstAttention(q, kv, at, heads, dim, o)
				} else {
					qkv := input("qkv", Tokens, tokens, 3*heads*dim, 1)
					inputs = append(inputs, qkv)
					y = g.SelfAttention(qkv, at, heads, dim, o)
				}
				coefficients := make([]float32, rows*heads*dim)
				for i := range coefficients {
					coefficients[i] = float32(r.NormFloat64())
				}
				s, err := NewSession(g, g.apply(&dot{coefficients}, []bool{true}, y))
				check(t, err)
				check(t, s.Run())
				values = append(values, slices.Clone(s.Value(y)))
				for _, n := range inputs {
					values = append(values, slices.Clone(s.Gradient(n)))
				}
				return values
			}
			want, got, other := run(false, 1), run(true, 1), run(true, 3)
			for i := range want {
				if !slices.Equal(got[i], other[i]) {
					t.Errorf("tensor %d: other bits on three threads", i)
				}
				if slices.Equal(got[i], want[i]) {
					t.Errorf("tensor %d: nothing is rounded", i)
				}
				var worst, size float64
				for j := range want[i] {
					worst = max(worst, math.Abs(float64(got[i][j]-want[i][j])))
					size = max(size, math.Abs(float64(want[i][j])))
				}
				// Factors have 8 bits, and each value is a few products deep.
				if !(worst < 0.02*size) {
					t.Errorf("tensor %d: %g from float32, whose largest is %g", i, worst, size)
				}
			}
		})
	}
}
