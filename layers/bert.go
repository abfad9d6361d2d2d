package layers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/quantize"
)

// Options says how a model is built into a graph.
type Options struct {
	// Frozen makes the weights constants, as for a teacher. They are read in place, so the model
	// must stay open and unchanged. Weights that are not frozen are copied; Store writes them
	// back.
	Frozen bool
	// Dropout applies the configuration's dropout probabilities.
	Dropout bool
	// AllTokens computes the last layer for all tokens. Set it if anything reads the last layer's
	// Hidden or QKV. Otherwise a classifier computes the last layer's queries, output and
	// feed-forward only for the first token of each sequence, with the same logits.
	AllTokens bool
	// Recompute computes the values of a layer again in the backward pass instead of keeping
	// them. The bits are the same. Of a Layer only Hidden can then be read, and QKV if KeepQKV is
	// set, which keeps its values.
	Recompute, KeepQKV bool
	// BF16 multiplies in bfloat16 in the linear layers and the attention of the encoder's layers,
	// with the same values as infer.BF16 (see autograd.Graph.LinearBF16). The head and the rest
	// of the encoder stay float32.
	BF16 bool
	// Depth, if not 0, is how many layers are built, from the first.
	Depth int
	// HeadMasks and FFNMasks add multiplicative masks to each layer, as inputs with gradients.
	HeadMasks, FFNMasks bool
	// QuantizeAware computes the linear layers of the encoder with the bits of the int8 engine,
	// so without dropout the logits are those of the int8 model. It is quantize.Dynamic, or
	// quantize.Static, which trains the input scales that the model holds; "" computes in float.
	// See autograd.QuantizedLinear for the gradients. QuantizeEmbeddings does the same for word
	// and position embeddings.
	QuantizeAware      string
	QuantizeEmbeddings bool
}

// Inputs are the token-packed inputs of an encoder. Several encoders of one
// graph may share them.
type Inputs struct {
	// IDs, TypeIDs and Positions are [tokens], Offsets [sequences+1].
	IDs, TypeIDs, Positions, Offsets *autograd.Node

	graph *autograd.Graph
	byID  []positionsByID
}

// positionsByID are the positions in a family where they depend on the ids.
type positionsByID struct {
	config checkpoints.Config
	node   *autograd.Node
	values []int32
}

// NewInputs adds the inputs to a graph.
func NewInputs(g *autograd.Graph) *Inputs {
	return &Inputs{
		IDs: g.Ints("ids", autograd.Tokens), TypeIDs: g.Ints("type ids", autograd.Tokens),
		Positions: g.Ints("positions", autograd.Tokens), Offsets: g.Ints("offsets", autograd.Boundaries),
		graph: g,
	}
}

// positionsOf returns the positions of a model's tokens.
func (in *Inputs) positionsOf(c checkpoints.Config) *autograd.Node {
	if !c.PositionsByID() {
		return in.Positions
	}
	for _, p := range in.byID {
		if p.config.ModelType == c.ModelType && p.config.PadTokenID == c.PadTokenID {
			return p.node
		}
	}
	node := in.graph.Ints("positions of "+c.ModelType, autograd.Tokens)
	in.byID = append(in.byID, positionsByID{config: c, node: node})
	return node
}

// Set sets the inputs for the next runs. Positions count from 0 in each sequence for every
// family; an encoder that counts differently converts them. Sequence s is the tokens offsets[s]
// to offsets[s+1]-1. The slices are not copied.
func (in *Inputs) Set(ids, typeIDs, positions, offsets []int32) error {
	for _, v := range []struct {
		node *autograd.Node
		data []int32
	}{{in.IDs, ids}, {in.TypeIDs, typeIDs}, {in.Positions, positions}, {in.Offsets, offsets}} {
		if err := in.graph.SetInts(v.node, v.data); err != nil {
			return err
		}
	}
	for i := range in.byID {
		p := &in.byID[i]
		p.values = slices.Grow(p.values[:0], len(ids))[:len(ids)]
		for s := range len(offsets) - 1 {
			lo, hi := offsets[s], offsets[s+1]
			if lo < 0 || hi < lo || int(hi) > len(ids) {
				return fmt.Errorf("layers: sequence %d is tokens %d to %d of %d", s, lo, hi, len(ids))
			}
			p.config.Positions(p.values[lo:hi], ids[lo:hi])
		}
		if err := in.graph.SetInts(p.node, p.values); err != nil {
			return err
		}
	}
	return nil
}

// Layer holds the nodes of an encoder layer.
type Layer struct {
	// Hidden is the layer's output [tokens, hidden]. In the last layer of a model with norms
	// before its layers it includes the last norm. QKV is the layer's queries, keys and values
	// side by side, [tokens, 3*heads*headDim], as attention reads them: already turned if
	// positions are rotary. Both are nil in a last layer that is computed for the first tokens
	// only.
	Hidden, QKV *autograd.Node
	// ScoreBias is added to the scores of attention, [heads, distances] as in
	// autograd.AttentionOptions. It is nil in a family without such biases.
	ScoreBias *autograd.Node
	// Relative, beside QKV, is the layer's projection of the distances between tokens. It is nil
	// in a family without such scores.
	Relative *autograd.Relative
	// HeadMask [sequences, heads] and FFNMask [sequences, units] are nil unless requested.
	HeadMask, FFNMask *autograd.Node
	// Attention and FeedForward hold the values around the layer's two output products. They have
	// a row for each token, or for each sequence in a last layer that is computed for the first
	// tokens only.
	Attention, FeedForward Block

	// distances are the embeddings of distances that the layer projects.
	distances *autograd.Node
}

// Block holds the nodes around an output product. Inner [rows, inner] is multiplied by the output
// weight, Output [rows, hidden] is the product plus its bias, and Residual [rows, hidden] is
// added to it.
type Block struct{ Inner, Output, Residual *autograd.Node }

// Encoder holds the nodes of an encoder.
type Encoder struct {
	// Embeddings is the output of the embedding layer [tokens, hidden]: the
	// first of Hugging Face's hidden states.
	Embeddings *autograd.Node
	Layers     []Layer
	// First is the last layer's output for the first token of each sequence
	// [sequences, hidden].
	First *autograd.Node
}

// NewEncoder builds the model's encoder. It computes all tokens in every layer.
func NewEncoder(g *autograd.Graph, in *Inputs, m *checkpoints.Model, o Options) (*Encoder, error) {
	o.AllTokens = true
	e, err := newBuilder(g, in, m, o).encoder()
	if err != nil {
		return nil, err
	}
	return &e, nil
}

// NewLayer builds only layer l of the model, on top of the hidden states x before it [tokens,
// hidden]. It reads the inputs' Offsets and, if positions are rotary, Positions.
func NewLayer(g *autograd.Graph, in *Inputs, m *checkpoints.Model, l int, x *autograd.Node, o Options) (*Layer, error) {
	activation, err := activationByName(m.Config.Activation)
	if err != nil {
		return nil, err
	}
	b := newBuilder(g, in, m, o)
	layer := b.begin(l)
	b.layer(&layer, x, l, l == len(m.Config.Layers)-1 && !o.AllTokens, activation)
	return &layer, b.failure()
}

// Store writes the graph's trainable parameters to the model's tensors of the
// same names, as float32.
func Store(g *autograd.Graph, m *checkpoints.Model) error {
	for _, p := range g.Parameters() {
		for _, name := range tensorsOf(p.Name) {
			t, ok := m.Tensors[name]
			if !ok {
				continue // a matrix that belongs to a loss is not part of the model
			}
			if t.Elements() != len(p.Value) {
				return fmt.Errorf("layers: tensor %s has shape %v, the parameter %v", name, t.Shape, p.Shape)
			}
			m.Tensors[name] = checkpoints.NewTensor(t.Shape, p.Value)
		}
	}
	return nil
}

// tensorsOf returns the names of a parameter's tensors. Queries, keys and values share one input,
// so the scale of that input is one parameter for three tensors. The same holds for gated units.
func tensorsOf(parameter string) []string {
	part, kind, ok := checkpoints.ParseTensor(parameter)
	switch {
	case !ok || kind != checkpoints.InputScale:
	case part.Role == checkpoints.Query:
		return []string{parameter, checkpoints.Key.In(part.Layer).InputScale(), checkpoints.Value.In(part.Layer).InputScale()}
	case part.Role == checkpoints.Up: // and the gate's, if there is one
		return []string{parameter, checkpoints.Gate.In(part.Layer).InputScale()}
	}
	return []string{parameter}
}

// builder adds a model's blocks to a graph.
type builder struct {
	g   *autograd.Graph
	in  *Inputs
	m   *checkpoints.Model
	o   Options
	err error

	words *autograd.Node // the word embeddings
	// distanceNorm is the normalized embeddings of distances. It is nil until they are needed.
	distanceNorm *autograd.Node
	// nodes holds the nodes of weights by name: the weights that project hidden states also
	// project distances.
	nodes map[string]*autograd.Node
	// has holds the names of the architecture's tensors.
	has map[string]bool
	// turns holds the tables of rotary positions, by base and scale.
	turns map[[2]float64]*autograd.Turns

	// biasTable is the table of biases. bias is what it gives the heads of the last layer that
	// was built, which use the columns in biasColumns.
	biasTable, bias *autograd.Node
	biasColumns     []int
}

func newBuilder(g *autograd.Graph, in *Inputs, m *checkpoints.Model, o Options) *builder {
	b := &builder{g: g, in: in, m: m, o: o, has: map[string]bool{}, nodes: map[string]*autograd.Node{}, turns: map[[2]float64]*autograd.Turns{}}
	for s := range m.Config.Tensors() {
		b.has[s.Name] = true
	}
	return b
}

func (b *builder) failure() error {
	if b.err != nil {
		return b.err
	}
	return b.g.Err()
}

func (b *builder) encoder() (Encoder, error) {
	cfg := b.m.Config
	e := Encoder{}
	if err := cfg.Validate(); err != nil {
		return e, fmt.Errorf("layers: %w", err)
	}
	activation, err := activationByName(cfg.Activation)
	if err != nil {
		return e, err
	}
	switch b.o.QuantizeAware {
	case "", quantize.Dynamic, quantize.Static:
	default:
		return e, fmt.Errorf("layers: quantize-aware is %q, want %s or %s", b.o.QuantizeAware, quantize.Dynamic, quantize.Static)
	}
	b.words = b.weights(checkpoints.WordEmbeddings.Part().Weight())
	var types *autograd.Node
	if cfg.TypeVocabSize > 0 {
		types = b.weights(checkpoints.TypeEmbeddings.Part().Weight())
	}
	embedding := b.g.Embedding
	if b.o.QuantizeEmbeddings {
		embedding = b.g.QuantizedEmbedding
	}
	positions := b.optional(checkpoints.PositionEmbeddings.Part().Weight())
	x := embedding(b.words, positions, types, b.in.IDs, b.in.positionsOf(cfg), b.in.TypeIDs)
	x = b.norm(checkpoints.EmbeddingNorm.Part(), x)
	x = b.dropout(x, cfg.EmbeddingOutputDropout())
	if cfg.ProjectsEmbeddings() {
		x = b.linear(checkpoints.EmbeddingProjection.Part(), x, autograd.Identity)
	}
	e.Embeddings = x
	for l := range cmp.Or(b.o.Depth, len(cfg.Layers)) {
		first := l == len(cfg.Layers)-1 && !b.o.AllTokens
		layer := b.begin(l)
		if b.o.Recompute {
			if b.o.KeepQKV && !first {
				b.project(&layer, x, l)
			}
			x = b.g.Segment(func() *autograd.Node {
				inner := layer
				return b.layer(&inner, x, l, first, activation)
			})
			if !first {
				layer.Hidden = x
			}
		} else {
			x = b.layer(&layer, x, l, first, activation)
		}
		e.Layers = append(e.Layers, layer)
	}
	e.First = x
	if b.o.AllTokens {
		e.First = b.g.SelectFirst(x, b.in.Offsets)
	}
	return e, b.failure()
}

// begin begins layer l with what layers share.
func (b *builder) begin(l int) Layer {
	return Layer{ScoreBias: b.scoreBias(l), distances: b.distances(l)}
}

// distances adds the embeddings of distances that layer l projects, nil where it has
// none. Layers share them but for the dropout.
func (b *builder) distances(l int) *autograd.Node {
	r := b.m.Config.Block(l).Relative
	if r == nil {
		return nil
	}
	if b.distanceNorm == nil {
		b.distanceNorm = b.norm(r.Norm(), b.weights(r.Table().Weight()))
	}
	return b.dropout(b.distanceNorm, r.Dropout)
}

// project adds the queries, keys and values of layer l.
func (b *builder) project(layer *Layer, x *autograd.Node, l int) {
	block, parts := b.m.Config.Block(l), []checkpoints.Part{checkpoints.Query.In(l), checkpoints.Key.In(l), checkpoints.Value.In(l)}
	y := b.product(b.attentionInput(x, l), b.inputScale(parts[0]), autograd.Identity, parts...)
	layer.QKV = b.turn(y, block, 2*block.Heads)
	layer.Relative = b.relative(layer.distances, block, parts)
}

// relative adds the projections of distances by groups of linear layers, nil where the
// block has none. A scale of int8 is that of hidden states, and not theirs.
func (b *builder) relative(distances *autograd.Node, block checkpoints.Block, groups ...[]checkpoints.Part) *autograd.Relative {
	if block.Relative == nil {
		return nil
	}
	r := &autograd.Relative{Rows: block.Relative.Rows()}
	for _, parts := range groups {
		r.Projections = append(r.Projections, b.product(distances, nil, autograd.Identity, parts...))
	}
	return r
}

// RelativeOf adds Layer.Relative of layer l of a model, as constants.
func RelativeOf(g *autograd.Graph, m *checkpoints.Model, l int) (*autograd.Relative, error) {
	b := newBuilder(g, nil, m, Options{Frozen: true})
	r := b.relative(b.distances(l), m.Config.Block(l), []checkpoints.Part{checkpoints.Query.In(l), checkpoints.Key.In(l), checkpoints.Value.In(l)})
	return r, b.failure()
}

// attentionInput returns what layer l projects: its input x, or x after a norm.
func (b *builder) attentionInput(x *autograd.Node, l int) *autograd.Node {
	if block := b.m.Config.Block(l); !block.PreNorm || block.BareAttention {
		return x
	}
	return b.norm(checkpoints.AttentionNorm.In(l), x)
}

// turn turns the first heads of x by the tokens' positions if these are rotary.
func (b *builder) turn(x *autograd.Node, block checkpoints.Block, heads int) *autograd.Node {
	if block.RotaryBase == 0 {
		return x
	}
	kind := [2]float64{block.RotaryBase, block.RotaryScale}
	if b.turns[kind] == nil {
		b.turns[kind] = autograd.NewTurns(block.HeadDim, block.Turns)
	}
	return b.g.Rotary(x, b.in.positionsOf(b.m.Config), heads*block.HeadDim, b.turns[kind])
}

// scoreBias adds the biases of layer l's scores, or returns nil if there are none. Layers with
// the same biases share the node.
func (b *builder) scoreBias(l int) *autograd.Node {
	bias := b.m.Config.Block(l).ScoreBias
	if bias == nil {
		return nil
	}
	if b.biasTable == nil {
		b.biasTable = b.weights(bias.Table().Weight())
	}
	if b.bias == nil || !slices.Equal(b.biasColumns, bias.Columns) {
		b.bias, b.biasColumns = b.g.ScoreBias(b.biasTable, bias.Rows(), bias.Columns), bias.Columns
	}
	return b.bias
}

// layer adds layer l. It adds its queries, keys and values, too, unless they are there already.
// With first, it computes the output only for the first row of each sequence in x.
func (b *builder) layer(layer *Layer, x *autograd.Node, l int, first bool, activation autograd.Activation) *autograd.Node {
	block := b.m.Config.Block(l)
	maskOffsets := b.in.Offsets
	if first {
		maskOffsets = nil
	}
	context, x := b.attend(layer, x, l, first, block)
	y := b.encoderLinear(checkpoints.AttentionOutput.In(l), context, autograd.Identity)
	layer.Attention = Block{context, y, x}
	y = b.dropout(y, block.OutputDropout)
	var read *autograd.Node // input of the feed-forward block
	if block.PreNorm {
		x = b.g.Add(y, x)
		read = b.norm(checkpoints.OutputNorm.In(l), x)
	} else {
		x = b.addNorm(checkpoints.AttentionNorm.In(l), y, x)
		read = x
	}
	units := b.units(read, l, block, activation)
	if b.o.FFNMasks {
		layer.FFNMask = b.g.InputWithGradient(fmt.Sprintf("ffn mask %d", l), autograd.Sequences, block.Units)
		units = b.g.FFNMask(units, layer.FFNMask, maskOffsets)
	}
	units = b.dropout(units, block.UnitDropout)
	y = b.encoderLinear(checkpoints.Down.In(l), units, autograd.Identity)
	layer.FeedForward = Block{units, y, x}
	y = b.dropout(y, block.FeedForwardDropout)
	switch {
	case !block.PreNorm:
		x = b.addNorm(checkpoints.OutputNorm.In(l), y, x)
	case l == len(b.m.Config.Layers)-1:
		x = b.addNorm(checkpoints.FinalNorm.Part(), y, x)
	default:
		x = b.g.Add(y, x)
	}
	if !first {
		layer.Hidden = x
	}
	return x
}

// units adds the feed-forward units of layer l, which read x.
func (b *builder) units(x *autograd.Node, l int, block checkpoints.Block, activation autograd.Activation) *autograd.Node {
	up := checkpoints.Up.In(l)
	if !block.Gated {
		return b.encoderLinear(up, x, activation)
	}
	return b.g.Gated(b.product(x, b.inputScale(up), autograd.Identity, checkpoints.Gate.In(l), up), activation)
}

// attend adds the attention of layer l. It returns the heads' contexts and the rows of x that the
// layer continues with.
func (b *builder) attend(layer *Layer, x *autograd.Node, l int, first bool, block checkpoints.Block) (context, rows *autograd.Node) {
	if b.o.HeadMasks {
		layer.HeadMask = b.g.InputWithGradient(fmt.Sprintf("head mask %d", l), autograd.Sequences, block.Heads)
	}
	o := autograd.AttentionOptions{HeadMask: layer.HeadMask, Bias: layer.ScoreBias, Window: block.Window, BF16: b.o.BF16}
	if b.o.Dropout {
		o.Dropout = block.AttentionDropout
	}
	if !first {
		if layer.QKV == nil {
			b.project(layer, x, l)
		}
		o.Relative = layer.Relative
		return b.g.SelfAttention(layer.QKV, b.in.Offsets, block.Heads, block.HeadDim, o), x
	}
	query, keyValue := checkpoints.Query.In(l), []checkpoints.Part{checkpoints.Key.In(l), checkpoints.Value.In(l)}
	scale := b.inputScale(query)
	input := b.attentionInput(x, l)
	kv := b.product(input, scale, autograd.Identity, keyValue...)
	kv = b.turn(kv, block, block.Heads)
	x = b.g.SelectFirst(x, b.in.Offsets)
	read := x
	if block.PreNorm && !block.BareAttention {
		read = b.g.SelectFirst(input, b.in.Offsets)
	}
	// The first tokens' queries are at position 0, where rotary positions turn nothing.
	q := b.product(read, scale, autograd.Identity, query)
	o.Relative = b.relative(layer.distances, block, []checkpoints.Part{query}, keyValue)
	return b.g.FirstAttention(q, kv, b.in.Offsets, block.Heads, block.HeadDim, o), x
}

func (b *builder) dropout(x *autograd.Node, p float32) *autograd.Node {
	if !b.o.Dropout {
		return x
	}
	return b.g.Dropout(x, p)
}

func (b *builder) linear(p checkpoints.Part, x *autograd.Node, a autograd.Activation) *autograd.Node {
	return b.g.Linear(x, b.weights(p.Weight()), b.optional(p.Bias()), a)
}

func (b *builder) norm(p checkpoints.Part, x *autograd.Node) *autograd.Node {
	return b.g.LayerNorm(x, b.weights(p.Weight()), b.optional(p.Bias()), b.m.Config.LayerNormEps)
}

// encoderLinear adds a linear layer of the encoder, which int8 and bf16 may compute.
func (b *builder) encoderLinear(p checkpoints.Part, x *autograd.Node, a autograd.Activation) *autograd.Node {
	return b.product(x, b.inputScale(p), a, p)
}

// product multiplies x by the stacked weights of these linear layers of the encoder, in one
// product. scale is the scale of their input.
func (b *builder) product(x, scale *autograd.Node, a autograd.Activation, parts ...checkpoints.Part) *autograd.Node {
	var weights, biases []string
	for _, p := range parts {
		weights, biases = append(weights, p.Weight()), append(biases, p.Bias())
	}
	w, bias := b.weights(weights...), b.optional(biases...)
	switch {
	case b.o.QuantizeAware != "":
		return b.g.QuantizedLinear(x, w, bias, scale, a)
	case b.o.BF16:
		return b.g.LinearBF16(x, w, bias, a)
	}
	return b.g.Linear(x, w, bias, a)
}

// inputScale adds the scale of a linear layer's input, or returns nil if there is none.
func (b *builder) inputScale(p checkpoints.Part) *autograd.Node {
	if b.o.QuantizeAware != quantize.Static {
		return nil
	}
	return b.weights(p.InputScale())
}

// addNorm adds LayerNorm(y + x).
func (b *builder) addNorm(p checkpoints.Part, y, x *autograd.Node) *autograd.Node {
	return b.g.AddLayerNorm(y, x, b.weights(p.Weight()), b.optional(p.Bias()), b.m.Config.LayerNormEps)
}

// optional is weights for tensors that the architecture may lack. It then returns nil.
func (b *builder) optional(names ...string) *autograd.Node {
	if !b.has[names[0]] {
		return nil
	}
	return b.weights(names...)
}

// weights adds the named tensors, stacked in this order.
func (b *builder) weights(names ...string) *autograd.Node {
	key := strings.Join(names, " ")
	if b.nodes[key] == nil {
		b.nodes[key] = b.newWeights(names)
	}
	return b.nodes[key]
}

func (b *builder) newWeights(names []string) *autograd.Node {
	parts := make([]autograd.Part, len(names))
	for i, name := range names {
		values, err := b.m.Float32s(name)
		if err != nil {
			if b.err == nil {
				b.err = fmt.Errorf("layers: %w", err)
			}
			return nil
		}
		t := b.m.Tensors[name]
		if !b.o.Frozen && len(names) == 1 {
			values = append([]float32(nil), values...)
		}
		parts[i] = autograd.Part{Name: name, Shape: t.Shape, Value: values}
	}
	switch {
	case len(names) > 1 && b.o.Frozen:
		return b.g.StackedConstant(parts...)
	case len(names) > 1:
		return b.g.Stacked(parts...)
	case b.o.Frozen:
		return b.g.Constant(names[0], parts[0].Value, parts[0].Shape...)
	}
	return b.g.Parameter(names[0], parts[0].Value, parts[0].Shape...)
}

func activationByName(name string) (autograd.Activation, error) {
	switch name {
	case "gelu":
		return autograd.GELU, nil
	case "gelu_new":
		return autograd.GELUTanh, nil
	case "relu":
		return autograd.ReLU, nil
	case "silu":
		return autograd.SiLU, nil
	case "tanh":
		return autograd.Tanh, nil
	}
	return autograd.Identity, fmt.Errorf("layers: activation is %q, want gelu, gelu_new, relu, silu or tanh", name)
}
