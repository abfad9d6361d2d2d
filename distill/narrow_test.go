package distill

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// A student as wide as its teacher is its teacher.
func TestNarrowOfFullSizeCopies(t *testing.T) {
	t.Parallel()
	teacher := tinyTeacher()
	s, err := Narrow(context.Background(), teacher, []int{0, 1, 2}, Size{Hidden: 16, Heads: 3, Intermediate: 6}, nil, pruning.ImportanceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []checkpoints.LayerSize{{Heads: 3, Intermediate: 6}, {Heads: 3, Intermediate: 6}, {Heads: 3, Intermediate: 6}}; !slices.Equal(s.Config.Layers, want) || s.Config.HiddenSize != 16 {
		t.Errorf("hidden size %d, layers %v", s.Config.HiddenSize, s.Config.Layers)
	}
	whole, err := Narrow(context.Background(), teacher, []int{0, 1, 2}, Size{}, nil, pruning.ImportanceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !sameTensors(whole, teacher) {
		t.Error("a student of the teacher's size has other weights")
	}
}

// Dimensions that carry all the weight are those that stay, wherever a tensor
// holds them.
func TestNarrowKeepsTheDimensionsThatMatter(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t).Clone(), golden.Data(t)
	keep := []int{1, 2, 5, 8, 9, 12, 15, 16, 20, 23, 24, 27, 28, 30, 31}
	for _, name := range teacher.Names() {
		if !strings.Contains(name, "LayerNorm") {
			continue
		}
		v := teacher.Tensors[name].Float32s()
		for i := range v {
			if !slices.Contains(keep, i) {
				v[i] *= 0.01
			}
		}
	}
	for _, method := range []pruning.Method{pruning.Exact, pruning.Magnitude} {
		if method == pruning.Magnitude {
			for spec := range teacher.Config.Tensors() {
				if len(spec.Axes) < 2 || spec.Axes[1] != checkpoints.Hidden {
					continue
				}
				v := teacher.Tensors[spec.Name].Float32s()
				for i := range v {
					if !slices.Contains(keep, i%32) {
						v[i] *= 0.01
					}
				}
			}
		}
		s, err := Narrow(context.Background(), teacher, []int{1}, Size{Hidden: len(keep), Heads: 2, Intermediate: 16}, ds, pruning.ImportanceOptions{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if s.Config.HiddenSize != len(keep) || s.Config.HeadDim != 8 || s.Config.Layers[0] != (checkpoints.LayerSize{Heads: 2, Intermediate: 16}) {
			t.Fatalf("%s: config %+v", method, s.Config)
		}
		words, own := teacher.Tensors["bert.embeddings.word_embeddings.weight"].Float32s(), s.Tensors["bert.embeddings.word_embeddings.weight"].Float32s()
		pooler, ownPooler := teacher.Tensors["bert.pooler.dense.weight"].Float32s(), s.Tensors["bert.pooler.dense.weight"].Float32s()
		for i, d := range keep {
			if own[7*len(keep)+i] != words[7*32+d] {
				t.Fatalf("%s: dimension %d of the student's embeddings is not %d of the teacher's", method, i, d)
			}
			if ownPooler[3*len(keep)+i] != pooler[keep[3]*32+d] {
				t.Fatalf("%s: pooler", method)
			}
		}
		if _, _, err := train.Run(context.Background(), s, ds, nil, func() train.Options { o := train.Defaults(); o.Steps = 1; return o }()); err != nil {
			t.Errorf("%s: training it: %v", method, err)
		}
	}
}

// γ·∂γ + β·∂β is the derivative by a mask on the LayerNorm's output.
func TestHiddenImportanceIsTheMasksGradient(t *testing.T) {
	t.Parallel()
	m, ds := golden.Model(t).Clone(), golden.Data(t)
	ds = &data.Dataset{Task: ds.Task, Examples: ds.Examples[:6]}
	got, err := HiddenImportance(context.Background(), m, ds, pruning.ImportanceOptions{BatchSize: 6})
	if err != nil {
		t.Fatal(err)
	}
	set, err := evaluate.Encode(m, ds, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b data.Batch
	set.Fill(&b, []int32{0, 1, 2, 3, 4, 5})
	loss := func() float64 {
		g := autograd.New(autograd.Options{Threads: 1})
		defer g.Close()
		in, labels := layers.NewInputs(g), g.Ints("labels", autograd.Sequences)
		c, err := layers.NewClassifier(g, in, m, layers.Options{})
		if err != nil {
			t.Fatal(err)
		}
		l := g.CrossEntropy(c.Logits, labels, autograd.Mean)
		s, err := autograd.NewSession(g, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{in.Set(b.IDs, b.TypeIDs, b.Positions, b.Offsets), g.SetInts(labels, b.Labels), s.Run()} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return float64(s.Value(l)[0])
	}
	const dimension, h = 4, 0.02
	want := 0.0
	for _, name := range m.Names() {
		base, ok := strings.CutSuffix(name, "LayerNorm.weight")
		if !ok {
			continue
		}
		scaled := func(by float32) float64 {
			for _, n := range []string{name, base + "LayerNorm.bias"} {
				v := m.Tensors[n].Float32s()
				old := v[dimension]
				v[dimension] *= by
				defer func() { v[dimension] = old }()
			}
			return loss()
		}
		d := (scaled(1+h) - scaled(1-h)) / (2 * h)
		want += max(d, -d)
	}
	if d := got[dimension] - want; d > 2e-3*want || d < -2e-3*want {
		t.Errorf("importance %g, by finite differences %g", got[dimension], want)
	}
}

// A masked language model, from which general distillation starts, keeps its head.
func TestNarrowOfAMaskedLanguageModel(t *testing.T) {
	t.Parallel()
	teacher := tinyTeacher()
	if err := teacher.SetHead(head.MaskedLM, nil, 1); err != nil {
		t.Fatal(err)
	}
	student, err := Narrow(context.Background(), teacher, []int{0}, Size{Hidden: 4}, nil, pruning.ImportanceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c := student.Config; c.Head != head.MaskedLM || c.HiddenSize != 4 || c.VocabSize != teacher.Config.VocabSize {
		t.Errorf("the student is %+v", c)
	}
}

func TestNarrowRefuses(t *testing.T) {
	t.Parallel()
	teacher := tinyTeacher()
	for _, c := range []struct {
		size Size
		want string
	}{
		{Size{Hidden: 17}, "size.Hidden: 17, expected at most the teacher's 16"},
		{Size{Heads: 4}, "size.Heads: 4, expected at most the 3 of the teacher's layer 1"},
		{Size{Heads: -1}, "size.Heads: -1, expected a positive number"},
	} {
		_, err := Narrow(context.Background(), teacher, []int{0, 1}, c.size, nil, pruning.ImportanceOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one with %q", c.size, err, c.want)
		}
	}
	electra := teacher.Config.Clone()
	electra.EmbeddingSize = 8
	var wrong *settings.Error
	if err := (Size{Hidden: 12}).Check(electra, []int{0}); !errors.As(err, &wrong) || wrong.Field != "size.Hidden" {
		t.Errorf("a narrower student of projected embeddings: %v", err)
	}
	before := bytes.Clone(teacher.Tensors["classifier.weight"].Data)
	if _, err := Narrow(context.Background(), teacher, []int{0}, Size{Hidden: 4}, nil, pruning.ImportanceOptions{}); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(before, teacher.Tensors["classifier.weight"].Data) {
		t.Error("the teacher is changed")
	}
}

// The first dense layer of an embedding reads the hidden dimensions, and the others
// what it makes; a student of random weights has none that were trained.
func TestNarrowWithDenseLayers(t *testing.T) {
	t.Parallel()
	teacher := tinyTeacher()
	h := teacher.Config.HiddenSize
	teacher.Config.Sentence = &checkpoints.Sentence{Pooling: checkpoints.MeanPooling, MaxLength: 7, Dense: []checkpoints.Dense{
		{Out: 5, Bias: true, Activation: "tanh"}, {Out: 3, Activation: "identity"},
	}}
	for name, shape := range map[string][]int{"sentence.dense.0.weight": {5, h}, "sentence.dense.0.bias": {5}, "sentence.dense.1.weight": {3, 5}} {
		values := make([]float32, checkpoints.Tensor{Shape: shape}.Elements())
		for i := range values {
			values[i] = float32(i)
		}
		teacher.Tensors[name] = checkpoints.NewTensor(shape, values)
	}
	if err := teacher.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []Size{{Hidden: 8}, {}} {
		student, err := Narrow(context.Background(), teacher, []int{1, 2}, s, nil, pruning.ImportanceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := student.Config.Sentence; got == nil || len(got.Dense) != 2 || got.MaxLength != 7 {
			t.Errorf("%+v of a student", got)
		}
		for name, shape := range map[string][]int{"sentence.dense.0.weight": {5, student.Config.HiddenSize}, "sentence.dense.0.bias": {5}, "sentence.dense.1.weight": {3, 5}} {
			if got := student.Tensors[name].Shape; !slices.Equal(got, shape) {
				t.Errorf("%s: shape %v, want %v", name, got, shape)
			}
		}
	}
	student, err := NewStudent(teacher, Size{Layers: 1}, 1)
	if err != nil || student.Config.Sentence != nil {
		t.Errorf("%+v of random weights, %v", student.Config.Sentence, err)
	}
}
