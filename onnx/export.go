package onnx

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/tokenize"
)

// Extension is the usual ending of the name of an ONNX file.
const Extension = ".onnx"

const (
	// ModelName is the name of the ONNX file in a directory.
	ModelName  = "model" + Extension
	configName = "config.json"
	// Tensors smaller than this stay in the graph even when others move to a file, because some
	// readers need shapes and axes there.
	smallTensor = 1 << 10
	// pageSize is the alignment of tensors in their own file, so that it can be mapped.
	pageSize = 1 << 12
)

// inlineLimit is the largest total size of tensors that stay in the graph. A protobuf message
// cannot have 2 GiB.
var inlineLimit int64 = 1<<31 - 1<<25

// Options say how a model is exported.
type Options struct {
	// DType is the number format of the graph: infer.F32, FP16 or Int8. "" means the format in
	// which the model is stored, where bf16 becomes f32, which holds the weights exactly. An Int8
	// graph of a model with int8 weights computes the layers in int8 that are stored in int8, and
	// the others in float32. A float model is quantized by quantize.Int8.
	DType string
	// Embedding makes the graph compute embeddings instead of logits: infer.Mean, CLS or OfModel.
	Embedding string
}

// Report says what Export wrote and how much its outputs differ from the engine's.
type Report struct {
	// Model is the path of the .onnx file, and Files are the names of the files beside it.
	Model string   `json:"model"`
	Files []string `json:"files"`
	// Bytes is the size of the graph and its tensors.
	Bytes int64  `json:"bytes"`
	DType string `json:"dtype"`
	Opset int    `json:"opset"`
	// Difference is the largest difference between the outputs of the written graph, as the
	// self-check interprets it, and the engine's.
	Difference float64 `json:"self_check_difference"`
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	check := "the engine"
	if r.DType == infer.Int8 {
		check = "the engine, which rounds activations to int8 in other places"
	}
	text := fmt.Sprintf("%s: %s, opset %d, %d bytes; self-check within %.1e of %s\n", r.Model, r.DType, r.Opset, r.Bytes, r.Difference, check)
	if len(r.Files) > 0 {
		text += fmt.Sprintf("beside it: %s\n", strings.Join(r.Files, ", "))
	}
	_, err := io.WriteString(w, text)
	return err
}

// Export writes the model as an ONNX graph, with its config.json and tokenizer files beside it.
// The graph goes to path if that ends in .onnx, and otherwise to model.onnx in the directory
// path. Weights of 2 GB and more go to a file of their own, whose name begins like the graph's
// and ends in .data.
//
// Before Export writes anything, it interprets the graph on sample inputs and compares the
// outputs with the engine's. A difference that the number format does not explain is an error
// that wraps ErrSelfCheck.
//
// Each file is written atomically, the .onnx file last. Files of another model are an error: a
// tokenizer file with other content, or the config.json of another model whose weights are in the
// same directory.
func Export(m *checkpoints.Model, o Options, path string) (*Report, error) {
	r, err := export(m, o, path)
	if err != nil {
		return nil, fmt.Errorf("exporting to %s: %w", path, err)
	}
	return r, nil
}

func export(m *checkpoints.Model, o Options, path string) (*Report, error) {
	if !strings.HasSuffix(path, Extension) {
		path = filepath.Join(path, ModelName)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if err := o.complete(m); err != nil {
		return nil, err
	}
	if o.DType == infer.Int8 && m.DType() != checkpoints.I8 {
		var err error
		if m, err = quantize.Int8(m); err != nil {
			return nil, err
		}
	}
	beside, err := tokenizerFiles(m, filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if err := addConfig(beside, m, o, path); err != nil {
		return nil, err
	}
	graph, err := build(m, o)
	if err != nil {
		return nil, err
	}
	data := graph.separate(filepath.Base(path))
	text := graph.marshal()

	r := &Report{Model: path, Files: []string{}, Bytes: int64(len(text)), DType: o.DType, Opset: opset}
	if r.Difference, err = selfCheck(m, o, text, data); err != nil {
		return nil, err
	}
	if data != nil {
		if err := checkpoints.WriteFile(filepath.Join(filepath.Dir(path), data.name), data.write); err != nil {
			return nil, err
		}
		r.Files = append(r.Files, data.name)
		r.Bytes += data.size
	}
	for _, name := range sortedKeys(beside) {
		if err := checkpoints.WriteBytes(filepath.Join(filepath.Dir(path), name), beside[name]); err != nil {
			return nil, err
		}
		r.Files = append(r.Files, name)
	}
	if err := checkpoints.WriteBytes(path, text); err != nil {
		return nil, err
	}
	return r, removeStale(path, data)
}

// complete checks the options and fills in the number format.
func (o *Options) complete(m *checkpoints.Model) error {
	if o.Embedding != "" {
		if _, err := infer.SentenceOf(m.Config, o.Embedding); err != nil {
			return err
		}
	}
	switch o.DType {
	case infer.F32, infer.FP16, infer.Int8:
	case "":
		o.DType = map[checkpoints.DType]string{checkpoints.F16: infer.FP16, checkpoints.I8: infer.Int8}[m.DType()]
		if o.DType == "" {
			o.DType = infer.F32
		}
	default:
		return fmt.Errorf("%w: dtype %q of an ONNX graph, expected %q, %q or %q", infer.ErrOption, o.DType, infer.F32, infer.FP16, infer.Int8)
	}
	return nil
}

// tokenizerFiles returns the files of the model's tokenizer, and a tokenizer.json in any case. A
// file of the same name but other content in the directory is an error.
func tokenizerFiles(m *checkpoints.Model, dir string) (map[string][]byte, error) {
	if len(m.Tokenizer) == 0 {
		return map[string][]byte{}, nil
	}
	files, err := tokenize.WithJSON(m.Tokenizer)
	if err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(files) {
		there, err := bounded.ReadFile(filepath.Join(dir, name), bounded.Tokenizer)
		if err == nil && !bytes.Equal(there, files[name]) {
			return nil, fmt.Errorf("%s is there already and belongs to another tokenizer; choose a directory of its own", filepath.Join(dir, name))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return files, nil
}

// addConfig adds the model's config.json, from which loaders of ONNX graphs learn the
// architecture and the names of the labels. For a graph of embeddings it also adds the files of
// sentence-transformers, which say where texts are cut and what is put before them. A file that
// exists stays if its config.json says the same. Otherwise it is replaced, unless the weights of
// another model are beside it.
func addConfig(files map[string][]byte, m *checkpoints.Model, o Options, path string) error {
	text := map[string][]byte{}
	var err error
	if o.Embedding != "" {
		if text, err = m.TextFiles(); err != nil {
			return err
		}
	}
	config, err := m.ConfigJSON()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	there, err := bounded.ReadFile(filepath.Join(dir, configName), bounded.Document)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && sameConfig(there, config) {
		config = there
		maps.DeleteFunc(text, func(name string, _ []byte) bool {
			_, err := os.Stat(filepath.Join(dir, name))
			return err == nil
		})
	} else if err == nil {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if name := e.Name(); name != filepath.Base(path) && slices.Contains([]string{Extension, ".safetensors", ".bin"}, filepath.Ext(name)) {
				return fmt.Errorf("%s is there already and belongs to another model, that of %s; choose a directory of its own", filepath.Join(dir, configName), name)
			}
		}
	}
	files[configName] = config
	maps.Copy(files, text)
	return nil
}

// sameConfig tells whether two config.json describe the same model.
func sameConfig(a, b []byte) bool {
	x, err1 := checkpoints.ParseConfig(a)
	y, err2 := checkpoints.ParseConfig(b)
	return err1 == nil && err2 == nil && reflect.DeepEqual(x, y)
}

// dataFile is the file of the tensors that are not in the graph itself.
type dataFile struct {
	name    string
	size    int64
	tensors []*tensor
	bytes   [][]byte
}

// separate moves large tensors to a file of their own if all tensors together are too large for
// the graph. The file is named by its checksum, so the file of an old graph stays valid until the
// new graph is in place.
func (m *model) separate(base string) *dataFile {
	var total int64
	for i := range m.graph.initializers {
		total += int64(len(m.graph.initializers[i].data))
	}
	if total < inlineLimit {
		return nil
	}
	d := &dataFile{}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	for i := range m.graph.initializers {
		t := &m.graph.initializers[i]
		if len(t.data) < smallTensor {
			continue
		}
		t.offset = (d.size + pageSize - 1) / pageSize * pageSize
		t.length = int64(len(t.data))
		d.size = t.offset + t.length
		d.tensors, d.bytes = append(d.tensors, t), append(d.bytes, t.data)
		sum.Write(t.data)
	}
	d.name = fmt.Sprintf("%s.%08x.data", base, sum.Sum32())
	for _, t := range d.tensors {
		t.location, t.data = d.name, nil
	}
	return d
}

func (d *dataFile) write(w io.Writer) error {
	var at int64
	for i, t := range d.tensors {
		if _, err := w.Write(make([]byte, t.offset-at)); err != nil {
			return err
		}
		if _, err := w.Write(d.bytes[i]); err != nil {
			return err
		}
		at = t.offset + t.length
	}
	return nil
}

// removeStale removes the data files of earlier exports to the path.
func removeStale(path string, data *dataFile) error {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		sum, ok := strings.CutPrefix(e.Name(), base+".")
		sum, ok2 := strings.CutSuffix(sum, ".data")
		if !ok || !ok2 || len(sum) != 8 || strings.Trim(sum, "0123456789abcdef") != "" || data != nil && e.Name() == data.name {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// find returns the content of a tensor file that is about to be written.
func (d *dataFile) find(t *tensor) ([]byte, error) {
	i := slices.IndexFunc(d.tensors, func(x *tensor) bool { return x.offset == t.offset })
	if i < 0 {
		return nil, fmt.Errorf("tensor %s: nothing lies at %d of %s", t.name, t.offset, t.location)
	}
	return d.bytes[i], nil
}
