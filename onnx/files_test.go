package onnx

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/quantize"
)

// largeScores is a model with attention scores beyond 10,000.
func largeScores(c checkpoints.Config) *checkpoints.Model {
	m := randomModel(c)
	for name, t := range m.Tensors {
		if strings.Contains(name, "attention.self.query") || strings.Contains(name, "attention.self.key") {
			v := t.Float32s()
			for i := range v {
				v[i] *= 100
			}
		}
	}
	return m
}

// Whatever the scores, padding is masked: the self-check compares a padded batch
// with one that has no padding.
func TestLargeScores(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"stock", "roberta token_classification", "distilbert", "electra multi_label_classification", "bert masked_lm"} {
		m := largeScores(configs[name])
		int8, err := quantize.Int8(m)
		if err != nil {
			t.Fatal(err)
		}
		for format, want := range map[string]string{infer.F32: "constant_-3.4028234663852886e+38", infer.FP16: "constant_-65504", infer.Int8: "constant_-3.4028234663852886e+38"} {
			m := m
			if format == infer.Int8 {
				m = int8
			}
			o := Options{DType: format}
			graph, err := build(m, o)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(graph.graph.initializers, func(x tensor) bool { return x.name == want }) {
				t.Errorf("%s %s: padding is not masked by %s", name, format, want)
			}
			if _, err := selfCheck(m, o, graph.marshal(), nil); format == infer.F32 && err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Weights that only the graph's arithmetic cannot bear are said to be too large.
func TestNotFinite(t *testing.T) {
	t.Parallel()
	m := randomModel(configs["stock"])
	layer := "bert.encoder.layer.0."
	m.Tensors[layer+"attention.output.LayerNorm.weight"].Float32s()[0] = 0
	m.Tensors[layer+"attention.output.LayerNorm.bias"].Float32s()[0] = -1
	m.Tensors[layer+"intermediate.dense.weight"].Float32s()[0] = math.MaxFloat32
	m.Tensors[layer+"intermediate.dense.bias"].Float32s()[0] = -math.MaxFloat32 // GELU sees -infinity, which is 0 for the engine
	graph, err := build(m, Options{DType: infer.F32})
	if err != nil {
		t.Fatal(err)
	}
	_, err = selfCheck(m, Options{DType: infer.F32}, graph.marshal(), nil)
	if !errors.Is(err, ErrSelfCheck) || !strings.Contains(err.Error(), "the graph's outputs are not finite: the model's weights are too large") {
		t.Errorf("%v, expected that the outputs are not finite", err)
	}
}

// config.json lies beside a graph: that of the exported model, with its labels.
func TestConfigBeside(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		file   string
		want   map[string]any
		absent []string
	}{
		{"stock", "", map[string]any{"model_type": "bert", "architectures": []any{"BertForSequenceClassification"}, "num_attention_heads": 2.0,
			"id2label": map[string]any{"0": "a", "1": "b", "2": "c"}, "label2id": map[string]any{"a": 0.0, "b": 1.0, "c": 2.0}}, []string{"problem_type"}},
		{"stock", "small.onnx", map[string]any{"id2label": map[string]any{"0": "a", "1": "b", "2": "c"}}, nil},
		{"roberta multi_label_classification", "", map[string]any{"model_type": "roberta", "problem_type": "multi_label_classification"}, nil},
		{"distilbert regression", "", map[string]any{"model_type": "distilbert", "problem_type": "regression", "id2label": map[string]any{"0": "score"}}, nil},
		{"electra token_classification", "", map[string]any{"architectures": []any{"ElectraForTokenClassification"}}, nil},
		{"bert masked_lm", "", map[string]any{"architectures": []any{"BertForMaskedLM"}}, []string{"id2label", "label2id"}},
		{"head 26, uneven", "", map[string]any{"head_dim": 26.0, "num_attention_heads": 3.0, "skive_attention_heads": []any{2.0, 3.0, 1.0}}, nil},
	} {
		for _, dtype := range []string{infer.F32, infer.Int8} {
			dir := t.TempDir()
			r, err := Export(randomModel(configs[c.name]), Options{DType: dtype}, filepath.Join(dir, c.file))
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(dir, configName))
			if err != nil || !slices.Contains(r.Files, configName) {
				t.Fatalf("%s: files %v, %v", c.name, r.Files, err)
			}
			var config map[string]any
			if err := json.Unmarshal(text, &config); err != nil {
				t.Fatal(err)
			}
			for key, want := range c.want {
				if !reflect.DeepEqual(config[key], want) {
					t.Errorf("%s %s: %s is %v, want %v", c.name, dtype, key, config[key], want)
				}
			}
			for _, key := range c.absent {
				if config[key] != nil {
					t.Errorf("%s: %s is %v", c.name, key, config[key])
				}
			}
		}
	}
}

// An export takes no other model's config.json away.
func TestConfigOfAnotherModel(t *testing.T) {
	t.Parallel()
	m, other := randomModel(configs["stock"]), randomModel(configs["relu"])
	for name, c := range map[string]struct {
		there string // a file beside config.json
		old   *checkpoints.Model
		want  string
	}{
		"alone":                    {"notes.txt", other, ""},
		"its own, of another file": {"other.onnx", m, ""},
		"another graph's":          {"other.onnx", other, "config.json is there already and belongs to another model, that of other.onnx"},
		"another checkpoint's":     {"model.safetensors", other, "belongs to another model, that of model.safetensors"},
		"that of what it replaces": {"model.onnx", other, ""},
	} {
		dir := t.TempDir()
		config, err := c.old.ConfigJSON()
		if err != nil {
			t.Fatal(err)
		}
		// The same in other words.
		config = append([]byte("\n"), config...)
		for file, text := range map[string][]byte{configName: config, c.there: []byte("x")} {
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		_, err = Export(m, Options{}, dir)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %s", name, err, c.want)
			}
			if _, err := os.Stat(filepath.Join(dir, ModelName)); err == nil {
				t.Errorf("%s: the graph was written", name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		text, err := os.ReadFile(filepath.Join(dir, configName))
		if err != nil || (string(text) == string(config)) != (c.old == m) {
			t.Errorf("%s: %v, %s", name, err, text)
		}
	}
}
