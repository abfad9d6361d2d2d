package infer_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/nlpodyssey/safetensors"

	"github.com/skive-ml/skive/infer"
)

// One model in configurations and files that say the same in other words: the
// logits are those of transformers 5.23, and the names of the labels text.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	want := [][]float32{{1.2891, 0.709, 0.346}, {2.18, 1.3201, -0.1896}}
	labels := regexp.MustCompile(`(?s)"id2label": \{.*?\},`)
	numbers := regexp.MustCompile(`(?s)"label2id": \{.*?\},`)
	set := func(id2label, label2id string) func([]byte) []byte {
		return func(text []byte) []byte {
			return numbers.ReplaceAll(labels.ReplaceAll(text, []byte(id2label)), []byte(label2id))
		}
	}
	activation := func(name string) func([]byte) []byte {
		return func(text []byte) []byte {
			return bytes.Replace(text, []byte(`"hidden_act": "gelu"`), []byte(`"hidden_act": "`+name+`"`), 1)
		}
	}
	double := func(text []byte) []byte { return text }
	for name, c := range map[string]struct {
		config func([]byte) []byte
		label  string
	}{
		"as it is":             {activation("gelu"), "LABEL_0"},
		"gelu_python":          {activation("gelu_python"), "LABEL_0"},
		"numbers for names":    {set(`"id2label": {"0": 0, "1": 1, "2": 2},`, `"label2id": {"0": 0, "1": 1, "2": 2},`), "0"},
		"strings for numbers":  {set(`"id2label": {"0": "a", "1": "b", "2": "c"},`, `"label2id": {"a": "0", "b": "1", "c": "2"},`), "a"},
		"label2id alone":       {set(``, `"label2id": {"c": 2, "a": 0, "b": 1},`), "a"},
		"one name for all":     {set(`"id2label": {"0": "a", "1": "a", "2": "a"},`, ``), "a"},
		"classes from 1":       {set(`"id2label": {"1": "a", "2": "b", "3": "c"},`, ``), "LABEL_0"},
		"null":                 {set(`"id2label": {"0": null, "1": "b", "2": "c"},`, `"label2id": null,`), "LABEL_0"},
		"num_labels alone":     {set(`"num_labels": 3,`, ``), "LABEL_0"},
		"float64":              {double, "LABEL_0"},
		"true and false, null": {set(`"id2label": {"0": true, "1": false, "2": null},`, ``), "true"},
	} {
		dir := t.TempDir()
		for _, file := range []string{"config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"} {
			b, err := os.ReadFile(filepath.Join("testdata/configurations", file))
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case file == "config.json":
				b = c.config(b)
			case file == "model.safetensors" && name == "float64":
				b = widened(t, b)
			}
			if err := os.WriteFile(filepath.Join(dir, file), b, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		e, err := infer.Open(dir, infer.Options{Threads: 1})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := e.Predict(t.Context(), []infer.Input{{Text: "the film was great"}, {Text: "hello paris"}})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range got {
			if !slices.EqualFunc(p.Logits, want[i], func(a, b float32) bool { return math.Abs(float64(a-b)) < 1e-4 }) || p.Label != c.label {
				t.Errorf("%s: text %d: %s, %v, want %s, %v", name, i, p.Label, p.Logits, c.label, want[i])
			}
		}
		e.Close()
	}
}

// widened is a file of safetensors with its numbers in float64.
func widened(t *testing.T, b []byte) []byte {
	t.Helper()
	file, err := safetensors.Deserialize(b)
	if err != nil {
		t.Fatal(err)
	}
	views := map[string]safetensors.TensorView{}
	for _, x := range file.Tensors() {
		var wide []byte
		for v := range slices.Chunk(x.TensorView.Data(), 4) {
			wide = binary.LittleEndian.AppendUint64(wide, math.Float64bits(float64(math.Float32frombits(binary.LittleEndian.Uint32(v)))))
		}
		if views[x.Name], err = safetensors.NewTensorView(safetensors.F64, x.TensorView.Shape(), wide); err != nil {
			t.Fatal(err)
		}
	}
	var buf bytes.Buffer
	if err := safetensors.SerializeToWriter(views, nil, &buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
