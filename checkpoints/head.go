package checkpoints

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Head is what stands on an encoder, and so what a model answers.
type Head string

// Heads. Except for token classification and the masked language model they
// read the first token through the pooler. The names are those of Hugging
// Face's problem_type where it has one.
const (
	// SingleLabel gives each text one of the classes: one logit for each of
	// the labels. Without labels the model is an encoder alone.
	SingleLabel Head = ""
	// MultiLabel gives each text any number of the labels: the logits are
	// those of independent yes-or-no questions.
	MultiLabel Head = "multi_label_classification"
	// Regression gives each text one number.
	Regression Head = "regression"
	// MultipleChoice gives each pair of a text and one of its choices a score.
	MultipleChoice Head = "multiple_choice"
	// TokenClassification gives each token one of the labels.
	TokenClassification Head = "token_classification"
	// MaskedLM gives each token the logits of what could stand in its place,
	// one for each entry of the vocabulary. Its last product is with the word
	// embeddings. It has no labels.
	MaskedLM Head = "masked_lm"
)

// String names the head for people.
func (h Head) String() string {
	if h == SingleLabel {
		return "single_label_classification"
	}
	return string(h)
}

// scoreLabel is the name of the only output of a regression or a multiple
// choice, which needs none.
const scoreLabel = "score"

// architectures are the classes of transformers by head, without the prefix of
// the family.
var architectures = map[Head]string{
	SingleLabel:         "ForSequenceClassification",
	MultiLabel:          "ForSequenceClassification",
	Regression:          "ForSequenceClassification",
	MultipleChoice:      "ForMultipleChoice",
	TokenClassification: "ForTokenClassification",
	MaskedLM:            "ForMaskedLM",
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
	for head, suffix := range architectures {
		if head != MaskedLM && strings.HasSuffix(architecture, suffix) {
			return true
		}
	}
	return false
}

// headOf is the head of an architecture of transformers with these labels.
func headOf(architecture, problem string, labels int) Head {
	for _, head := range []Head{MultipleChoice, TokenClassification, MaskedLM} {
		if strings.HasSuffix(architecture, architectures[head]) {
			return head
		}
	}
	switch {
	case problem == string(MultiLabel):
		return MultiLabel
	case problem == string(Regression), problem == "" && labels == 1:
		return Regression // as transformers takes a single label to be
	}
	return SingleLabel
}

// validateHead checks that the labels are those of the head.
func (c Config) validateHead() error {
	if _, ok := architectures[c.Head]; !ok {
		return fmt.Errorf("head %q: %w", c.Head, ErrUnsupported)
	}
	n := len(c.Labels)
	switch {
	case c.Head == MaskedLM && n > 0:
		return fmt.Errorf("id2label has %d labels, a masked language model has none", n)
	case c.Head == Regression && n > 1:
		return fmt.Errorf("a regression to %d numbers: %w (to one is)", n, ErrUnsupported)
	case c.Head == MultipleChoice && n > 1:
		return fmt.Errorf("id2label has %d labels, a multiple choice has a score alone", n)
	}
	return nil
}

// pooled tells whether the head reads the pooler.
func (c Config) pooled() bool {
	return c.Head != TokenClassification && c.Head != MaskedLM && len(c.Labels) > 0
}

// SetHead gives the model a head, in place of the one it may have, with weights
// initialized as by InitBERT. Labels are the class names; a regression and a
// multiple choice need none, and a masked language model has none. A missing
// pooler is added where the head reads it. The encoder is left as it is.
func (m *Model) SetHead(head Head, labels []string, seed uint64) error {
	cfg := m.Config.Clone()
	cfg.Head, cfg.Labels, cfg.Pairs = head, slices.Clone(labels), false
	if len(labels) == 0 {
		switch head {
		case Regression, MultipleChoice:
			cfg.Labels = []string{scoreLabel}
		case MaskedLM:
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
		if s.Role.inHead() || s.Role == Pooler && head == TokenClassification {
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
