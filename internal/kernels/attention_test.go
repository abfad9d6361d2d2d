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

// A window gives the bits of products with all keys whose scores outside of it are
// -Inf, with the probabilities and without, at every level.
func TestWindowIsMaskedAttention(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const d = 20
	for _, size := range []struct{ n, nq, window int }{{1, 1, 4}, {5, 5, 4}, {40, 40, 1}, {97, 97, 16}, {300, 300, 64}, {300, 1, 64}, {417, 417, 500}, {700, 700, 13}} {
		n, nq := size.n, size.nq
		x := randomFloats(rng, n*3*d)
		a := Attention{Tokens: n, Queries: nq, Width: d, Q: RowMajor(x, 3*d), K: RowMajor(x[d:], 3*d), V: RowMajor(x[2*d:], 3*d), Scale: 0.3, Mask: 0.5}
		for _, biased := range []bool{false, true} {
			if a.Bias = nil; biased {
				a.Bias = randomFloats(rng, 2*n-1)
			}
			masked := a
			masked.Bias = make([]float32, 2*n-1)
			copy(masked.Bias, a.Bias)
			for i := range masked.Bias {
				if distance := i - (n - 1); max(distance, -distance) > size.window {
					masked.Bias[i] = float32(math.Inf(-1))
				}
			}
			if !biased { // biases of 0 make a rounding more
				a.Bias = make([]float32, 2*n-1)
			}
			a.Window = size.window
			for name, attention := range map[string]func(a Attention, ctx []float32, ldctx int, probs []float32, s *Scratch){"f32": Attention.Forward, "bf16": Attention.ForwardBF16} {
				var s Scratch
				want, got, without := make([]float32, nq*d), make([]float32, nq*d), make([]float32, nq*d)
				wantProbs, probs := make([]float32, nq*n), make([]float32, nq*n)
				for _, level := range Available() {
					restore := UseDefinition(level)
					attention(masked, want, d, wantProbs, &s)
					restore()
					restore = Use(level)
					attention(a, got, d, probs, &s)
					attention(a, without, d, nil, &s)
					restore()
					if diffAt(got, want) >= 0 || diffAt(probs, wantProbs) >= 0 || diffAt(without, want) >= 0 {
						t.Errorf("%+v, %s, biased %v, %v: not the bits of masked scores", size, name, biased, level)
					}
				}
			}
		}
		// Without biases the scale is multiplied within the softmax, so that bits differ.
		a.Bias = nil
		ctx, all := make([]float32, nq*d), make([]float32, nq*n)
		var s Scratch
		a.Forward(ctx, d, all, &s)
		scores := make([]float32, nq*n)
		product32(nq, a.Q, a.K.T(), d, n, scores)
		a.Softmax(scores)
		if diffAt(scores, all) >= 0 {
			t.Errorf("%+v: Softmax has other bits", size)
		}
	}
}

// product32 is the product of two matrices.
func product32(m int, a, b ViewF32, k, n int, c []float32) {
	var p PanelsF32
	var s Scratch
	p.Pack(b, k, n)
	GemmF32(m, a, &p, 0, p.Panels(), c, n, Epilogue{}, &s)
}

func TestRotate(t *testing.T) {
	x := []float32{1, 2, 3, 4, 5, 6, 7, 8}
	angles := []float64{0.5, 2}
	cos, sin := make([]float32, 2), make([]float32, 2)
	for i, a := range angles {
		cos[i], sin[i] = float32(math.Cos(a)), float32(math.Sin(a))
	}
	y := slices.Clone(x)
	Rotate(y, cos, sin)
	for head := range 2 {
		for k, a := range angles {
			u, v := float64(x[4*head+k]), float64(x[4*head+k+2])
			if g, w := float64(y[4*head+k]), u*math.Cos(a)-v*math.Sin(a); math.Abs(g-w) > 1e-5 {
				t.Errorf("head %d: %d is %g, want %g", head, k, g, w)
			}
			if g, w := float64(y[4*head+k+2]), v*math.Cos(a)+u*math.Sin(a); math.Abs(g-w) > 1e-5 {
				t.Errorf("head %d: %d is %g, want %g", head, k+2, g, w)
			}
		}
	}
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
