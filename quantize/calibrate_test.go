package quantize_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/train"
)

// observed has seen x, cut into pieces in random order, as the input of every
// linear layer.
func observed(c checkpoints.Config, x []float32) *quantize.Calibration {
	r := rand.New(rand.NewPCG(1, 2))
	x = slices.Clone(x)
	r.Shuffle(len(x), func(i, j int) { x[i], x[j] = x[j], x[i] })
	var o quantize.Calibration
	for piece := range slices.Chunk(x, 777) {
		for _, w := range quantize.LinearWeights(c) {
			o.Observe(w, piece)
		}
	}
	return &o
}

func TestCalibrationChoosesTheGoldenLimits(t *testing.T) {
	t.Parallel()
	const n = 20000
	exponential, half := make([]float32, n), make([]float32, n)
	for i := range n {
		u := (float64(i) + 0.5) / n
		exponential[i] = float32(-math.Log(1 - u))
		if u >= 0.5 {
			half[i] = exponential[i]
		}
		if i%2 == 0 {
			exponential[i] *= -1 // magnitudes count
		}
	}
	outliers := slices.Clone(exponential)
	for i := n - 40; i < n; i++ {
		outliers[i] *= 5
	}
	values := map[string][]float32{"exponential": exponential, "outliers": outliers, "half zeros": half}
	b, err := os.ReadFile("testdata/calibration.json")
	if err != nil {
		t.Fatal(err)
	}
	var goldens map[string]map[quantize.Method]float64
	if err := json.Unmarshal(b, &goldens); err != nil {
		t.Fatal(err)
	}
	m, err := quantize.Int8(checkpoints.InitBERT(config(), 1))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range goldens {
		c := observed(m.Config, values[name])
		for _, method := range quantize.Methods {
			s, err := c.Static(m, method)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			for _, w := range quantize.LinearWeights(m.Config) {
				got := 127 * float64(s.Tensors[checkpoints.InputScaleOf(w)].Float32s()[0])
				// A bin of the histogram is the resolution; that of entropy is four times as wide.
				if math.Abs(got-want[method]) > max(1e-5*want[method], map[quantize.Method]float64{
					quantize.Percentile: 0.01, quantize.Entropy: 0.04, quantize.MSE: 0.03 * want[method],
				}[method]) {
					t.Errorf("%s, %s: %s has a limit of %g, want %g", name, method, w, got, want[method])
				}
			}
		}
	}
}

func TestCalibrationRefuses(t *testing.T) {
	t.Parallel()
	f := checkpoints.InitBERT(config(), 1)
	m, err := quantize.Int8(f)
	if err != nil {
		t.Fatal(err)
	}
	good := observed(m.Config, []float32{0, 1})
	if _, err := good.Static(m, "median"); !errors.Is(err, quantize.ErrMethod) {
		t.Error(err)
	}
	if _, err := good.Static(f, quantize.MinMax); !errors.Is(err, quantize.ErrNotInt8) {
		t.Error(err)
	}
	if _, err := new(quantize.Calibration).Static(m, quantize.MinMax); !errors.Is(err, quantize.ErrNotCalibrated) || !strings.Contains(err.Error(), "layer.0.attention.self.query.weight") {
		t.Error(err)
	}
	bad := observed(m.Config, []float32{0, float32(math.NaN())})
	if _, err := bad.Static(m, quantize.MinMax); err == nil || !strings.Contains(err.Error(), "NaN") {
		t.Error(err)
	}
	for _, method := range quantize.Methods {
		for _, x := range [][]float32{{0, 0}, {math.MaxFloat32, 1}, {math.SmallestNonzeroFloat32}} {
			s, err := observed(m.Config, x).Static(m, method)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(); err != nil {
				t.Errorf("%s of %v: %v", method, x, err)
			}
		}
	}
	w, err := quantize.Floats(m, checkpoints.F32)
	if err != nil {
		t.Fatal(err)
	}
	s, err := good.Static(m, quantize.MinMax)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := quantize.Floats(s, checkpoints.F32); err != nil || len(v.Tensors) != len(w.Tensors) || v.Validate() != nil {
		t.Errorf("widened: %d tensors, want %d: %v", len(v.Tensors), len(w.Tensors), err)
	}
}

// A trained model keeps its accuracy with static scales, whichever method chose
// them, and through a file.
func TestStaticKeepsTheAccuracy(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	part := func(lo, hi int) *data.Dataset { return &data.Dataset{Task: ds.Task, Examples: ds.Examples[lo:hi]} }
	o := train.Defaults()
	o.Epochs, o.BatchSize, o.LearningRate = 20, 16, 2e-3
	m, _, err := train.Run(t.Context(), golden.Model(t), part(0, 100), part(100, 160), o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	q, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	inputs, err := evaluate.Encode(m, part(0, 100), 0)
	if err != nil {
		t.Fatal(err)
	}
	var c quantize.Calibration
	if _, err := evaluate.Logits(t.Context(), m, inputs, infer.Options{Observe: c.Observe}); err != nil {
		t.Fatal(err)
	}
	accuracy := func(m *checkpoints.Model) float64 {
		metrics, err := evaluate.Model(t.Context(), m, ds, evaluate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return metrics["accuracy"]
	}
	float := accuracy(m)
	if float < 0.7 {
		t.Fatalf("the trained model has an accuracy of %.3f only", float)
	}
	for _, method := range quantize.Methods {
		s, err := c.Static(q, method)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "static.skive")
		if err := s.SaveSkive(path); err != nil {
			t.Fatal(err)
		}
		stored, err := checkpoints.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := accuracy(stored); got < float-0.03 {
			t.Errorf("%s: accuracy %.3f, float %.3f", method, got, float)
		}
		stored.Close()
	}
}
