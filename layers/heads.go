package layers

import (
	"fmt"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
)

// Classifier is an encoder with its head.
type Classifier struct {
	Encoder
	// Pooled is the output of the pooler, or of the layer in the family's head that replaces it,
	// with its norm [sequences, hidden]. It is nil if the head classifies tokens.
	Pooled *autograd.Node
	// Logits is [sequences, labels], or [tokens, labels] if the head classifies tokens.
	Logits *autograd.Node
}

// NewClassifier builds the model with its head. It takes any head except a masked language
// model's.
func NewClassifier(g *autograd.Graph, in *Inputs, m *checkpoints.Model, o Options) (*Classifier, error) {
	if m.Config.Head.Outputs() == head.Tokens {
		return nil, fmt.Errorf("layers: the model's head is a masked language model's, want a classifier")
	}
	cfg := m.Config
	tokens, means := cfg.Head.PerToken(), cfg.ClassifierPooling == checkpoints.MeanPooling
	o.AllTokens = o.AllTokens || tokens || means
	b := newBuilder(g, in, m, o)
	e, err := b.encoder()
	if err != nil {
		return nil, err
	}
	c := &Classifier{Encoder: e}
	x := e.last()
	if !tokens {
		x = e.First
		if means {
			x = g.SequenceMeans(e.last(), in.Offsets)
		}
		x = b.dropout(x, cfg.HeadInputDropout())
	}
	if !tokens || cfg.HeadNorm() {
		if x, err = b.dense(x); err != nil {
			return nil, err
		}
	}
	if !tokens {
		c.Pooled = x
	}
	c.Logits = b.linear(checkpoints.Classifier.Part(), b.dropout(x, cfg.ClassifierDropout), autograd.Identity)
	return c, b.failure()
}

// dense adds the dense layer before the classifier, with its norm if there is one.
func (b *builder) dense(x *autograd.Node) (*autograd.Node, error) {
	activation, err := activationByName(b.m.Config.HeadActivation())
	if err != nil {
		return nil, err
	}
	x = b.linear(checkpoints.Pooler.Part(), x, activation)
	if b.m.Config.HeadNorm() {
		x = b.norm(checkpoints.HeadNorm.Part(), x)
	}
	return x, nil
}

// MaskedLM is an encoder with the head of a masked language model.
type MaskedLM struct {
	Encoder
	// Logits is [selected, vocabulary].
	Logits *autograd.Node
}

// NewMaskedLM builds the model with the head of a masked language model. The head is computed
// only for the tokens whose numbers in the batch are in rows [selected], an input of the graph.
// The decoder's weights are the word embeddings (Devlin et al., arXiv 1810.04805; BertForMaskedLM
// of transformers).
func NewMaskedLM(g *autograd.Graph, in *Inputs, m *checkpoints.Model, rows *autograd.Node, o Options) (*MaskedLM, error) {
	if m.Config.Head.Outputs() != head.Tokens {
		return nil, fmt.Errorf("layers: the model has no head of a masked language model")
	}
	if o.QuantizeEmbeddings {
		return nil, fmt.Errorf("layers: the word embeddings are the weights of the head of a masked language model, which are not quantized")
	}
	o.AllTokens = true
	b := newBuilder(g, in, m, o)
	e, err := b.encoder()
	if err != nil {
		return nil, err
	}
	x := g.SelectRows(e.last(), rows)
	if m.Config.HeadNorm() {
		if x, err = b.dense(x); err != nil {
			return nil, err
		}
	} else {
		activation, err := activationByName(m.Config.LMActivation())
		if err != nil {
			return nil, err
		}
		x = b.linear(checkpoints.LMTransform.Part(), x, activation)
		x = b.norm(checkpoints.LMNorm.Part(), x)
	}
	return &MaskedLM{e, g.Linear(x, b.words, b.weights(checkpoints.Decoder.Part().Bias()), autograd.Identity)}, b.failure()
}

// last returns the last layer's output for all tokens, or nil if it is not computed.
func (e *Encoder) last() *autograd.Node { return e.Layers[len(e.Layers)-1].Hidden }
