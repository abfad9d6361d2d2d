package checkpoints

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
)

// InitBERT returns a model with fresh weights, as Hugging Face initializes
// them: weights and embeddings from a normal distribution with standard
// deviation cfg.InitializerRange, the padding token's embedding and all biases
// zero, LayerNorm weights one. A tensor's values depend on the seed, its name
// and its shape alone. With cfg.Labels empty the model ends in the pooler.
//
// A configuration that fails Validate gives a model without tensors, whose
// Validate returns the reason.
func InitBERT(cfg Config, seed uint64) *Model {
	m := &Model{
		Config:    cfg.Clone(),
		Tensors:   make(map[string]Tensor),
		Tokenizer: make(map[string][]byte),
	}
	if cfg.Validate() != nil {
		return m
	}
	for _, s := range cfg.tensorSpecs() {
		m.Tensors[s.name] = m.fresh(s, seed)
	}
	return m
}

// AddHead gives the model a classifier for the labels, in place of the one it
// may have, with weights initialized as by InitBERT. A missing pooler is added
// too. The encoder is left as it is.
func (m *Model) AddHead(labels []string, seed uint64) error {
	if len(labels) == 0 {
		return fmt.Errorf("a classifier needs at least one label")
	}
	cfg := m.Config.Clone()
	cfg.Labels = slices.Clone(labels)
	if err := cfg.Validate(); err != nil {
		return err
	}
	m.Config = cfg
	for _, s := range cfg.tensorSpecs() {
		if _, ok := m.Tensors[s.name]; s.part == classifier || s.part == pooler && !ok {
			m.Tensors[s.name] = m.fresh(s, seed)
		}
	}
	return nil
}

func (m *Model) fresh(s tensorSpec, seed uint64) Tensor {
	values := alignedFloat32s(Tensor{Shape: s.shape}.Elements())
	switch {
	case isLayerNormWeight(s.name):
		for i := range values {
			values[i] = 1
		}
	case len(s.shape) == 2:
		h := fnv.New64a()
		h.Write([]byte(s.name))
		r := rand.New(rand.NewPCG(seed, h.Sum64()))
		for i := range values {
			values[i] = float32(r.NormFloat64()) * m.Config.InitializerRange
		}
		if s.name == embeddingsPrefix+"word_embeddings.weight" {
			pad := m.Config.PadTokenID * m.Config.HiddenSize
			clear(values[pad : pad+m.Config.HiddenSize])
		}
	}
	return NewTensor(s.shape, values)
}
