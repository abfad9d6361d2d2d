package distill

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/quantize"
)

func tinyTeacher() *checkpoints.Model {
	m := checkpoints.InitBERT(checkpoints.Config{
		ModelType: "bert", VocabSize: 40, MaxPositions: 16, TypeVocabSize: 2,
		HiddenSize: 16, HeadDim: 4,
		Layers:     []checkpoints.LayerSize{{Heads: 4, Intermediate: 8}, {Heads: 3, Intermediate: 6}, {Heads: 4, Intermediate: 8}},
		Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.3, Labels: []string{"no", "yes"},
	}, 1)
	m.Tokenizer["vocab.txt"] = []byte("[PAD]\n")
	return m
}

func TestStudentFromLayersCopiesThem(t *testing.T) {
	t.Parallel()
	teacher := tinyTeacher()
	s, err := StudentFromLayers(teacher, []int{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	if want := teacher.Config.Layers[1:]; !slices.Equal(s.Config.Layers, want) {
		t.Errorf("layers %v, want %v", s.Config.Layers, want)
	}
	for from, to := range map[string]string{
		"bert.encoder.layer.1.attention.self.key.weight": "bert.encoder.layer.0.attention.self.key.weight",
		"bert.encoder.layer.2.output.dense.bias":         "bert.encoder.layer.1.output.dense.bias",
		"bert.embeddings.word_embeddings.weight":         "bert.embeddings.word_embeddings.weight",
		"bert.pooler.dense.weight":                       "bert.pooler.dense.weight",
		"classifier.weight":                              "classifier.weight",
	} {
		if !bytes.Equal(teacher.Tensors[from].Data, s.Tensors[to].Data) {
			t.Errorf("%s is not the teacher's %s", to, from)
		}
	}
	if !bytes.Equal(s.Tokenizer["vocab.txt"], teacher.Tokenizer["vocab.txt"]) {
		t.Error("the tokenizer is missing")
	}
	s.Tensors["classifier.weight"].Data[0] ^= 1
	if bytes.Equal(teacher.Tensors["classifier.weight"].Data, s.Tensors["classifier.weight"].Data) {
		t.Error("the student shares memory with its teacher")
	}
}

func TestStudentFromLayersRefuses(t *testing.T) {
	t.Parallel()
	teacher := tinyTeacher()
	for _, c := range []struct {
		layers []int
		want   string
	}{
		{nil, "layers: none"},
		{[]int{3}, "layers: 3, expected layers from 0 to 2"},
		{[]int{-1}, "layers: -1"},
		{[]int{1, 1}, "layers: [1 1], expected layer 1 once"},
	} {
		if _, err := StudentFromLayers(teacher, c.layers); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("layers %v: error %v, want one with %q", c.layers, err, c.want)
		}
	}
	// The scales of a quantized teacher are not those of some of its layers.
	for name, weights := range map[string][]string{
		"layers":     quantize.LinearWeights(teacher.Config),
		"embeddings": quantize.Embeddings(),
	} {
		q, err := quantize.Int8Weights(teacher, weights)
		if err != nil {
			t.Fatal(err)
		}
		const want = "is int8: distill from the model before it was quantized"
		if _, err := StudentFromLayers(q, []int{0}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", name, err, want)
		}
		if _, err := Narrow(context.Background(), q, []int{0}, Size{Hidden: 4}, nil, pruning.ImportanceOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s, narrower: error %v, want one with %q", name, err, want)
		}
	}
}

func TestUniformLayers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n, total int
		want     []int
	}{
		{4, 12, []int{2, 5, 8, 11}},
		{3, 3, []int{0, 1, 2}},
		{1, 6, []int{5}},
		{4, 6, []int{1, 2, 4, 5}},
		{2, 5, []int{2, 4}},
		{3, 2, nil},
		{0, 2, nil},
	} {
		if got := UniformLayers(c.n, c.total); !slices.Equal(got, c.want) {
			t.Errorf("%d of %d layers: %v, want %v", c.n, c.total, got, c.want)
		}
	}
}

func TestNewStudent(t *testing.T) {
	t.Parallel()
	teacher := tinyTeacher()
	s, err := NewStudent(teacher, Size{Layers: 2, Hidden: 12, Heads: 6}, 3)
	if err != nil {
		t.Fatal(err)
	}
	c := s.Config
	if c.HiddenSize != 12 || c.HeadDim != 2 || len(c.Layers) != 2 || c.Layers[0] != (checkpoints.LayerSize{Heads: 6, Intermediate: 8}) {
		t.Errorf("hidden size %d, head width %d, layers %v", c.HiddenSize, c.HeadDim, c.Layers)
	}
	if !slices.Equal(c.Labels, teacher.Config.Labels) || len(s.Tokenizer) != 1 {
		t.Errorf("labels %v and tokenizer %v are not the teacher's", c.Labels, s.Tokenizer)
	}
	for want, size := range map[string]Size{
		"size.Heads: 4, expected a divisor of the hidden size 10": {Hidden: 10, Heads: 4}, "size.Layers: -1": {Layers: -1},
		"size.Hidden: 10, expected a multiple of the teacher's 4 heads": {Hidden: 10}, "size.Layers: 1000000000000, expected at most": {Layers: 1e12}, "hidden_size": {Hidden: 3 << 40},
	} {
		if _, err := NewStudent(teacher, size, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("size %+v: error %v, want one with %q", size, err, want)
		}
	}
}

func TestLayerMap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text             string
		student, teacher int
		want             [][2]int
	}{
		{"uniform", 2, 6, [][2]int{{0, 2}, {1, 5}}},
		{"last", 2, 6, [][2]int{{1, 5}}},
		{"0:1,1:4", 2, 6, [][2]int{{0, 1}, {1, 4}}},
		{"0:1,1:6", 2, 6, nil},
		{"uniform", 7, 6, nil},
		{"skip", 6, 12, [][2]int{{0, 1}, {1, 3}, {2, 5}, {3, 7}, {4, 9}}},
		{"skip", 3, 7, [][2]int{{0, 1}, {1, 3}}},
		{"skip", 1, 6, nil},
		{"skip", 7, 6, nil},
	} {
		m, err := ParseLayerMap(c.text)
		if err != nil || m.String() != c.text {
			t.Errorf("%s: read as %v, error %v", c.text, m, err)
		}
		got, err := m.resolve(c.student, c.teacher)
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%s of %d and %d layers: %v, error %v; want %v", c.text, c.student, c.teacher, got, err, c.want)
		}
	}
	for _, text := range []string{"first", "1", "1:", "0:1;1:2"} {
		if _, err := ParseLayerMap(text); err == nil || !strings.Contains(err.Error(), "layer map") {
			t.Errorf("%q: error %v, want one that names layer map", text, err)
		}
	}
}

func TestOptionsNameWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Soft = 0 }, "Soft: 0, expected a positive weight of at least one"},
		{func(o *Options) { o.Hard = -1 }, "Hard: -1, expected"},
		{func(o *Options) { o.Temperature = 0 }, "Temperature: 0, expected a positive number"},
		{func(o *Options) { o.Hidden, o.HiddenDistance = 1, "l1" }, `HiddenDistance: "l1", expected mse, cosine or pkd`},
		{func(o *Options) { o.Attention, o.AttentionDistance = 1, "kl" }, `AttentionDistance: "kl", expected mse, cosine or ce`},
		{func(o *Options) { o.TemperatureSchedule = "step" }, `TemperatureSchedule: "step", expected constant, linear or cosine`},
		{func(o *Options) { o.TemperatureSchedule = Linear }, "TemperatureEnd: 0, expected a positive number"},
		{func(o *Options) { o.CacheMax = -1 }, "CacheMax: -1, expected"},
		{func(o *Options) { o.Ensemble, o.TeacherWeight = []Teacher{{}}, 0 }, "TeacherWeight: 0, expected a positive weight of at least one teacher"},
		{func(o *Options) { o.TeacherWeight = 0 }, "TeacherWeight: 0, expected a positive weight of at least one teacher"},
		{func(o *Options) { o.MiniLM = math.NaN() }, "MiniLM: NaN, expected"},
		{func(o *Options) { o.RelationHeads = -2 }, "RelationHeads: -2, expected"},
		{func(o *Options) { o.LearningRate = -1 }, "LearningRate: -1, expected"},
		{func(o *Options) { o.TeacherPrecision = "int8" }, `TeacherPrecision: "int8", expected f32 or bf16`},
	} {
		o := Defaults()
		c.change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
	o := Defaults()
	if err := o.Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
}
