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
