package checkpoints

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/internal/exact"
)

// InitBERT returns a model with fresh weights, initialized as in Hugging Face: weights
// and embeddings from a normal distribution with standard deviation
// cfg.InitializerRange, LayerNorm weights one, and biases and the padding token's
// embedding zero. In ModernBERT the distribution is cut off at two standard deviations,
// which are smaller for layers that write to the hidden states and 1/√HiddenSize for the
// classifier, and padding has an embedding like other tokens. A tensor's values depend
// only on the seed, its name and its shape. If
// cfg.Labels is empty, the model ends in the pooler, where the family has one. A masked
// language model ends in its own head, without a pooler.
//
// A configuration that fails ValidateFresh gives a model without tensors.
func InitBERT(cfg Config, seed uint64) *Model {
	m := &Model{
		Config:    cfg.Clone(),
		Tensors:   make(map[string]Tensor),
		Tokenizer: make(map[string][]byte),
	}
	if cfg.ValidateFresh() != nil {
		return m
	}
	for s := range cfg.Tensors() {
		if s.Role != Pooler || !cfg.Head.PerToken() || cfg.pooled() {
			m.Tensors[s.Name] = m.fresh(s, seed)
		}
	}
	return m
}

// maxFresh bounds the number of fresh weights.
const maxFresh = 1 << 31

// ValidateFresh is Validate for a model of fresh weights. It also bounds their number,
// since no file proves the sizes.
func (c Config) ValidateFresh() error {
	if err := c.Validate(); err != nil {
		return err
	}
	if n := c.Parameters(); n > maxFresh {
		return fmt.Errorf("the sizes make a model of %d weights, expected %d at most", n, maxFresh)
	}
	return nil
}

// ReadFresh reads a config.json for a model of fresh weights, see ValidateFresh.
func ReadFresh(path string) (Config, error) {
	text, err := bounded.ReadFile(path, bounded.Document)
	if err != nil {
		return Config{}, err
	}
	cfg, err := ParseConfig(text)
	if err == nil {
		err = cfg.ValidateFresh()
	}
	if err == nil && cfg.family().truncatedInit {
		err = checkCutoff(text)
	}
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

// initCutoff is where a truncated distribution of fresh weights ends, in standard
// deviations.
const initCutoff = 2

// checkCutoff reports a config.json with another one.
func checkCutoff(text []byte) error {
	var h struct {
		Cutoff *float64 `json:"initializer_cutoff_factor"`
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return jsonError(err)
	}
	if f := valueOr(h.Cutoff, initCutoff); f != initCutoff {
		return unsupported("initializer_cutoff_factor %g", f)
	}
	return nil
}

// AddHead gives the model a classifier that chooses one of the labels, see SetHead.
func (m *Model) AddHead(labels []string, seed uint64) error {
	return m.SetHead(head.SingleLabel, labels, seed)
}

func (m *Model) fresh(s Spec, seed uint64) Tensor {
	values := alignedFloat32s(Tensor{Shape: s.Shape}.Elements())
	switch s.Kind {
	case NormScale:
		for i := range values {
			values[i] = 1
		}
	case Weight, Table, BiasTable:
		h := fnv.New64a()
		h.Write([]byte(s.Name))
		r := rand.New(rand.NewPCG(seed, h.Sum64()))
		truncated, deviation := m.Config.family().truncatedInit, m.Config.initDeviation(s.Role)
		for i := range values {
			v := exact.Normal(r)
			for truncated && math.Abs(v) > initCutoff {
				v = exact.Normal(r)
			}
			values[i] = float32(v) * deviation
		}
		switch {
		case truncated:
		case s.Role == WordEmbeddings:
			clear(values[m.Config.PadTokenID*s.Shape[1]:][:s.Shape[1]])
		case s.Role == PositionEmbeddings && m.Config.PositionsByID(): // padding has its own position
			clear(values[m.Config.paddingPosition()*s.Shape[1]:][:s.Shape[1]])
		}
	}
	return NewTensor(s.Shape, values)
}

// initDeviation is the standard deviation of fresh weights.
func (c Config) initDeviation(r Role) float32 {
	if c.family().truncatedInit {
		switch r {
		case AttentionOutput, Down, Pooler:
			return c.InitializerRange / float32(math.Sqrt(2*float64(len(c.Layers))))
		case Classifier:
			return float32(1 / math.Sqrt(float64(c.HiddenSize)))
		}
	}
	return c.InitializerRange
}
