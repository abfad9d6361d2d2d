package checkpoints

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Fresh weights of ModernBERT have the deviations of transformers, and end at twice
// them.
func TestTruncatedFreshWeights(t *testing.T) {
	t.Parallel()
	c := Config{
		ModelType: "modernbert", VocabSize: 300, MaxPositions: 64, HiddenSize: 64, HeadDim: 16,
		Layers:     []LayerSize{{4, 96}, {4, 96}},
		Activation: "gelu", LayerNormEps: 1e-5, InitializerRange: 0.02, Labels: []string{"no", "yes"}, ClassifierActivation: "gelu",
		Local: []bool{false, true}, LocalAttention: 4, RotaryBase: 900, LocalRotaryBase: 30,
	}
	m := InitBERT(c, 1)
	check(t, m.Validate())
	// A normal distribution that ends at twice its deviation has 0.88 of it.
	const left = 0.8796
	for role, deviation := range map[Role]float64{
		WordEmbeddings: 0.02, Query: 0.02, Value: 0.02, AttentionOutput: 0.01, Gate: 0.02, Up: 0.02, Down: 0.01, Pooler: 0.01, Classifier: 0.125,
	} {
		part := role.Part()
		if role.inLayer() {
			part = role.In(1)
		}
		values, err := m.Float32s(part.Weight())
		check(t, err)
		squares, largest := 0.0, 0.0
		for _, v := range values {
			squares += float64(v) * float64(v)
			largest = max(largest, math.Abs(float64(v)))
		}
		got := math.Sqrt(squares / float64(len(values)))
		if want := left * deviation; largest > 2*deviation*(1+1e-6) || math.Abs(got/want-1) > 0.15 {
			t.Errorf("%v: deviation %g, want %g; largest %g", part, got, want, largest)
		}
	}
	dir := t.TempDir()
	check(t, m.SaveHF(dir))
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	check(t, err)
	if _, err := ReadFresh(path); err != nil {
		t.Error(err)
	}
	check(t, os.WriteFile(path, []byte(strings.Replace(string(text), "{", `{"initializer_cutoff_factor": 3,`, 1)), 0o666))
	if _, err := ReadFresh(path); err == nil || !strings.Contains(err.Error(), "initializer_cutoff_factor 3") {
		t.Errorf("error %v, want one that names the setting", err)
	}
}
