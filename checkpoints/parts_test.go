package checkpoints

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Every tensor's name leads back to what it is, in every family and head.
func TestParseTensor(t *testing.T) {
	t.Parallel()
	dirs, err := filepath.Glob("../infer/testdata/families/*")
	check(t, err)
	heads, err := filepath.Glob("../infer/testdata/heads/*")
	check(t, err)
	for _, dir := range append(dirs, heads...) {
		m := scaled(open1(t, dir))
		for s := range m.Config.Tensors() {
			part, kind, ok := ParseTensor(s.Name)
			if !ok || part != s.Part || kind != s.Kind {
				t.Errorf("%s: %s is %v %v %v, want %v %v", dir, s.Name, part, kind, ok, s.Part, s.Kind)
			}
			if len(s.Axes) != len(s.Shape) || !slices.Equal(m.Tensors[s.Name].Shape, s.Shape) && s.Role != Pooler {
				t.Errorf("%s: %s has the axes %v and the shape %v", dir, s.Name, s.Axes, s.Shape)
			}
			if s.EncoderLinear() {
				if part, kind, ok := ParseTensor(s.InputScale()); !ok || part != s.Part || kind != InputScale {
					t.Errorf("%s: %s is %v %v %v", dir, s.InputScale(), part, kind, ok)
				}
			}
		}
	}
	for _, name := range []string{
		"", ".", "weight", "classifier", "classifier.input_scale", "bert.embeddings.word_embeddings.bias", "bert.encoder.layer.0.classifier.weight",
		"attention.self.query.weight", "bert.encoder.layer.01.output.dense.weight", "bert.encoder.layer.-1.output.dense.weight",
		"bert.encoder.layer.0.output.dense.weight_scale", "bert.encoder.layer.0.output.LayerNorm.input_scale", "projection.embeddings.weight",
	} {
		if part, kind, ok := ParseTensor(name); ok {
			t.Errorf("%q is taken for %v, %v", name, part, kind)
		}
	}
}

// What Take keeps lies where the cuts say, in all tensors that have the axis and
// in no other.
func TestTake(t *testing.T) {
	t.Parallel()
	m := scaled(tinyModel())
	heads, units, hidden, words := []int{1}, []int{2, 0, 5}, []int{7, 1, 4}, []int{3, 0, 9, 8}
	got, err := m.Take(
		Cut{Axis: Heads, Layer: 1, Keep: heads}, Cut{Axis: Units, Layer: 0, Keep: units}, Cut{Axis: Hidden, Keep: hidden}, Cut{Axis: Vocabulary, Keep: words})
	check(t, err)
	check(t, got.Validate())
	if got.Config.HiddenSize != 3 || got.Config.VocabSize != 4 || got.Config.PadTokenID != 1 || got.Config.Layers[1].Heads != 1 || got.Config.Layers[0].Intermediate != 3 {
		t.Errorf("config %+v", got.Config)
	}
	d := m.Config.HeadDim
	for s := range m.Config.Tensors() {
		at := func(axis, i int) int {
			switch s.Axes[axis] {
			case Hidden:
				return hidden[i]
			case Vocabulary:
				return words[i]
			case Heads:
				if s.Layer == 1 {
					return heads[i/d]*d + i%d
				}
			case Units:
				if s.Layer == 0 {
					return units[i]
				}
			}
			return i
		}
		before, after := m.Tensors[s.Name], got.Tensors[s.Name]
		width, old := after.Shape[len(after.Shape)-1], before.Shape[len(before.Shape)-1]
		for i, v := range after.Float32s() {
			from := at(0, i/width*(len(s.Axes)-1)+i*(2-len(s.Axes)))
			if len(s.Axes) == 2 {
				from = from*old + at(1, i%width)
			}
			if want := before.Float32s()[from]; v != want {
				t.Fatalf("%s: element %d is %g, want %g", s.Name, i, v, want)
			}
		}
	}
	for _, c := range []struct {
		cuts []Cut
		want string
	}{
		{[]Cut{{Axis: Heads, Layer: 9, Keep: []int{0}}}, "layer 9"},
		{[]Cut{{Axis: Units, Layer: 0, Keep: []int{0, 0}}}, "each once"},
		{[]Cut{{Axis: Hidden, Keep: []int{-1}}}, "-1 is kept"},
		{[]Cut{{Axis: Hidden, Keep: []int{1}}, {Axis: Hidden, Keep: []int{2}}}, "two cuts"},
		{[]Cut{{Axis: Types, Keep: []int{0}}}, "cannot be cut"},
	} {
		if _, err := m.Take(c.cuts...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want one with %q", c.cuts, err, c.want)
		}
	}
	if _, err := int8Model().Take(Cut{Axis: Units, Layer: 0, Keep: units}); err == nil || !strings.Contains(err.Error(), "is int8") {
		t.Errorf("int8: error %v", err)
	}
}

func TestKeepLayers(t *testing.T) {
	t.Parallel()
	m := tinyModel()
	got, err := m.KeepLayers([]int{1, 0})
	check(t, err)
	check(t, got.Validate())
	for s := range got.Config.Tensors() {
		from := s.Part
		if from.Layer >= 0 {
			from.Layer = 1 - from.Layer
		}
		name := from.Weight()
		if s.Name == s.Bias() {
			name = from.Bias()
		}
		if !bytes.Equal(got.Tensors[s.Name].Data, m.Tensors[name].Data) {
			t.Errorf("%s is not %s", s.Name, name)
		}
	}
	for _, layers := range [][]int{{2}, {-1}, {0, 0}} {
		if _, err := m.KeepLayers(layers); err == nil {
			t.Errorf("layers %v are kept", layers)
		}
	}
}

// Names of tensors are made here alone.
func TestNobodyElseSpellsTensorNames(t *testing.T) {
	t.Parallel()
	check(t, fs.WalkDir(os.DirFS(".."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "checkpoints/") {
			return err
		}
		text, err := os.ReadFile(filepath.Join("..", path))
		for _, name := range []string{`"bert.`, `attention.self`, `output.dense`, `intermediate.dense`, `cls.predictions`, `word_embeddings.weight`, `input_scale"`, `sentence.dense`} {
			if bytes.Contains(text, []byte(name)) {
				t.Errorf("%s: spells %s", path, name)
			}
		}
		return err
	}))
}
