package checkpoints

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/skive-ml/skive/head"
)

// scoreLabel names the only output of a regression or a multiple choice, which needs no
// name of its own.
const scoreLabel = "score"

// row describes a kind of head in a model.
type row struct {
	// architecture is the class in transformers, without the family's prefix.
	architecture string
	// noPooler says that the model has no pooler, not even the encoder's own.
	noPooler bool
	// excess reports labels for which the head has no output; nil if any number is
	// right.
	excess func(labels int) error
}

var rows = map[head.Kind]row{
	head.SingleLabel: {architecture: "ForSequenceClassification"},
	head.MultiLabel:  {architecture: "ForSequenceClassification"},
	head.Regression: {architecture: "ForSequenceClassification", excess: func(n int) error {
		if n < 2 {
			return nil
		}
		return fmt.Errorf("a regression to %d numbers: %w (to one is)", n, ErrUnsupported)
	}},
	head.MultipleChoice: {architecture: "ForMultipleChoice", excess: func(n int) error {
		if n < 2 {
			return nil
		}
		return fmt.Errorf("id2label has %d labels, a multiple choice has a score alone", n)
	}},
	head.TokenClassification: {architecture: "ForTokenClassification", noPooler: true},
	head.MaskedLM: {architecture: "ForMaskedLM", excess: func(n int) error {
		if n < 1 {
			return nil
		}
		return fmt.Errorf("id2label has %d labels, a masked language model has none", n)
	}},
}

const (
	lmPrefix        = "cls.predictions."
	lmBias          = lmPrefix + "bias"
	lmDecoderWeight = lmPrefix + "decoder.weight"
	lmDecoderBias   = lmPrefix + "decoder.bias"
	lmTransform     = lmPrefix + "transform.dense.weight"
)

// classifies tells whether a transformers class ends in a classifier.
func classifies(architecture string) bool {
	for kind, r := range rows {
		if kind.Outputs() != head.Tokens && strings.HasSuffix(architecture, r.architecture) {
			return true
		}
	}
	return false
}

// headOf returns the head of a transformers class with these labels.
func headOf(architecture, problem string, labels int) head.Kind {
	for kind, r := range rows {
		if kind.Subject() != head.Texts && strings.HasSuffix(architecture, r.architecture) {
			return kind
		}
	}
	switch kind := head.Kind(problem); {
	case problem == "" && labels == 1:
		return head.Regression // transformers takes a single label for a regression
	case kind.Known() && kind.Subject() == head.Texts:
		return kind
	}
	return head.SingleLabel
}

// validateHead checks that the labels suit the head.
func (c Config) validateHead() error {
	r, ok := rows[c.Head]
	switch {
	case !ok:
		return fmt.Errorf("head %q: %w", c.Head, ErrUnsupported)
	case r.excess != nil:
		return r.excess(len(c.Labels))
	}
	return nil
}

// pooled tells whether the head reads the pooler.
func (c Config) pooled() bool {
	if c.HeadNorm() {
		return len(c.Labels) > 0 || c.Head.Outputs() == head.Tokens
	}
	return !c.Head.PerToken() && len(c.Labels) > 0
}

// SetHead replaces the model's head, if it has one, by a new one with fresh weights as
// InitBERT makes them. labels are the class names. A regression and a multiple choice
// need none, and a masked language model has none. If the head reads a pooler and the
// model has none, a fresh one is added. The encoder stays as it is.
func (m *Model) SetHead(kind head.Kind, labels []string, seed uint64) error {
	cfg := m.Config.Clone()
	cfg.Head, cfg.Labels, cfg.Pairs = kind, slices.Clone(labels), false
	if len(labels) == 0 {
		switch kind.Outputs() {
		case head.Score:
			cfg.Labels = []string{scoreLabel}
		case head.Tokens:
		default:
			return fmt.Errorf("a classifier needs at least one label")
		}
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	if err := cfg.CheckNames(); err != nil {
		return err
	}
	for s := range m.Config.Tensors() {
		// A pooler stays in a masked language model, which does not read it.
		if s.Role.inHead() || s.Role == Pooler && rows[kind].noPooler && !cfg.pooled() {
			delete(m.Tensors, s.Name)
			delete(m.Tensors, s.scale())
		}
	}
	m.dropSentence()
	cfg.Sentence = nil
	m.Config = cfg
	for s := range cfg.Tensors() {
		if _, ok := m.Tensors[s.Name]; !ok && (s.Role.inHead() || s.Role.beforeHead() && cfg.pooled()) {
			m.Tensors[s.Name] = m.fresh(s, seed)
		}
	}
	return nil
}

// untieDecoder removes the decoder of a masked language model from a file's tensors:
// some files hold it although it equals the word embeddings. In a file that holds each
// shared tensor once, the decoder's may be the only name.
func untieDecoder(byName map[string]namedTensor) error {
	if bias, ok := byName[lmDecoderBias]; ok {
		if _, there := byName[lmBias]; !there {
			byName[lmBias] = bias
		}
		delete(byName, lmDecoderBias)
	}
	decoder, ok := byName[lmDecoderWeight]
	if !ok {
		return nil
	}
	words, ok := byName[wordEmbeddings]
	if !ok {
		byName[wordEmbeddings] = decoder
	} else if !bytes.Equal(decoder.t.tensor.Data, words.t.tensor.Data) {
		return fmt.Errorf("tensor %s: other than the word embeddings: %w", decoder.original, ErrUnsupported)
	}
	delete(byName, lmDecoderWeight)
	return nil
}
