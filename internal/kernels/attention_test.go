package kernels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAttentionIsAttention(t *testing.T) {
	t.Run("f32", func(t *testing.T) { testAttention(t, false, Attention.Forward, 1e-5) })
	t.Run("bf16", func(t *testing.T) { testAttention(t, false, Attention.ForwardBF16, 0.02) })
	t.Run("f32 with biases", func(t *testing.T) { testAttention(t, true, Attention.Forward, 1e-5) })
	t.Run("bf16 with biases", func(t *testing.T) { testAttention(t, true, Attention.ForwardBF16, 0.02) })
}

func testAttention(t *testing.T, biased bool, attention func(a Attention, ctx []float32, ldctx int, probs []float32, s *Scratch), within float64) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, size := range []struct{ n, nq, d int }{{1, 1, 26}, {7, 7, 26}, {19, 1, 32}, {130, 130, 64}, {33, 20, 13}} {
		n, nq, d := size.n, size.nq, size.d
		ld := 3*d + 2 // query, key and value side by side
		x := randomFloats(rng, n*ld)
		q, k, v := RowMajor(x, ld), RowMajor(x[d:], ld), RowMajor(x[2*d:], ld)
		const scale, mask = 0.7, 0.25
		ctx, probs := make([]float32, nq*(d+1)), make([]float32, nq*n)
		a := Attention{Tokens: n, Queries: nq, Width: d, Q: q, K: k, V: v, Scale: scale, Mask: mask}
		bias := make([]float32, 2*n-1)
		if biased {
			bias = randomFloats(rng, 2*n-1)
			a.Bias = bias
		}
		var s Scratch
		attention(a, ctx, d+1, probs, &s)
		for i := range nq {
			p, sum := make([]float64, n), 0.0
			for j := range n {
				var score float64
				for e := range d {
					score += float64(q.at(i, e)) * float64(k.at(j, e))
				}
				p[j] = math.Exp(score*scale + float64(bias[n-1+j-i]))
				sum += p[j]
			}
			for j := range n {
				if math.Abs(float64(probs[i*n+j])-p[j]/sum) > within {
					t.Fatalf("%+v: probability (%d, %d) is %g, want %g", size, i, j, probs[i*n+j], p[j]/sum)
				}
			}
			for e := range d {
				var want float64
				for j := range n {
					want += p[j] / sum * float64(v.at(j, e))
				}
				if math.Abs(float64(ctx[i*(d+1)+e])-mask*want) > within {
					t.Fatalf("%+v: context (%d, %d) is %g, want %g", size, i, e, ctx[i*(d+1)+e], mask*want)
				}
			}
			if ctx[i*(d+1)+d] != 0 {
				t.Fatalf("%+v: wrote beyond a row", size)
			}
		}
		without := make([]float32, len(ctx))
		attention(a, without, d+1, nil, &s)
		if !slices.Equal(without, ctx) {
			t.Errorf("%+v: another result without the probabilities", size)
		}
		for _, level := range Available() {
			restore := UseDefinition(level)
			attention(a, ctx, d+1, nil, &s)
			restore()
			restore = Use(level)
			attention(a, without, d+1, nil, &s)
			restore()
			if diffAt(without, ctx) >= 0 {
				t.Errorf("%+v: another result at level %v", size, level)
			}
		}
	}
}
