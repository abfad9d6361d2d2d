// Package checkpoints reads and writes models. All stages of Skive exchange a Model:
// each takes one and returns another.
package checkpoints

import (
	"bytes"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/mapped"
)

// LayerSize is the size of one encoder layer. Pruning makes layers uneven, so each
// layer has its own.
type LayerSize struct {
	// Heads is the number of attention heads left in the layer.
	Heads int
	// Intermediate is the number of feed-forward units left in the layer.
	Intermediate int
}

// Config is the architecture of a Transformer encoder with a classification
// head. The field names follow Hugging Face's config.json.
type Config struct {
	// ModelType is the family: "bert" (also for MiniLM), "roberta", "xlm-roberta",
	// "camembert", "mpnet", "distilbert", "electra", "albert", "modernbert", "nomic_bert",
	// "gte" or "deberta-v2".
	ModelType string
	// VocabSize, MaxPositions and TypeVocabSize are the numbers of rows of the three
	// embedding matrices. DistilBERT has no token types: 0. Without PositionTable there is
	// no matrix of positions, and MaxPositions only bounds the tokens of a sequence.
	VocabSize, MaxPositions, TypeVocabSize int
	// HiddenSize is the width of a token's representation.
	HiddenSize int
	// EmbeddingSize is the width of the embeddings in ELECTRA and ALBERT; 0 means
	// HiddenSize.
	EmbeddingSize int
	// HeadDim is the width of one attention head: hidden size divided by the unpruned
	// number of heads. Pruning does not change it.
	HeadDim int
	// Layers holds the size of each encoder layer, first to last.
	Layers []LayerSize
	// BiasColumns holds, for each layer, the columns of its heads in the table of
	// ScoreBias; nil means 0, 1, 2, ... in all layers. Pruning heads sets it.
	BiasColumns [][]int `json:",omitempty"`
	// LocalAttention is the width of the window in the layers that Local marks: half of
	// it lies to either side of a token. Local is nil in a family without windows.
	LocalAttention int    `json:",omitempty"`
	Local          []bool `json:",omitempty"`
	// RotaryBase and LocalRotaryBase are Block.RotaryBase of the layers without and
	// with a window, 0 in a family without rotary positions.
	RotaryBase      float64 `json:",omitempty"`
	LocalRotaryBase float64 `json:",omitempty"`
	// RotaryScale is Block.RotaryScale of all layers.
	RotaryScale float64 `json:",omitempty"`
	// RelativeBuckets is RelativeScores.Buckets, 0 in a family without.
	RelativeBuckets int `json:",omitempty"`
	// Activation is the feed-forward activation by its Hugging Face name:
	// "gelu", "gelu_new", "relu" or "silu".
	Activation string
	// LayerNormEps is added to the variance in every LayerNorm.
	LayerNormEps float32
	// Dropout probabilities for training.
	HiddenDropout, AttentionDropout, ClassifierDropout float32
	// EmbeddingDropout is the dropout of the embeddings in ModernBERT. In other
	// families it is 0 and HiddenDropout applies.
	EmbeddingDropout float32 `json:",omitempty"`
	// PoolerDropout is the dropout before the pooler in DeBERTa.
	PoolerDropout float32 `json:",omitempty"`
	// InitializerRange is the standard deviation of fresh weights.
	InitializerRange float32
	// PadTokenID is the id of the padding token.
	PadTokenID int
	// Head is the kind of the model's head.
	Head head.Kind
	// ClassifierPooling is MeanPooling if a head for texts reads the mean of all
	// tokens, "" if it reads the first one. ClassifierActivation is HeadActivation in a
	// family with HeadNorm.
	ClassifierPooling    Pooling `json:",omitempty"`
	ClassifierActivation string  `json:",omitempty"`
	// Labels are the class names in the order of the logits.
	Labels []string
	// Task is the name of the task that the head was trained for, or "".
	Task string
	// Pairs says that the head was trained on pairs of texts.
	Pairs bool `json:",omitempty"`
	// Sentence says how the model makes embeddings; nil if its files do not say. A new
	// head removes it.
	Sentence *Sentence `json:",omitempty"`
}

// DType is the element type of a stored tensor.
type DType uint8

// Element types. I8 weights have a companion tensor, named with the suffix "_scale",
// that holds one float32 scale for each output channel.
//
// A linear layer of the encoder with the weight "NAME.weight" may have a float32
// "NAME.input_scale" of shape [1]: the scale of its quantized input, calibrated or
// learned. Without it, each row of the input is quantized by its own largest magnitude.
// Beside a float weight, the scale is kept for when the layer becomes int8.
const (
	F32 DType = iota
	F16
	BF16
	I8
)

// Tensor is a dense, row-major, little-endian array. Data may be a view of a
// memory-mapped file and must not be written to unless the model is a Clone.
type Tensor struct {
	DType DType
	Shape []int
	Data  []byte
}

// Version is Skive's version, which stages write to the provenance.
const Version = "0.1.0"

// Stage is one entry of a model's provenance: what was done, with which settings, and
// what was measured.
type Stage struct {
	Name     string             `msgpack:"name" json:"name"`
	Version  string             `msgpack:"version" json:"version"`
	Time     time.Time          `msgpack:"time" json:"time"`
	Settings map[string]string  `msgpack:"settings" json:"settings"`
	Measured map[string]float64 `msgpack:"measured" json:"measured"`
}

// Model is an encoder with everything needed to run it.
type Model struct {
	Config Config
	// Tensors holds the weights under Hugging Face's names for
	// BertForSequenceClassification ("bert.encoder.layer.0...", "classifier.weight") in
	// every family; only Hugging Face directories have the family's own names. The
	// dense layer between the first token and the classifier is "bert.pooler.dense".
	// Weights are [out, in].
	Tensors map[string]Tensor
	// Tokenizer maps the names of the tokenizer's files (tokenizer.json, vocab.txt,
	// ...) to their contents.
	Tokenizer map[string][]byte
	// Provenance lists the stages that made the model, first to last.
	Provenance []Stage
	// Notes says, one line each, what reading the model ignored or assumed: pretraining
	// heads, buffers and other tensors that the architecture does not have.
	Notes []string

	files []*mapped.File
	path  string
	skive bool // the only file is a .skive one
}

// Path is where Open found the model, or the model that this is a copy or variant of.
// It is "" for a model made otherwise. It serves messages.
func (m *Model) Path() string { return m.path }

// Close releases the files whose views the tensors are. Afterwards the tensors of this
// model, and of every model that shares them, must not be used; those of a Clone may
// be. Closing twice is allowed.
func (m *Model) Close() error {
	var first error
	for _, f := range m.files {
		if err := f.Close(); err != nil && first == nil {
			first = err
		}
	}
	m.files = nil
	return first
}

// Clone returns a deep copy that may be written to and depends on no file. Its tensors
// are aligned to 64 bytes.
func (m *Model) Clone() *Model {
	c := &Model{
		Config:    m.Config.Clone(),
		Tensors:   make(map[string]Tensor, len(m.Tensors)),
		Tokenizer: make(map[string][]byte, len(m.Tokenizer)),
		Notes:     slices.Clone(m.Notes),
		path:      m.path,
	}
	for name, t := range m.Tensors {
		data := alignedBytes(len(t.Data))
		copy(data, t.Data)
		c.Tensors[name] = Tensor{DType: t.DType, Shape: slices.Clone(t.Shape), Data: data}
	}
	for name, b := range m.Tokenizer {
		c.Tokenizer[name] = bytes.Clone(b)
	}
	for _, s := range m.Provenance {
		s.Settings = maps.Clone(s.Settings)
		s.Measured = maps.Clone(s.Measured)
		c.Provenance = append(c.Provenance, s)
	}
	return c
}

// share returns a model with the same tensors in a map of its own. It does not own the
// files behind them.
func (m *Model) share() *Model {
	return &Model{
		Config: m.Config.Clone(), Tensors: maps.Clone(m.Tensors),
		Tokenizer: m.Tokenizer, Provenance: slices.Clone(m.Provenance), Notes: m.Notes, path: m.path,
	}
}

// HasHead reports whether the model has a head, and is not just an encoder.
func (m *Model) HasHead() bool {
	return len(m.Config.Labels) > 0 || m.Config.Head.Outputs() == head.Tokens
}

// HasPooler reports whether the model has the dense layer between the encoder and the
// classifier.
func (m *Model) HasPooler() bool {
	_, ok := m.Tensors[poolerWeight]
	return ok
}

// Names returns the names of the model's tensors in the order of the architecture:
// embeddings, layers, pooler, classifier. A weight is followed by its scales if it is
// int8, and by the scale of its input if it has one.
func (m *Model) Names() []string {
	names := make([]string, 0, len(m.Tensors))
	for s := range m.Config.Tensors() {
		if _, ok := m.Tensors[s.Name]; ok {
			names = append(names, s.Name)
		}
		if _, ok := m.Tensors[s.scale()]; ok {
			names = append(names, s.scale())
		}
		if n := s.inputScale(); n != "" {
			if _, ok := m.Tensors[n]; ok {
				names = append(names, n)
			}
		}
	}
	return names
}

// Bytes returns the size of all tensors.
func (m *Model) Bytes() int64 {
	var n int64
	for _, t := range m.Tensors {
		n += int64(len(t.Data))
	}
	return n
}

// Parameters returns the number of weights in the model, without scales.
func (m *Model) Parameters() int64 {
	var n int64
	for name, t := range m.Tensors {
		if !isScale(name) {
			n += int64(t.Elements())
		}
	}
	return n
}

// DType returns the element type of the encoder's linear layers, by which a model is
// called f32, fp16, bf16 or int8. If they differ, it is I8 if any layer has it, and
// otherwise the first layer's.
func (m *Model) DType() DType {
	first, seen := F32, false
	for s := range m.Config.Tensors() {
		t, ok := m.Tensors[s.Name]
		if !ok || !s.EncoderLinear() {
			continue
		}
		if t.DType == I8 {
			return I8
		}
		if !seen {
			first, seen = t.DType, true
		}
	}
	return first
}

// Quantized tells whether any tensor is int8. Such a model can run, but not be trained
// or pruned.
func (m *Model) Quantized() bool {
	for _, t := range m.Tensors {
		if t.DType == I8 {
			return true
		}
	}
	return false
}

// DeleteInputScales removes the scales of the quantized inputs of linear layers. They
// are wrong once the model's activations change.
func (m *Model) DeleteInputScales() {
	maps.DeleteFunc(m.Tensors, func(name string, _ Tensor) bool { return strings.HasSuffix(name, inputScaleSuffix) })
}

// Convert returns the model with all float tensors but scales in another float type,
// rounded to nearest even. Tensors that have this type already are shared.
func (m *Model) Convert(to DType) (converted *Model, err error) {
	defer mapped.Catch(&err, debug.SetPanicOnFault(true))
	out := m.share()
	for _, name := range m.Names() {
		t := m.Tensors[name]
		if !isScale(name) {
			var err error
			if t, err = t.Convert(to); err != nil {
				return nil, fmt.Errorf("tensor %s: %w", name, err)
			}
		}
		out.Tensors[name] = t
	}
	return out, nil
}

// Float32s returns the named tensor as float32 numbers. An int8 weight is multiplied by
// its scales. As in Tensor.Float32s, the result may be a view of the tensor.
func (m *Model) Float32s(name string) ([]float32, error) {
	t, ok := m.Tensors[name]
	if !ok {
		return nil, fmt.Errorf("tensor %s: not in the model", name)
	}
	if t.DType != I8 {
		return t.Float32s(), nil
	}
	scale, ok := m.Tensors[ScaleOf(name)]
	if !ok || len(t.Shape) != 2 || scale.Elements() != t.Shape[0] {
		return nil, fmt.Errorf("tensor %s: int8 weight without one scale per output", name)
	}
	out := t.Float32s()
	cols := t.Shape[1]
	for i, s := range scale.Float32s() {
		for j := range out[i*cols : (i+1)*cols] {
			out[i*cols+j] *= s
		}
	}
	return out, nil
}

// Validate checks the tensors against the configuration: none is missing, none unknown,
// each has the right shape and size, and every float is finite.
func (m *Model) Validate() (err error) {
	defer mapped.Catch(&err, debug.SetPanicOnFault(true))
	if err := m.validateShapes(); err != nil {
		return err
	}
	return m.validateFinite()
}

func (m *Model) validateShapes() error {
	if err := m.Config.Validate(); err != nil {
		return err
	}
	known := 0
	for s := range m.Config.Tensors() {
		t, ok := m.Tensors[s.Name]
		if !ok {
			if s.Role == Pooler && !m.Config.pooled() && !m.HasPooler() {
				continue
			}
			return fmt.Errorf("tensor %s: missing", s.Name)
		}
		known++
		if err := t.check(); err != nil {
			return fmt.Errorf("tensor %s: %w", s.Name, err)
		}
		if !slices.Equal(t.Shape, s.Shape) {
			return fmt.Errorf("tensor %s: shape %v, the configuration says %v", s.Name, t.Shape, s.Shape)
		}
		if _, ok := m.Tensors[s.inputScale()]; ok {
			known++
			if err := m.checkScale(s.inputScale(), 1); err != nil {
				return err
			}
		}
		if t.DType != I8 {
			continue
		}
		if len(s.Shape) != 2 {
			return fmt.Errorf("tensor %s: only weight matrices may be int8", s.Name)
		}
		known++
		if err := m.checkScale(s.scale(), s.Shape[0]); err != nil {
			return err
		}
	}
	if known == len(m.Tensors) {
		return nil
	}
	seen := make(map[string]bool, known)
	for _, name := range m.Names() {
		seen[name] = true
	}
	for _, name := range sortedNames(m.Tensors) {
		weight, scales := strings.CutSuffix(name, scaleSuffix)
		scales = scales && !strings.HasSuffix(name, inputScaleSuffix)
		if !seen[name] || scales && m.Tensors[weight].DType != I8 {
			return fmt.Errorf("tensor %s: not part of the architecture", name)
		}
	}
	return nil
}

// checkScale checks a tensor of n scales.
func (m *Model) checkScale(name string, n int) error {
	t, ok := m.Tensors[name]
	if !ok {
		return fmt.Errorf("tensor %s: missing", name)
	}
	if err := t.check(); err != nil {
		return fmt.Errorf("tensor %s: %w", name, err)
	}
	if t.DType != F32 || !slices.Equal(t.Shape, []int{n}) {
		return fmt.Errorf("tensor %s: %v %v, expected f32 [%d]", name, t.DType, t.Shape, n)
	}
	return nil
}

// minInputScale keeps the reciprocal of an input's scale finite.
const minInputScale = 0x1p-120

func (m *Model) validateFinite() error {
	for _, name := range m.Names() {
		t := m.Tensors[name]
		if !t.finite() {
			return fmt.Errorf("tensor %s: %w", name, ErrNotFinite)
		}
		if strings.HasSuffix(name, inputScaleSuffix) {
			if v := t.Float32s()[0]; !(v >= minInputScale) {
				return fmt.Errorf("tensor %s: %g, expected a positive scale", name, v)
			}
		}
	}
	return nil
}

// unchanged returns an error if a file behind tensors was written to since it was
// opened: what was made from them may be a mixture.
func unchanged(tensors map[string]Tensor) error {
	for _, t := range tensors {
		if err := mapped.Of(t.Data).Check(); err != nil {
			return err
		}
	}
	return nil
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
