package layers

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/quantize"
)

// packed is a batch of sequences.
type packed struct{ ids, types, positions, offsets []int32 }

func randomPacked(c checkpoints.Config, seed uint64, lengths ...int) packed {
	r := rand.New(rand.NewPCG(seed, 1))
	var b packed
	b.positions, b.offsets = pack(lengths...)
	for range b.positions {
		b.ids = append(b.ids, r.Int32N(int32(c.VocabSize)))
		b.types = append(b.types, r.Int32N(int32(max(1, c.TypeVocabSize))))
	}
	return b
}

// calibrated is the model with the scales of static int8, some of which cut
// values down.
func calibrated(t *testing.T, m *checkpoints.Model, b packed) *checkpoints.Model {
	t.Helper()
	var c quantize.Calibration
	e, err := infer.New(m, infer.Options{Observe: c.Observe, Embedding: infer.Mean})
	check(t, err)
	defer e.Close()
	_, err = e.PredictTokens(nil, b.ids, b.types, b.offsets)
	check(t, err)
	weights := quantize.LinearWeights(m.Config)
	scales, err := c.Scales(weights, quantize.MinMax)
	check(t, err)
	s := m.Clone()
	for _, w := range weights {
		s.Tensors[checkpoints.InputScaleOf(w)] = checkpoints.NewTensor([]int{1}, []float32{0.9 * scales[w]})
	}
	return s
}

// served are the logits of the model saved in int8 and opened by the engine.
func served(t *testing.T, m *checkpoints.Model, embeddings bool, b packed) []float32 {
	t.Helper()
	weights := quantize.LinearWeights(m.Config)
	if embeddings {
		weights = append(weights, quantize.Embeddings()...)
	}
	q, err := quantize.Int8Weights(m, weights)
	check(t, err)
	path := filepath.Join(t.TempDir(), "m"+checkpoints.Extension)
	check(t, q.SaveSkive(path))
	e, err := infer.Open(path, infer.Options{Threads: 2})
	check(t, err)
	defer e.Close()
	logits, err := e.PredictTokens(nil, b.ids, b.types, b.offsets)
	check(t, err)
	return logits
}

// trained are the logits of the graph that trains the model.
func trained(t *testing.T, m *checkpoints.Model, o Options, threads int, b packed) []float32 {
	t.Helper()
	g := autograd.New(autograd.Options{Threads: threads})
	defer g.Close()
	in := NewInputs(g)
	var logits *autograd.Node
	if m.Config.Head == head.MaskedLM {
		rows := g.Ints("rows", autograd.Selected)
		lm, err := NewMaskedLM(g, in, m, rows, o)
		check(t, err)
		all := make([]int32, len(b.ids))
		for i := range all {
			all[i] = int32(i)
		}
		check(t, g.SetInts(rows, all))
		logits = lm.Logits
	} else {
		c, err := NewClassifier(g, in, m, o)
		check(t, err)
		logits = c.Logits
	}
	s, err := autograd.NewSession(g, nil)
	check(t, err)
	check(t, in.Set(b.ids, b.types, b.positions, b.offsets))
	check(t, s.Run())
	return slices.Clone(s.Value(logits))
}

// What is trained is what is served: with the int8 engine's arithmetic, the
// logits of the training graph are those of the exported int8 file bit for bit,
// in every family, with every head, at every level.
func TestQuantizeAwareLogitsAreTheEngines(t *testing.T) {
	dirs := []string{"testdata/even", "testdata/gelu_new", "testdata/uneven"}
	families, err := filepath.Glob("../infer/testdata/families/*")
	check(t, err)
	for _, dir := range append(dirs, families...) {
		m := open(t, dir)
		if !m.HasHead() {
			continue
		}
		b := randomPacked(m.Config, 7, 9, 1, 14, 3)
		static := calibrated(t, m, b)
		for _, c := range []struct {
			model *checkpoints.Model
			o     Options
		}{
			{m, Options{QuantizeAware: quantize.Dynamic}},
			{m, Options{QuantizeAware: quantize.Dynamic, QuantizeEmbeddings: true}},
			{static, Options{QuantizeAware: quantize.Static}},
			{static, Options{QuantizeAware: quantize.Static, QuantizeEmbeddings: true, AllTokens: true}},
			{static, Options{QuantizeAware: quantize.Static, Frozen: true}},
		} {
			if c.o.QuantizeEmbeddings && m.Config.Head == head.MaskedLM {
				continue
			}
			name := fmt.Sprintf("%s %+v", filepath.Base(dir), c.o)
			want := served(t, c.model, c.o.QuantizeEmbeddings, b)
			for _, level := range kernels.Available() {
				restore := kernels.Use(level)
				for _, threads := range []int{1, 2, 7} {
					got := trained(t, c.model, c.o, threads, b)
					if !slices.EqualFunc(got, want, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) }) {
						t.Errorf("%s, %v, %d threads: other logits than the engine's, by %g", name, level, threads, largest(got, want))
					}
				}
				restore()
			}
			if float := trained(t, c.model, Options{}, 2, b); slices.Equal(float, want) {
				t.Errorf("%s: int8 has the logits of float", name)
			}
		}
	}
}

func largest(a, b []float32) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	d := 0.0
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

// Queries, keys and values have one scale, which training changes for all three
// of them.
func TestStoreOfSharedScales(t *testing.T) {
	t.Parallel()
	m := open(t, filepath.Join("testdata", "uneven"))
	s := calibrated(t, m, randomPacked(m.Config, 7, 9, 4))
	g := newGraph(t)
	_, err := NewClassifier(g, NewInputs(g), s, Options{QuantizeAware: quantize.Static})
	check(t, err)
	scales := 0
	for _, p := range g.Parameters() {
		if len(p.Value) == 1 {
			p.Value[0] = 2
			scales++
		}
	}
	if want := 4 * len(m.Config.Layers); scales != want {
		t.Errorf("%d scales are trained, want %d", scales, want)
	}
	check(t, Store(g, s))
	for _, w := range quantize.LinearWeights(m.Config) {
		if v := s.Tensors[checkpoints.InputScaleOf(w)].Float32s()[0]; v != 2 {
			t.Errorf("the scale of the input of %s is %g, want 2", w, v)
		}
	}
	check(t, s.Validate())
	if _, err := NewClassifier(newGraph(t), NewInputs(g), m, Options{QuantizeAware: quantize.Static}); err == nil {
		t.Error("a model without scales: no error")
	}
	if _, err := NewClassifier(newGraph(t), NewInputs(g), m, Options{QuantizeAware: "int4"}); err == nil {
		t.Error("int4: no error")
	}
}
