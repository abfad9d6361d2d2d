package checkpoints

import (
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
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/internal/mapped"
)

// Info describes what a path holds: a model, a training state, or a file of
// weights alone.
type Info struct {
	// Format is "huggingface", "skive", "state" (a training state), "safetensors" or
	// "pytorch" (only weights). FormatVersion is the version of a .skive file or a
	// training state.
	Format        string `json:"format"`
	FormatVersion int    `json:"format_version,omitempty"`
	// Weights is the name of the file with the weights.
	Weights string `json:"weights"`
	// Architecture and Config are set for models.
	Architecture string  `json:"architecture,omitempty"`
	Config       *Config `json:"config,omitempty"`
	// State is the header of a training state: step, settings, history.
	State map[string]any `json:"state,omitempty"`
	// DType is the element type of a model's linear layers.
	DType string `json:"dtype,omitempty"`
	// Parameters counts all numbers, a training state's optimizer included. Bytes is
	// their size, with the scales of int8 weights. FileBytes is the size of all files
	// of the model.
	Parameters int64 `json:"parameters"`
	Bytes      int64 `json:"bytes"`
	FileBytes  int64 `json:"file_bytes"`
	// Layers describes each encoder layer, first to last.
	Layers []LayerInfo `json:"layers"`
	// Tensors lists all tensors; a model's are in the order of the architecture.
	Tensors    []TensorInfo `json:"tensors"`
	Tokenizer  []string     `json:"tokenizer"`
	Provenance []Stage      `json:"provenance"`
	Notes      []string     `json:"notes,omitempty"`
	// Checksums is "ok" if the format has checksums, which were then verified, and
	// "none" otherwise.
	Checksums string `json:"checksums"`
}

// LayerInfo describes one encoder layer. Numbers of heads and feed-forward units are
// only known for models. DTypes are the element types of its matrices.
type LayerInfo struct {
	Heads        int      `json:"heads,omitempty"`
	Intermediate int      `json:"intermediate,omitempty"`
	Parameters   int64    `json:"parameters"`
	Bytes        int64    `json:"bytes"`
	DTypes       []string `json:"dtypes"`
	// InputScales are the calibrated scales of the quantized inputs of the layer's
	// linear layers, by the layers' names ("attention.self.query").
	InputScales map[string]float32 `json:"input_scales,omitempty"`
}

// TensorInfo describes one tensor. CRC32C is the checksum of its bytes, without
// padding, in every format.
type TensorInfo struct {
	Name   string `json:"name"`
	DType  string `json:"dtype"`
	Shape  []int  `json:"shape"`
	Bytes  int64  `json:"bytes"`
	CRC32C string `json:"crc32c"`
}

// contents is what a path holds, of any kind.
type contents struct {
	info    Info
	tensors map[string]foreignTensor
	model   *Model // nil where there is none
	close   func() error
}

// Inspect reads and describes what lies at path, with all checks: a model in any format
// that Open reads, a training state, or a file of weights.
func Inspect(path string) (info *Info, err error) {
	defer mapped.Catch(&err, debug.SetPanicOnFault(true))
	c, err := look(path)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.describe(), nil
}

// look distinguishes the kinds of files by their first bytes.
func look(path string) (*contents, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if stat.IsDir() {
		return lookModel(path)
	}
	f, err := mapped.Open(path)
	if err != nil {
		return nil, err
	}
	b := f.Data
	isState := isContainer(b) && len(b) >= preambleSize && string(b[8:12]) == kindState
	var c *contents
	switch {
	case isContainer(b) && !isState, filepath.Ext(path) == Extension:
		if err := f.Close(); err != nil {
			return nil, err
		}
		return lookModel(path)
	case isState:
		c, err = lookState(b)
	case len(b) > 8 && b[8] == '{' && binary.LittleEndian.Uint64(b) < uint64(len(b)):
		c, err = lookWeights("safetensors", b, parseSafetensors)
	case bytes.HasPrefix(b, []byte("PK\x03\x04")), bytes.HasPrefix(b, []byte("\x80\x02\x8a\x0al\xfc\x9c")):
		c, err = lookWeights("pytorch", b, parsePyTorch)
	default:
		err = fmt.Errorf("%w: neither a %s file, a training state, a safetensors file, a file of torch.save nor a directory with a %s", ErrNotModel, Extension, configName)
	}
	if err != nil {
		f.Close()
		return nil, named(path, err)
	}
	c.close = f.Close
	c.info.Weights, c.info.FileBytes = filepath.Base(path), stat.Size()
	return c, nil
}

func lookModel(path string) (*contents, error) {
	m, err := Open(path)
	if err != nil {
		return nil, err
	}
	config := m.Config.Clone()
	c := &contents{
		model: m,
		info: Info{
			Format:       "huggingface",
			Architecture: m.architecture(),
			Config:       &config,
			DType:        m.DType().String(),
			Tokenizer:    sortedNames(m.Tokenizer),
			Provenance:   m.Provenance,
			Notes:        m.Notes,
			Checksums:    "none",
		},
		tensors: make(map[string]foreignTensor, len(m.Tensors)),
		close:   m.Close,
	}
	for name, t := range m.Tensors {
		c.tensors[name] = foreignTensor{t.DType.code(), t, true}
	}
	if stat, err := os.Stat(path); err == nil && !stat.IsDir() {
		c.info.Format, c.info.FormatVersion, c.info.Checksums = "skive", containerVersion, "ok"
		c.info.Weights, c.info.FileBytes = filepath.Base(path), stat.Size()
	} else if err := c.info.directory(path); err != nil {
		m.Close()
		return nil, err
	}
	return c, nil
}

func lookState(b []byte) (*contents, error) {
	meta, sections, err := readContainer(b, kindState, &verification{})
	if err != nil {
		return nil, err
	}
	c := &contents{
		info:    Info{Format: "state", FormatVersion: containerVersion, Checksums: "ok"},
		tensors: make(map[string]foreignTensor, len(sections)),
	}
	if err := decodeMsgpack(meta, &c.info.State); err != nil {
		return nil, corrupt("header: %v", err)
	}
	for _, s := range sections {
		t := foreignTensor{dtype: s.dtype, tensor: Tensor{Shape: s.shape, Data: s.data}}
		t.tensor.DType, t.known = dtypeOf(s.dtype)
		c.tensors[s.name] = t
	}
	return c, nil
}

func lookWeights(format string, b []byte, parse parseWeights) (*contents, error) {
	tensors, err := parse(b)
	if err != nil {
		return nil, err
	}
	return &contents{info: Info{Format: format, Checksums: "none"}, tensors: tensors}, nil
}

// names are in the order of the architecture for a model.
func (c *contents) names() []string {
	if c.model != nil {
		return c.model.Names()
	}
	return sortedNames(c.tensors)
}

// dtypeName is Skive's name of a tensor's element type, or the file's if Skive has
// none.
func (f foreignTensor) dtypeName() string {
	if f.known {
		return f.tensor.DType.String()
	}
	return f.dtype
}

var layerName = regexp.MustCompile(`(?:^|\.)layer\.(\d{1,4})\.`)

// layerNumber finds a tensor's encoder layer in its name.
func layerNumber(name string) (int, bool) {
	found := layerName.FindStringSubmatch(name)
	if found == nil {
		return 0, false
	}
	l, err := strconv.Atoi(found[1])
	return l, err == nil
}

// describe adds the tensors to the Info.
func (c *contents) describe() *Info {
	info := &c.info
	names := c.names()
	layers := 0
	if c.model != nil {
		layers = c.model.Config.NumLayers()
	}
	for _, name := range names {
		if l, ok := layerNumber(name); ok {
			layers = max(layers, l+1)
		}
	}
	info.Layers = make([]LayerInfo, layers)
	if c.model != nil {
		for i, l := range c.model.Config.Layers {
			info.Layers[i].Heads, info.Layers[i].Intermediate = l.Heads, l.Intermediate
		}
	}
	for _, name := range names {
		f := c.tensors[name]
		size := int64(len(f.tensor.Data))
		info.Tensors = append(info.Tensors, TensorInfo{
			name, f.dtypeName(), slices.Clone(f.tensor.Shape), size,
			fmt.Sprintf("%08x", crc32.Checksum(f.tensor.Data, castagnoli)),
		})
		parameters := int64(f.tensor.Elements())
		if isScale(name) {
			parameters = 0
		}
		info.Parameters += parameters
		info.Bytes += size
		if i, ok := layerNumber(name); ok {
			l := &info.Layers[i]
			l.Parameters += parameters
			l.Bytes += size
			if linear, ok := strings.CutSuffix(name, inputScaleSuffix); ok && c.model != nil {
				if l.InputScales == nil {
					l.InputScales = make(map[string]float32)
				}
				l.InputScales[strings.TrimPrefix(linear, layerPrefix(i))] = f.tensor.Float32s()[0]
			}
			if dtype := f.dtypeName(); len(f.tensor.Shape) == 2 && !slices.Contains(l.DTypes, dtype) {
				l.DTypes = append(l.DTypes, dtype)
			}
		}
	}
	return info
}

// directory adds what concerns the files of a Hugging Face directory.
func (info *Info) directory(path string) error {
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	names := append([]string{configName, provenanceName}, tokenizerNames...)
	for _, kind := range weightFiles {
		p, ok := dir.file(kind.name)
		if !ok {
			continue
		}
		info.Weights = kind.name
		names = append(names, kind.name)
		if kind.sharded {
			text, err := bounded.ReadFile(p, bounded.Document)
			if err != nil {
				return err
			}
			_, shards, err := parseIndex(text)
			if err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			names = append(names, shards...)
		}
		break
	}
	for _, name := range names {
		p, ok := dir.file(name)
		if !ok {
			continue
		}
		stat, err := os.Stat(p)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		} else if err == nil {
			info.FileBytes += stat.Size()
		}
	}
	return nil
}

// Difference is one difference between two paths. A and B are short descriptions of
// what each path has, "" for nothing.
type Difference struct {
	// What is a field of the configuration or of a state's header, "dtype",
	// "provenance", "tokenizer" with a file's name, or "tensor" with its name.
	What string `json:"what"`
	A    string `json:"a"`
	B    string `json:"b"`
	// Largest is the largest absolute difference between the values of two tensors;
	// int8 values are multiplied by their scales. It is absent if the shapes differ.
	Largest *float64 `json:"largest,omitempty"`
}

// Differences is the result of Diff.
type Differences []Difference

// MarshalJSON writes the differences, and whether there are none.
func (differences Differences) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Equal       bool         `json:"equal"`
		Differences []Difference `json:"differences"`
	}{len(differences) == 0, append([]Difference{}, differences...)})
}

// Diff compares what lies at two paths, as Inspect reads them: configurations, headers
// of training states, tokenizer files, provenance, and all values of every tensor. The
// format itself does not count: a model equals its export to another format. The result
// is empty if there is no difference.
func Diff(a, b string) (Differences, error) {
	ca, err := look(a)
	if err != nil {
		return nil, err
	}
	defer ca.close()
	cb, err := look(b)
	if err != nil {
		return nil, err
	}
	defer cb.close()
	var all []Difference
	compare := func(fa, fb map[string]string, prefix string) {
		for _, name := range sortedNames(union(fa, fb)) {
			if fa[name] != fb[name] {
				all = append(all, Difference{What: prefix + name, A: fa[name], B: fb[name]})
			}
		}
	}
	compare(ca.fields(), cb.fields(), "")
	compare(ca.tokenizer(), cb.tokenizer(), "tokenizer ")
	names := ca.names()
	for _, name := range cb.names() {
		if _, ok := ca.tensors[name]; !ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if d, ok := compareTensors(ca, cb, name); ok {
			all = append(all, d)
		}
	}
	return all, nil
}

func union[V any](a, b map[string]V) map[string]bool {
	all := make(map[string]bool, len(a)+len(b))
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	return all
}

// fields returns the settings, each as a short text.
func (c *contents) fields() map[string]string {
	fields := make(map[string]string)
	add := func(name string, v any) {
		text, err := json.Marshal(v)
		if err != nil {
			text = fmt.Append(nil, v)
		}
		const long = 100
		if len(text) > long {
			text = fmt.Appendf(nil, "%s... (%d bytes, CRC-32C %08x)", bytes.ToValidUTF8(text[:long], nil), len(text), crc32.Checksum(text, castagnoli))
		}
		fields[name] = string(text)
	}
	for name, v := range c.info.State {
		add(name, v)
	}
	if c.model == nil {
		return fields
	}
	fields["dtype"] = c.info.DType
	fields["architecture"] = c.info.Architecture
	var config map[string]any
	text, _ := json.Marshal(c.info.Config)
	json.Unmarshal(text, &config)
	for name, v := range config {
		add(name, v)
	}
	var stages []string
	for _, s := range c.info.Provenance {
		text, _ := json.Marshal(s)
		stages = append(stages, fmt.Sprintf("%s %08x", s.Name, crc32.Checksum(text, castagnoli)))
	}
	if len(stages) > 0 {
		add("provenance", stages)
	}
	return fields
}

func (c *contents) tokenizer() map[string]string {
	files := make(map[string]string)
	if c.model != nil {
		for name, b := range c.model.Tokenizer {
			files[name] = fmt.Sprintf("%d bytes, CRC-32C %08x", len(b), crc32.Checksum(b, castagnoli))
		}
	}
	return files
}

// values returns the numbers of a tensor, nil if its element type has none.
func (c *contents) values(name string) []float32 {
	if c.model != nil {
		v, err := c.model.Float32s(name)
		if err != nil {
			return nil
		}
		return v
	}
	if f := c.tensors[name]; f.known {
		return f.tensor.Float32s()
	}
	return nil
}

// compareTensors reports whether and how a tensor differs.
func compareTensors(a, b *contents, name string) (Difference, bool) {
	d := Difference{What: "tensor " + name}
	ta, inA := a.tensors[name]
	tb, inB := b.tensors[name]
	describe := func(f foreignTensor) string { return fmt.Sprintf("%s %v", f.dtypeName(), f.tensor.Shape) }
	if inA {
		d.A = describe(ta)
	}
	if inB {
		d.B = describe(tb)
	}
	if !inA || !inB || !slices.Equal(ta.tensor.Shape, tb.tensor.Shape) {
		return d, true
	}
	same := ta.dtypeName() == tb.dtypeName() && bytes.Equal(ta.tensor.Data, tb.tensor.Data)
	if same && !(ta.known && ta.tensor.DType == I8) { // int8 values count with their scales
		return d, false
	}
	va, vb := a.values(name), b.values(name)
	if len(va) != len(vb) || va == nil {
		return d, !same
	}
	largest := 0.0
	for i := range va {
		if d := math.Abs(float64(va[i]) - float64(vb[i])); d > largest { // a state may hold NaN
			largest = min(d, math.MaxFloat64)
		}
	}
	if same && largest == 0 {
		return d, false
	}
	d.Largest = &largest
	return d, true
}
