package pruning

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
)

// tiny is a small uneven-able configuration.
func tiny(layers ...checkpoints.LayerSize) checkpoints.Config {
	return checkpoints.Config{
		ModelType: "bert", VocabSize: 40, MaxPositions: 16, TypeVocabSize: 2,
		HiddenSize: 16, HeadDim: 4, Layers: layers, Activation: "gelu", LayerNormEps: 1e-12,
		InitializerRange: 0.3, Labels: []string{"no", "yes"},
	}
}

func TestSelectKeepsTheHighestOfEachLayer(t *testing.T) {
	t.Parallel()
	cfg := tiny(checkpoints.LayerSize{Heads: 3, Intermediate: 4}, checkpoints.LayerSize{Heads: 2, Intermediate: 2})
	s := &Scores{
		Heads: [][]float64{{1, 3, 2}, {5, 5}},
		FFN:   [][]float64{{0, 0, 0, 0}, {1, 2}},
	}
	m, err := Select(s, cfg, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := Masks{Heads: [][]int{{1, 2}, {0, 1}}, FFN: [][]int{{0, 1, 2}, {0, 1}}}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("kept %v, want %v", m, want)
	}
	if m, err = Select(s, cfg, 0, 1); err != nil || !slices.Equal(m.Heads[0], []int{0, 1, 2}) || !slices.Equal(m.FFN[1], []int{1}) {
		t.Errorf("0 heads: kept %v, error %v; want all heads", m, err)
	}
}

// Ranked together, layers come out with different sizes.
func TestSelectGlobal(t *testing.T) {
	t.Parallel()
	cfg := tiny(checkpoints.LayerSize{Heads: 3, Intermediate: 48}, checkpoints.LayerSize{Heads: 3, Intermediate: 40})
	s := &Scores{Heads: [][]float64{{50, 60, 40}, {2, 1, 3}}, FFN: [][]float64{make([]float64, 48), make([]float64, 40)}}
	for i := range s.FFN[0] {
		s.FFN[0][i] = float64(i)
	}
	for i := range s.FFN[1] {
		s.FFN[1][i] = 20
	}
	for _, c := range []struct {
		name       string
		heads, ffn int
		normalize  bool
		want       []checkpoints.LayerSize
	}{
		{"half", 2, 24, false, []checkpoints.LayerSize{{Heads: 3, Intermediate: 32}, {Heads: 1, Intermediate: 16}}},
		{"normalized", 2, 32, true, []checkpoints.LayerSize{{Heads: 2, Intermediate: 16}, {Heads: 2, Intermediate: 40}}},
		{"all", 0, 0, false, []checkpoints.LayerSize{{Heads: 3, Intermediate: 48}, {Heads: 3, Intermediate: 40}}},
		{"no layer is emptied", 1, 1, false, []checkpoints.LayerSize{{Heads: 1, Intermediate: 16}, {Heads: 1, Intermediate: 16}}},
	} {
		m, err := SelectGlobal(s, cfg, c.heads, c.ffn, c.normalize)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.sizes(); !slices.Equal(got, c.want) {
			t.Errorf("%s: sizes %v, want %v", c.name, got, c.want)
		}
	}
	m, err := SelectGlobal(s, cfg, 2, 24, false)
	if err != nil || m.FFN[0][0] != 16 || m.Heads[1][0] != 2 {
		t.Errorf("kept %v, error %v; want units 16 to 47 of the first layer and head 2 of the second", m, err)
	}
}

func TestSelectRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	cfg := tiny(checkpoints.LayerSize{Heads: 2, Intermediate: 2})
	good := &Scores{Heads: [][]float64{{1, 2}}, FFN: [][]float64{{1, 2}}}
	for _, c := range []struct {
		name       string
		s          *Scores
		heads, ffn int
		want       string
	}{
		{"too many heads", good, 3, 1, "heads: 3, expected 1 to 2"},
		{"negative units", good, 1, -1, "ffn: -1, expected 1 to 2"},
		{"layers", &Scores{}, 1, 1, "the model has 1"},
		{"width", &Scores{Heads: [][]float64{{1}}, FFN: [][]float64{{1, 2}}}, 1, 1, "layer 0 has 1 heads, the model has 2"},
	} {
		if _, err := Select(c.s, cfg, c.heads, c.ffn); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestScoresJSON(t *testing.T) {
	t.Parallel()
	s := &Scores{Heads: [][]float64{{0.5, 1}}, FFN: [][]float64{{0.25}}, Examples: 7}
	var b bytes.Buffer
	if err := s.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if want := `{"heads":[[0.5,1]],"ffn":[[0.25]],"examples":7}` + "\n"; b.String() != want {
		t.Errorf("JSON %s, want %s", b.String(), want)
	}
	back, err := ReadJSON(&b)
	if err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("read back %v, error %v", back, err)
	}
	if _, err := ReadJSON(strings.NewReader(`{"heads": 3}`)); err == nil {
		t.Error("malformed scores are read without an error")
	}
}

func TestRewireCutsRowsAndColumns(t *testing.T) {
	t.Parallel()
	cfg := tiny(checkpoints.LayerSize{Heads: 4, Intermediate: 6}, checkpoints.LayerSize{Heads: 4, Intermediate: 6})
	m := checkpoints.InitBERT(cfg, 1)
	out, err := Rewire(m, Masks{Heads: [][]int{{1, 3}, {0, 1, 2, 3}}, FFN: [][]int{{0, 5}, {2}}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []checkpoints.LayerSize{{Heads: 2, Intermediate: 2}, {Heads: 4, Intermediate: 1}}; !slices.Equal(out.Config.Layers, want) {
		t.Errorf("layers %v, want %v", out.Config.Layers, want)
	}
	if out.Config.HeadDim != 4 || out.Config.HiddenSize != 16 {
		t.Errorf("head width %d and hidden size %d changed", out.Config.HeadDim, out.Config.HiddenSize)
	}
	const prefix = "bert.encoder.layer.0."
	in, got := m.Tensors[prefix+"attention.self.key.weight"].Float32s(), out.Tensors[prefix+"attention.self.key.weight"].Float32s()
	if !slices.Equal(got[4*16:8*16], in[12*16:16*16]) {
		t.Error("the second head's keys are not those of head 3")
	}
	in, got = m.Tensors[prefix+"output.dense.weight"].Float32s(), out.Tensors[prefix+"output.dense.weight"].Float32s()
	for i := range 16 {
		if got[i*2] != in[i*6] || got[i*2+1] != in[i*6+5] {
			t.Fatalf("row %d of the output weight is %v, want columns 0 and 5 of %v", i, got[i*2:i*2+2], in[i*6:i*6+6])
		}
	}
	if before := m.Tensors[prefix+"output.dense.weight"].Shape; !slices.Equal(before, []int{16, 6}) {
		t.Errorf("the original has shape %v now", before)
	}
	// A pruned model can be pruned again.
	if _, err := Rewire(out, Masks{Heads: [][]int{{1}, {3}}, FFN: [][]int{{1}, {0}}}); err != nil {
		t.Errorf("pruning twice: %v", err)
	}
}

func TestRewireRefusesBadMasks(t *testing.T) {
	t.Parallel()
	m := checkpoints.InitBERT(tiny(checkpoints.LayerSize{Heads: 2, Intermediate: 2}), 1)
	for name, masks := range map[string]Masks{
		"none":       {},
		"empty":      {Heads: [][]int{{}}, FFN: [][]int{{0}}},
		"outside":    {Heads: [][]int{{2}}, FFN: [][]int{{0}}},
		"descending": {Heads: [][]int{{0}}, FFN: [][]int{{1, 0}}},
	} {
		if _, err := Rewire(m, masks); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMagnitudeIsTheNormOfTheUnitsWeights(t *testing.T) {
	t.Parallel()
	m := checkpoints.InitBERT(tiny(checkpoints.LayerSize{Heads: 2, Intermediate: 3}), 1)
	for name, tensor := range m.Tensors {
		if strings.HasPrefix(name, "bert.encoder.layer.0.") {
			clear(tensor.Data)
		}
	}
	set := func(name string, at int, v float32) {
		m.Tensors["bert.encoder.layer.0."+name].Float32s()[at] = v
	}
	set("attention.self.value.weight", 5*16, 3) // row 5: head 1
	set("attention.output.dense.weight", 7, 4)  // row 0, column 7: head 1
	set("intermediate.dense.weight", 2*16+1, 5) // unit 2
	set("output.dense.weight", 3*3, 2)          // row 3, column 0: unit 0
	s, err := MagnitudeScores(m)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Heads[0], []float64{0, 5}) || !slices.Equal(s.FFN[0], []float64{2, 0, 5}) {
		t.Errorf("heads %v, units %v; want [0 5] and [2 0 5]", s.Heads[0], s.FFN[0])
	}
}
