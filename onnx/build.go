package onnx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
)

// Names of the outputs.
const (
	logitsOutput    = "logits"
	hiddenOutput    = "last_hidden_state"
	embeddingOutput = "sentence_embedding"
)

const (
	// maxHalf is the largest finite number of half precision.
	maxHalf = 65504
	// minHalfEpsilon is the least epsilon of LayerNorm in half precision. The least number of
	// half precision is 6e-8.
	minHalfEpsilon = 1e-7
	// zeroPoint is the zero point of weights, and of inputs with calibrated scales, in int8
	// layers.
	zeroPoint = 128
)

// builder makes the graph of a model. It keeps the first error.
type builder struct {
	m       *checkpoints.Model
	o       Options
	float   elementType // element type of weights and hidden states
	graph   graph
	known   map[string]bool          // names of the initializers so far
	inputs  map[string][3]string     // values quantized at run time: bytes, scale and zero point
	wide    map[string]bool          // int8 weights that the graph also has in float
	static  map[string]string        // values quantized with a calibrated scale and dequantized, by value and scale
	biases  []string                 // what each layer adds to its attention scores
	windows map[int]string           // masks that also hide what is outside of a window, by reach
	turns   map[[2]float64][2]string // cosines and sines of rotary positions, by base and scale
	// numbers holds the numbers of the tokens, distances the distances between keys and queries.
	// Both are "" until they are needed.
	numbers, distances string
	length             string // length of the batch's longest text, as the end of a slice
	// Of relative scores: the normalized embeddings of distances, the rows for each query and key
	// by number of heads, what is gathered by them, and zeros for each text.
	embedded string
	rows     map[int][2]string
	gathered map[string]string
	zeros    string
	err      error
}

// attribute is an attribute of a node: an int, a list of int64 or a float32.
type attribute struct {
	name  string
	value any
}

// build returns the ONNX model of m.
func build(m *checkpoints.Model, o Options) (*model, error) {
	b := &builder{m: m, o: o, float: float32Type, known: map[string]bool{}, inputs: map[string][3]string{}, wide: map[string]bool{}, static: map[string]string{}, windows: map[int]string{}, rows: map[int][2]string{}, gathered: map[string]string{}, turns: map[[2]float64][2]string{}}
	if o.DType == infer.FP16 {
		b.float = float16Type
	}
	b.encoder()
	if b.err != nil {
		return nil, b.err
	}
	labels, err := json.Marshal(m.Config.Labels)
	if err != nil {
		return nil, err
	}
	r := &model{ir: irVersion, opset: opset, producer: [2]string{"skive", checkpoints.Version}, graph: b.graph}
	r.doc = fmt.Sprintf("%s, %d layers, hidden size %d, %s; opset %d", m.Config.ModelType, len(m.Config.Layers), m.Config.HiddenSize, o.DType, opset)
	r.graph.name = m.Config.ModelType
	r.metadata = [][2]string{{"model_type", m.Config.ModelType}, {"dtype", o.DType}}
	if len(m.Config.Labels) > 0 {
		r.metadata = append(r.metadata, [2]string{"labels", string(labels)})
	}
	if m.Config.Task != "" {
		r.metadata = append(r.metadata, [2]string{"task", m.Config.Task})
	}
	return r, nil
}

func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// nodes appends a node with the outputs name, name.1, ... and returns their names.
func (b *builder) nodes(outputs int, op, name string, inputs []string, attributes ...attribute) []string {
	n := node{op: op, name: name, inputs: inputs, ints: map[string][]int64{}, isList: map[string]bool{}, floats: map[string]float32{}}
	for i := range outputs {
		if i == 0 {
			n.outputs = append(n.outputs, name)
		} else {
			n.outputs = append(n.outputs, fmt.Sprintf("%s.%d", name, i))
		}
	}
	for _, a := range attributes {
		switch v := a.value.(type) {
		case int:
			n.ints[a.name] = []int64{int64(v)}
		case []int64:
			n.ints[a.name], n.isList[a.name] = v, true
		case float32:
			n.floats[a.name] = v
		}
	}
	b.graph.nodes = append(b.graph.nodes, n)
	return n.outputs
}

// op appends a node with one output, which has the same name as the node.
func (b *builder) op(op, name string, inputs ...string) string {
	return b.nodes(1, op, name, inputs)[0]
}

func (b *builder) cast(name, x string, to elementType) string {
	return b.nodes(1, "Cast", name, []string{x}, attribute{"to", int(to)})[0]
}

// Initializers.

func (b *builder) add(name string, typ elementType, shape []int, data []byte) string {
	if !b.known[name] {
		b.known[name] = true
		b.graph.initializers = append(b.graph.initializers, tensor{name: name, typ: typ, shape: shape, data: data})
	}
	return name
}

// ints adds a list of int64, or a scalar if shape is nil.
func (b *builder) ints(name string, shape []int, v ...int64) string {
	return b.add(name, int64Type, shape, int64Data(v...))
}

// floats adds float numbers in the graph's float type.
func (b *builder) floats(name string, shape []int, v []float32) string {
	if b.known[name] {
		return name
	}
	t := checkpoints.NewTensor(shape, v)
	if b.float == float16Type {
		var err error
		if t, err = t.Convert(checkpoints.F16); err != nil {
			b.fail(fmt.Errorf("tensor %s: %w", name, err))
		}
	}
	return b.add(name, b.float, shape, t.Data)
}

// scalar adds a float whose name is its value, so that equal ones are stored once.
func (b *builder) scalar(v float64) string {
	name := fmt.Sprintf("constant_%g", v)
	if b.o.DType == infer.FP16 && b.float != float16Type {
		name += "_f32"
	}
	return b.floats(name, nil, []float32{float32(v)})
}

// leastFloat is added to the attention scores of padding. As in transformers it is the least
// number of the graph's float type, so no score outweighs it.
func (b *builder) leastFloat() float64 {
	if b.float == float16Type {
		return -maxHalf
	}
	return -math.MaxFloat32
}

func (b *builder) values(name string) []float32 {
	v, err := b.m.Float32s(name)
	if err != nil {
		b.fail(err)
	}
	return v
}

func (b *builder) tensor(name string) string {
	return b.floats(name, b.m.Tensors[name].Shape, b.values(name))
}

// transpose returns w, of shape [rows, cols], as [cols, rows].
func transpose[T any](w []T, rows, cols int) []T {
	t := make([]T, len(w))
	// Blocks keep the columns that are written in the cache.
	const block = 32
	for r0 := 0; r0 < rows; r0 += block {
		for c := range cols {
			for r := r0; r < min(r0+block, rows); r++ {
				t[c*rows+r] = w[r*cols+c]
			}
		}
	}
	return t
}

// Layers.

// dense appends x·Wᵀ + b for a layer that the graph computes in float.
func (b *builder) dense(p checkpoints.Part, x string) string {
	name, weight := p.String(), p.Weight()
	w := b.m.Tensors[weight]
	out, in := w.Shape[0], w.Shape[1]
	if !b.known[weight] {
		b.floats(weight, []int{in, out}, transpose(b.values(weight), out, in))
	}
	return b.biased(p, b.op("MatMul", name+"/MatMul", x, weight))
}

// biased appends the bias of a linear layer, if it has one.
func (b *builder) biased(p checkpoints.Part, y string) string {
	if _, ok := b.m.Tensors[p.Bias()]; !ok {
		return y
	}
	return b.op("Add", p.String()+"/Add", y, b.tensor(p.Bias()))
}

// linear appends a linear layer of the encoder. An int8 graph computes the layers in int8 that
// are stored in int8.
func (b *builder) linear(p checkpoints.Part, x string) string {
	name, weight := p.String(), p.Weight()
	w := b.m.Tensors[weight]
	if b.o.DType != infer.Int8 || w.DType != checkpoints.I8 {
		return b.dense(p, x)
	}
	out, in := w.Shape[0], w.Shape[1]
	data := make([]byte, out*in)
	for i, v := range transpose(w.Int8s(), out, in) {
		data[i] = byte(int(v) + zeroPoint)
	}
	b.add(weight, uint8Type, []int{in, out}, data)
	zero := b.add("zero_point", uint8Type, nil, []byte{zeroPoint})
	scale := b.floats(checkpoints.ScaleOf(weight), []int{out}, b.values(checkpoints.ScaleOf(weight)))
	var y string
	if input, ok := b.m.Tensors[p.InputScale()]; ok {
		y = b.op("MatMul", name+"/MatMul", b.calibrated(p, x, input.Float32s()[0], zero), b.widened(p))
	} else {
		x8, ok := b.inputs[x]
		if !ok {
			x8 = [3]string(b.nodes(3, "DynamicQuantizeLinear", x+"/DynamicQuantizeLinear", []string{x}))
			b.inputs[x] = x8
		}
		y = b.op("MatMulInteger", name+"/MatMulInteger", x8[0], weight, x8[2], zero)
		y = b.cast(name+"/Cast", y, float32Type)
		y = b.op("Mul", name+"/Mul", y, b.op("Mul", name+"/Scale", x8[1], scale))
	}
	return b.biased(p, y)
}

// widened appends the float weights of a linear layer whose int8 weights are in the graph.
// Repeated calls share the nodes.
func (b *builder) widened(p checkpoints.Part) string {
	weight := p.Weight()
	name := weight + "/DequantizeLinear"
	if !b.wide[name] {
		b.wide[name] = true
		out := b.m.Tensors[weight].Shape[0]
		zeros := b.add(fmt.Sprintf("zero_points_%d", out), uint8Type, []int{out}, bytes.Repeat([]byte{zeroPoint}, out))
		b.nodes(1, "DequantizeLinear", name, []string{weight, checkpoints.ScaleOf(weight), zeros}, attribute{"axis", 1})
	}
	return name
}

// calibrated appends the rounding of x, the input of a linear layer, with a calibrated scale.
// Layers with the same input and scale share the nodes.
func (b *builder) calibrated(p checkpoints.Part, x string, scale float32, zero string) string {
	key := fmt.Sprintf("%s %g", x, scale)
	y, ok := b.static[key]
	if !ok {
		s := b.floats(p.InputScale(), nil, []float32{scale})
		y = b.op("DequantizeLinear", p.String()+"/DequantizeLinear", b.op("QuantizeLinear", p.String()+"/QuantizeLinear", x, s, zero), s, zero)
		b.static[key] = y
	}
	return y
}

// embedding appends a look-up of rows. An int8 graph keeps a table of int8 rows as it is.
func (b *builder) embedding(name string, role checkpoints.Role, ids string) string {
	table := role.Part().Weight()
	t := b.m.Tensors[table]
	if t.DType != checkpoints.I8 || b.o.DType != infer.Int8 {
		return b.op("Gather", name+"/Gather", b.tensor(table), ids)
	}
	b.add(table, int8Type, t.Shape, t.Data)
	scale := b.floats(checkpoints.ScaleOf(table), []int{t.Shape[0], 1}, b.values(checkpoints.ScaleOf(table)))
	rows := b.cast(name+"/Cast", b.op("Gather", name+"/Gather", table, ids), float32Type)
	return b.op("Mul", name+"/Mul", rows, b.op("Gather", name+"/Scale", scale, ids))
}

func (b *builder) norm(p checkpoints.Part, x string) string {
	epsilon := b.m.Config.LayerNormEps
	if b.float == float16Type {
		epsilon = max(epsilon, minHalfEpsilon)
	}
	width := b.m.Tensors[p.Weight()].Shape[0]
	var shift string
	if _, ok := b.m.Tensors[p.Bias()]; ok {
		shift = b.tensor(p.Bias())
	} else {
		shift = b.floats(fmt.Sprintf("zeros_%d", width), []int{width}, make([]float32, width))
	}
	return b.nodes(1, "LayerNormalization", p.String(), []string{x, b.tensor(p.Weight()), shift},
		attribute{"axis", -1}, attribute{"epsilon", epsilon})[0]
}

// activation appends an activation, given by its Hugging Face name, in the form that ONNX Runtime
// recognizes.
func (b *builder) activation(kind, name, x string) string {
	switch kind {
	case "gelu": // x · (1 + erf(x / √2)) · 1/2
		y := b.op("Erf", name+"/Erf", b.op("Div", name+"/Div", x, b.scalar(math.Sqrt2)))
		y = b.op("Mul", name+"/Mul", x, b.op("Add", name+"/One", y, b.scalar(1)))
		return b.op("Mul", name+"/Half", y, b.scalar(0.5))
	case "gelu_new": // x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³)))
		y := b.op("Mul", name+"/Cube", b.op("Pow", name+"/Pow", x, b.scalar(3)), b.scalar(0.044715))
		y = b.op("Mul", name+"/Root", b.op("Add", name+"/Inner", x, y), b.scalar(math.Sqrt(2/math.Pi)))
		y = b.op("Add", name+"/One", b.op("Tanh", name+"/Tanh", y), b.scalar(1))
		return b.op("Mul", name+"/Mul", b.op("Mul", name+"/Half", x, b.scalar(0.5)), y)
	case "relu":
		return b.op("Relu", name+"/Relu", x)
	case "silu":
		return b.op("Mul", name+"/Mul", x, b.op("Sigmoid", name+"/Sigmoid", x))
	case "tanh":
		return b.op("Tanh", name+"/Tanh", x)
	default:
		b.fail(fmt.Errorf("hidden_act %q: %w", kind, checkpoints.ErrUnsupported))
		return x
	}
}

// encoder appends the whole model.
func (b *builder) encoder() {
	c := &b.m.Config
	for _, name := range inputNames(c) {
		b.graph.inputs = append(b.graph.inputs, valueInfo{name, int64Type, []any{"batch", "sequence"}})
	}
	mask := b.op("Unsqueeze", "attention_mask/heads", "attention_mask", b.ints("one_list", []int{1}, 1))
	mask = b.op("Unsqueeze", "attention_mask/queries", mask, b.ints("two_list", []int{1}, 2))
	mask = b.op("Sub", "attention_mask/padding", b.scalar(1), b.cast("attention_mask/Cast", mask, b.float))
	mask = b.op("Mul", "attention_mask/scores", mask, b.scalar(b.leastFloat()))

	x := b.embeddings()
	for l := range c.Layers {
		b.biases = append(b.biases, b.scoreBias(l, mask))
		x = b.layer(l, x, b.biases[l])
	}
	if c.Block(0).PreNorm {
		x = b.norm(checkpoints.FinalNorm.Part(), x)
	}
	switch {
	case b.o.Embedding != "":
		b.sentence(x)
	case c.Head.Outputs() == head.Tokens:
		b.maskedLM(x)
	case c.Head.PerToken():
		if c.HeadNorm() {
			x = b.beforeHead(x)
		}
		b.output(logitsOutput, b.dense(checkpoints.Classifier.Part(), x), "sequence", len(c.Labels))
	case b.m.HasHead():
		var pooled string
		if c.ClassifierPooling == checkpoints.MeanPooling {
			pooled = b.mean(x)
		} else {
			pooled = b.nodes(1, "Gather", "first_token", []string{x, b.ints("zero", nil, 0)}, attribute{"axis", 1})[0]
		}
		b.output(logitsOutput, b.dense(checkpoints.Classifier.Part(), b.beforeHead(pooled)), len(c.Labels))
	default:
		b.output(hiddenOutput, x, "sequence", c.HiddenSize)
	}
}

// inputNames are the names of the graph's inputs.
func inputNames(c *checkpoints.Config) []string {
	names := []string{"input_ids", "attention_mask"}
	if c.TypeVocabSize > 1 {
		names = append(names, "token_type_ids")
	}
	return names
}

func (b *builder) embeddings() string {
	c := &b.m.Config
	x := b.embedding("word_embeddings", checkpoints.WordEmbeddings, "input_ids")
	switch {
	case c.TypeVocabSize > 1:
		x = b.op("Add", "embeddings/types", x, b.embedding("token_type_embeddings", checkpoints.TypeEmbeddings, "token_type_ids"))
	case c.TypeVocabSize == 1:
		x = b.op("Add", "embeddings/types", x, b.tensor(checkpoints.TypeEmbeddings.Part().Weight()))
	}
	if c.PositionTable() {
		x = b.op("Add", "embeddings/positions", x, b.embedding("position_embeddings", checkpoints.PositionEmbeddings, b.positions()))
	}
	x = b.norm(checkpoints.EmbeddingNorm.Part(), x)
	if c.ProjectsEmbeddings() {
		x = b.dense(checkpoints.EmbeddingProjection.Part(), x)
	}
	return x
}

// around returns the prefix of the names of values around a part.
func around(p checkpoints.Part) string {
	name := p.String()
	return name[:strings.LastIndexByte(name, '.')+1]
}

// layer appends an encoder layer. ONNX Runtime's optimizer finds Attention by the order of these
// nodes and of their inputs. mask is added to the scores.
func (b *builder) layer(l int, x, mask string) string {
	block := b.m.Config.Block(l)
	self, output, down := around(checkpoints.Query.In(l)), checkpoints.AttentionOutput.In(l), checkpoints.Down.In(l)
	heads, width := block.Heads, block.HeadDim
	split := b.ints(fmt.Sprintf("heads_%d", heads), []int{4}, 0, 0, int64(heads), int64(width))
	root := b.scalar(math.Sqrt(float64(block.ScoreProducts() * width)))
	read := x // input of the projections
	if block.PreNorm && !block.BareAttention {
		read = b.norm(checkpoints.AttentionNorm.In(l), x)
	}
	part := func(role checkpoints.Role, perm ...int64) string {
		y := b.linear(role.In(l), read)
		if role == checkpoints.Query && b.float == float16Type {
			y = b.op("Div", self+"scale", y, root)
		}
		y = b.op("Reshape", role.In(l).String()+"/Reshape", y, split)
		return b.nodes(1, "Transpose", role.In(l).String()+"/Transpose", []string{y}, attribute{"perm", perm})[0]
	}
	var q, k, keys string // keys are [batch, heads, width, tokens]
	if block.RotaryBase == 0 && block.Relative == nil {
		q, keys = part(checkpoints.Query, 0, 2, 1, 3), part(checkpoints.Key, 0, 2, 3, 1)
	} else {
		turned := func(role checkpoints.Role) string {
			x := part(role, 0, 2, 1, 3)
			if block.RotaryBase == 0 {
				return x
			}
			return b.rotated(role.In(l).String(), block, x)
		}
		q, k = turned(checkpoints.Query), turned(checkpoints.Key)
		keys = b.nodes(1, "Transpose", self+"keys", []string{k}, attribute{"perm", []int64{0, 1, 3, 2}})[0]
	}
	v := part(checkpoints.Value, 0, 2, 1, 3)
	y := b.op("MatMul", self+"scores", q, keys)
	y = b.relativeScores(l, block, y, q, k, root)
	if b.float != float16Type {
		y = b.op("Div", self+"scale", y, root)
	}
	y = b.op("Add", self+"mask", y, mask)
	y = b.nodes(1, "Softmax", self+"softmax", []string{y}, attribute{"axis", -1})[0]
	y = b.op("MatMul", self+"context", y, v)
	y = b.nodes(1, "Transpose", self+"Transpose", []string{y}, attribute{"perm", []int64{0, 2, 1, 3}})[0]
	y = b.op("Reshape", self+"Reshape", y, b.ints(fmt.Sprintf("width_%d", heads*width), []int{3}, 0, 0, int64(heads*width)))
	x = b.op("Add", around(output)+"residual", b.linear(output, y), x)
	if !block.PreNorm {
		x = b.norm(checkpoints.AttentionNorm.In(l), x)
		return b.norm(checkpoints.OutputNorm.In(l), b.op("Add", around(down)+"residual", b.linear(down, b.units(l, x)), x))
	}
	y = b.units(l, b.norm(checkpoints.OutputNorm.In(l), x))
	return b.op("Add", around(down)+"residual", b.linear(down, y), x)
}

// units appends the feed-forward part of a layer.
func (b *builder) units(l int, x string) string {
	block, up := b.m.Config.Block(l), checkpoints.Up.In(l)
	name := strings.TrimSuffix(around(up), ".")
	if !block.Gated {
		return b.activation(block.Activation, name, b.linear(up, x))
	}
	gate := b.activation(block.Activation, name, b.linear(checkpoints.Gate.In(l), x))
	return b.op("Mul", name+"/gated", gate, b.linear(up, x))
}

// output makes the value x the graph's float32 output.
func (b *builder) output(name, x string, shape ...any) {
	if b.float != float32Type {
		b.cast(name, x, float32Type)
	} else {
		last := &b.graph.nodes[len(b.graph.nodes)-1]
		last.outputs[0] = name
	}
	b.graph.outputs = []valueInfo{{name, float32Type, append([]any{"batch"}, shape...)}}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
