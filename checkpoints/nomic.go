package checkpoints

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// nomicBERT are keys of config.json that Nomic's own code has: GPT-2's words for sizes,
// and settings of which one choice is implemented.
type nomicBERT struct {
	Width      *int `json:"n_embd"`
	Heads      *int `json:"n_head"`
	Layers     *int `json:"n_layer"`
	Inner      *int `json:"n_inner"`
	Positions  *int `json:"n_positions"`
	Trained    *int `json:"max_trained_positions"`
	VocabParts *int `json:"pad_vocab_size_multiple"`

	Activation       *string  `json:"activation_function"`
	NormEps          *float32 `json:"layer_norm_epsilon"`
	ResidualDropout  *float32 `json:"resid_pdrop"`
	AttentionDropout *float32 `json:"attn_pdrop"`

	Base        *float64 `json:"rotary_emb_base"`
	Part        *float64 `json:"rotary_emb_fraction"`
	Interleaved bool     `json:"rotary_emb_interleaved"`
	ScaleBase   *float64 `json:"rotary_emb_scale_base"`
	Scaling     *float64 `json:"rotary_scaling_factor"`

	PreNorm   bool  `json:"prenorm"`
	RMSNorm   bool  `json:"use_rms_norm"`
	Parallel  bool  `json:"parallel_block"`
	Causal    bool  `json:"causal"`
	ByLayer   bool  `json:"scale_attn_by_inverse_layer_idx"`
	Scale     *bool `json:"scale_attn_weights"`
	QKVBias   *bool `json:"qkv_proj_bias"`
	UpBias    *bool `json:"mlp_fc1_bias"`
	DownBias  *bool `json:"mlp_fc2_bias"`
	Experts   *int  `json:"num_experts"`
	ExpertsIn *int  `json:"moe_every_n_layers"`
}

// gatedActivations are the names in Nomic's own code of gated units, by the activation
// of the gate.
var gatedActivations = map[string]string{"silu": "swiglu", "gelu": "geglu"}

// readNomic reads the words of Nomic's own code where the configuration lacks those of
// transformers' class, and sets the defaults of the one or the other.
func readNomic(h *hfConfig, text []byte) (notes []string, err error) {
	var n nomicBERT
	if err := json.Unmarshal(text, &n); err != nil {
		return nil, jsonError(err)
	}
	if valueOr(n.Experts, 0) > 0 || valueOr(n.ExpertsIn, 0) > 0 {
		return nil, unsupported("moe_every_n_layers: a mixture of experts")
	}
	none := float32(0)
	if h.HiddenSize != nil || n.Width == nil {
		activation := "silu"
		h.HiddenAct = first(h.HiddenAct, &activation)
		h.HiddenDropout, h.AttentionDropout = first(h.HiddenDropout, &none), first(h.AttentionDropout, &none)
		return nil, nil
	}
	switch {
	case n.PreNorm:
		return nil, unsupported("prenorm true")
	case n.RMSNorm:
		return nil, unsupported("use_rms_norm true")
	case n.Parallel:
		return nil, unsupported("parallel_block true")
	case n.Causal:
		return nil, unsupported("causal true")
	case n.ByLayer:
		return nil, unsupported("scale_attn_by_inverse_layer_idx true")
	case !valueOr(n.Scale, true):
		return nil, unsupported("scale_attn_weights false")
	case valueOr(n.QKVBias, true):
		return nil, unsupported("qkv_proj_bias true")
	case valueOr(n.UpBias, true):
		return nil, unsupported("mlp_fc1_bias true")
	case valueOr(n.DownBias, true):
		return nil, unsupported("mlp_fc2_bias true")
	case valueOr(n.Part, 0) != 1:
		return nil, unsupported("rotary_emb_fraction %g other than 1", valueOr(n.Part, 0))
	case n.Interleaved:
		return nil, unsupported("rotary_emb_interleaved true")
	case n.ScaleBase != nil:
		return nil, unsupported("rotary_emb_scale_base %g", *n.ScaleBase)
	}
	activation := ""
	for gate, name := range gatedActivations {
		if valueOr(n.Activation, "gelu_new") == name {
			activation = gate
		}
	}
	if activation == "" {
		return nil, unsupported("activation_function %q", valueOr(n.Activation, "gelu_new"))
	}
	h.HiddenAct = &activation
	h.HiddenSize, h.NumLayers, h.NumHeads, h.IntermediateSize = n.Width, n.Layers, n.Heads, n.Inner
	h.HiddenDropout, h.AttentionDropout = first(n.ResidualDropout, &none), first(n.AttentionDropout, &none)
	eps := float32(1e-5)
	h.LayerNormEps = first(n.NormEps, &eps)
	h.rotaryBase = valueOr(n.Base, 10000)
	if m := valueOr(n.VocabParts, 1); m > 1 && h.VocabSize != nil && *h.VocabSize > 0 && *h.VocabSize <= maxDimension && m <= maxDimension {
		rows := (*h.VocabSize + m - 1) / m * m
		h.VocabSize = &rows
	}
	if h.MaxPositions = n.Positions; n.Scaling != nil && n.Positions != nil {
		// Beyond, the base of a text depends on the length of the longest one in its batch.
		if trained := valueOr(n.Trained, 2048); trained < *n.Positions {
			h.MaxPositions = &trained
			notes = append(notes, fmt.Sprintf("%s: rotary_scaling_factor changes texts of more than %d tokens alone, which are left out", configName, trained))
		}
	}
	return notes, nil
}

// addNomic writes the words of Nomic's own code, for it and for programs that follow it.
func (c Config) addNomic(out *orderedJSON) {
	activation, ok := gatedActivations[c.Activation]
	if !ok || !c.Even() || c.RotaryScale != 0 {
		return // which that code cannot express
	}
	for _, f := range []struct {
		key   string
		value any
	}{
		{"n_embd", c.HiddenSize}, {"n_head", c.Layers[0].Heads}, {"n_layer", len(c.Layers)}, {"n_inner", c.Layers[0].Intermediate}, {"n_positions", c.MaxPositions},
		{"activation_function", activation}, {"layer_norm_epsilon", c.LayerNormEps},
		{"embd_pdrop", c.HiddenDropout}, {"resid_pdrop", c.HiddenDropout}, {"attn_pdrop", c.AttentionDropout},
		{"rotary_emb_base", c.RotaryBase}, {"rotary_emb_fraction", 1.0}, {"rotary_emb_interleaved", false}, {"rotary_emb_scale_base", nil}, {"rotary_scaling_factor", nil},
		{"prenorm", false}, {"use_rms_norm", false}, {"parallel_block", false}, {"causal", false},
		{"qkv_proj_bias", false}, {"mlp_fc1_bias", false}, {"mlp_fc2_bias", false},
	} {
		out.add(f.key, f.value)
	}
}

// gteModel are keys of config.json that GTE's own code has.
type gteModel struct {
	NormType *string `json:"layer_norm_type"`
	LogN     bool    `json:"logn_attention_scale"`
}

// readGTE reads them, and sets the defaults of that code or of transformers' class.
func readGTE(h *hfConfig, text []byte) (notes []string, err error) {
	var g gteModel
	if err := json.Unmarshal(text, &g); err != nil {
		return nil, jsonError(err)
	}
	activation, types, none := "gelu", 1, float32(0)
	h.HiddenAct, h.TypeVocabSize, h.AttentionDropout = first(h.HiddenAct, &activation), first(h.TypeVocabSize, &types), first(h.AttentionDropout, &none)
	switch {
	case valueOr(h.PositionType, "rope") != "rope":
		return nil, unsupported("position_embedding_type %q", *h.PositionType)
	case valueOr(g.NormType, "layer_norm") != "layer_norm":
		return nil, unsupported("layer_norm_type %q", *g.NormType)
	case g.LogN:
		return nil, unsupported("logn_attention_scale true")
	}
	if valueOr(h.ModelType, "") != "new" {
		return nil, nil
	}
	masked := slices.ContainsFunc(h.Architectures, func(a string) bool { return strings.HasSuffix(a, "ForMaskedLM") })
	if masked && activationOf(*h.HiddenAct) != "gelu" { // which is the head's too there
		return nil, unsupported("hidden_act %q of a masked language model", *h.HiddenAct)
	}
	h.rotaryBase = 10000
	pad := 0
	h.PadTokenID = first(h.PadTokenID, &pad)
	return nil, nil
}
