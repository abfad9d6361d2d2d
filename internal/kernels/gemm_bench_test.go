package kernels_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/kernels/peak"
)

// measure times f, which does ops operations, and before each of its runs the
// core's own peak by the wall clock. It reports the medians, and as the share of
// the peak the median over these pairs, of which both see the same clock and the
// same neighbours on the core's other thread; best is the share of the best run
// in the best peak.
func measure(b *testing.B, ops float64, unit string, peakOf func(kernels.Level) float64, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var rates, peaks, shares []float64
	f()
	for b.Loop() {
		peak := peakOf(kernels.Current())
		start := threadSeconds()
		f()
		rate := ops / (threadSeconds() - start)
		rates, peaks, shares = append(rates, rate), append(peaks, peak), append(shares, rate/peak)
	}
	median := func(x []float64) float64 {
		slices.Sort(x)
		return x[len(x)/2]
	}
	rate, peak, share := median(rates), median(peaks), median(shares)
	b.ReportMetric(ops/rate*1e9, "ns/op")
	b.ReportMetric(rate/1e9, unit)
	if peak > 0 {
		b.ReportMetric(peak/1e9, "peak-"+unit)
		b.ReportMetric(100*share, "%peak")
		b.ReportMetric(100*slices.Max(rates)/slices.Max(peaks), "%best")
	}
}

func floats(n int) []float32 {
	rng := rand.New(rand.NewPCG(1, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = rng.Float32() - 0.5
	}
	return x
}

var benchShapes = [][3]int{ // m, k, n
	{512, 768, 768}, {512, 768, 3072}, {512, 3072, 768}, {128, 312, 1200}, {128, 1200, 312}, {128, 384, 384},
	{64, 312, 312}, {32, 768, 768}, {64, 768, 768}, {128, 768, 768}, {256, 768, 768}, {16, 312, 1200}, {16, 768, 768}, {1, 312, 1200}, {1, 768, 768},
}

func BenchmarkGemmF32(b *testing.B) {
	for _, shape := range benchShapes {
		m, k, n := shape[0], shape[1], shape[2]
		x, w, bias, c := floats(m*k), floats(n*k), floats(n), make([]float32, m*n)
		var p kernels.PanelsF32
		var s kernels.Scratch
		p.Pack(kernels.Transposed(w, k), k, n)
		b.Run(fmt.Sprintf("%dx%dx%d", m, k, n), func(b *testing.B) {
			measure(b, 2*float64(m*k*n), "GFLOPS", peak.F32, func() {
				kernels.GemmF32(m, kernels.RowMajor(x, k), &p, 0, p.Panels(), c, n, kernels.Epilogue{Bias: bias}, &s)
			})
		})
	}
}

func BenchmarkGemmBF16(b *testing.B) {
	for _, shape := range benchShapes {
		m, k, n := shape[0], shape[1], shape[2]
		x, w, bias, c := floats(m*k), floats(n*k), floats(n), make([]float32, m*n)
		var p kernels.PanelsBF16
		var s kernels.Scratch
		p.Pack(kernels.Transposed(w, k), k, n)
		b.Run(fmt.Sprintf("%dx%dx%d", m, k, n), func(b *testing.B) {
			measure(b, 2*float64(m*k*n), "GFLOPS", peak.BF16, func() {
				kernels.GemmBF16(m, kernels.RowMajor(x, k), &p, 0, p.Panels(), c, n, kernels.Epilogue{Bias: bias}, &s)
			})
		})
	}
}

// BenchmarkGemmF32Training measures the three products of a linear layer as
// training does them, packing included.
func BenchmarkGemmF32Training(b *testing.B) {
	var p kernels.PanelsF32
	var s kernels.Scratch
	benchmarkTraining(b, peak.F32, func(m, k, n int, a, right kernels.ViewF32, c []float32) {
		p.Pack(right, k, n)
		kernels.GemmF32(m, a, &p, 0, p.Panels(), c, n, kernels.Epilogue{}, &s)
	})
}

func BenchmarkGemmBF16Training(b *testing.B) {
	var p kernels.PanelsBF16
	var s kernels.Scratch
	benchmarkTraining(b, peak.BF16, func(m, k, n int, a, right kernels.ViewF32, c []float32) {
		p.Pack(right, k, n)
		kernels.GemmBF16(m, a, &p, 0, p.Panels(), c, n, kernels.Epilogue{}, &s)
	})
}

func benchmarkTraining(b *testing.B, peakOf func(kernels.Level) float64, gemm func(m, k, n int, a, right kernels.ViewF32, c []float32)) {
	const m, k, n = 1024, 768, 3072
	x, w, dy := floats(m*k), floats(n*k), floats(m*n)
	c := make([]float32, m*n+n*k)
	run := func(name string, m, k, n int, a, right kernels.ViewF32) {
		b.Run(name, func(b *testing.B) {
			measure(b, 2*float64(m*k*n), "GFLOPS", peakOf, func() { gemm(m, k, n, a, right, c) })
		})
	}
	run("NT", m, k, n, kernels.RowMajor(x, k), kernels.Transposed(w, k))  // y = x·wᵀ
	run("NN", m, n, k, kernels.RowMajor(dy, n), kernels.RowMajor(w, k))   // dx = dy·w
	run("TN", n, m, k, kernels.Transposed(dy, n), kernels.RowMajor(x, k)) // dw = dyᵀ·x
}

func BenchmarkGemmI8(b *testing.B) {
	for _, shape := range benchShapes {
		m, k, n := shape[0], shape[1], shape[2]
		w, bias, c := make([]int8, n*k), floats(n), make([]float32, m*n)
		for i := range w {
			w[i] = int8(i*7%255 - 127)
		}
		var p kernels.PanelsI8
		var a kernels.RowsI8
		var s kernels.Scratch
		p.Pack(w, floats(n), k, n)
		a.Quantize(floats(m*k), m, k, k, 0)
		b.Run(fmt.Sprintf("%dx%dx%d", m, k, n), func(b *testing.B) {
			measure(b, 2*float64(m*k*n), "GOPS", peak.I8, func() {
				kernels.GemmI8(&a, &p, 0, p.Panels(), c, n, kernels.Epilogue{Bias: bias}, &s)
			})
		})
	}
}

func BenchmarkAttentionForward(b *testing.B) {
	for _, size := range [][2]int{{128, 26}, {128, 32}, {128, 64}, {512, 64}} {
		n, d := size[0], size[1]
		x, ctx := floats(n*3*d), make([]float32, n*d)
		view := func(i int) kernels.ViewF32 { return kernels.RowMajor(x[i*d:], 3*d) }
		var s kernels.Scratch
		b.Run(fmt.Sprintf("%dx%d", n, d), func(b *testing.B) {
			measure(b, 4*float64(n*n*d), "GFLOPS", peak.F32, func() {
				kernels.Attention{Tokens: n, Queries: n, Width: d, Q: view(0), K: view(1), V: view(2), Scale: 0.2, Mask: 1}.Forward(ctx, d, nil, &s)
			})
		})
	}
}
