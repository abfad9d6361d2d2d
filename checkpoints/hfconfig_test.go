package checkpoints

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nlpodyssey/safetensors"
)

// configWith adds keys to a configuration.
func configWith(keys string) []byte {
	return []byte(goodConfig + "," + strings.TrimPrefix(keys, "{"))
}

// Labels are those that transformers reads, with LABEL_N in the place of no name.
func TestLabelsOfTransformers(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/labels.json")
	check(t, err)
	var cases []struct {
		Config json.RawMessage
		Labels []*string
	}
	check(t, json.Unmarshal(text, &cases))
	for _, c := range cases {
		p, err := parseConfig(configWith(string(c.Config)))
		if c.Labels == nil {
			if err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, transformers refuses it", c.Config, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.Config, err)
			continue
		}
		got := p.Labels
		if !p.labelsGiven {
			got = defaultLabels(2) // as adopt has it
		}
		want := defaultLabels(len(c.Labels))
		for i, name := range c.Labels {
			if name != nil {
				want[i] = *name
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: labels %q, want %q", c.Config, got, want)
		}
		m := InitBERT(p.Config, 1)
		if !p.labelsGiven {
			continue
		}
		written, err := formatConfig(m, true)
		check(t, err)
		var stock struct {
			Label2ID map[string]int `json:"label2id"`
		}
		check(t, json.Unmarshal(written, &stock))
		back, err := ParseConfig(written)
		if err != nil || !reflect.DeepEqual(back.Labels, want) {
			t.Errorf("%s: written and read again %q, %v", c.Config, back.Labels, err)
		}
	}
}

// What is left out or made up of the labels is said, and what is none is refused
// by its key.
func TestLabels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config string
		labels []string
		note   string
		err    string
	}{
		{config: `"label2id":{"b":1,"a":0}`, labels: []string{"a", "b"}},
		{config: `"label2id":{"b":"1","a":"0"}`, labels: []string{"a", "b"}},
		{config: `"id2label":null,"label2id":{"b":1,"a":0,"c":2},"num_labels":3`, labels: []string{"a", "b", "c"}},
		{config: `"label2id":{"b":1,"a":0},"num_labels":3`, labels: []string{"LABEL_0", "LABEL_1", "LABEL_2"},
			note: "config.json: num_labels is 3 and label2id has 2 names, which are left out"},
		{config: `"id2label":{"0":"a","1":"b"},"num_labels":3`, labels: []string{"LABEL_0", "LABEL_1", "LABEL_2"},
			note: "config.json: num_labels is 3 and id2label has 2 names, which are left out"},
		{config: `"id2label":{"0":"a","2":"c"}`, labels: []string{"a", "LABEL_1"},
			note: `config.json: id2label has no name for class 1, which is called LABEL_1; config.json: id2label: "c" is number 2, and the classes are 0 to 1`},
		{config: `"id2label":{"0":"","1":"b"}`, labels: []string{"LABEL_0", "b"}, note: "config.json: id2label has no name for class 0, which is called LABEL_0"},
		{config: `"id2label":{"1":"","2":"","3":"","4":"","5":"","6":"f"}`, labels: defaultLabels(6)[:6:6],
			note: "config.json: 3 more labels like these"},
		{config: `"label2id":{"a":0,"b":0}`, err: `label2id: "b" is 0, expected each of 0 to 1 once`},
		{config: `"label2id":{"a":0,"b":2}`, err: `label2id: "b" is 2, expected each of 0 to 1 once`},
		{config: `"label2id":{"a":null}`, err: `label2id: "a" is null, expected each of 0 to 0 once`},
		{config: `"label2id":["a"]`, err: "label2id is a JSON array, expected an object of numbers by name"},
		{config: `"id2label":["a"]`, err: "id2label is a JSON array, expected an object of names by number"},
		{config: `"id2label":{"0":["a"],"1":"b"}`, err: "id2label: the name of class 0 is a JSON array, expected a string"},
		{config: `"id2label":{"0":{"name":"a"}}`, err: "id2label: the name of class 0 is a JSON object, expected a string"},
		{config: `"id2label":{"one":"a"}`, err: `id2label: key "one", expected the number of a class`},
		{config: `"id2label":{"0":"a","00":"b"}`, err: `id2label: keys "0" and "00" are the same number`},
		{config: `"num_labels":0`, err: "num_labels is 0, expected 1 to 65536"},
		{config: `"num_labels":"2"`, err: "num_labels is a JSON string, expected a whole number"},
	} {
		p, err := parseConfig(configWith(c.config + "}"))
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: %v, want %s", c.config, err, c.err)
			}
			continue
		}
		if strings.HasPrefix(c.note, "config.json: 3 more") {
			p.Labels, c.labels, p.notes = nil, nil, p.notes[len(p.notes)-1:]
		}
		if err != nil || !slices.Equal(p.Labels, c.labels) || strings.Join(p.notes, "; ") != c.note {
			t.Errorf("%s: %q, %q, %v; want %q, %q", c.config, p.Labels, p.notes, err, c.labels, c.note)
		}
	}
}

// The names of transformers' ACT2FN are those of what Skive computes, or refused.
func TestActivationNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"gelu": "gelu", "gelu_python": "gelu",
		"gelu_new": "gelu_new", "gelu_pytorch_tanh": "gelu_new", "gelu_python_tanh": "gelu_new", "gelu_fast": "gelu_new", "gelu_accurate": "gelu_new",
		"relu": "relu", "silu": "silu", "swish": "silu",
		"gelu_10": "", "hardswish": "", "laplace": "", "leaky_relu": "", "linear": "", "mish": "", "quick_gelu": "", "relu2": "", "relu6": "", "sigmoid": "",
		"sqrtsoftplus": "", "tanh": "", "prelu": "", "xielu": "", "GELU": "", "": "",
	} {
		for config, key := range map[string]string{
			goodConfig + `,"hidden_act":`: "hidden_act",
			`{"model_type":"distilbert","vocab_size":11,"dim":12,"n_layers":1,"n_heads":4,"hidden_dim":10,"max_position_embeddings":8,"activation":`: "activation",
		} {
			c, err := ParseConfig(fmt.Appendf(nil, "%s%q}", config, name))
			if want != "" && (err != nil || c.Activation != want) {
				t.Errorf("%s %s: %q, %v; want %q", key, name, c.Activation, err, want)
			}
			if want == "" && (!errors.Is(err, ErrUnsupported) || !strings.HasPrefix(err.Error(), fmt.Sprintf("%s %q: not supported", key, name))) {
				t.Errorf("%s %s: %v", key, name, err)
			}
		}
	}
}

// Settings that change the arithmetic, in each family, and those that do not.
func TestConfigArithmetic(t *testing.T) {
	t.Parallel()
	const electra = `{"model_type":"electra","architectures":["ElectraFor%s"],"vocab_size":11,"hidden_size":12,"num_hidden_layers":1,` +
		`"num_attention_heads":4,"intermediate_size":10,"max_position_embeddings":8`
	choice, class := fmt.Sprintf(electra, "MultipleChoice"), fmt.Sprintf(electra, "SequenceClassification")
	for config, want := range map[string]string{
		goodConfig + `,"position_embedding_type":"relative_key_query"}`:                          `position_embedding_type "relative_key_query": not supported`,
		goodConfig + `,"position_embedding_type":"alibi"}`:                                       `position_embedding_type "alibi": not supported`,
		goodConfig + `,"problem_type":"single_label_classification","num_labels":1}`:             `problem_type "single_label_classification" with one label, expected two labels or more, or problem_type "regression"`,
		choice + `,"summary_type":"mean"}`:                                                       `summary_type "mean": not supported`,
		choice + `,"summary_use_proj":false}`:                                                    `summary_use_proj false: not supported`,
		choice + `,"summary_activation":"tanh"}`:                                                 `summary_activation "tanh": not supported`,
		choice + `,"summary_proj_to_labels":true}`:                                               `summary_proj_to_labels true: not supported`,
		choice + `,"summary_type":"first","summary_use_proj":true,"summary_activation":"gelu"}`:  "",
		class + `,"summary_type":"mean","summary_activation":"tanh"}`:                            "",
		goodConfig + `,"chunk_size_feed_forward":2,"use_cache":true,"tie_word_embeddings":true}`: "",
		goodConfig + `,"problem_type":null,"classifier_dropout":null,"pad_token_id":null}`:       "",
	} {
		_, err := ParseConfig([]byte(config))
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v, want %s", config, err, want)
		}
	}
}

// float64 tensors are rounded to f32; integer buffers beside them are left out.
func TestFloat64(t *testing.T) {
	t.Parallel()
	want := open1(t, "testdata/safetensors")
	dir := t.TempDir()
	copyFiles := func(from, to string) {
		check(t, os.MkdirAll(to, 0o777))
		for _, name := range []string{configName, "vocab.txt"} {
			b, err := os.ReadFile(filepath.Join(from, name))
			check(t, err)
			check(t, os.WriteFile(filepath.Join(to, name), b, 0o666))
		}
	}
	widen := func(b []byte) []byte {
		var wide []byte
		for ; len(b) >= 4; b = b[4:] {
			v := float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
			wide = binary.LittleEndian.AppendUint64(wide, math.Float64bits(v*(1+1e-9)))
		}
		return wide
	}

	st := filepath.Join(dir, "safetensors")
	copyFiles("testdata/safetensors", st)
	save := func(change func(map[string]safetensors.TensorView)) {
		b, err := os.ReadFile("testdata/safetensors/" + safetensorsName)
		check(t, err)
		file, err := safetensors.Deserialize(b)
		check(t, err)
		views := map[string]safetensors.TensorView{}
		for _, x := range file.Tensors() {
			if x.TensorView.DType() == safetensors.F32 {
				x.TensorView, err = safetensors.NewTensorView(safetensors.F64, x.TensorView.Shape(), widen(x.TensorView.Data()))
				check(t, err)
			}
			views[x.Name] = x.TensorView
		}
		change(views)
		var buf bytes.Buffer
		check(t, safetensors.SerializeToWriter(views, nil, &buf))
		check(t, os.WriteFile(filepath.Join(st, safetensorsName), buf.Bytes(), 0o666))
	}
	ids := func(views map[string]safetensors.TensorView) {
		v, err := safetensors.NewTensorView(safetensors.I64, []uint64{1, 2}, make([]byte, 16))
		check(t, err)
		views["bert.embeddings.position_ids"] = v
	}
	save(ids)

	zipped := filepath.Join(dir, "zip")
	copyFiles("testdata/zip", zipped)
	r, err := zip.OpenReader("testdata/zip/" + pytorchName)
	check(t, err)
	defer r.Close()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, f := range r.File {
		in, err := f.Open()
		check(t, err)
		b, err := io.ReadAll(in)
		check(t, err)
		if strings.HasSuffix(f.Name, "data.pkl") {
			// The length of the name stands before it.
			b = bytes.ReplaceAll(b, []byte("FloatStorage"), []byte("DoubleStorage"))
			b = bytes.ReplaceAll(b, []byte("\x0cDoubleStorage"), []byte("\x0dDoubleStorage"))
		} else if strings.Contains(f.Name, "/data/") {
			b = widen(b)
		}
		out, err := w.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Store})
		check(t, err)
		_, err = out.Write(b)
		check(t, err)
	}
	check(t, w.Close())
	check(t, os.WriteFile(filepath.Join(zipped, pytorchName), buf.Bytes(), 0o666))

	for _, path := range []string{st, zipped} {
		got := open1(t, path)
		if len(got.Tensors) != len(want.Tensors) {
			t.Errorf("%s: %d tensors, want %d", path, len(got.Tensors), len(want.Tensors))
		}
		for name, x := range want.Tensors {
			if y := got.Tensors[name]; y.DType != F32 || !bytes.Equal(x.Data, y.Data) {
				t.Errorf("%s: tensor %s differs", path, name)
			}
		}
	}

	for name, c := range map[string]struct {
		change func(map[string]safetensors.TensorView)
		want   string
	}{
		"beyond float32": {func(views map[string]safetensors.TensorView) {
			v := views[classifierBias]
			b := slices.Clone(v.Data())
			binary.LittleEndian.PutUint64(b, math.Float64bits(1e300))
			views[classifierBias], _ = safetensors.NewTensorView(safetensors.F64, v.Shape(), b)
		}, "tensor classifier.bias: holds NaN or infinity"},
		"integers": {func(views map[string]safetensors.TensorView) {
			v := views[classifierBias]
			views[classifierBias], _ = safetensors.NewTensorView(safetensors.I64, v.Shape(), v.Data())
		}, "tensor classifier.bias: element type I64: not supported (f32, f16, bf16 and f64 are)"},
		"shape": {func(views map[string]safetensors.TensorView) {
			views[classifierBias] = views["bert.pooler.dense.bias"]
		}, "tensor classifier.bias: shape [32], the configuration says [3]"},
	} {
		save(c.change)
		if _, err := Open(st); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// transformers checks the types of some families' settings.
func TestWholeNumbersOfFractions(t *testing.T) {
	t.Parallel()
	var o orderedJSON
	o.add("hidden_dropout_prob", float32(0))
	o.add("rope_theta", 1e3)
	o.add("layer_norm_eps", 1e-12)
	o.add("hidden_size", 48)
	got, err := o.MarshalJSON()
	if want := `{"hidden_dropout_prob":0.0,"rope_theta":1000.0,"layer_norm_eps":1e-12,"hidden_size":48}`; err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}
