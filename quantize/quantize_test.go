package quantize_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
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
		scale := q.Tensors[name+quantize.ScaleSuffix].Float32s()
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
	if s := q.Tensors[name+quantize.ScaleSuffix].Float32s(); s[0] != 0 {
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
