package quantize_test

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/quantize"
)

func config() checkpoints.Config {
	return checkpoints.Config{
		ModelType: "bert", VocabSize: 90, MaxPositions: 40, TypeVocabSize: 2,
		HiddenSize: 48, HeadDim: 16,
		Layers:     []checkpoints.LayerSize{{Heads: 3, Intermediate: 70}, {Heads: 1, Intermediate: 33}},
		Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.02,
		Labels: []string{"no", "yes"},
	}
}

func TestInt8KeepsWeightsWithinHalfAStep(t *testing.T) {
	t.Parallel()
	m := checkpoints.InitBERT(config(), 1)
	name := "bert.encoder.layer.0.attention.self.key.weight"
	w := m.Tensors[name].Float32s()
	clear(w[:48])              // a channel of zeros
	w[48], w[49] = -0.5, 0.5   // both ends of the range
	w[2*48], w[2*48+1] = 64, 1 // 1/(64/127) = 1.98
	q, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Validate(); err != nil {
		t.Fatal(err)
	}
	names := quantize.LinearWeights(m.Config)
	if len(names) != 12 {
		t.Fatalf("%d linear weights", len(names))
	}
	for _, name := range m.Names() {
		if !slices.Contains(names, name) {
			if !slices.Equal(q.Tensors[name].Data, m.Tensors[name].Data) {
				t.Errorf("%s changed", name)
			}
			continue
		}
		was := m.Tensors[name].Float32s()
		got := q.Tensors[name].Int8s()
		scale := q.Tensors[checkpoints.ScaleOf(name)].Float32s()
		in := q.Tensors[name].Shape[1]
		for o, s := range scale {
			largest := int8(0)
			for i := o * in; i < (o+1)*in; i++ {
				if got[i] == -128 {
					t.Fatalf("%s: -128", name)
				}
				largest = max(largest, got[i], -got[i])
				if d := math.Abs(float64(was[i]) - float64(s)*float64(got[i])); d > float64(s)*0.50001 {
					t.Errorf("%s[%d]: %g off, scale %g", name, i, d, s)
				}
			}
			if s > 0 && largest != 127 {
				t.Errorf("%s: channel %d reaches only %d", name, o, largest)
			}
		}
	}
	if s := q.Tensors[checkpoints.ScaleOf(name)].Float32s(); s[0] != 0 {
		t.Errorf("scale of a zero channel is %g", s[0])
	}
	v := q.Tensors[name].Int8s()
	if v[48] != -127 || v[49] != 127 || v[2*48+1] != 2 {
		t.Errorf("rounded to %d, %d, %d", v[48], v[49], v[2*48+1])
	}
	stage := q.Provenance[len(q.Provenance)-1]
	if snr := stage.Measured["weight_snr_db"]; stage.Name != "quantize" || !(snr > 30 && snr < 60) {
		t.Errorf("provenance %+v", stage)
	}
}

func TestInt8RoundsHalfToEven(t *testing.T) {
	t.Parallel()
	m := checkpoints.InitBERT(config(), 1)
	name := "bert.encoder.layer.1.output.dense.weight"
	w := m.Tensors[name].Float32s()
	copy(w, []float32{127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.25})
	for i := 8; i < 33; i++ {
		w[i] = 0
	}
	q, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	want := []int8{127, 0, 2, 2, 0, -2, -2, 3}
	if got := q.Tensors[name].Int8s()[:8]; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestInt8Refuses(t *testing.T) {
	t.Parallel()
	m := checkpoints.InitBERT(config(), 1)
	q, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := quantize.Int8(q); !errors.Is(err, quantize.ErrQuantized) {
		t.Errorf("twice: %v", err)
	}
	m.Tensors["bert.encoder.layer.1.intermediate.dense.weight"].Float32s()[5] = float32(math.Inf(-1))
	if _, err := quantize.Int8(m); err == nil || !strings.Contains(err.Error(), "layer.1.intermediate.dense.weight") {
		t.Errorf("infinity: %v", err)
	}
	if _, err := quantize.Int8(checkpoints.InitBERT(checkpoints.Config{}, 1)); err == nil {
		t.Error("an empty model was quantized")
	}
}

func TestFloatsStoresWeightsInHalf(t *testing.T) {
	t.Parallel()
	m := checkpoints.InitBERT(config(), 1)
	for _, c := range []struct {
		dtype checkpoints.DType
		error float64
	}{{checkpoints.F16, 0x1p-11}, {checkpoints.BF16, 0x1p-8}} {
		h, err := quantize.Floats(m, c.dtype)
		if err != nil {
			t.Fatal(err)
		}
		if h.DType() != c.dtype || h.Validate() != nil {
			t.Errorf("%v: dtype %v, %v", c.dtype, h.DType(), h.Validate())
		}
		for _, name := range m.Names() {
			was, now := m.Tensors[name].Float32s(), h.Tensors[name].Float32s()
			for i := range was {
				if math.Abs(float64(was[i]-now[i])) > max(c.error*math.Abs(float64(was[i])), 0x1p-25) {
					t.Fatalf("%v: %s[%d]: %g became %g", c.dtype, name, i, was[i], now[i])
				}
			}
		}
	}
}

func TestFloatsUndoesInt8(t *testing.T) {
	t.Parallel()
	m := checkpoints.InitBERT(config(), 1)
	q, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	f, err := quantize.Floats(q, checkpoints.F32)
	if err != nil {
		t.Fatal(err)
	}
	if f.DType() != checkpoints.F32 || f.Validate() != nil {
		t.Fatalf("dtype %v, %v", f.DType(), f.Validate())
	}
	for _, name := range quantize.LinearWeights(m.Config) {
		want, err := q.Float32s(name)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(f.Tensors[name].Float32s(), want) {
			t.Errorf("%s is not the scaled int8 weight", name)
		}
	}
	if _, err := quantize.Floats(q, checkpoints.F16); !errors.Is(err, quantize.ErrQuantized) {
		t.Errorf("int8 to f16: %v", err)
	}
	if _, err := quantize.Floats(m, checkpoints.I8); err == nil {
		t.Error("I8 taken as a float type")
	}
}

// mixedEvaluate is an evaluation in which each part costs a known amount: the
// metric of a model is 0.9 minus the costs of its int8 parts.
func mixedEvaluate(costs map[string]float64, calls *int) quantize.Evaluate {
	return func(_ context.Context, m *checkpoints.Model) ([]float32, float64, error) {
		*calls++
		metric, shift := 0.9, 0.0
		for name, cost := range costs {
			if m.Tensors[name].DType == checkpoints.I8 {
				metric -= cost
				shift += cost
			}
		}
		return []float32{0, 1 + float32(shift), 2, 0}, metric, m.Validate()
	}
}

// heard counts how often it hears of progress.
type heard struct{ times *int }

func (h heard) Begin(string, int, int) progress.Task { return h }
func (h heard) Logger() *slog.Logger                 { return progress.Logger(nil) }
func (h heard) Set(int, string)                      { *h.times++ }
func (h heard) Finish(string)                        {}

func TestMixedKeepsTheMostSensitive(t *testing.T) {
	t.Parallel()
	const p = "bert.encoder.layer."
	costs := map[string]float64{
		p + "0.attention.self.value.weight":   0.001,
		p + "0.output.dense.weight":           0.04,
		p + "1.intermediate.dense.weight":     0.02,
		p + "1.attention.output.dense.weight": 0.003,
	}
	for _, test := range []struct {
		drop float64
		kept []string
	}{
		{0.1, nil},
		{0.03, []string{p + "0.output.dense.weight"}},
		{0.0041, []string{p + "0.output.dense.weight", p + "1.intermediate.dense.weight"}},
		{0.0011, []string{p + "0.output.dense.weight", p + "1.intermediate.dense.weight", p + "1.attention.output.dense.weight"}},
	} {
		m := checkpoints.InitBERT(config(), 1)
		var calls, told int
		q, r, err := quantize.Mixed(t.Context(), m, mixedEvaluate(costs, &calls), quantize.MixedOptions{
			MaxDrop:  test.drop,
			Progress: heard{&told},
		})
		if err != nil {
			t.Fatal(err)
		}
		if told != calls || len(r.Parts) != 8 {
			t.Errorf("%d evaluations, told of %d; %d parts", calls, told, len(r.Parts))
		}
		for _, name := range quantize.LinearWeights(m.Config) {
			if got, want := q.Tensors[name].DType == checkpoints.F32, slices.Contains(test.kept, name); got != want {
				t.Errorf("drop %g: %s kept: %t", test.drop, name, got)
			}
		}
		if !(r.Float-r.Mixed <= test.drop) || math.Abs(r.Int8-(0.9-0.064)) > 1e-9 {
			t.Errorf("drop %g: %+v", test.drop, r)
		}
		if err := q.Validate(); err != nil {
			t.Error(err)
		}
		if m.DType() != checkpoints.F32 {
			t.Error("the model itself changed")
		}
	}
	// A metric that nothing but the float model reaches.
	m := checkpoints.InitBERT(config(), 1)
	all := map[string]float64{}
	for _, name := range quantize.LinearWeights(m.Config) {
		all[name] = 0.01
	}
	var calls int
	q, r, err := quantize.Mixed(t.Context(), m, mixedEvaluate(all, &calls), quantize.MixedOptions{MaxDrop: 0})
	if err != nil || q.DType() != checkpoints.F32 || r.Mixed != r.Float {
		t.Errorf("%v, %v, %+v", err, q.DType(), r)
	}
	for _, drop := range []float64{-1, math.NaN()} {
		if _, _, err := quantize.Mixed(t.Context(), m, nil, quantize.MixedOptions{MaxDrop: drop}); !errors.Is(err, quantize.ErrMaxDrop) {
			t.Errorf("drop %g: %v", drop, err)
		}
	}
}

func TestInt8Embeddings(t *testing.T) {
	t.Parallel()
	m := checkpoints.InitBERT(config(), 3)
	q, err := quantize.Int8Weights(m, quantize.Embeddings())
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, name := range quantize.Embeddings() {
		got, err := q.Float32s(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range m.Tensors[name].Float32s() {
			if math.Abs(float64(got[i]-w)) > 0.002 {
				t.Fatalf("%s[%d]: %g, was %g", name, i, got[i], w)
			}
		}
	}
	if q.DType() != checkpoints.F32 {
		t.Errorf("dtype %v, the encoder is float", q.DType())
	}
	if _, err := quantize.Int8Weights(m, []string{"classifier.weight"}); !errors.Is(err, checkpoints.ErrUnsupported) {
		t.Errorf("a classifier in int8: %v", err)
	}
}
