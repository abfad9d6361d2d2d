package kernels

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Terms of distances are added to the scores, over blocks of queries and for one
// query, with the same bits at every level and from AddRelative.
func TestRelativeTermsAreAdded(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	const d, reach, count = 20, 200, 24
	rows := make([]int32, 2*reach-1) // eight distances share each
	for i := range rows {
		rows[i] = min(max(count/2+int32(reach-1-i)/8, 1), count-1)
	}
	distances := randomFloats(rng, count*2*d)
	for _, size := range []struct{ n, nq int }{{1, 1}, {7, 7}, {200, 200}, {150, 1}, {97, 97}} {
		n, nq := size.n, size.nq
		x := randomFloats(rng, n*3*d)
		a := Attention{
			Tokens: n, Queries: nq, Width: d, Q: RowMajor(x, 3*d), K: RowMajor(x[d:], 3*d), V: RowMajor(x[2*d:], 3*d), Scale: 0.3, Mask: 1,
			Relative: Relative{Q: RowMajor(distances, 2*d), K: RowMajor(distances[d:], 2*d), Rows: rows[reach-n:][:2*n-1]},
		}
		var s Scratch
		for name, rounded := range map[string]bool{"f32": false, "bf16": true} {
			attention, within := Attention.Forward, 1e-5
			if rounded {
				attention, within = Attention.ForwardBF16, 0.04
			}
			ctx, probs := make([]float32, nq*d), make([]float32, nq*n)
			attention(a, ctx, d, probs, &s)
			for i := range nq {
				p, sum := make([]float64, n), 0.0
				for j := range n {
					var score float64
					r := int(a.Relative.Rows[n-1+j-i])
					for e := range d {
						q, k := float64(a.Q.at(i, e)), float64(a.K.at(j, e))
						score += q*k + q*float64(a.Relative.K.at(r, e)) + k*float64(a.Relative.Q.at(r, e))
					}
					p[j] = math.Exp(score * 0.3)
					sum += p[j]
				}
				for j := range n {
					if got, want := float64(probs[i*n+j]), p[j]/sum; !(math.Abs(got-want) < within) {
						t.Fatalf("%s %+v: probability (%d, %d) is %g, want %g", name, size, i, j, got, want)
					}
				}
			}
			if !rounded {
				scores := make([]float32, nq*n)
				product32(nq, a.Q, a.K.T(), d, n, scores)
				a.AddRelative(scores, false, &s)
				a.Softmax(scores)
				if diffAt(scores, probs) >= 0 {
					t.Errorf("%+v: AddRelative has other bits", size)
				}
			}
			for _, level := range Available() {
				want, wantProbs, got, gotProbs := make([]float32, nq*d), make([]float32, nq*n), make([]float32, nq*d), make([]float32, nq*n)
				restore := UseDefinition(level)
				attention(a, want, d, wantProbs, &s)
				restore()
				restore = Use(level)
				attention(a, got, d, gotProbs, &s)
				restore()
				if diffAt(got, want) >= 0 || diffAt(gotProbs, wantProbs) >= 0 {
					t.Errorf("%s %+v: other bits at %v", name, size, level)
				}
			}
		}
	}
}
