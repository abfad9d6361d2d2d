package checkpoints

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/skive-ml/skive/head"
)

// scoreLabel is the name of the only output of a regression or a multiple
// choice, which needs none.
const scoreLabel = "score"

// architectures are the classes of transformers by head, without the prefix of
// the family.
var architectures = map[head.Kind]string{
	head.SingleLabel:         "ForSequenceClassification",
	head.MultiLabel:          "ForSequenceClassification",
	head.Regression:          "ForSequenceClassification",
	head.MultipleChoice:      "ForMultipleChoice",
	head.TokenClassification: "ForTokenClassification",
	head.MaskedLM:            "ForMaskedLM",
}

const (
	lmPrefix        = "cls.predictions."
	lmBias          = lmPrefix + "bias"
	lmDecoderWeight = lmPrefix + "decoder.weight"
	lmDecoderBias   = lmPrefix + "decoder.bias"
	lmTransform     = lmPrefix + "transform.dense.weight"
)

// classifies tells whether an architecture of transformers ends in a classifier.
func classifies(architecture string) bool {
	for kind, suffix := range architectures {
		if kind != head.MaskedLM && strings.HasSuffix(architecture, suffix) {
			return true
		}
	}
	return false
}

// headOf is the head of an architecture of transformers with these labels.
func headOf(architecture, problem string, labels int) head.Kind {
	for _, kind := range []head.Kind{head.MultipleChoice, head.TokenClassification, head.MaskedLM} {
		if strings.HasSuffix(architecture, architectures[kind]) {
			return kind
		}
	}
	switch {
	case problem == string(head.MultiLabel):
		return head.MultiLabel
	case problem == string(head.Regression), problem == "" && labels == 1:
		return head.Regression // as transformers takes a single label to be
	}
	return head.SingleLabel
}

// validateHead checks that the labels are those of the head.
func (c Config) validateHead() error {
	if _, ok := architectures[c.Head]; !ok {
		return fmt.Errorf("head %q: %w", c.Head, ErrUnsupported)
	}
	n := len(c.Labels)
	switch {
	case c.Head == head.MaskedLM && n > 0:
		return fmt.Errorf("id2label has %d labels, a masked language model has none", n)
	case c.Head == head.Regression && n > 1:
		return fmt.Errorf("a regression to %d numbers: %w (to one is)", n, ErrUnsupported)
	case c.Head == head.MultipleChoice && n > 1:
		return fmt.Errorf("id2label has %d labels, a multiple choice has a score alone", n)
	}
	return nil
}

// pooled tells whether the head reads the pooler.
func (c Config) pooled() bool {
	return c.Head != head.TokenClassification && c.Head != head.MaskedLM && len(c.Labels) > 0
}

// SetHead gives the model a head, in place of the one it may have, with weights
// initialized as by InitBERT. Labels are the class names; a regression and a
// multiple choice need none, and a masked language model has none. A missing
// pooler is added where the head reads it. The encoder is left as it is.
func (m *Model) SetHead(kind head.Kind, labels []string, seed uint64) error {
	cfg := m.Config.Clone()
	cfg.Head, cfg.Labels, cfg.Pairs = kind, slices.Clone(labels), false
	if len(labels) == 0 {
		switch kind {
		case head.Regression, head.MultipleChoice:
			cfg.Labels = []string{scoreLabel}
		case head.MaskedLM:
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
		// A pooler outlives a masked language model, which does not read it.
		if s.Role.inHead() || s.Role == Pooler && kind == head.TokenClassification {
			delete(m.Tensors, s.Name)
			delete(m.Tensors, s.scale())
		}
	}
	m.dropSentence()
	cfg.Sentence = nil
	m.Config = cfg
	for s := range cfg.Tensors() {
		if _, ok := m.Tensors[s.Name]; !ok && (s.Role.inHead() || s.Role == Pooler && cfg.pooled()) {
			m.Tensors[s.Name] = m.fresh(s, seed)
		}
	}
	return nil
}

// untieDecoder takes the decoder of a masked language model, which some files
// hold although it is the word embeddings, from the tensors of a file. A file
// that holds each shared tensor once may have it under the decoder's name alone.
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
