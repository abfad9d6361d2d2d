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
	// Frozen makes the weights constants: a teacher's. They are read in place,
	// so that the model must stay open and unchanged. Weights that are not
	// frozen are copied; Store writes them back.
	Frozen bool
	// Dropout applies the configuration's dropout probabilities.
	Dropout bool
	// AllTokens computes the last layer for all tokens. It is to be set when
	// anything reads the last layer's Hidden or QKV. Otherwise a classifier
	// computes the last layer's queries, output and feed-forward for the first
	// token of each sequence alone, which gives the same logits.
	AllTokens bool
	// Recompute computes the values of a layer again in the backward pass
	// instead of keeping them, with the same bits. A Layer has no nodes then but
	// Hidden and, if KeepQKV is set, QKV, whose values are kept for others to
	// read.
	Recompute, KeepQKV bool
	// BF16 multiplies in bfloat16 in the linear layers and the attention of the
	// encoder's layers, see autograd.Graph.LinearBF16: with the values of
	// infer.BF16. The head and the rest of the encoder stay float32.
	BF16 bool
	// Depth, where it is not 0, is how many layers are built, from the first.
	Depth int
	// HeadMasks and FFNMasks add multiplicative masks to each layer as inputs
	// with gradients.
	HeadMasks, FFNMasks bool
	// QuantizeAware computes the linear layers of the encoder with the bits of the
	// int8 engine, so that without dropout the logits are those of the model in
	// int8: quantize.Dynamic, or quantize.Static, whose scales the model holds and
	// which are parameters; "" computes in float. See autograd.QuantizedLinear for
	// the gradients. QuantizeEmbeddings does so with word and position embeddings.
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

// positionsByID are the positions of a family in which they depend on the ids.
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

// Set sets the inputs for the next runs. Positions count from 0 in each
// sequence, whatever the family: an encoder whose positions are others finds
// them itself. Sequence s is the tokens offsets[s] to offsets[s+1]-1. The slices
// are not copied.
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
	// Hidden is the layer's output [tokens, hidden], in the last layer of a model with
	// norms before its layers after the last norm; and QKV its queries, keys
	// and values side by side, [tokens, 3*heads*headDim], as attention reads them:
	// turned, where positions are rotary. Both are nil in a last layer that is computed
	// for the first tokens alone.
	Hidden, QKV *autograd.Node
	// ScoreBias is what is added to the scores of attention, [heads, distances] as
	// autograd.AttentionOptions has it; nil in a family without.
	ScoreBias *autograd.Node
	// Relative, beside QKV, is what the layer makes of the distances of tokens; nil in a
	// family without.
	Relative *autograd.Relative
	// HeadMask [sequences, heads] and FFNMask [sequences, units] are nil unless
	// asked for.
	HeadMask, FFNMask *autograd.Node
	// Attention and FeedForward are the values round the layer's two output
	// products. In a last layer that is computed for the first tokens alone they
	// have one row a sequence, else one a token.
	Attention, FeedForward Block

	// distances are the embeddings of distances that the layer projects.
	distances *autograd.Node
}

// Block holds the nodes round an output product: Inner [rows, inner] is
// multiplied by the output weight, Output [rows, hidden] is the product with its
// bias, and Residual [rows, hidden] what is added to it.
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

// NewEncoder builds the model's encoder, with all tokens in every layer.
func NewEncoder(g *autograd.Graph, in *Inputs, m *checkpoints.Model, o Options) (*Encoder, error) {
	o.AllTokens = true
	e, err := newBuilder(g, in, m, o).encoder()
	if err != nil {
		return nil, err
	}
	return &e, nil
}

// NewLayer builds layer l of the model alone, upon the hidden states x before it
// [tokens, hidden]. Of the inputs it reads Offsets and, where positions are rotary,
// Positions.
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
				continue // a projection that serves a loss is not part of the model
			}
			if t.Elements() != len(p.Value) {
				return fmt.Errorf("layers: tensor %s has shape %v, the parameter %v", name, t.Shape, p.Shape)
			}
			m.Tensors[name] = checkpoints.NewTensor(t.Shape, p.Value)
		}
	}
	return nil
}

// tensorsOf returns the names of the tensors that a parameter is: queries, keys
// and values have one input, and so one parameter is its scale; and so have gated
// units.
func tensorsOf(parameter string) []string {
	part, kind, ok := checkpoints.ParseTensor(parameter)
	switch {
	case !ok || kind != checkpoints.InputScale:
	case part.Role == checkpoints.Query:
		return []string{parameter, checkpoints.Key.In(part.Layer).InputScale(), checkpoints.Value.In(part.Layer).InputScale()}
	case part.Role == checkpoints.Up: // of a gate, if there is one
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
	// distanceNorm are the embeddings of distances, normalized; nil before they are
	// needed.
	distanceNorm *autograd.Node
	// nodes are those of weights, by their names: distances are projected by the weights
	// that project hidden states.
	nodes map[string]*autograd.Node
	// has are the names of the architecture's tensors.
	has map[string]bool
	// turns are those of rotary positions, by their base and scale.
	turns map[[2]float64]*autograd.Turns

	// The table of biases, and what it gives the heads of the last layer that was
	// built, which are those of the given columns.
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

// attentionInput is what layer l projects of its input x: x, or x normalized.
func (b *builder) attentionInput(x *autograd.Node, l int) *autograd.Node {
	if block := b.m.Config.Block(l); !block.PreNorm || block.BareAttention {
		return x
	}
	return b.norm(checkpoints.AttentionNorm.In(l), x)
}

// turn turns the first heads of x by the tokens' positions, where these are rotary.
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

// scoreBias adds the biases of layer l's scores, nil where it has none. Layers with
// the same ones share the node.
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

// layer adds layer l, with its queries, keys and values where they are not there.
// With first, x's first rows of each sequence are the only ones whose output is
// computed.
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
	var read *autograd.Node // by the feed-forward block
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

// attend adds the attention of layer l. It returns the heads' contexts and the rows
// of x that the layer goes on with.
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
	// The first tokens' queries are at position 0, where nothing turns.
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

// encoderLinear is a linear layer of the encoder, one of those that int8 and bf16
// compute.
func (b *builder) encoderLinear(p checkpoints.Part, x *autograd.Node, a autograd.Activation) *autograd.Node {
	return b.product(x, b.inputScale(p), a, p)
}

// product multiplies x by the weights of these linear layers of the encoder,
// stacked, in one product. Scale is that of their input.
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

// inputScale adds the scale of a linear layer's input, nil where it has none.
func (b *builder) inputScale(p checkpoints.Part) *autograd.Node {
	if b.o.QuantizeAware != quantize.Static {
		return nil
	}
	return b.weights(p.InputScale())
}

// addNorm is LayerNorm(y + x).
func (b *builder) addNorm(p checkpoints.Part, y, x *autograd.Node) *autograd.Node {
	return b.g.AddLayerNorm(y, x, b.weights(p.Weight()), b.optional(p.Bias()), b.m.Config.LayerNormEps)
}

// optional is weights for tensors that the architecture may go without: nil then.
func (b *builder) optional(names ...string) *autograd.Node {
	if !b.has[names[0]] {
		return nil
	}
	return b.weights(names...)
}

// weights adds the named tensors, one below the other.
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
