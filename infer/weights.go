package infer

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/mapped"
	"github.com/skive-ml/skive/internal/quant"
	"github.com/skive-ml/skive/tokenize"
)

// weights is a model compiled for inference: read-only, shared by all engines
// of a pool.
type weights struct {
	config     checkpoints.Config
	dtype      string // Options.DType in effect
	activation kernels.Activation

	// position is empty where there is no table, and tokenType without token types.
	word, position, tokenType table
	rotaries                  []rotary // of the layers, each once
	embeddings                norm
	widen                     *linear // of embeddings to the hidden size, or nil
	layers                    []layer
	pooler, classifier        *linear
	headActivation            kernels.Activation
	headNorm                  norm    // after the pooler, empty if there is none
	transform                 *linear // before the classifier of tokens or of a masked language model
	transformNorm             norm
	embedding                 string // Options.Embedding; without a head
	sentence                  checkpoints.Sentence
	dense                     []*linear // of sentence
	denseActivations          []kernels.Activation
	prompt                    string // before each text
	outputs                   int    // for each sequence, or token

	// file is the mapped file that is still read after loading, nil if all is in
	// memory. lost is its error, shared by all engines.
	file *mapped.File
	lost atomic.Pointer[ModelFileError]

	path      string   // of the model
	notes     []string // of the model
	tokenizer func() (*tokenize.Tokenizer, error)
}

type layer struct {
	heads, intermediate int
	// project computes queries, keys and values in one product, side by side. In the
	// last layer, where only the first tokens count, it computes keys and values, and
	// query the queries of the first tokens.
	project, query *linear
	// attention is kernels.Attention.Forward, or its equivalent in another number
	// format.
	attention func(a kernels.Attention, ctx []float32, ldctx int, probs []float32, s *kernels.Scratch)
	// bias is added to the scores of each head, by distance; nil for none. See
	// checkpoints.ScoreBias.
	bias []float32
	// relative are the terms of the scores by distance, empty for none.
	relative relative
	// scale multiplies the scores.
	scale float32
	// window is how many tokens attention reaches to either side, 0 for all. rotary is
	// the number of the layer's angles, -1 for none.
	window, rotary int
	output         *linear
	// gate is the other factor of gated units, or nil. It has the same input as expand.
	gate, expand, contract *linear
	// The norms after the two sums of a layer: what attention adds to, and what the
	// feed-forward block adds to. With pre, the sums themselves are passed on, and the
	// norms make what is read: attentionNorm's output by the feed-forward block,
	// outputNorm's by the next layer. So outputNorm is the next layer's first norm, or
	// the final one. inputNorm is this layer's own first norm, empty where the input is
	// read as it is.
	pre                                  bool
	inputNorm, attentionNorm, outputNorm norm
}

// bytes returns the memory of the layer's packed weights.
func (l *layer) bytes() int {
	n := l.project.bytes() + l.output.bytes() + l.expand.bytes() + l.contract.bytes()
	if l.gate != nil {
		n += l.gate.bytes()
	}
	return n
}

type norm struct{ gamma, beta []float32 }

// linear is x·Wᵀ + b with W packed into the panels of its number format.
type linear struct {
	weights []string // their names
	in, out int
	dtype   checkpoints.DType
	f32     kernels.PanelsF32
	half    kernels.PanelsHalf
	bf16    kernels.PanelsBF16
	i8      kernels.PanelsI8
	bias    []float32
	// inputScale is the scale of the quantized input of an I8 layer, 0 where each row
	// has its own.
	inputScale float32
}

func (l *linear) panels() int {
	return (l.out + kernels.Lanes - 1) / kernels.Lanes
}

// bytes returns the memory of the packed weights.
func (l *linear) bytes() int {
	return 4*len(l.f32.Data) + 2*len(l.half.Data) + 4*len(l.bf16.Data) + len(l.i8.Data)
}

// int8 tells whether the layer's input is to be quantized.
func (l *linear) int8() bool { return l.dtype == checkpoints.I8 }

// project returns the product that reads the input of layer i, nil after the last
// layer.
func (w *weights) project(i int) *linear {
	if i == len(w.layers) {
		return nil
	}
	return w.layers[i].project
}

// apply computes m rows for the panels [lo, hi). int8 layers read rows, the quantized
// x, instead of x.
func (l *linear) apply(s *kernels.Scratch, rows *kernels.RowsI8, m int, x []float32, ldx, lo, hi int, c []float32, ldc int, act kernels.Activation) {
	ep := kernels.Epilogue{Bias: l.bias, Activation: act}
	switch l.dtype {
	case checkpoints.I8:
		kernels.GemmI8(rows, &l.i8, lo, hi, c, ldc, ep, s)
	case checkpoints.BF16:
		kernels.GemmBF16(m, kernels.RowMajor(x, ldx), &l.bf16, lo, hi, c, ldc, ep, s)
	case checkpoints.F16:
		kernels.GemmHalf(m, kernels.RowMajor(x, ldx), &l.half, lo, hi, c, ldc, ep, s)
	default:
		kernels.GemmF32(m, kernels.RowMajor(x, ldx), &l.f32, lo, hi, c, ldc, ep, s)
	}
}

// table is an embedding matrix. Rows that are not float32 are widened when read.
type table struct {
	width int
	dtype checkpoints.DType
	f32   []float32
	half  []uint16
	i8    []int8
	scale []float32 // of the rows of i8
}

// own copies the numbers if they are views of the model's.
func (t *table) own() {
	t.f32, t.i8 = slices.Clone(t.f32), slices.Clone(t.i8)
}

// bytes returns the bytes of numbers that may be views of the model's.
func (t *table) bytes() []byte {
	if t.dtype == checkpoints.I8 {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(t.i8))), len(t.i8))
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(t.f32))), 4*len(t.f32))
}

// rows returns n rows from row i on, in buf or as a view of the table.
func (t *table) rows(i, n int, buf []float32) []float32 {
	lo, hi := i*t.width, (i+n)*t.width
	switch t.dtype {
	case checkpoints.I8:
		for k := range n {
			at := lo + k*t.width
			kernels.DequantizeRow(buf[k*t.width:][:t.width], t.i8[at:at+t.width], t.scale[i+k])
		}
	case checkpoints.BF16:
		kernels.BF16ToF32(buf[:hi-lo], t.half[lo:hi])
	case checkpoints.F16:
		kernels.F16ToF32(buf[:hi-lo], t.half[lo:hi])
	default:
		return t.f32[lo:hi]
	}
	return buf[:hi-lo]
}

// prefetch starts to load a row into the cache.
func (t *table) prefetch(i int) {
	lo, hi := i*t.width, (i+1)*t.width
	switch t.dtype {
	case checkpoints.I8:
		kernels.Prefetch(t.i8[lo:hi])
	case checkpoints.BF16, checkpoints.F16:
		kernels.Prefetch(t.half[lo:hi])
	default:
		kernels.Prefetch(t.f32[lo:hi])
	}
}

// loader reads the tensors of a validated model.
type loader struct {
	m *checkpoints.Model
	// dtype is the number format for the encoder's weights; nil means the stored one.
	dtype *checkpoints.DType
	err   error
	// q and scale are the weights of the current layer.
	q        []int8
	f, scale []float32
	// bias are the values of the last ScoreBias, and columns its columns.
	bias      []float32
	columns   []int
	distances distances
}

// maxF16 is the smallest number that half precision rounds to infinity.
const maxF16 = 65520

// formats maps the names of Options.DType to number formats.
var formats = map[string]checkpoints.DType{
	F32: checkpoints.F32, FP16: checkpoints.F16, BF16: checkpoints.BF16, Int8: checkpoints.I8,
}

// smallTable is the size, in bytes, up to which a vocabulary is always copied. A small
// model computes a call in the time of some fifty checks of its file.
const smallTable = 256 << 10

// load compiles a model. A model that was opened for this engine has been checked
// already, and will be given texts: its tokenizer is made meanwhile.
func load(m *checkpoints.Model, o Options, opened bool) (compiled *weights, err error) {
	defer func() { err = ofFile(err) }()
	defer mapped.Catch(&err, debug.SetPanicOnFault(true))
	if !opened {
		if err := m.Validate(); err != nil {
			return nil, fmt.Errorf("infer: %w", err)
		}
	}
	w := &weights{config: m.Config.Clone(), path: m.Path(), notes: m.Notes, embedding: o.Embedding, outputs: m.Config.HiddenSize}
	switch o.Embedding {
	case "":
		if !m.HasHead() {
			return nil, noHead(m)
		}
		w.outputs = m.Config.Head.Width(len(m.Config.Labels), m.Config.VocabSize)
	default:
		if err := w.embeds(o); err != nil {
			return nil, err
		}
	}
	l := &loader{m: m}
	if format, ok := formats[o.DType]; ok {
		w.dtype, l.dtype = o.DType, &format
	}
	for name, format := range formats {
		if o.DType == "" && format == m.DType() {
			w.dtype = name
		}
	}
	w.activation = l.activation(m.Config.Activation)
	w.tokenizer = w.tokenizerOf(m.Tokenizer)
	if opened {
		go w.tokenizer()
	}
	w.loadEmbeddings(l, o)
	for i := range m.Config.Layers {
		w.layers = append(w.layers, w.loadLayer(l, i, o))
	}
	if o.Embedding == "" {
		w.loadHead(l)
	}
	w.loadDense(l)
	if l.err != nil {
		return nil, fmt.Errorf("infer: %w", l.err)
	}
	w.file = mapped.Of(w.word.bytes())
	for _, t := range m.Tensors {
		if err := mapped.Of(t.Data).Check(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// tokenizerOf returns a function that makes the tokenizer of these files, once.
func (w *weights) tokenizerOf(files map[string][]byte) func() (*tokenize.Tokenizer, error) {
	return sync.OnceValues(func() (*tokenize.Tokenizer, error) {
		if len(files) == 0 {
			return nil, ErrNoTokenizer
		}
		t, err := tokenize.Load(files)
		if err == nil && w.sentence.LowerCase {
			err = lowers(t)
		}
		if err != nil {
			return nil, fmt.Errorf("infer: %w", err)
		}
		return t, nil
	})
}

// loadEmbeddings reads the tables. A large vocabulary stays in the file, because a call
// reads only a few of its rows. All else is copied, so that it can neither change nor
// fault.
func (w *weights) loadEmbeddings(l *loader, o Options) {
	w.word = l.table(checkpoints.WordEmbeddings)
	if o.NoMap || len(w.word.bytes()) <= smallTable {
		w.word.own()
	}
	if w.config.PositionTable() {
		w.position = l.table(checkpoints.PositionEmbeddings)
		w.position.own()
	}
	if w.config.TypeVocabSize > 0 {
		w.tokenType = l.table(checkpoints.TypeEmbeddings)
		w.tokenType.own()
	}
	w.embeddings = l.norm(checkpoints.EmbeddingNorm.Part())
	if w.config.ProjectsEmbeddings() {
		w.widen = l.linear(checkpoints.F32, checkpoints.EmbeddingProjection.Part())
	}
	if r := w.config.Block(0).Relative; r != nil {
		l.readDistances(r)
	}
}

// loadLayer reads layer i.
func (w *weights) loadLayer(l *loader, i int, o Options) layer {
	block := w.config.Block(i)
	query, key, value := checkpoints.Query.In(i), checkpoints.Key.In(i), checkpoints.Value.In(i)
	y := layer{
		heads:        block.Heads,
		intermediate: block.Units,
		bias:         l.scoreBias(block.ScoreBias),
		window:       block.Window,
		scale:        block.ScoreScale(),
		rotary:       w.rotary(block),
		output:       l.encoder(checkpoints.AttentionOutput.In(i)),
		contract:     l.encoder(checkpoints.Down.In(i)),
	}
	if block.Gated {
		gate, up := checkpoints.Gate.In(i), checkpoints.Up.In(i)
		format := l.format(gate, up)
		y.gate, y.expand = l.linear(format, gate), l.linear(format, up)
		if format == checkpoints.I8 {
			l.inputScale([]checkpoints.Part{gate, up}) // both have the same
		}
	} else {
		y.expand = l.encoder(checkpoints.Up.In(i))
	}
	w.loadNorms(l, &y, i, block)
	if i == len(w.config.Layers)-1 && (o.Embedding == "" && !w.perToken() && !w.meansHead() || w.sentence.Pooling == checkpoints.CLSPooling) {
		y.query, y.project = l.encoder(query), l.encoder(key, value)
	} else {
		y.project = l.encoder(query, key, value)
	}
	if block.Relative != nil && l.err == nil {
		y.relative = l.distances.relative(&y, block)
	}
	y.attention = kernels.Attention.Forward
	if o.AttentionDType == BF16 || o.AttentionDType == "" && y.project.dtype == checkpoints.BF16 {
		y.attention = kernels.Attention.ForwardBF16
	}
	return y
}

// loadNorms reads the norms of layer i.
func (w *weights) loadNorms(l *loader, y *layer, i int, block checkpoints.Block) {
	own, after := checkpoints.AttentionNorm.In(i), checkpoints.OutputNorm.In(i)
	if y.pre = block.PreNorm; !y.pre {
		y.attentionNorm, y.outputNorm = l.norm(own), l.norm(after)
		return
	}
	if !block.BareAttention {
		y.inputNorm = l.norm(own)
	}
	y.attentionNorm = l.norm(after)
	next := checkpoints.FinalNorm.Part()
	if i+1 < len(w.config.Layers) {
		next = checkpoints.AttentionNorm.In(i + 1)
	}
	y.outputNorm = l.norm(next)
}

func (l *loader) values(name string) []float32 {
	v, err := l.m.Float32s(name)
	if err != nil && l.err == nil {
		l.err = err
	}
	return v
}

// scoreBias returns the values of a bias by head and distance, nil for none. Layers
// with equal biases share them.
func (l *loader) scoreBias(b *checkpoints.ScoreBias) []float32 {
	if b == nil {
		return nil
	}
	if l.bias == nil || !slices.Equal(l.columns, b.Columns) {
		bias, err := b.ByDistance(l.m)
		if err != nil && l.err == nil {
			l.err = err
		}
		l.bias, l.columns = bias, b.Columns
	}
	return l.bias
}

// activation returns the activation of a Hugging Face name.
func (l *loader) activation(name string) kernels.Activation {
	switch name {
	case "gelu":
		return kernels.GELU
	case "gelu_new":
		return kernels.GELUTanh
	case "relu":
		return kernels.ReLU
	case "silu":
		return kernels.SiLU
	case "tanh":
		return kernels.Tanh
	}
	if l.err == nil {
		l.err = fmt.Errorf("activation %q: %w", name, checkpoints.ErrUnsupported)
	}
	return kernels.Identity
}

// norm reads a LayerNorm; a missing shift becomes zeros.
func (l *loader) norm(p checkpoints.Part) norm {
	n := norm{gamma: slices.Clone(l.values(p.Weight()))}
	if _, ok := l.m.Tensors[p.Bias()]; ok {
		n.beta = slices.Clone(l.values(p.Bias()))
	} else {
		n.beta = make([]float32, len(n.gamma))
	}
	return n
}

func (l *loader) table(role checkpoints.Role) table {
	name := role.Part().Weight()
	t := l.m.Tensors[name]
	r := table{width: l.m.Config.EmbeddingWidth(), dtype: t.DType}
	switch t.DType {
	case checkpoints.F16, checkpoints.BF16:
		r.half = make([]uint16, len(t.Data)/2)
		for i := range r.half {
			r.half[i] = binary.LittleEndian.Uint16(t.Data[2*i:])
		}
	case checkpoints.I8:
		r.i8, r.scale = t.Int8s(), slices.Clone(l.values(checkpoints.ScaleOf(name)))
	default:
		r.f32 = l.values(name)
	}
	return r
}

// encoder packs layers of the encoder. Layers stored in different formats are widened
// to float32.
func (l *loader) encoder(parts ...checkpoints.Part) *linear {
	return l.linear(l.format(parts...), parts...)
}

// format is the number format of encoder layers that share one input.
func (l *loader) format(parts ...checkpoints.Part) checkpoints.DType {
	if l.dtype != nil {
		return *l.dtype
	}
	dtype := l.m.Tensors[parts[0].Weight()].DType
	for _, p := range parts[1:] {
		if l.m.Tensors[p.Weight()].DType != dtype {
			dtype = checkpoints.F32
		}
	}
	return dtype
}

// linear packs linear layers that share one input, side by side.
func (l *loader) linear(dtype checkpoints.DType, parts ...checkpoints.Part) *linear {
	r := &linear{dtype: dtype}
	for _, p := range parts {
		shape := l.m.Tensors[p.Weight()].Shape
		r.out += shape[0]
		r.in = shape[1]
		if _, ok := l.m.Tensors[p.Bias()]; ok {
			r.bias = append(r.bias, l.values(p.Bias())...)
		} else {
			r.bias = append(r.bias, make([]float32, shape[0])...)
		}
		r.weights = append(r.weights, p.Weight())
	}
	if !r.int8() {
		w := l.f[:0]
		for _, name := range r.weights {
			w = append(w, l.values(name)...)
		}
		l.f = w
		switch {
		case l.err != nil:
		case dtype == checkpoints.F32:
			r.f32.Pack(kernels.Transposed(w, r.in), r.in, r.out)
		case dtype == checkpoints.F16 && kernels.MaxAbs(w) >= maxF16:
			l.err = fmt.Errorf("tensor %s: holds values too large for fp16", r.weights[0])
		case dtype == checkpoints.BF16:
			r.bf16.Pack(kernels.Transposed(w, r.in), r.in, r.out)
		default:
			r.half.Pack(kernels.Transposed(w, r.in), r.in, r.out)
		}
		return r
	}
	r.inputScale = l.inputScale(parts)
	q, scale := l.quantized(r.weights, r.in, r.out)
	if r.in > kernels.MaxKI8 && l.err == nil {
		l.err = fmt.Errorf("tensor %s: %d inputs, int8 sums take at most %d: %w", r.weights[0], r.in, kernels.MaxKI8, checkpoints.ErrUnsupported)
	}
	if l.err == nil {
		r.i8.Pack(q, scale, r.in, r.out)
	}
	return r
}

// inputScale returns the calibrated scale of the input that linear layers share, 0 if
// there is none.
func (l *loader) inputScale(parts []checkpoints.Part) float32 {
	of := func(p checkpoints.Part) float32 {
		if t, ok := l.m.Tensors[p.InputScale()]; ok {
			return t.Float32s()[0]
		}
		return 0
	}
	scale := of(parts[0])
	for _, p := range parts[1:] {
		if s := of(p); s != scale && l.err == nil {
			l.err = fmt.Errorf("tensor %s: %g, expected that of %s, whose input it shares, %g", p.InputScale(), s, parts[0], scale)
		}
	}
	return scale
}

// quantized returns the named weights and their scales, until the next call.
func (l *loader) quantized(weights []string, in, out int) (q []int8, scale []float32) {
	l.q, l.scale = grow(l.q, in*out), grow(l.scale, out)
	q, scale = l.q, l.scale
	o := 0
	for _, name := range weights {
		t := l.m.Tensors[name]
		n := t.Shape[0]
		dst, s := q[o*in:(o+n)*in], scale[o:o+n]
		o += n
		if t.DType == checkpoints.I8 {
			copy(dst, t.Int8s())
			copy(s, l.values(checkpoints.ScaleOf(name)))
			continue
		}
		if err := quant.Channels(dst, s, l.values(name), n, in); err != nil && l.err == nil {
			l.err = fmt.Errorf("tensor %s: %w", name, err)
		}
	}
	return q, scale
}
