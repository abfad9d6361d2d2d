package infer

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
)

func layerName(l int) string { return fmt.Sprintf("bert.encoder.layer.%d.", l) }

func size(heads, intermediate int) checkpoints.LayerSize {
	return checkpoints.LayerSize{Heads: heads, Intermediate: intermediate}
}

func config(hidden, head int, activation string, layers ...checkpoints.LayerSize) checkpoints.Config {
	return checkpoints.Config{
		ModelType: "bert", VocabSize: 70, MaxPositions: 160, TypeVocabSize: 2,
		HiddenSize: hidden, HeadDim: head, Layers: layers,
		Activation: activation, LayerNormEps: 1e-12, InitializerRange: 1.2 / float32(math.Sqrt(float64(hidden))),
		Labels: []string{"a", "b", "c"},
	}
}

// configs are the shapes that the engine must get right: head widths with and
// without a rest, pruned and uneven layers, a single layer.
var configs = map[string]checkpoints.Config{
	"head 26 uneven": config(78, 26, "gelu", size(2, 100), size(3, 37), size(1, 1)),
	"head 32":        config(64, 32, "gelu_new", size(2, 128), size(2, 128)),
	"head 64":        config(64, 64, "relu", size(1, 90), size(3, 17)),
	"head 16":        config(48, 16, "gelu", size(3, 96)),
	"width 312":      config(312, 26, "gelu", size(8, 600), size(12, 1200)),
}

// randomModel is a model whose biases and LayerNorms are random too.
func randomModel(c checkpoints.Config, seed uint64) *checkpoints.Model {
	m := checkpoints.InitBERT(c, seed)
	for _, name := range m.Names() {
		if t := m.Tensors[name]; len(t.Shape) == 1 {
			h := fnv.New64a()
			h.Write([]byte(name))
			r := rand.New(rand.NewPCG(seed, h.Sum64()))
			for i, v := range t.Float32s() {
				t.Float32s()[i] = v + 0.2*float32(r.NormFloat64())
			}
		}
	}
	return m
}

type batch struct{ ids, typeIDs, offsets []int32 }

func randomBatch(c checkpoints.Config, r *rand.Rand, lengths ...int) batch {
	b := batch{offsets: []int32{0}}
	for _, n := range lengths {
		for range n {
			b.ids = append(b.ids, r.Int32N(int32(c.VocabSize)))
			b.typeIDs = append(b.typeIDs, r.Int32N(int32(max(1, c.TypeVocabSize))))
		}
		b.offsets = append(b.offsets, int32(len(b.ids)))
	}
	return b
}

func (b batch) sequences() int { return len(b.offsets) - 1 }

func (b batch) sequence(s int) batch {
	lo, hi := b.offsets[s], b.offsets[s+1]
	return batch{b.ids[lo:hi], b.typeIDs[lo:hi], []int32{0, hi - lo}}
}

func newEngine(t testing.TB, m *checkpoints.Model, o Options) *Engine {
	t.Helper()
	e, err := New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func predict(t testing.TB, e *Engine, b batch) []float32 {
	t.Helper()
	logits, err := e.PredictTokens(nil, b.ids, b.typeIDs, b.offsets)
	if err != nil {
		t.Fatal(err)
	}
	return logits
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

func largestDifference(a, b []float32) float64 {
	d := 0.0
	for i := range a {
		d = max(d, math.Abs(float64(a[i])-float64(b[i])))
		if a[i] != a[i] || b[i] != b[i] {
			return math.NaN()
		}
	}
	return d
}
