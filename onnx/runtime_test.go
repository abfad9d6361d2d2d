package onnx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/quantize"
)

// python returns an interpreter that has the packages of .ci/requirements.txt;
// .ci/run makes one.
func python(t *testing.T) string {
	t.Helper()
	p := os.Getenv("SKIVE_ONNX_PYTHON")
	if p == "" {
		t.Skip("SKIVE_ONNX_PYTHON is not set")
	}
	return p
}

// runCase is a case of testdata/run.py, and runResult what it says of it.
type runCase struct {
	Model     string               `json:"model,omitempty"`
	Batches   []map[string][][]int `json:"batches,omitempty"`
	Optimize  bool                 `json:"optimize,omitempty"`
	Operators bool                 `json:"operators,omitempty"`
	Tokenizer string               `json:"tokenizer,omitempty"`
	Texts     [][]string           `json:"texts,omitempty"`
}

type runOutput struct {
	Shape  []int     `json:"shape"`
	Values []float32 `json:"values"`
}

type runResult struct {
	Outputs      []runOutput       `json:"outputs"`
	FusedOutputs []runOutput       `json:"fused_outputs"`
	Fused        map[string]int    `json:"fused"`
	Operators    map[string]int    `json:"operators"`
	Inputs       []string          `json:"inputs"`
	Output       string            `json:"output"`
	Metadata     map[string]string `json:"metadata"`
	IDs          [][]int32         `json:"ids"`
	TypeIDs      [][]int32         `json:"type_ids"`
}

func runPython(t *testing.T, cases []runCase) []runResult {
	t.Helper()
	text, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cases.json")
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(python(t), "testdata/run.py", path)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("run.py: %v\n%s", err, errs.String())
	}
	var results []runResult
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatal(err)
	}
	return results
}

// input is the padded batch of tokens in the form that run.py takes.
func (b *tokens) input(c *checkpoints.Config) map[string][][]int {
	in := map[string][][]int{}
	for name, v := range b.padded(c) {
		for row := range slices.Chunk(v.v, v.shape[1]) {
			ints := make([]int, len(row))
			for i, x := range row {
				ints[i] = int(x)
			}
			in[name] = append(in[name], ints)
		}
	}
	return in
}

func size(heads, intermediate int) checkpoints.LayerSize {
	return checkpoints.LayerSize{Heads: heads, Intermediate: intermediate}
}

func config(hidden, head, types int, activation string, layers ...checkpoints.LayerSize) checkpoints.Config {
	return checkpoints.Config{
		ModelType: "bert", VocabSize: 70, MaxPositions: 40, TypeVocabSize: types,
		HiddenSize: hidden, HeadDim: head, Layers: layers,
		Activation: activation, LayerNormEps: 1e-12, InitializerRange: 1.2 / float32(math.Sqrt(float64(hidden))),
		Labels: []string{"a", "b", "c"},
	}
}

var configs = func() map[string]checkpoints.Config {
	all := map[string]checkpoints.Config{
		"stock":                config(64, 32, 2, "gelu", size(2, 128), size(2, 128)),
		"head 26, uneven":      config(78, 26, 2, "gelu", size(2, 100), size(3, 37), size(1, 1)),
		"pruned alike":         config(64, 16, 2, "gelu", size(3, 50), size(3, 50)),
		"tanh":                 config(48, 16, 2, "gelu_new", size(3, 96), size(2, 30)),
		"relu":                 config(48, 16, 2, "relu", size(1, 96)),
		"silu":                 config(48, 16, 2, "silu", size(1, 96)),
		"one type":             config(48, 16, 1, "gelu", size(3, 96)),
		"more heads than fit":  config(32, 16, 2, "gelu", size(5, 40)),
		"width 312 of head 26": config(312, 26, 2, "gelu", size(12, 1200), size(7, 300)),
		"tanh masked_lm":       headed(head.MaskedLM, config(48, 16, 2, "gelu_new", size(2, 30))),
	}
	for family, types := range map[string]int{"bert": 2, "roberta": 1, "xlm-roberta": 1, "mpnet": 0, "distilbert": 0, "electra": 2, "albert": 2, "modernbert": 0, "nomic_bert": 2, "gte": 0, "deberta-v2": 0} {
		for _, h := range head.All() {
			all[strings.TrimSpace(family+" "+string(h))] = headed(h, ofFamily(family, config(64, 16, types, "gelu", size(4, 70), size(3, 30))))
		}
	}
	return all
}()

func ofFamily(name string, c checkpoints.Config) checkpoints.Config {
	c.ModelType = name
	switch name {
	case "roberta", "xlm-roberta", "mpnet":
		c.PadTokenID, c.MaxPositions = 1, 42
	case "electra", "albert":
		c.EmbeddingSize = 24
	case "modernbert": // windows of 3 tokens to either side
		c.LayerNormEps, c.Local, c.LocalAttention = 1e-5, make([]bool, len(c.Layers)), 6
		c.Local[len(c.Local)-1] = true
		c.RotaryBase, c.LocalRotaryBase, c.ClassifierActivation = 900, 30, "gelu"
	case "nomic_bert":
		c.Activation, c.RotaryBase = "silu", 30
	case "deberta-v2": // buckets that most distances share
		c.RelativeBuckets = 6
	case "gte":
		c.RotaryBase, c.RotaryScale = 240, 2.5
	}
	return c
}

func headed(h head.Kind, c checkpoints.Config) checkpoints.Config {
	c.Head = h
	switch h.Outputs() {
	case head.Score:
		c.Labels = []string{"score"}
	case head.Tokens:
		c.Labels = nil
	}
	return c
}

// randomModel is a model whose biases and LayerNorms are random too.
func randomModel(c checkpoints.Config) *checkpoints.Model {
	m := checkpoints.InitBERT(c, 1)
	for _, name := range m.Names() {
		if t := m.Tensors[name]; len(t.Shape) == 1 {
			h := fnv.New64a()
			h.Write([]byte(name))
			r := rand.New(rand.NewPCG(1, h.Sum64()))
			for i, v := range t.Float32s() {
				t.Float32s()[i] = v + 0.2*float32(r.NormFloat64())
			}
		}
	}
	return m
}

// calibrated gives an int8 model the scales of inputs that random tokens need.
func calibrated(t *testing.T, m *checkpoints.Model) *checkpoints.Model {
	t.Helper()
	values, err := quantize.Floats(m, checkpoints.F32)
	if err != nil {
		t.Fatal(err)
	}
	var c quantize.Calibration
	o := infer.Options{Observe: c.Observe}
	if !m.HasHead() {
		o.Embedding = infer.Mean
	}
	e, err := infer.New(values, o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	b := randomBatch(&m.Config, 5, 30, 30, 1, 7, 30, 30)
	if _, err := e.PredictTokens(nil, b.ids, b.types, b.offsets); err != nil {
		t.Fatal(err)
	}
	r, err := c.Static(m, quantize.MinMax)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// static is a float model in calibrated int8.
func static(t *testing.T, m *checkpoints.Model) *checkpoints.Model {
	t.Helper()
	q, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	return calibrated(t, q)
}

func withoutHead(m *checkpoints.Model) *checkpoints.Model {
	m = m.Clone()
	delete(m.Tensors, "classifier.weight")
	delete(m.Tensors, "classifier.bias")
	m.Config.Labels = nil
	return m
}

func randomBatch(c *checkpoints.Config, seed uint64, lengths ...int) tokens {
	r := rand.New(rand.NewPCG(seed, 3))
	b := tokens{offsets: []int32{0}}
	for _, n := range lengths {
		for range min(n, c.MaxTokens()) {
			b.ids = append(b.ids, r.Int32N(int32(c.VocabSize)))
			b.types = append(b.types, r.Int32N(int32(max(c.TypeVocabSize, 1))))
		}
		b.offsets = append(b.offsets, int32(len(b.ids)))
	}
	return b
}

// interpret runs the .onnx file at path, data files beside it included.
func interpret(t *testing.T, path string, inputs map[string]*value) []float32 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	in := &interpreter{m: m, limit: maxElements, external: func(x *tensor) ([]byte, error) {
		file, err := os.ReadFile(filepath.Join(filepath.Dir(path), x.location))
		if err != nil {
			return nil, err
		}
		return file[x.offset:][:x.length], nil
	}}
	out, err := in.run(inputs)
	if err != nil {
		t.Fatal(err)
	}
	var y []float32
	for _, v := range out {
		for _, x := range v.v {
			y = append(y, float32(x))
		}
	}
	return y
}

// ONNX Runtime computes from every graph what the engine computes from the
// model, and from fp16 and int8 graphs what the interpreter computes.
func TestONNXRuntimeAgrees(t *testing.T) {
	t.Parallel()
	python(t)
	type check struct {
		name      string
		model     *checkpoints.Model
		embedding string
		dtype     string
		path      string
		batches   []tokens
	}
	dir := t.TempDir()
	var checks []check
	var cases []runCase
	add := func(name string, m *checkpoints.Model, embedding string, dtypes ...string) {
		for _, dtype := range dtypes {
			c := check{name + " " + dtype, m, embedding, dtype, filepath.Join(dir, fmt.Sprint(len(checks)), ModelName), nil}
			if _, err := Export(m, Options{DType: dtype, Embedding: embedding}, c.path); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			k := runCase{Model: c.path, Optimize: dtype == infer.F32, Operators: staticLayers(m) > 0}
			for i, lengths := range [][]int{{5}, {9, 3, 40, 1, 17}} {
				b := randomBatch(&m.Config, uint64(i), lengths...)
				c.batches = append(c.batches, b)
				k.Batches = append(k.Batches, b.input(&m.Config))
			}
			checks, cases = append(checks, c), append(cases, k)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		m := randomModel(configs[name])
		add(name, m, "", infer.F32, infer.FP16, infer.Int8)
		add(name+", static", static(t, m), "", "")
	}
	add("large scores", largeScores(configs["stock"]), "", infer.F32)
	m := randomModel(configs["head 26, uneven"])
	mixed, err := quantize.Int8Weights(m, append(quantize.LinearWeights(m.Config)[3:7], quantize.Embeddings()...))
	if err != nil {
		t.Fatal(err)
	}
	add("mixed precision", mixed, "", infer.F32, infer.FP16, infer.Int8, "")
	add("static mixed precision", calibrated(t, mixed), "", "")
	words, err := quantize.Int8Weights(randomModel(configs["electra masked_lm"]), append(quantize.LinearWeights(configs["electra masked_lm"]), quantize.Embeddings()...))
	if err != nil {
		t.Fatal(err)
	}
	add("masked_lm with int8 embeddings", words, "", infer.F32, infer.Int8)
	headless := withoutHead(m)
	for _, embedding := range []string{"", infer.Mean, infer.CLS} {
		add("without head "+embedding, headless, embedding, infer.F32, infer.FP16, infer.Int8)
	}

	for name, m := range sentenceModels(t) {
		add("embeddings, "+name, m, infer.OfModel, infer.F32, infer.FP16, infer.Int8)
	}

	for i, r := range runPython(t, cases) {
		c := checks[i]
		t.Run(c.name, func(t *testing.T) {
			for j, b := range c.batches {
				got := r.Outputs[j].Values
				if c.dtype == infer.F32 {
					if perToken(&c.model.Config) {
						got = unpadded(r.Outputs[j], b)
					} else if c.embedding == "" && !c.model.HasHead() {
						got = pooled(got, r.Outputs[j].Shape, b)
					}
					want, err := engineOutputs(c.model, infer.F32, c.embedding, b)
					if err != nil {
						t.Fatal(err)
					}
					if d, err := differenceOf(got, want); err != nil || !(d < 1e-4) {
						t.Errorf("batch %d: ONNX Runtime is %g from the engine (%v)", j, d, err)
					}
					if d, err := differenceOf(unpadded(r.FusedOutputs[j], b), unpadded(r.Outputs[j], b)); err != nil || !(d < 1e-4) {
						t.Errorf("batch %d: the fused graph is %g from the graph (%v)", j, d, err)
					}
					continue
				}
				tolerance := 1e-2
				if c.dtype != infer.FP16 {
					// A number on the edge of two steps of quantization may fall to either.
					tolerance = 3e-2
				}
				want := interpret(t, c.path, b.padded(&c.model.Config))
				if c.model.Config.Local != nil { // padding may have nothing but padding in its window
					got, want = unpadded(r.Outputs[j], b), unpadded(runOutput{Shape: r.Outputs[j].Shape, Values: want}, b)
				}
				if d, err := differenceOf(got, want); err != nil || !(d < tolerance*max(1, largest(want))) {
					t.Errorf("batch %d: ONNX Runtime is %g from the interpreter (%v)", j, d, err)
				}
			}
			if want := inputNames(&c.model.Config); !slices.Equal(r.Inputs, want) {
				t.Errorf("inputs %v, want %v", r.Inputs, want)
			}
			want := map[bool]string{true: logitsOutput, false: hiddenOutput}[c.model.HasHead()]
			if c.embedding != "" {
				want = embeddingOutput
			}
			if r.Output != want {
				t.Errorf("output %s, want %s", r.Output, want)
			}
			labels := map[int]string{0: "", 1: `["score"]`, 3: `["a","b","c"]`}[len(c.model.Config.Labels)]
			if r.Metadata["labels"] != labels {
				t.Errorf("labels %s, want %s", r.Metadata["labels"], labels)
			}
			if r.Metadata["producer"] != "skive" {
				t.Errorf("producer %s", r.Metadata["producer"])
			}
			// Dense layers after the pooling may be fused as well, and the optimizer knows no gated units, rotary positions
			// and relative scores.
			if c.dtype == infer.F32 && c.embedding != infer.OfModel && c.model.Config.PositionTable() {
				checkFusion(t, &c.model.Config, r.Fused)
			}
			if n := staticLayers(c.model); r.Operators["MatMulIntegerToFloat"] != n {
				t.Errorf("%d of %d calibrated layers run in int8: %v", r.Operators["MatMulIntegerToFloat"], n, r.Operators)
			}
		})
	}
}

// staticLayers is the number of linear layers with a calibrated scale.
func staticLayers(m *checkpoints.Model) int {
	n := 0
	for name := range m.Tensors {
		if _, kind, _ := checkpoints.ParseTensor(name); kind == checkpoints.InputScale {
			n++
		}
	}
	return n
}

// checkFusion asserts that the optimizer found everything there is to fuse.
func checkFusion(t *testing.T, c *checkpoints.Config, fused map[string]int) {
	t.Helper()
	layers := len(c.Layers)
	want := map[string]int{"Attention": layers, "SkipLayerNormalization": 2 * layers}
	if c.Block(0).ScoreBias != nil {
		want["Attention"] = 0 // which in ONNX Runtime adds a mask alone
	}
	nodes := map[string]string{"gelu": "BiasGelu", "gelu_new": "FastGelu"}
	if op := nodes[c.Activation]; op != "" {
		want[op] = layers
	}
	switch {
	case c.Head == head.MaskedLM:
		want[nodes[c.LMActivation()]]++
	case c.HeadActivation() == "gelu" && len(c.Labels) > 0 && !perToken(c):
		want["BiasGelu"]++
	}
	if c.ModelType == "bert" && c.TypeVocabSize > 1 {
		want["EmbedLayerNormalization"] = 1
	}
	for op, n := range want {
		if fused[op] != n {
			t.Errorf("%d of %s after fusion, want %d", fused[op], op, n)
		}
	}
}

// unpadded returns an output without the hidden states of padding, of which a
// fused graph may make something else.
func unpadded(o runOutput, b tokens) []float32 {
	if len(o.Shape) < 3 {
		return o.Values
	}
	var y []float32
	for s := range o.Shape[0] {
		n := int(b.offsets[s+1] - b.offsets[s])
		y = append(y, o.Values[s*o.Shape[1]*o.Shape[2]:][:n*o.Shape[2]]...)
	}
	return y
}

// pooled returns the embeddings of hidden states as engineOutputs does.
func pooled(values []float32, shape []int, b tokens) []float32 {
	v := &value{float32Type, shape, make([]float64, len(values))}
	for i, x := range values {
		v.v[i] = float64(x)
	}
	return embeddings(v, b)
}
