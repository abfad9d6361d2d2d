package layers

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/kernels"
)

func benchConfig(hidden, layers, heads, vocabulary int) checkpoints.Config {
	c := checkpoints.Config{
		ModelType: "bert", VocabSize: vocabulary, MaxPositions: 512, TypeVocabSize: 2, HiddenSize: hidden, HeadDim: hidden / heads,
		Activation: "gelu", LayerNormEps: 1e-12, HiddenDropout: 0.1, AttentionDropout: 0.1, InitializerRange: 0.02,
		Labels: []string{"a", "b"},
	}
	for range layers {
		c.Layers = append(c.Layers, checkpoints.LayerSize{Heads: heads, Intermediate: 4 * hidden})
	}
	return c
}

// BenchmarkStep is a training step, forward and backward. It reports the rate of
// the multiply-adds of the weights' products, and which share of the time those
// products alone do not explain.
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct {
		hidden, layers, heads, vocabulary, batch, length int
		dropout                                          bool
	}{
		{192, 2, 12, 2000, 32, 24, false},
		{192, 2, 12, 2000, 32, 24, true},
		{384, 6, 12, 30522, 16, 128, false},
	} {
		b.Run(fmt.Sprintf("%dx%d/%dx%d/dropout=%v", c.layers, c.hidden, c.batch, c.length, c.dropout), func(b *testing.B) {
			cfg := benchConfig(c.hidden, c.layers, c.heads, c.vocabulary)
			g := autograd.New(autograd.Options{Threads: 1, Seed: 1})
			defer g.Close()
			in := NewInputs(g)
			m, err := NewClassifier(g, in, checkpoints.InitBERT(cfg, 1), Options{Dropout: c.dropout, AllTokens: true})
			check(b, err)
			labels := g.Ints("labels", autograd.Sequences)
			s, err := autograd.NewSession(g, g.CrossEntropy(m.Logits, labels, autograd.Mean))
			check(b, err)
			var lengths []int
			for i := range c.batch {
				lengths = append(lengths, c.length-c.length/4+i%(c.length/2+1))
			}
			positions, offsets := pack(lengths...)
			ids := make([]int32, len(positions))
			for i := range ids {
				ids[i] = int32(rand.IntN(c.vocabulary))
			}
			check(b, in.Set(ids, make([]int32, len(ids)), positions, offsets))
			check(b, g.SetInts(labels, make([]int32, c.batch)))
			check(b, s.Run())

			t, h, f := len(ids), c.hidden, 4*c.hidden
			start := time.Now()
			for b.Loop() {
				check(b, s.Run())
			}
			step := time.Since(start).Seconds() / float64(b.N)
			flops := 2 * 3 * float64(t) * float64(c.layers) * float64(4*h*h+2*h*f)
			b.ReportMetric(flops/step/1e9, "GFLOPS")
			products := 0.0
			for _, size := range [][3]int{{t, h, 3 * h}, {t, h, h}, {t, h, f}, {t, f, h}} {
				m, k, n := size[0], size[1], size[2]
				products += product(m, k, n) + product(m, n, k) + product(n, m, k)
			}
			b.ReportMetric(100*(1-products*float64(c.layers)/step), "%outside-GEMM")
			b.ReportMetric(float64(t)/step, "tokens/s")
		})
	}
}

// product measures one product of an m×k and a packed k×n matrix, in seconds.
func product(m, k, n int) float64 {
	a, c := make([]float32, m*k), make([]float32, m*n)
	var p kernels.PanelsF32
	var s kernels.Scratch
	p.Pack(kernels.RowMajor(make([]float32, k*n), n), k, n)
	best := 1e9
	for range 3 {
		start := time.Now()
		kernels.GemmF32(m, kernels.RowMajor(a, k), &p, 0, p.Panels(), c, n, kernels.Epilogue{}, &s)
		best = min(best, time.Since(start).Seconds())
	}
	return best
}
