package checkpoints

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/skive-ml/skive/head"
)

const (
	embeddingsPrefix = "bert.embeddings."
	wordEmbeddings   = embeddingsPrefix + "word_embeddings.weight"
	layersPrefix     = "bert." + bertLayers
	poolerWeight     = "bert.pooler.dense.weight"
	poolerBias       = "bert.pooler.dense.bias"
	classifierWeight = "classifier.weight"
	classifierBias   = "classifier.bias"
	weightSuffix     = ".weight"
	biasSuffix       = ".bias"
	scaleSuffix      = "_scale"
	inputScaleSuffix = ".input_scale"
)

func layerPrefix(l int) string { return layersPrefix + strconv.Itoa(l) + "." }

// Bounds on a configuration. They are far above every encoder in use, and so low that
// no product of two sizes overflows.
const (
	// MaxLayers is the largest number of layers of an encoder.
	MaxLayers    = 4096
	maxDimension = 1 << 24
)

// NumLayers returns the number of encoder layers.
func (c Config) NumLayers() int { return len(c.Layers) }

// NumHeads returns the number of attention heads in a layer.
func (c Config) NumHeads(layer int) int { return c.Layers[layer].Heads }

// Intermediate returns the number of feed-forward units in a layer.
func (c Config) Intermediate(layer int) int { return c.Layers[layer].Intermediate }

// AttentionSize returns the width of the queries, keys and values of a layer:
// its heads times the head width.
func (c Config) AttentionSize(layer int) int { return c.Layers[layer].Heads * c.HeadDim }

// NumLabels returns the number of logits of a classifier, 0 for a model without one.
func (c Config) NumLabels() int { return len(c.Labels) }

// Even reports whether all layers have the same size.
func (c Config) Even() bool {
	for _, l := range c.Layers {
		if l != c.Layers[0] {
			return false
		}
	}
	return true
}

// Stock reports whether unmodified transformers can express the architecture: even
// layers, heads of width hidden size / number of heads, and heads in the order of their
// biases.
func (c Config) Stock() bool {
	return c.Even() && len(c.Layers) > 0 && c.Layers[0].Heads*c.HeadDim == c.HiddenSize && c.BiasColumns == nil
}

// Clone returns a copy that shares nothing with c.
func (c Config) Clone() Config {
	c.Layers = slices.Clone(c.Layers)
	c.Labels = slices.Clone(c.Labels)
	c.Sentence = c.Sentence.Clone()
	c.Local = slices.Clone(c.Local)
	c.BiasColumns = slices.Clone(c.BiasColumns) // whose rows are never written to
	return c
}

// NeedsPair tells whether the model only answers for pairs of texts.
func (c Config) NeedsPair() bool { return c.Pairs && c.Head.Subject() == head.Texts }

// LabelIndex returns the number of the class of that name.
func (c Config) LabelIndex(name string) (int, bool) {
	i := slices.Index(c.Labels, name)
	return i, i >= 0
}

// CheckNames reports two labels with the same name. Such a model runs, but its labels
// cannot be matched with data.
func (c Config) CheckNames() error {
	seen := make(map[string]int, len(c.Labels))
	for i, label := range c.Labels {
		if j, ok := seen[label]; ok {
			return fmt.Errorf("label %q occurs twice, as number %d and %d, expected names of their own (id2label)", label, j, i)
		}
		seen[label] = i
	}
	return nil
}

// Parameters returns the number of weights of the architecture, pooler
// included.
func (c Config) Parameters() int64 {
	var n int64
	for s := range c.Tensors() {
		e := int64(1)
		for _, d := range s.Shape {
			e *= int64(d)
		}
		n += e
	}
	return n
}

// Validate checks that an encoder of this configuration can be built. The error names
// the field as config.json does.
func (c Config) Validate() error {
	if familyOf(c.ModelType) == nil {
		return fmt.Errorf("model_type %q: %w (supported: %s)", c.ModelType, ErrUnsupported, familyNames())
	}
	key := c.family().key
	for _, f := range []struct {
		name  string
		value int
	}{
		{"vocab_size", c.VocabSize},
		{"max_position_embeddings", c.MaxPositions},
		{"hidden_size", c.HiddenSize},
		{"head_dim", c.HeadDim},
	} {
		if f.value < 1 || f.value > maxDimension {
			return fmt.Errorf("%s is %d, expected 1 to %d", key(f.name), f.value, maxDimension)
		}
	}
	if len(c.Layers) < 1 || len(c.Layers) > MaxLayers {
		return fmt.Errorf("%s is %d, expected 1 to %d", key("num_hidden_layers"), len(c.Layers), MaxLayers)
	}
	for i, l := range c.Layers {
		if l.Heads < 1 || l.Heads > maxDimension/c.HeadDim {
			return fmt.Errorf("%s of layer %d is %d, expected 1 to %d", key("num_attention_heads"), i, l.Heads, maxDimension/c.HeadDim)
		}
		if l.Intermediate < 1 || l.Intermediate > maxDimension {
			return fmt.Errorf("%s of layer %d is %d, expected 1 to %d", key("intermediate_size"), i, l.Intermediate, maxDimension)
		}
	}
	if activations[c.Activation] == nil {
		return fmt.Errorf("%s %q: %w (gelu, gelu_new, relu and silu are)", key("hidden_act"), c.Activation, ErrUnsupported)
	}
	if !(c.LayerNormEps > 0 && c.LayerNormEps < 1) {
		return fmt.Errorf("layer_norm_eps is %g, expected a small positive number", c.LayerNormEps)
	}
	for _, f := range []struct {
		name  string
		value float32
	}{
		{"hidden_dropout_prob", c.HiddenDropout},
		{"attention_probs_dropout_prob", c.AttentionDropout},
		{"classifier_dropout", c.ClassifierDropout},
	} {
		if !(f.value >= 0 && f.value < 1) {
			return fmt.Errorf("%s is %g, expected 0 to below 1", key(f.name), f.value)
		}
	}
	if !(c.InitializerRange >= 0) || math.IsInf(float64(c.InitializerRange), 0) {
		return fmt.Errorf("initializer_range is %g, expected a small positive number", c.InitializerRange)
	}
	if c.PadTokenID < 0 || c.PadTokenID >= c.VocabSize {
		return fmt.Errorf("pad_token_id is %d, outside the vocabulary of %d", c.PadTokenID, c.VocabSize)
	}
	if err := c.validateFamily(); err != nil {
		return err
	}
	if err := c.validateBias(); err != nil {
		return err
	}
	if err := c.validateRotary(); err != nil {
		return err
	}
	if err := c.validateWindows(); err != nil {
		return err
	}
	if err := c.validateRelative(); err != nil {
		return err
	}
	if len(c.Labels) > maxDimension {
		return fmt.Errorf("id2label has %d labels, expected at most %d", len(c.Labels), maxDimension)
	}
	if err := c.validateHead(); err != nil {
		return err
	}
	if i := slices.Index(c.Labels, ""); i >= 0 {
		return fmt.Errorf("id2label: label %d has no name", i)
	}
	if c.Sentence != nil {
		return c.Sentence.validate()
	}
	return nil
}

func isScale(name string) bool { return strings.HasSuffix(name, scaleSuffix) }
