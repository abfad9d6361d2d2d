package checkpoints

import (
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// scaled is the model with scales of the inputs of its linear layers.
func scaled(m *Model) *Model {
	m = m.Clone()
	i := 0
	for s := range m.Config.Tensors() {
		if i++; s.EncoderLinear() {
			m.Tensors[s.InputScale()] = NewTensor([]int{1}, []float32{float32(i) / 8})
		}
	}
	return m
}

// Scales of the inputs of float layers go through a directory of every family,
// under its own names, and through a file.
func TestInputScalesOfFloatModels(t *testing.T) {
	t.Parallel()
	dirs, err := filepath.Glob("../infer/testdata/families/*")
	check(t, err)
	for _, dir := range append(dirs, "testdata/safetensors", "testdata/encoder") {
		m := scaled(open1(t, dir))
		check(t, m.Validate())
		out, file := filepath.Join(t.TempDir(), "hf"), filepath.Join(t.TempDir(), "m"+Extension)
		check(t, m.SaveHF(out))
		check(t, m.SaveSkive(file))
		for _, path := range []string{out, file} {
			again := open1(t, path)
			if len(again.Notes) > 0 {
				t.Errorf("%s: notes %q", path, again.Notes)
			}
			equalModels(t, again, m)
		}
		half, err := m.Convert(F16)
		check(t, err)
		check(t, half.Validate())
		m.DeleteInputScales()
		equalModels(t, m, open1(t, dir))
	}
}

func TestHostileInputScales(t *testing.T) {
	t.Parallel()
	name := layerPrefix(1) + "output.dense" + inputScaleSuffix
	for want, change := range map[string]func(m *Model){
		"f32 [2], expected f32 [1]": func(m *Model) { m.Tensors[name] = NewTensor([]int{2}, []float32{1, 1}) },
		"fp16 [1], expected f32":    func(m *Model) { m.Tensors[name] = Tensor{F16, []int{1}, []byte{0, 0x3c}} },
		"expected a positive scale": func(m *Model) { m.Tensors[name] = NewTensor([]int{1}, []float32{0}) },
	} {
		m := tinyModel()
		change(m)
		dir := t.TempDir()
		check(t, tinyModel().SaveHF(dir))
		check(t, WriteFile(filepath.Join(dir, safetensorsName), func(w io.Writer) error {
			return writeSafetensors(w, m.Tensors, m.Config.ownName)
		}))
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "tensor "+name) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
