package checkpoints

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/skive-ml/skive/head"
)

// Role says what a linear layer, a LayerNorm or an embedding table does in the encoder
// or its head.
type Role uint8

// Roles. Each layer of the encoder has those from Query to OutputNorm.
const (
	WordEmbeddings Role = iota
	PositionEmbeddings
	TypeEmbeddings
	EmbeddingNorm
	// EmbeddingProjection widens narrow embeddings to the hidden size (ELECTRA, ALBERT).
	EmbeddingProjection
	// RelativeBias is the table of ScoreBias. RelativeEmbeddings and RelativeNorm are
	// the table and the norm of RelativeScores.
	RelativeBias
	RelativeEmbeddings
	RelativeNorm
	Query
	Key
	Value
	AttentionOutput
	AttentionNorm
	// Up and Down are the two products of the feed-forward block. Gate is the other
	// factor of gated units.
	Gate
	Up
	Down
	OutputNorm
	// FinalNorm follows the last layer if the layers have their norms in front.
	FinalNorm
	// Pooler is the dense layer between the first token and the classifier. HeadNorm is
	// the LayerNorm of its output, see Config.HeadNorm.
	Pooler
	HeadNorm
	Classifier
	// LMTransform, LMNorm and Decoder are the head of a masked language model. The
	// decoder only has a bias: its weights are the word embeddings.
	LMTransform
	LMNorm
	Decoder
	// SentenceDense are the dense layers after pooling, numbered by Part.Layer.
	SentenceDense
	roles
)

// roleNames are the names of the roles' tensors without their last part. In a layer
// they follow the layer's name.
var roleNames = [roles]string{
	WordEmbeddings:      embeddingsPrefix + "word_embeddings",
	PositionEmbeddings:  embeddingsPrefix + "position_embeddings",
	TypeEmbeddings:      embeddingsPrefix + "token_type_embeddings",
	EmbeddingNorm:       embeddingsPrefix + "LayerNorm",
	EmbeddingProjection: "bert.embeddings_project",
	RelativeBias:        "bert.encoder.relative_attention_bias",
	RelativeEmbeddings:  "bert.encoder.rel_embeddings",
	RelativeNorm:        "bert.encoder.LayerNorm",
	Query:               "attention.self.query",
	Key:                 "attention.self.key",
	Value:               "attention.self.value",
	AttentionOutput:     "attention.output.dense",
	AttentionNorm:       "attention.output.LayerNorm",
	Gate:                "intermediate.gate",
	Up:                  "intermediate.dense",
	Down:                "output.dense",
	OutputNorm:          "output.LayerNorm",
	FinalNorm:           "bert.final_norm",
	Pooler:              "bert.pooler.dense",
	HeadNorm:            "bert.pooler.LayerNorm",
	Classifier:          "classifier",
	LMTransform:         lmPrefix + "transform.dense",
	LMNorm:              lmPrefix + "transform.LayerNorm",
	Decoder:             "cls.predictions",
	SentenceDense:       densePrefix,
}

func (r Role) inLayer() bool { return r >= Query && r <= OutputNorm }

// embeds tells whether the role comes before the layers.
func (r Role) embeds() bool { return r < Query }

// inHead tells whether the role belongs to a classifier or to the head of a masked
// language model. The pooler stands between encoder and head, and may outlive the head.
func (r Role) inHead() bool { return r > HeadNorm && r <= Decoder }

// beforeHead tells whether the role stands between encoder and head.
func (r Role) beforeHead() bool { return r == Pooler || r == HeadNorm }

// kinds are the kinds of the role's weight and bias.
func (r Role) kinds() (weight, bias Kind) {
	switch r {
	case WordEmbeddings, PositionEmbeddings, TypeEmbeddings, RelativeEmbeddings:
		return Table, 0
	case RelativeBias:
		return BiasTable, 0
	case EmbeddingNorm, RelativeNorm, AttentionNorm, OutputNorm, FinalNorm, HeadNorm, LMNorm:
		return NormScale, NormShift
	}
	return Weight, Bias
}

// Part is a linear layer, a LayerNorm or a table of a model.
type Part struct {
	Role Role
	// Layer is the number of the encoder's layer, or of the dense layer after pooling;
	// -1 otherwise.
	Layer int
}

// In returns the part with this role in a layer.
func (r Role) In(layer int) Part { return Part{r, layer} }

// Part returns the part with this role outside of layers.
func (r Role) Part() Part { return Part{r, -1} }

// String returns the beginning of the names of the part's tensors.
func (p Part) String() string {
	switch {
	case p.Role.inLayer():
		return layerPrefix(p.Layer) + roleNames[p.Role]
	case p.Role == SentenceDense:
		return roleNames[p.Role] + strconv.Itoa(p.Layer)
	}
	return roleNames[p.Role]
}

// Weight is the name of the part's matrix or table, or of a LayerNorm's scale.
func (p Part) Weight() string { return p.String() + weightSuffix }

// Bias is the name of the part's bias, or of a LayerNorm's shift.
func (p Part) Bias() string { return p.String() + biasSuffix }

// InputScale is the name of the scale of the part's quantized input.
func (p Part) InputScale() string { return p.String() + inputScaleSuffix }

// Block names the block that the part belongs to, for people: "layer.0.attention.self"
// for queries, keys and values of the first layer, "layer.0.intermediate" for its first
// feed-forward product, "embeddings.word_embeddings" for the words.
func (p Part) Block() string {
	name := strings.TrimPrefix(strings.TrimPrefix(p.String(), "bert."), "encoder.")
	switch p.Role {
	case Query, Key, Value, AttentionOutput, Gate, Up, Down, Pooler:
		return name[:strings.LastIndexByte(name, '.')]
	}
	return name
}

// Depth is where the part stands on a text's way through a model: 0 for the embeddings,
// n+1 for layer n, -1 for what follows the layers.
func (p Part) Depth() int {
	switch {
	case p.Role.inLayer():
		return p.Layer + 1
	case p.Role.embeds():
		return 0
	}
	return -1
}

// Kind says what the numbers of a tensor are.
type Kind uint8

// Kinds of tensors.
const (
	// Weight is the matrix of a linear layer [out, in].
	Weight Kind = iota
	// Bias is added to a linear layer's output [out].
	Bias
	// NormScale and NormShift are γ and β of a LayerNorm.
	NormScale
	NormShift
	// Table holds a row for each token, position, type or distance.
	Table
	// BiasTable holds the biases of the attention's scores [buckets, heads].
	BiasTable
	// InputScale is the scale of a linear layer's quantized input [1]. It is no tensor
	// of the architecture: a model may have it or not.
	InputScale
)

// ParseTensor finds the part and the kind of a tensor from its name in a Model. It does
// not know the scales of int8 weights, nor names outside of a Model.
func ParseTensor(name string) (Part, Kind, bool) {
	part, rest := Part{Layer: -1}, name
	numbered := false
	for _, prefix := range []string{layersPrefix, densePrefix} {
		s, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		number, s, _ := strings.Cut(s, ".")
		l, err := strconv.Atoi(number)
		if err != nil || l < 0 || strconv.Itoa(l) != number {
			return part, 0, false
		}
		numbered, part.Layer, rest = true, l, s
		if prefix == densePrefix {
			rest = densePrefix + "." + s
		}
	}
	dot := strings.LastIndexByte(rest, '.')
	if dot < 0 {
		return part, 0, false
	}
	i := slices.Index(roleNames[:], rest[:dot])
	if part.Role = Role(i); i < 0 || (part.Role.inLayer() || part.Role == SentenceDense) != numbered {
		return part, 0, false
	}
	matrix, vector := part.Role.kinds()
	switch rest[dot:] {
	case weightSuffix:
		return part, matrix, true
	case biasSuffix:
		return part, vector, matrix != Table && matrix != BiasTable
	case inputScaleSuffix:
		return part, InputScale, part.Role.inLayer() && matrix == Weight
	}
	return part, 0, false
}

// InputScaleOf is the name of the scale of a linear layer's quantized input, from its
// weight's name. The tensor is float32 of shape [1].
func InputScaleOf(weight string) string {
	return strings.TrimSuffix(weight, weightSuffix) + inputScaleSuffix
}

// ScaleOf is the name of the tensor with the scales of the named int8 weight: float32,
// one for each row.
func ScaleOf(weight string) string { return weight + scaleSuffix }

// Axis says what the rows or columns of a tensor stand for.
type Axis uint8

// Axes. Heads has HeadDim rows or columns for each head. Heads and Units may differ in
// each layer. Embedding is the width of embeddings that are narrower than the hidden
// states; otherwise that axis is Hidden.
const (
	Vocabulary Axis = iota
	Positions
	Types
	Embedding
	Hidden
	Heads
	Units
	Classes
	// Features are the outputs of a dense layer after the pooling.
	Features
	// Buckets are the distances of a ScoreBias, BiasHeads its heads.
	Buckets
	BiasHeads
	// Distances are the rows of a RelativeScores.
	Distances
)

// Spec describes a tensor of an architecture.
type Spec struct {
	Name string
	Part
	Kind Kind
	// Axes says what the one or two dimensions of Shape are.
	Axes  []Axis
	Shape []int
}

// size is the number of rows or columns along an axis.
func (c Config) size(a Axis, layer int) int {
	switch a {
	case Vocabulary:
		return c.VocabSize
	case Positions:
		return c.MaxPositions
	case Types:
		return c.TypeVocabSize
	case Embedding:
		return c.EmbeddingWidth()
	case Hidden:
		return c.HiddenSize
	case Heads:
		return c.AttentionSize(layer)
	case Units:
		return c.Layers[layer].Intermediate
	case Features:
		return c.Sentence.Dense[layer].Out
	case Buckets:
		return biasBuckets
	case BiasHeads:
		return c.biasWidth()
	case Distances:
		return 2 * c.RelativeBuckets
	}
	return len(c.Labels)
}

// Tensors yields the tensors of the encoder and its head in order: embeddings, layers,
// pooler, classifier, and the dense layers after pooling. The names are those in a
// Model: BERT's, in every family.
func (c Config) Tensors() iter.Seq[Spec] {
	return func(yield func(Spec) bool) {
		more := true
		f := c.family()
		add := func(p Part, name string, kind Kind, axes ...Axis) {
			if !more {
				return
			}
			s := Spec{Name: name, Part: p, Kind: kind, Axes: axes}
			for i, a := range axes {
				layer := p.Layer
				if a == Features && i == 1 { // the outputs of the layer before
					layer--
				}
				s.Shape = append(s.Shape, c.size(a, layer))
			}
			more = yield(s)
		}
		table := func(r Role, rows, width Axis) { add(r.Part(), r.Part().Weight(), Table, rows, width) }
		linear := func(p Part, out, in Axis) {
			add(p, p.Weight(), Weight, out, in)
			if !slices.Contains(f.unbiased, p.Role) {
				add(p, p.Bias(), Bias, out)
			}
		}
		norm := func(p Part, axis Axis) {
			add(p, p.Weight(), NormScale, axis)
			if !f.noShifts {
				add(p, p.Bias(), NormShift, axis)
			}
		}
		embedding := Hidden
		if c.ProjectsEmbeddings() {
			embedding = Embedding
		}
		table(WordEmbeddings, Vocabulary, embedding)
		if c.PositionTable() {
			table(PositionEmbeddings, Positions, embedding)
		}
		if c.TypeVocabSize > 0 {
			table(TypeEmbeddings, Types, embedding)
		}
		norm(EmbeddingNorm.Part(), embedding)
		if c.ProjectsEmbeddings() {
			linear(EmbeddingProjection.Part(), Hidden, embedding)
		}
		if c.biasesScores() {
			add(RelativeBias.Part(), RelativeBias.Part().Weight(), BiasTable, Buckets, BiasHeads)
		}
		if f.relative {
			table(RelativeEmbeddings, Distances, Hidden)
			norm(RelativeNorm.Part(), Hidden)
		}
		for l := 0; l < len(c.Layers) && more; l++ {
			linear(Query.In(l), Heads, Hidden)
			linear(Key.In(l), Heads, Hidden)
			linear(Value.In(l), Heads, Hidden)
			linear(AttentionOutput.In(l), Hidden, Heads)
			if !c.bareAttention(l) {
				norm(AttentionNorm.In(l), Hidden)
			}
			if f.gated {
				linear(Gate.In(l), Units, Hidden)
			}
			linear(Up.In(l), Units, Hidden)
			linear(Down.In(l), Hidden, Units)
			norm(OutputNorm.In(l), Hidden)
		}
		if f.preNorm {
			norm(FinalNorm.Part(), Hidden)
		}
		if c.pooled() || f.pooler && !rows[c.Head].noPooler {
			linear(Pooler.Part(), Hidden, Hidden)
			if f.headNorm {
				norm(HeadNorm.Part(), Hidden)
			}
		}
		switch {
		case c.Head.Outputs() == head.Tokens:
			add(Decoder.Part(), lmBias, Bias, Vocabulary)
			if !f.headNorm {
				linear(LMTransform.Part(), embedding, Hidden)
				norm(LMNorm.Part(), embedding)
			}
		case len(c.Labels) > 0:
			linear(Classifier.Part(), Classes, Hidden)
		}
		if c.Sentence == nil {
			return
		}
		in := Hidden
		for i, d := range c.Sentence.Dense {
			p := SentenceDense.In(i)
			add(p, p.Weight(), Weight, Features, in)
			if d.Bias {
				add(p, p.Bias(), Bias, Features)
			}
			in = Features
		}
	}
}

// EncoderLinear tells whether the tensor is the weight of a linear layer in the
// encoder's layers. Those are the ones that int8 and bf16 apply to.
func (s Spec) EncoderLinear() bool { return s.Role.inLayer() && s.Kind == Weight }

// scale is the name of the tensor's scales, if it is int8.
func (s Spec) scale() string { return ScaleOf(s.Name) }

// inputScale is the name of the scale of a linear layer's quantized input, "" unless
// the tensor is the weight of a linear layer of the encoder.
func (s Spec) inputScale() string {
	if !s.EncoderLinear() {
		return ""
	}
	return s.InputScale()
}

// Cut says what to keep of an axis.
type Cut struct {
	// Axis is Heads or Units of one layer, or Hidden or Vocabulary.
	Axis Axis
	// Layer is the layer's number, for Heads and Units.
	Layer int
	// Keep lists what is kept, in its new order, each number once.
	Keep []int
}

// Take returns the model with what the cuts keep, along every tensor that has those axes.
// The width of a head does not change. The padding token's id follows the vocabulary, or
// becomes 0 if the token is gone; where positions depend on ids, that token must keep its
// id. Scales of inputs are dropped: their calibration no longer applies. Tensors that need
// no cut are shared with m. int8 tensors are refused.
func (m *Model) Take(cuts ...Cut) (*Model, error) {
	type place struct {
		axis  Axis
		layer int
	}
	keep := map[place][]int{}
	out := m.share()
	c := &out.Config
	columns := c.allBiasColumns()
	for _, cut := range cuts {
		at := place{cut.Axis, -1}
		switch cut.Axis {
		case Heads, Units:
			if at.layer = cut.Layer; cut.Layer < 0 || cut.Layer >= len(c.Layers) {
				return nil, fmt.Errorf("layer %d: the model has %d", cut.Layer, len(c.Layers))
			}
		}
		if _, twice := keep[at]; twice {
			return nil, fmt.Errorf("two cuts of one axis")
		}
		n := m.Config.size(cut.Axis, cut.Layer)
		if cut.Axis == Heads {
			n = m.Config.NumHeads(cut.Layer)
		}
		seen := make(map[int]bool, len(cut.Keep))
		for _, i := range cut.Keep {
			if i < 0 || i >= n || seen[i] {
				return nil, fmt.Errorf("%d is kept of %d, expected numbers from 0, each once", i, n)
			}
			seen[i] = true
		}
		keep[at] = cut.Keep
		switch cut.Axis {
		case Heads:
			c.Layers[cut.Layer].Heads = len(cut.Keep)
			keep[at] = spread(cut.Keep, c.HeadDim)
			columns[cut.Layer] = pick(columns[cut.Layer], cut.Keep)
		case Units:
			c.Layers[cut.Layer].Intermediate = len(cut.Keep)
		case Hidden:
			c.HiddenSize = len(cut.Keep)
		case Vocabulary:
			c.VocabSize = len(cut.Keep)
			pad := slices.Index(cut.Keep, c.PadTokenID)
			if c.PositionsByID() && pad != c.PadTokenID {
				return nil, fmt.Errorf("the padding token is number %d and would be %d, expected it to stay: the positions depend on it", c.PadTokenID, pad)
			}
			c.PadTokenID = max(0, pad)
		default:
			return nil, fmt.Errorf("this axis cannot be cut: %w", ErrUnsupported)
		}
	}
	out.setBiasColumns(columns)
	for s := range m.Config.Tensors() {
		var along [2][]int
		cut := false
		for i, a := range s.Axes {
			layer := s.Layer
			if a != Heads && a != Units {
				layer = -1
			}
			k, ok := keep[place{a, layer}]
			along[i], cut = k, cut || ok
		}
		t, ok := m.Tensors[s.Name]
		if !cut || !ok {
			continue
		}
		if t.DType == I8 {
			return nil, fmt.Errorf("tensor %s is int8: prune before quantizing", s.Name)
		}
		out.Tensors[s.Name] = take(t, along[0], along[1])
	}
	out.DeleteInputScales()
	return out, nil
}

// KeepLayers returns the model with only the given layers, in the given order. Its
// tensors are shared with m; scales of inputs are dropped. If the first layer has no
// norm before its attention (Block.BareAttention), a new first layer loses its own
// norm, and layer 0 can only stay the first.
func (m *Model) KeepLayers(layers []int) (*Model, error) {
	out := m.share()
	clear(out.Tensors)
	out.Config.Layers, out.Config.Local = nil, nil
	var columns [][]int
	at := map[int]int{} // new number of each layer
	for i, l := range layers {
		if _, twice := at[l]; twice || l < 0 || l >= len(m.Config.Layers) {
			return nil, fmt.Errorf("layer %d is kept of %d, expected numbers from 0, each once", l, len(m.Config.Layers))
		}
		if i > 0 && m.Config.bareAttention(l) {
			return nil, fmt.Errorf("layer %d has no norm before its attention, expected it to be the first", l)
		}
		at[l] = i
		if m.Config.Local != nil {
			out.Config.Local = append(out.Config.Local, m.Config.Local[l])
		}
		out.Config.Layers = append(out.Config.Layers, m.Config.Layers[l])
		columns = append(columns, m.Config.biasColumns(l))
	}
	for name, t := range m.Tensors {
		l, part, inLayer := layerTensor(name)
		if !inLayer {
			out.Tensors[name] = t
		} else if i, kept := at[l]; kept {
			out.Tensors[layerPrefix(i)+part] = t
		}
	}
	if len(layers) > 0 && out.Config.bareAttention(0) {
		delete(out.Tensors, AttentionNorm.In(0).Weight())
		delete(out.Tensors, AttentionNorm.In(0).Bias())
	}
	out.setBiasColumns(columns)
	out.DeleteInputScales()
	return out, nil
}

// pick returns the elements with the given numbers.
func pick(all, numbers []int) []int {
	some := make([]int, len(numbers))
	for i, n := range numbers {
		some[i] = all[n]
	}
	return some
}

// spread turns numbers of heads into numbers of their rows.
func spread(heads []int, width int) []int {
	rows := make([]int, 0, len(heads)*width)
	for _, h := range heads {
		for d := range width {
			rows = append(rows, h*width+d)
		}
	}
	return rows
}

// take returns the given rows and columns of a matrix or vector; nil means all.
func take(t Tensor, rows, cols []int) Tensor {
	size := t.DType.Size()
	width := 1 // of a row
	if len(t.Shape) == 2 {
		width = t.Shape[1]
	}
	out := Tensor{DType: t.DType, Shape: slices.Clone(t.Shape)}
	if rows != nil {
		out.Shape[0] = len(rows)
	}
	if cols != nil {
		out.Shape[1] = len(cols)
	}
	out.Data = alignedBytes(out.Elements() * size)[:0]
	for i := range out.Shape[0] {
		at := i
		if rows != nil {
			at = rows[i]
		}
		row := t.Data[at*width*size : (at+1)*width*size]
		if cols == nil {
			out.Data = append(out.Data, row...)
			continue
		}
		for _, c := range cols {
			out.Data = append(out.Data, row[c*size:(c+1)*size]...)
		}
	}
	return out
}
