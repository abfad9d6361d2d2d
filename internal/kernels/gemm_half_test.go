package kernels

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestGemmHalfIsTheProductOfTheWidened(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(5, 6))
		for _, size := range [][3]int{{1, 16, 1}, {3, 5, 7}, {7, 100, 33}, {1, 312, 600}, {17, 1200, 312}, {2, 0, 20}} {
			m, k, n := size[0], size[1], size[2]
			a, bias := randomFloats(rng, m*k), randomFloats(rng, n)
			var b PanelsHalf
			b.Pack(Transposed(randomFloats(rng, k*n), k), k, n)
			wide := PanelsF32{K: k, N: n, Data: make([]float32, len(b.Data))}
			F16ToF32(wide.Data, b.Data)
			for lo := 0; lo < b.Panels(); lo += 1 + b.Panels()/2 {
				for _, ep := range []Epilogue{{Bias: bias, Activation: GELU}, {Accumulate: true}, {Bias: bias, PreActivation: outputs(rng, m, n, n+3)}} {
					var s Scratch
					got := outputs(rng, m, n, n+3)
					want := append([]float32(nil), got...)
					GemmF32(m, RowMajor(a, k), &wide, lo, b.Panels(), want, n+3, ep, &s)
					pre := append([]float32(nil), ep.PreActivation...)
					GemmHalf(m, RowMajor(a, k), &b, lo, b.Panels(), got, n+3, ep, &s)
					if i := diffAt(got, want); i >= 0 {
						t.Fatalf("%v from panel %d: element %d is %g, want %g", size, lo, i, got[i], want[i])
					}
					if i := diffAt(ep.PreActivation, pre); i >= 0 {
						t.Fatalf("%v: input %d of the activation is %g, want %g", size, i, ep.PreActivation[i], pre[i])
					}
				}
			}
		}
	})
}

func BenchmarkGemmHalf(b *testing.B) {
	for _, size := range [][3]int{{128, 312, 1200}, {16, 768, 768}, {1, 768, 3072}} {
		m, k, n := size[0], size[1], size[2]
		rng := rand.New(rand.NewPCG(5, 6))
		var w PanelsHalf
		w.Pack(Transposed(randomFloats(rng, k*n), k), k, n)
		a, c := randomFloats(rng, m*k), make([]float32, m*n)
		var s Scratch
		b.Run(fmt.Sprintf("%dx%dx%d", m, k, n), func(b *testing.B) {
			for b.Loop() {
				GemmHalf(m, RowMajor(a, k), &w, 0, w.Panels(), c, n, Epilogue{}, &s)
			}
			b.ReportMetric(2*float64(m)*float64(k)*float64(n)/float64(b.Elapsed().Nanoseconds())*float64(b.N), "GFLOPS")
		})
	}
}
