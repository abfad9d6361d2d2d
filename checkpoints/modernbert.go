package checkpoints

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// The kinds of layers, named as in config.json.
const (
	fullAttention    = "full_attention"
	slidingAttention = "sliding_attention"
)

// modernBERT holds the settings of config.json that only ModernBERT has, also as older
// versions of transformers wrote them.
type modernBERT struct {
	Architectures []string `json:"architectures"`

	Activation       *string  `json:"hidden_activation"`
	NormEps          *float32 `json:"norm_eps"`
	MLPDropout       *float32 `json:"mlp_dropout"`
	AttentionDropout *float32 `json:"attention_dropout"`
	EmbeddingDropout *float32 `json:"embedding_dropout"`
	// ClassifierDropout is 0 where it is missing.
	ClassifierDropout *float32 `json:"classifier_dropout"`

	ClassifierPooling    *string `json:"classifier_pooling"`
	ClassifierActivation *string `json:"classifier_activation"`

	LayerTypes     []string `json:"layer_types"`
	GlobalEvery    *int     `json:"global_attn_every_n_layers"`
	LocalAttention *int     `json:"local_attention"`
	// SlidingWindow is half of LocalAttention; transformers derives it from that.
	SlidingWindow *int `json:"sliding_window"`

	Rope        map[string]json.RawMessage `json:"rope_parameters"`
	RopeScaling json.RawMessage            `json:"rope_scaling"`
	GlobalTheta json.RawMessage            `json:"global_rope_theta"`
	LocalTheta  json.RawMessage            `json:"local_rope_theta"`

	NormBias       bool  `json:"norm_bias"`
	AttentionBias  bool  `json:"attention_bias"`
	MLPBias        bool  `json:"mlp_bias"`
	ClassifierBias bool  `json:"classifier_bias"`
	DecoderBias    *bool `json:"decoder_bias"`
}

// readModernBERT reads ModernBERT's settings from a config.json whose sizes are known.
func (c *Config) readModernBERT(text []byte) error {
	var h modernBERT
	if err := json.Unmarshal(text, &h); err != nil {
		return jsonError(err)
	}
	// Settings of heads only count if there is a head.
	encoder := len(h.Architectures) > 0 && h.Architectures[0] == c.family().class+"Model"
	masked := len(h.Architectures) == 0 || h.Architectures[0] == c.family().class+"ForMaskedLM"
	switch {
	case h.NormBias:
		return unsupported("norm_bias true")
	case h.AttentionBias:
		return unsupported("attention_bias true")
	case h.MLPBias:
		return unsupported("mlp_bias true")
	case h.ClassifierBias && !encoder:
		return unsupported("classifier_bias true")
	case !valueOr(h.DecoderBias, true) && masked:
		return unsupported("decoder_bias false")
	case jsonKind(h.RopeScaling) != "null":
		return unsupported("rope_scaling")
	}
	c.Activation = activationOf(valueOr(h.Activation, "gelu"))
	c.LayerNormEps = valueOr(h.NormEps, 1e-5)
	c.HiddenDropout, c.AttentionDropout = valueOr(h.MLPDropout, 0), valueOr(h.AttentionDropout, 0)
	c.EmbeddingDropout, c.ClassifierDropout = valueOr(h.EmbeddingDropout, 0), valueOr(h.ClassifierDropout, 0)
	c.ClassifierActivation = activationOf(valueOr(h.ClassifierActivation, "gelu"))
	switch pooling := Pooling(valueOr(h.ClassifierPooling, string(CLSPooling))); pooling {
	case CLSPooling:
	case MeanPooling:
		c.ClassifierPooling = pooling
	default:
		if !encoder {
			return unsupported("classifier_pooling %q", pooling)
		}
	}
	if encoder && activations[c.ClassifierActivation] == nil {
		c.ClassifierActivation = "gelu"
	}
	c.LocalAttention = valueOr(h.LocalAttention, 128)
	if h.SlidingWindow != nil {
		c.LocalAttention = 2 * *h.SlidingWindow
	}
	if err := h.layers(c); err != nil {
		return err
	}
	return h.bases(c)
}

// layers finds out which layers have a window.
func (h *modernBERT) layers(c *Config) error {
	c.Local = make([]bool, len(c.Layers))
	if h.LayerTypes == nil {
		every := valueOr(h.GlobalEvery, 3)
		if every < 1 {
			return fmt.Errorf("global_attn_every_n_layers is %d, expected at least 1", every)
		}
		for i := range c.Local {
			c.Local[i] = i%every != 0
		}
		return nil
	}
	if len(h.LayerTypes) != len(c.Layers) {
		return fmt.Errorf("layer_types has %d entries, num_hidden_layers is %d", len(h.LayerTypes), len(c.Layers))
	}
	for i, kind := range h.LayerTypes {
		if kind != fullAttention && kind != slidingAttention {
			return unsupported("layer_types: %q of layer %d", kind, i)
		}
		c.Local[i] = kind == slidingAttention
	}
	return nil
}

// bases reads the bases of the rotary positions. If the older key for local layers is
// null, they use the other layers' base.
func (h *modernBERT) bases(c *Config) error {
	read := func(key string, value json.RawMessage, def float64) (float64, error) {
		if len(value) == 0 {
			return def, nil
		}
		base := def
		if err := json.Unmarshal(value, &base); err != nil {
			return 0, fmt.Errorf("%s is a JSON %s, expected a number", key, jsonKind(value))
		}
		return base, nil
	}
	of := func(kind, older string, value json.RawMessage, def float64) (float64, error) {
		base, err := read(older, value, def)
		if err != nil {
			return 0, err
		}
		var rope struct {
			Type    *string         `json:"rope_type"`
			OldType *string         `json:"type"`
			Theta   json.RawMessage `json:"rope_theta"`
			Part    *float64        `json:"partial_rotary_factor"`
		}
		if text := h.Rope[kind]; jsonKind(text) != "null" {
			if err := json.Unmarshal(text, &rope); err != nil {
				return 0, fmt.Errorf("rope_parameters.%s: expected an object of settings", kind)
			}
		}
		if name := valueOr(rope.Type, valueOr(rope.OldType, "default")); name != "default" {
			return 0, unsupported("rope_parameters.%s.rope_type %q", kind, name)
		}
		if valueOr(rope.Part, 1) != 1 {
			return 0, unsupported("rope_parameters.%s.partial_rotary_factor %g", kind, *rope.Part)
		}
		if jsonKind(rope.Theta) == "null" {
			return base, nil
		}
		return read("rope_parameters."+kind+".rope_theta", rope.Theta, base)
	}
	// Settings that are not nested would be one set for both; transformers 5 reads
	// none.
	for key := range h.Rope {
		if key != fullAttention && key != slidingAttention {
			return unsupported("rope_parameters.%s", oneLine(key))
		}
	}
	const local = 10000
	var err error
	if c.RotaryBase, err = of(fullAttention, "global_rope_theta", h.GlobalTheta, c.family().rotary); err != nil {
		return err
	}
	def := float64(local)
	if bytes.Equal(bytes.TrimSpace(h.LocalTheta), []byte("null")) {
		def = c.RotaryBase
	}
	c.LocalRotaryBase, err = of(slidingAttention, "local_rope_theta", h.LocalTheta, def)
	return err
}

// addModernBERT writes what readModernBERT reads. It also writes the keys of older
// versions of transformers and of programs that read them, with the same meaning as far
// as possible.
func (c Config) addModernBERT(out *orderedJSON) {
	kinds := make([]string, len(c.Local))
	full := 0
	for i, local := range c.Local {
		kinds[i] = fullAttention
		if local {
			kinds[i] = slidingAttention
		} else if full == 0 {
			full = i
		}
	}
	rope := func(base float64) orderedJSON {
		var o orderedJSON
		o.add("rope_theta", base)
		o.add("rope_type", "default")
		return o
	}
	var ropes orderedJSON
	ropes.add(fullAttention, rope(c.RotaryBase))
	ropes.add(slidingAttention, rope(c.LocalRotaryBase))
	out.add("embedding_dropout", c.EmbeddingDropout)
	out.add("layer_types", kinds)
	out.add("local_attention", c.LocalAttention)
	out.add("rope_parameters", ropes)
	if full == 0 {
		full = len(c.Local) // only the first layer, or none
	}
	regular := true
	for i, local := range c.Local {
		regular = regular && local == (i%full != 0)
	}
	if regular {
		out.add("global_attn_every_n_layers", full)
	}
	out.add("global_rope_theta", c.RotaryBase)
	out.add("local_rope_theta", c.LocalRotaryBase)
	pooling := CLSPooling
	if c.ClassifierPooling != "" {
		pooling = c.ClassifierPooling
	}
	out.add("classifier_pooling", pooling)
	out.add("classifier_activation", c.ClassifierActivation)
}

// validateWindows checks the settings of layers with windows, and those of heads with a norm.
func (c Config) validateWindows() error {
	f := c.family()
	if !f.windows && (c.Local != nil || c.LocalAttention != 0 || c.LocalRotaryBase != 0) ||
		!f.headNorm && (c.ClassifierPooling != "" || c.ClassifierActivation != "" || c.EmbeddingDropout != 0) {
		return fmt.Errorf("windows or a pooling of %s: %w", f.class, ErrUnsupported)
	}
	if f.windows {
		switch {
		case len(c.Local) != len(c.Layers):
			return fmt.Errorf("layer_types has %d entries, num_hidden_layers is %d", len(c.Local), len(c.Layers))
		case c.LocalAttention < 2 || c.LocalAttention > maxDimension:
			return fmt.Errorf("local_attention is %d, expected 2 to %d", c.LocalAttention, maxDimension)
		}
		if err := validateBase(slidingAttention, c.LocalRotaryBase); err != nil {
			return err
		}
	}
	if f.headNorm {
		switch {
		case c.ClassifierPooling != "" && c.ClassifierPooling != MeanPooling:
			return unsupported("classifier_pooling %q", c.ClassifierPooling)
		case activations[c.ClassifierActivation] == nil:
			return fmt.Errorf("classifier_activation %q: %w (gelu, gelu_new, relu and silu are)", c.ClassifierActivation, ErrUnsupported)
		case !(c.EmbeddingDropout >= 0 && c.EmbeddingDropout < 1):
			return fmt.Errorf("embedding_dropout is %g, expected 0 to below 1", c.EmbeddingDropout)
		}
	}
	return nil
}
