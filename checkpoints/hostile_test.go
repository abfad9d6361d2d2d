package checkpoints

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const goodConfig = `{"model_type":"bert","architectures":["BertForSequenceClassification"],"vocab_size":11,"hidden_size":12,` +
	`"num_hidden_layers":2,"num_attention_heads":4,"intermediate_size":10,"max_position_embeddings":8`

func TestConfigRefusals(t *testing.T) {
	t.Parallel()
	for add, want := range map[string]string{
		`,"model_type":"deberta"`:                                    `model_type "deberta": not supported`,
		`,"position_embedding_type":"relative_key"`:                  `position_embedding_type "relative_key": not supported`,
		`,"is_decoder":true`:                                         `is_decoder true: not supported`,
		`,"is_decoder":1`:                                            `is_decoder is a JSON number, expected true or false`,
		`,"hidden_size":12.5`:                                        `hidden_size is a JSON number 12.5, expected a whole number`,
		`,"architectures":"BertModel"`:                               `architectures is a JSON string, expected a list`,
		`,"layer_norm_eps":"small"`:                                  `layer_norm_eps is a JSON string, expected a number`,
		`,"model_type":7`:                                            `model_type is a JSON number, expected a string`,
		`,"pruned_heads":[]`:                                         `pruned_heads is a JSON array, expected an object`,
		`,"add_cross_attention":true`:                                `add_cross_attention true: not supported`,
		`,"hidden_act":"mish"`:                                       `hidden_act "mish": not supported`,
		`,"problem_type":"ranking"`:                                  `problem_type "ranking": not supported`,
		`,"problem_type":"regression","num_labels":2`:                `a regression to 2 numbers: not supported`,
		`,"embedding_size":4`:                                        `embedding_size 4`,
		`,"hidden_size":"big"`:                                       `hidden_size is a JSON string`,
		`,"hidden_size":-12`:                                         `hidden_size is -12`,
		`,"hidden_size":13`:                                          `hidden_size 13 is not a multiple of num_attention_heads 4`,
		`,"num_hidden_layers":1000000000`:                            `num_hidden_layers is 1000000000`,
		`,"num_labels":1000000000`:                                   `num_labels is 1000000000`,
		`,"vocab_size":99999999999`:                                  `vocab_size is 99999999999`,
		`,"head_dim":0`:                                              `head_dim is 0`,
		`,"skive_attention_heads":[1]`:                               `skive_attention_heads has 1 entries, num_hidden_layers is 2`,
		`,"skive_attention_heads":[1,0]`:                             `num_attention_heads of layer 1 is 0`,
		`,"skive_intermediate_sizes":[-1,5]`:                         `intermediate_size of layer 0 is -1`,
		`,"id2label":{"0":"a","01":"b","1":"c"},"num_labels":2`:      `id2label: keys "01" and "1" are the same number`,
		`,"label2id":{"a":0,"b":0}`:                                  `label2id`,
		`,"pruned_heads":{"7":[1]}`:                                  `pruned_heads: "7"`,
		`,"pruned_heads":{"0":[0,1,2,3]}`:                            `num_attention_heads of layer 0 is 0`,
		`,"layer_norm_eps":0`:                                        `layer_norm_eps is 0`,
		`,"hidden_dropout_prob":1.5`:                                 `hidden_dropout_prob is 1.5`,
		`,"pad_token_id":11`:                                         `pad_token_id is 11`,
		`,"intermediate_size":null`:                                  ``,
		`,"x":` + strings.Repeat("[", 20000):                         `damaged file`,
		`,"quantization_config":{"quant_method":"bitsandbytes"}`:     `quantization_config: not supported`,
		`,"model_type":null,"architectures":["DebertaModel"]`:        `architecture "DebertaModel": not supported`,
		`,"skive_attention_heads":[1,2],"pruned_heads":{"0":[0]}`:    `exclude each other`,
		`,"num_attention_heads":4611686018427387904,"head_dim":4096`: `num_attention_heads of layer 0`,
	} {
		_, err := ParseConfig([]byte(goodConfig + add + "}"))
		if want == "" {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80s: %v, want %s", add, err, want)
		}
		if strings.Contains(want, "not supported") && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: not ErrUnsupported", add)
		}
	}
	const sizes = `"vocab_size":11,"max_position_embeddings":8,`
	for text, want := range map[string]string{
		`{"model_type":"roberta",` + sizes + `"hidden_size":12,"num_hidden_layers":1,"num_attention_heads":4,"intermediate_size":10,"position_embedding_type":"relative_key_query"}`: `position_embedding_type "relative_key_query": not supported`,
		`{"model_type":"roberta",` + sizes + `"hidden_size":12,"num_hidden_layers":1,"num_attention_heads":4,"intermediate_size":10,"pad_token_id":7}`:                               `max_position_embeddings is 8, expected more than the position of padding, 7, + 1`,
		`{"model_type":"roberta",` + sizes + `"hidden_size":12,"num_hidden_layers":1,"num_attention_heads":4,"intermediate_size":10,"embedding_size":4}`:                             `embedding_size 4 other than hidden_size 12: not supported`,
		`{"model_type":"xlnet",` + sizes + `"hidden_size":12}`:                                                                                             `model_type "xlnet": not supported (supported: bert, roberta, xlm-roberta, camembert, mpnet, distilbert, electra, albert, modernbert, nomic_bert, gte, deberta-v2)`,
		`{"model_type":"distilbert",` + sizes + `"n_layers":1,"n_heads":4,"hidden_dim":10}`:                                                                `dim is missing`,
		`{"model_type":"distilbert",` + sizes + `"dim":12,"n_layers":1,"n_heads":4,"hidden_dim":"big"}`:                                                    `hidden_dim is a JSON string`,
		`{"model_type":"distilbert",` + sizes + `"dim":12,"n_layers":1,"n_heads":4,"hidden_dim":10,"activation":"mish"}`:                                   `activation "mish": not supported`,
		`{"model_type":"distilbert",` + sizes + `"dim":13,"n_layers":1,"n_heads":4,"hidden_dim":10}`:                                                       `dim 13 is not a multiple of n_heads 4`,
		`{"model_type":"electra",` + sizes + `"hidden_size":12,"num_hidden_layers":1,"num_attention_heads":4,"intermediate_size":10,"embedding_size":-1}`:  `embedding_size is -1`,
		`{"model_type":"albert",` + sizes + `"hidden_size":12,"num_hidden_layers":2,"num_attention_heads":4,"intermediate_size":10,"num_hidden_groups":3}`: `num_hidden_groups is 3, expected 1 to num_hidden_layers, 2`,
		`{"model_type":"albert",` + sizes + `"hidden_size":12,"num_hidden_layers":2,"num_attention_heads":4,"intermediate_size":10,"inner_group_num":0}`:   `inner_group_num is 0`,
	} {
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for _, key := range []string{"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings"} {
		if _, err := ParseConfig([]byte(strings.Replace(goodConfig, `"`+key, `"x`, 1) + "}")); err == nil || err.Error() != key+" is missing" {
			t.Errorf("without %s: %v", key, err)
		}
	}
	c, err := ParseConfig([]byte(goodConfig + `,"pruned_heads":{"1":[0,2,2]}}`))
	if err != nil || c.Layers[1].Heads != 2 || c.Layers[0].Heads != 4 || c.HeadDim != 3 {
		t.Errorf("pruned_heads: %+v, %v", c, err)
	}
}

// header makes a safetensors file.
func header(text string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	return append(append(b, text...), make([]byte, data)...)
}

func TestHostileSafetensors(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"empty":           {},
		"short":           {1, 2, 3},
		"huge header":     binary.LittleEndian.AppendUint64(nil, math.MaxUint64),
		"negative length": append(binary.LittleEndian.AppendUint64(nil, 1<<63), "{}"...),
		"not JSON":        header("hello", 0),
		"nested":          header(strings.Repeat(`{"a":`, 50000), 0),
		"overlap":         header(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12),
		"hole":            header(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12),
		"beyond":          header(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 4),
		"negative":        header(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}`, 8),
		"overflow":        header(`{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}}`, 0),
		"wrong size":      header(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8),
		"zero times huge": header(`{"a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}}`, 0),
		"dtype":           header(`{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}`, 8),
		"null":            header(`{"a":null}`, 0),
	} {
		if _, err := parseSafetensors(b); !errors.Is(err, ErrCorrupt) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHostileIndex(t *testing.T) {
	t.Parallel()
	for _, shard := range []string{"../model.safetensors", "/etc/passwd", `..\\x`, "a/b", "C:x", "..", "", "NUL\\u0000"} {
		_, _, err := parseIndex(fmt.Appendf(nil, `{"weight_map":{"a":"%s"}}`, shard))
		if err == nil || !strings.Contains(err.Error(), "not the name of a file") {
			t.Errorf("%q: %v", shard, err)
		}
	}
	if _, _, err := parseIndex([]byte(`{}`)); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

func TestHostileDirectories(t *testing.T) {
	t.Parallel()
	shapes := tinyModel()
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		want   string
		is     error
	}{
		"no config":  {func(t *testing.T, d string) { check(t, os.Remove(filepath.Join(d, configName))) }, "no config.json", ErrNotModel},
		"no weights": {func(t *testing.T, d string) { check(t, os.Remove(filepath.Join(d, safetensorsName))) }, "no model.safetensors", ErrNotModel},
		"only state": {func(t *testing.T, d string) {
			check(t, os.RemoveAll(d))
			check(t, os.MkdirAll(filepath.Join(d, stateDir), 0o777))
		}, "training state", ErrNotModel},
		"weights dir": {func(t *testing.T, d string) {
			check(t, os.Remove(filepath.Join(d, safetensorsName)))
			check(t, os.Mkdir(filepath.Join(d, safetensorsName), 0o777))
		}, "no model.safetensors", ErrNotModel},
		"shape": {func(t *testing.T, d string) {
			replace(t, filepath.Join(d, configName), `"intermediate_size": 10`, `"intermediate_size": 9`)
		},
			"tensor bert.encoder.layer.0.intermediate.dense.weight: shape [10 12], the configuration says [9 12]", nil},
		"missing tensor": {func(t *testing.T, d string) {
			replace(t, filepath.Join(d, safetensorsName), "bert.pooler.dense.bias", "bert.pooler.dense.bios")
		},
			"tensor bert.pooler.dense.bias: missing", nil},
		"nan": {func(t *testing.T, d string) {
			p := filepath.Join(d, safetensorsName)
			b, err := os.ReadFile(p)
			check(t, err)
			copy(b[len(b)-4:], "\xff\xff\xff\xff")
			check(t, os.WriteFile(p, b, 0o666))
		}, "tensor classifier.weight: holds NaN or infinity", ErrNotFinite},
		"half a head": {func(t *testing.T, d string) {
			replace(t, filepath.Join(d, safetensorsName), "classifier.bias", "classifier.bios")
		},
			"tensor classifier.bias: missing", nil},
		"head without bounds": {func(t *testing.T, d string) {
			replace(t, filepath.Join(d, safetensorsName), `"classifier.bias"`, `"classifier.bios"`)
			replace(t, filepath.Join(d, safetensorsName), `"classifier.weight"`, `"classifier.waight"`)
			p := filepath.Join(d, configName)
			b, err := os.ReadFile(p)
			check(t, err)
			b = regexp.MustCompile(`(?s)"(id2label|label2id)": \{.*?\},`).ReplaceAll(b, nil)
			check(t, os.WriteFile(p, bytes.Replace(b, []byte("{"), []byte(`{"num_labels": 65536,`), 1), 0o666))
		},
			"tensor classifier.weight: missing", nil},
		"element type": {func(t *testing.T, d string) {
			replace(t, filepath.Join(d, safetensorsName), `"classifier.bias":{"dtype":"F32"`, `"classifier.bias":{"dtype":"I32"`)
		},
			"tensor classifier.bias: element type I32: not supported", ErrUnsupported},
		"duplicate": {func(t *testing.T, d string) {
			replace(t, filepath.Join(d, safetensorsName), `"bert.encoder.layer.0.output.LayerNorm.weight"`, fmt.Sprintf("%-46s", `"encoder.layer.0.output.LayerNorm.bias"`))
		},
			"are the same one", nil},
		"newer provenance": {func(t *testing.T, d string) {
			replace(t, filepath.Join(d, provenanceName), `"format_version": 1`, `"format_version": 9`)
		},
			"format_version 9", ErrNewerVersion},
		"hostile manifest": {func(t *testing.T, d string) {
			check(t, os.Mkdir(filepath.Join(d, pendingDir), 0o777))
			check(t, os.WriteFile(filepath.Join(d, pendingDir, manifestName), []byte(`["../x"]`), 0o666))
		}, "not the name of a file", ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "m")
			check(t, shapes.SaveHF(dir))
			c.change(t, dir)
			_, err := Open(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), dir) {
				t.Fatalf("%v, want %s", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v does not wrap %v", err, c.is)
			}
		})
	}
}

func replace(t *testing.T, path, old, new string) {
	t.Helper()
	b, err := os.ReadFile(path)
	check(t, err)
	if !bytes.Contains(b, []byte(old)) {
		t.Fatalf("%s does not hold %s", path, old)
	}
	check(t, os.WriteFile(path, bytes.Replace(b, []byte(old), []byte(new), 1), 0o666))
}

// torchZip makes a zip as torch.save does, around a pickle.
func torchZip(t testing.TB, pickle string, method uint16, records map[string][]byte) []byte {
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	records["data.pkl"] = []byte(pickle)
	for name, data := range records {
		w, err := z.CreateHeader(&zip.FileHeader{Name: "archive/" + name, Method: method})
		if err != nil {
			t.Fatal(err)
		}
		w.Write(data)
	}
	z.Close()
	return buf.Bytes()
}

func TestHostilePickles(t *testing.T) {
	t.Parallel()
	long := func(op string, n uint64, width int) string {
		b := binary.LittleEndian.AppendUint64(nil, n)
		return op + string(b[:width])
	}
	for name, c := range map[string]struct{ pickle, want string }{
		"nothing at all":  {strings.Repeat("N", 1000) + ".", "1000 objects in 1001 bytes"},
		"system call":     {"cos\nsystem\n(S'echo'\ntR.", "not one of a state dictionary"},
		"posix system":    {"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00echo\x85R.", `"posix.system"`},
		"builtin eval":    {"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", `"builtins.eval"`},
		"instance":        {"(ios\nsystem\n.", "opcode 0x69"},
		"object":          {"(cos\nsystem\no.", "opcode 0x6f"},
		"extension":       {"\x82\x01.", "opcode 0x82"},
		"huge string":     {long("X", math.MaxUint32, 4), "beyond the end"},
		"huge bytes":      {long("\x8e", 1<<62, 8), "opcode 0x8e"},
		"huge unicode":    {long("\x8d", 1<<62, 8), "beyond the end"},
		"huge frame":      {long("\x95", 1<<62, 8), "beyond the end"},
		"empty integer":   {"\x8a\x00.", "integer of 0 bytes"},
		"marks":           {strings.Repeat("(", 1<<20) + ".", "objects"},
		"endless":         {strings.Repeat("N", 100), "no end"},
		"empty stack":     {"R.", "stack is empty"},
		"odd items":       {"}(Nu.", "index out of range"},
		"unhashable":      {"ccollections\nOrderedDict\n)R(]Nu.", "not a state dictionary"},
		"list":            {"].", "not a state dictionary"},
		"contains itself": {"]q\x00h\x00ah\x00)R.", "Callable"},
		"no storage":      {"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x02\x00\x00\x00..X\x03\x00\x00\x00cpuK\x04tQ.", "record data/.. is missing"},
		"short storage":   {"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x05tQ.", "16 bytes for 5 elements"},
	} {
		_, err := parsePyTorch(torchZip(t, c.pickle, zip.Store, map[string][]byte{"data/0": make([]byte, 16)}))
		if err == nil && name == "unhashable" {
			continue // a pointer is a key like any other
		}
		if err == nil || !strings.Contains(err.Error(), c.want) && name != "unhashable" || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if _, err := parsePyTorch([]byte(c.pickle)); err == nil {
			t.Errorf("%s alone: no error", name)
		}
	}
	bomb := torchZip(t, "}.", zip.Deflate, map[string][]byte{"data/0": make([]byte, 10<<20)})
	if _, err := parsePyTorch(bomb); !errors.Is(err, ErrUnsupported) {
		t.Errorf("compressed: %v", err)
	}
	if _, err := parsePyTorch(torchZip(t, "}.", zip.Store, map[string][]byte{"constants.pkl": nil})); !errors.Is(err, ErrUnsupported) {
		t.Errorf("TorchScript: %v", err)
	}
	if _, err := parsePyTorch(torchZip(t, "}.", zip.Store, map[string][]byte{"byteorder": []byte("big")})); !errors.Is(err, ErrUnsupported) {
		t.Errorf("big-endian: %v", err)
	}
}

func TestStridesStayInside(t *testing.T) {
	t.Parallel()
	s := &torchStorage{dtype: "f32", size: 4, numel: 6, data: make([]byte, 24)}
	for i := range 6 {
		s.data[4*i] = byte(i)
	}
	for _, c := range []struct {
		offset         int
		shape, strides []int
		want           string // first bytes of the elements, or "" for an error
	}{
		{0, []int{2, 3}, []int{3, 1}, "\x00\x01\x02\x03\x04\x05"},
		{0, []int{3, 2}, []int{1, 3}, "\x00\x03\x01\x04\x02\x05"},
		{3, []int{3}, []int{1}, "\x03\x04\x05"},
		{1, []int{2, 1, 2}, []int{2, 99, 1}, "\x01\x02\x03\x04"},
		{5, []int{}, []int{}, "\x05"},
		{0, []int{4}, []int{0}, "\x00\x00\x00\x00"},
		{1, []int{2, 3}, []int{3, 1}, ""},
		{-1, []int{2}, []int{1}, ""},
		{0, []int{2}, []int{-1}, ""},
		{0, []int{-2}, []int{1}, ""},
		{6, []int{}, []int{}, ""},
		{0, []int{3, 3}, []int{0, 0}, ""},
		{0, []int{math.MaxInt, math.MaxInt}, []int{0, 0}, ""},
		{0, []int{2, 2}, []int{math.MaxInt, 1}, ""},
		{math.MaxInt, []int{1}, []int{1}, ""},
	} {
		f, _, err := (&torchTensor{s, c.offset, c.shape, c.strides}).materialize(24)
		if (err == nil) != (c.want != "") {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		for i := range len(c.want) {
			if f.tensor.Data[4*i] != c.want[i] {
				t.Errorf("%+v: element %d is %d", c, i, f.tensor.Data[4*i])
			}
		}
	}
	if _, _, err := (&torchTensor{s, 0, []int{3, 2}, []int{1, 3}}).materialize(23); err == nil {
		t.Error("copies beyond the budget")
	}
}

func TestHostileMsgpack(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"empty":      {},
		"nested":     bytes.Repeat([]byte{0x91}, 1<<20),
		"huge array": {0xdd, 0xff, 0xff, 0xff, 0xff},
		"huge map":   {0xdf, 0xff, 0xff, 0xff, 0xff},
		"huge bin":   {0xc6, 0xff, 0xff, 0xff, 0xff},
		"huge ext":   {0xc9, 0xff, 0xff, 0xff, 0xff, 1},
		"reserved":   {0xc1},
		"cut length": {0xdd, 0},
		"cut number": {0xcf, 1, 2},
		"trailing":   {0xc0, 0xc0},
	} {
		var v any
		if err := decodeMsgpack(b, &v); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	want := map[string]any{"a": []any{int64(-5), "x", 1.5, nil, true, strings.Repeat("y", 70000)}, "b": map[string]any{}}
	b, err := encodeMsgpack(want)
	check(t, err)
	check(t, checkMsgpack(b, 2))
	if checkMsgpack(b, 1) == nil {
		t.Error("depth is not counted")
	}
}

func TestValidateNamesTheTensor(t *testing.T) {
	t.Parallel()
	q := layerPrefix(0) + "attention.self.query.weight"
	for want, change := range map[string]func(*Model){
		"tensor " + q + ": missing":                  func(m *Model) { delete(m.Tensors, q) },
		"tensor extra: not part":                     func(m *Model) { m.Tensors["extra"] = NewTensor([]int{1}, []float32{1}) },
		"tensor " + q + "_scale: not part":           func(m *Model) { m.Tensors[q+scaleSuffix] = NewTensor([]int{12}, make([]float32, 12)) },
		"tensor " + q + "_scale: missing":            func(m *Model) { m.Tensors[q] = Tensor{I8, []int{12, 12}, make([]byte, 144)} },
		"tensor " + q + ": shape [6 24]":             func(m *Model) { m.Tensors[q] = NewTensor([]int{6, 24}, make([]float32, 144)) },
		"tensor " + q + ": 572 bytes":                func(m *Model) { m.Tensors[q] = NewTensor([]int{12, 12}, make([]float32, 143)) },
		"tensor " + q + ": unknown element type 200": func(m *Model) { m.Tensors[q] = Tensor{200, []int{12, 12}, nil} },
		"tensor classifier.bias: only weight":        func(m *Model) { m.Tensors[classifierBias] = Tensor{I8, []int{2}, make([]byte, 2)} },
		"tensor bert.pooler.dense.weight: missing":   func(m *Model) { delete(m.Tensors, poolerWeight) },
		"hidden_size is 0":                           func(m *Model) { m.Config.HiddenSize = 0 },
	} {
		m := tinyModel()
		change(m)
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestValidateInputScales(t *testing.T) {
	t.Parallel()
	name := layerPrefix(1) + "output.dense" + inputScaleSuffix
	for want, scale := range map[string]Tensor{
		"f32 [2], expected f32 [1]":     NewTensor([]int{2}, []float32{1, 1}),
		"0, expected a positive scale":  NewTensor([]int{1}, []float32{0}),
		"-1, expected a positive scale": NewTensor([]int{1}, []float32{-1}),
		"NaN":                           NewTensor([]int{1}, []float32{float32(math.NaN())}),
	} {
		m := int8Model()
		m.Tensors[name] = scale
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), "tensor "+name) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, name := range []string{"bert.pooler.dense" + inputScaleSuffix, layerPrefix(2) + "output.dense" + inputScaleSuffix, name + "d"} {
		m := tinyModel()
		m.Tensors[name] = NewTensor([]int{1}, []float32{1})
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), name+": not part") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnknownFiles(t *testing.T) {
	t.Parallel()
	p := filepath.Join(t.TempDir(), "x")
	if _, err := Open(p); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	check(t, os.WriteFile(p, nil, 0o666))
	if _, err := Open(p); !errors.Is(err, ErrNotModel) {
		t.Error(err)
	}
	check(t, os.WriteFile(p+Extension, []byte("text"), 0o666))
	if _, err := Open(p + Extension); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

func seed(f *testing.F, paths ...string) {
	for _, p := range paths {
		b, err := os.ReadFile(filepath.Join("testdata", p))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

func FuzzConfig(f *testing.F) {
	seed(f, "safetensors/config.json", "encoder/config.json")
	f.Add([]byte(goodConfig + `,"skive_attention_heads":[1,2],"pruned_heads":{},"label2id":{"a":0}}`))
	f.Add([]byte(debertaV3 + "}"))
	for _, text := range []string{nomicClass, nomicOwn, gteClass, gteOwn} {
		f.Add([]byte(text + `,"rope_theta":20000,"rope_scaling":{"type":"ntk","factor":8}}`))
	}
	for _, family := range []string{"roberta", "mpnet", "distilbert", "electra", "albert"} {
		b, err := os.ReadFile(filepath.Join("..", "train", "testdata", family, configName))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseConfig(b)
		if err != nil {
			return
		}
		text, err := formatConfig(&Model{Config: c}, true)
		check(t, err)
		again, err := ParseConfig(text)
		check(t, err)
		a1, _ := json.Marshal(c)
		a2, _ := json.Marshal(again)
		if !bytes.Equal(a1, a2) {
			t.Fatalf("%s\n%s", a1, a2)
		}
	})
}

func FuzzSafetensors(f *testing.F) {
	f.Add(header(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{"format":"pt"}}`, 8))
	f.Add(header(`{"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}`, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		tensors, err := parseSafetensors(b)
		if err != nil {
			return
		}
		for name, x := range tensors {
			if x.known && len(x.tensor.Data) != x.tensor.Elements()*x.tensor.DType.Size() {
				t.Fatalf("tensor %q", name)
			}
		}
	})
}

func FuzzIndex(f *testing.F) {
	seed(f, "sharded/model.safetensors.index.json")
	f.Add([]byte(`{"weight_map":{"a":"../b"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, shards, err := parseIndex(b)
		if err != nil {
			return
		}
		for _, s := range shards {
			if filepath.Base(s) != s || strings.ContainsAny(s, `/\`) {
				t.Fatalf("shard %q", s)
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`["config.json","model.safetensors"]`))
	f.Add([]byte(`["modules.json","1_Pooling/config.json"]`))
	f.Add([]byte(`["../config.json"]`))
	f.Add([]byte(`["a/../../config.json"]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		names, err := parseManifest(b)
		if err != nil {
			return
		}
		for _, n := range names {
			folder, _, nested := strings.Cut(n, "/")
			inside := filepath.Join("dir", n)
			if filepath.Dir(inside) != "dir" && !(nested && filepath.Dir(inside) == filepath.Join("dir", folder)) {
				t.Fatalf("file %q", n)
			}
			if strings.ContainsAny(n, "\\:\x00") || strings.Count(n, "/") > 1 {
				t.Fatalf("file %q", n)
			}
		}
	})
}

// A provenance that was read goes into every file that is written.
func FuzzProvenance(f *testing.F) {
	f.Add([]byte(`{"format_version":1,"provenance":[{"name":"train","version":"0.1.0","time":"2026-01-02T03:04:05Z","settings":{"lr":"0.1"},"measured":{"loss":0.5}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		stages, err := parseProvenance(b)
		if err != nil {
			return
		}
		text, err := json.Marshal(provenanceFile{provenanceVersion, stages})
		check(t, err)
		again, err := parseProvenance(text)
		check(t, err)
		if len(again) != len(stages) {
			t.Fatalf("%d stages, %d written", len(again), len(stages))
		}
		packed, err := encodeMsgpack(skiveMeta{nil, stages})
		check(t, err)
		var meta skiveMeta
		check(t, decodeMsgpack(packed, &meta))
	})
}

func FuzzPyTorch(f *testing.F) {
	f.Add(torchZip(f, "\x80\x02}q\x00(X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"+
		"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00K\x02K\x02\x86K\x02K\x01\x86\x89ccollections\nOrderedDict\n)RtRu.",
		zip.Store, map[string][]byte{"data/0": make([]byte, 16)}))
	f.Add([]byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00.\x80\x02}.\x80\x02]."))
	f.Fuzz(func(t *testing.T, b []byte) {
		tensors, err := parsePyTorch(b)
		if err != nil {
			return
		}
		for name, x := range tensors {
			if x.known && len(x.tensor.Data) != x.tensor.Elements()*x.tensor.DType.Size() {
				t.Fatalf("tensor %q", name)
			}
		}
	})
}

func FuzzMsgpack(f *testing.F) {
	b, err := encodeMsgpack(map[string]any{"a": []any{int64(-5), "x", 1.5, nil, true}, "b": map[string]any{"c": []byte{1}}, "t": time.Unix(1, 2)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		if decodeMsgpack(b, &v) != nil {
			return
		}
		if again, err := encodeMsgpack(v); err == nil && checkMsgpack(again, maxDepth) != nil {
			t.Fatalf("%x", again)
		}
		var meta skiveMeta
		decodeMsgpack(b, &meta)
	})
}

func fuzzContainer(f *testing.F, kind string, meta any, sections []section, parse func([]byte) error) {
	var buf bytes.Buffer
	if err := writeContainer(&buf, kind, meta, sections); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		parse(b)
		// Past the checksums, which random changes do not get through.
		parse(resealed(b))
	})
}

func FuzzSkive(f *testing.F) {
	m := tinyModel()
	config, err := formatConfig(m, true)
	if err != nil {
		f.Fatal(err)
	}
	var whole bytes.Buffer
	if err := smallest().writeSkive(&whole); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes())
	fuzzContainer(f, kindModel, skiveMeta{config, m.Provenance}, []section{{"tokenizer/vocab.txt", rawBytes, []int{1}, []byte("a")}, {"a", "f32", []int{1}, make([]byte, 4)}},
		func(b []byte) error { _, err := parseSkive(b, &verification{finite: true}); return err })
}

func FuzzState(f *testing.F) {
	fuzzContainer(f, kindState, map[string]any{"step": 1}, []section{{"w", "f32", []int{2}, make([]byte, 8)}},
		func(b []byte) error { var h any; _, err := parseState(b, &h); return err })
}

// resealed returns b with the checksums and sizes that belong to its content,
// as far as its preamble lets them be found.
func resealed(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < preambleSize+trailerFixed+4 {
		return b
	}
	sum := func(x []byte) uint32 { return crc32.Checksum(x, castagnoli) }
	size := len(b)
	binary.LittleEndian.PutUint64(b[16:], uint64(size))
	count := int(binary.LittleEndian.Uint32(b[32:]))
	trailer := 4*(1+count) + trailerFixed
	head := binary.LittleEndian.Uint64(b[24:])
	if count > size/4 || trailer > size-preambleSize || head > uint64(size-preambleSize-trailer) {
		return b
	}
	end := preambleSize + int(head) + int(padding(int64(head)))
	if end > size-trailer {
		return b
	}
	binary.LittleEndian.PutUint32(b[60:], sum(b[:60]))
	sums := b[size-trailer:]
	binary.LittleEndian.PutUint32(sums, sum(b[preambleSize:end]))
	var h containerHeader
	if decodeMsgpack(b[preambleSize:preambleSize+int(head)], &h) == nil {
		pos := int64(end)
		for i := range min(count, len(h.Sections)) {
			n, err := sectionSize(h.Sections[i])
			if err != nil || n > int64(size-trailer)-pos {
				break
			}
			next := pos + n + padding(n)
			if next > int64(size-trailer) {
				break
			}
			binary.LittleEndian.PutUint32(sums[4*(1+i):], sum(b[pos:next]))
			pos = next
		}
	}
	binary.LittleEndian.PutUint64(b[size-trailerFixed:], uint64(size))
	binary.LittleEndian.PutUint32(b[size-4:], sum(b[size-trailer:size-4]))
	return b
}
