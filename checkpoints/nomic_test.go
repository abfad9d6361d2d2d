package checkpoints

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const (
	nomicClass = `{"model_type":"nomic_bert","vocab_size":11,"max_position_embeddings":8,"hidden_size":12,"num_hidden_layers":2,"num_attention_heads":2,"intermediate_size":10`
	nomicOwn   = `{"model_type":"nomic_bert","vocab_size":11,"pad_vocab_size_multiple":8,"n_embd":12,"n_layer":2,"n_head":2,"n_inner":10,"n_positions":4096,` +
		`"activation_function":"swiglu","layer_norm_epsilon":1e-6,"rotary_emb_base":1000,"rotary_emb_fraction":1.0,"qkv_proj_bias":false,"mlp_fc1_bias":false,"mlp_fc2_bias":false`
	gteClass = `{"model_type":"gte","vocab_size":11,"max_position_embeddings":8,"hidden_size":12,"num_hidden_layers":2,"num_attention_heads":2,"intermediate_size":10`
	gteOwn   = `{"model_type":"new","vocab_size":11,"max_position_embeddings":8,"hidden_size":12,"num_hidden_layers":2,"num_attention_heads":2,"intermediate_size":10,` +
		`"position_embedding_type":"rope","layer_norm_type":"layer_norm","pack_qkv":true`
)

// The keys of Nomic's and GTE's own code, and those of transformers' classes, mean
// the same, and are written so that they are read as they were.
func TestRotaryConfigs(t *testing.T) {
	t.Parallel()
	type facts struct {
		vocabulary, positions, types, pad int
		activation                        string
		eps, hidden, attention            float32
		base, scale                       float64
	}
	ntk := math.Pow(8, 1.0/3) // for heads of width 6
	for text, want := range map[string]facts{
		nomicClass: {11, 8, 2, 0, "silu", 1e-12, 0, 0, 1000, 0},
		nomicClass + `,"hidden_act":"gelu","hidden_dropout_prob":0.1,"rope_parameters":{"rope_type":"linear","factor":4,"rope_theta":50}`: {11, 8, 2, 0, "gelu", 1e-12, 0.1, 0, 50, 4},
		nomicClass + `,"rope_theta":70,"rope_parameters":{},"rope_scaling":null,"n_embd":99,"qkv_proj_bias":true`:                         {11, 8, 2, 0, "silu", 1e-12, 0, 0, 70, 0},
		nomicClass + `,"rope_theta":70,"rope_scaling":{"type":"linear","factor":1},"rope_parameters":{"rope_theta":9}`:                    {11, 8, 2, 0, "silu", 1e-12, 0, 0, 70, 0},
		nomicOwn: {16, 4096, 2, 0, "silu", 1e-6, 0, 0, 1000, 0},
		nomicOwn + `,"activation_function":"geglu","resid_pdrop":0.2,"attn_pdrop":0.3,"type_vocab_size":1,"rotary_scaling_factor":null`: {16, 4096, 1, 0, "gelu", 1e-6, 0.2, 0.3, 1000, 0},
		nomicOwn + `,"rotary_scaling_factor":2,"max_trained_positions":1024`:                                                            {16, 1024, 2, 0, "silu", 1e-6, 0, 0, 1000, 0},
		nomicOwn + `,"rotary_scaling_factor":2`:                                                                                         {16, 2048, 2, 0, "silu", 1e-6, 0, 0, 1000, 0},
		gteClass:                                                                                                                        {11, 8, 1, 1, "gelu", 1e-12, 0.1, 0, 160000, 0},
		gteClass + `,"type_vocab_size":0,"rope_parameters":{"rope_type":"default","rope_theta":500}`:                                    {11, 8, 0, 1, "gelu", 1e-12, 0.1, 0, 500, 0},
		gteOwn: {11, 8, 1, 0, "gelu", 1e-12, 0.1, 0, 10000, 0},
		gteOwn + `,"type_vocab_size":0,"rope_theta":20000,"rope_scaling":{"type":"ntk","factor":8.0}`: {11, 8, 0, 0, "gelu", 1e-12, 0.1, 0, 160000, ntk},
		gteOwn + `,"rope_theta":500,"rope_scaling":{"type":"ntk","factor":1.0,"mixed_b":null}`:        {11, 8, 1, 0, "gelu", 1e-12, 0.1, 0, 500, 0},
	} {
		p, err := parseConfig([]byte(text + "}"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		c := p.Config
		got := facts{c.VocabSize, c.MaxPositions, c.TypeVocabSize, c.PadTokenID, c.Activation, c.LayerNormEps, c.HiddenDropout, c.AttentionDropout, c.RotaryBase, c.RotaryScale}
		if math.Abs(got.scale-want.scale) < 1e-12 {
			got.scale = want.scale
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
		if noted := strings.Contains(text, `"rotary_scaling_factor":2`); noted != (len(p.notes) == 1) {
			t.Errorf("%s: notes %q", text, p.notes)
		}
		m := InitBERT(c, 1)
		check(t, m.Validate())
		written, err := formatConfig(m, true)
		check(t, err)
		if back, err := ParseConfig(written); err != nil || !reflect.DeepEqual(back, c) {
			t.Errorf("%s: written and read again\n%+v, was\n%+v (%v)", text, back, c, err)
		}
	}
	c, err := ParseConfig([]byte(gteClass + "}"))
	check(t, err)
	if b := c.Block(1); !b.Gated || b.PreNorm || b.UnitDropout != 0.1 || b.FeedForwardDropout != 0.1 || b.OutputDropout != 0.1 || b.Window != 0 {
		t.Errorf("block %+v", b)
	}
}

// What is written has the words of Nomic's own code beside those of transformers.
func TestNomicConfigs(t *testing.T) {
	t.Parallel()
	for _, activation := range []string{"silu", "gelu", "relu"} {
		c, err := ParseConfig([]byte(nomicClass + `,"hidden_act":"` + activation + `"}`))
		check(t, err)
		text, err := formatConfig(InitBERT(c, 1), true)
		check(t, err)
		var words map[string]any
		check(t, json.Unmarshal(text, &words))
		if _, own := words["n_embd"]; own != (activation != "relu") {
			t.Errorf("%s: %s", activation, text)
			continue
		}
		if activation == "relu" {
			continue // which that code has not
		}
		for _, key := range []string{"hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "max_position_embeddings", "hidden_act", "layer_norm_eps", "rope_parameters"} {
			delete(words, key)
		}
		text, err = json.Marshal(words)
		check(t, err)
		if back, err := ParseConfig(text); err != nil || !reflect.DeepEqual(back, c) {
			t.Errorf("of its own words alone\n%+v, was\n%+v (%v)", back, c, err)
		}
	}
}

func TestRotaryConfigsRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		nomicClass + `,"num_experts":8`:                                        `moe_every_n_layers: a mixture of experts: not supported`,
		nomicClass + `,"rope_parameters":{"rope_type":"yarn","factor":2}`:      `rope_parameters.rope_type "yarn": not supported`,
		nomicClass + `,"rope_parameters":{"rope_type":"linear"}`:               `rope_parameters.factor is missing`,
		nomicClass + `,"rope_scaling":{"rope_type":"linear","factor":0.5}`:     `rope_scaling.factor is 0.5, expected at least 1`,
		nomicClass + `,"rope_parameters":{"full_attention":{"rope_theta":10}}`: `rope_parameters of kinds of layers: not supported`,
		nomicClass + `,"partial_rotary_factor":0.5`:                            `partial_rotary_factor 0.5: not supported`,
		nomicClass + `,"rope_theta":0`:                                         `rope_theta of full_attention is 0, expected at least 1`,
		nomicClass + `,"rope_scaling":7`:                                       `rope_scaling is a JSON number`,
		nomicClass + `,"rope_parameters":{"rope_theta":"wide"}`:                `rope_parameters: rope_theta is a JSON string`,
		nomicClass + `,"head_dim":3`:                                           `head_dim is 3, expected an even number`,
		nomicClass + `,"type_vocab_size":0`:                                    `type_vocab_size is 0, expected 1`,
		nomicOwn + `,"prenorm":true`:                                           `prenorm true: not supported`,
		nomicOwn + `,"use_rms_norm":true`:                                      `use_rms_norm true: not supported`,
		nomicOwn + `,"parallel_block":true`:                                    `parallel_block true: not supported`,
		nomicOwn + `,"causal":true`:                                            `causal true: not supported`,
		nomicOwn + `,"scale_attn_weights":false`:                               `scale_attn_weights false: not supported`,
		nomicOwn + `,"scale_attn_by_inverse_layer_idx":true`:                   `scale_attn_by_inverse_layer_idx true: not supported`,
		nomicOwn + `,"qkv_proj_bias":null`:                                     `qkv_proj_bias true: not supported`,
		nomicOwn + `,"mlp_fc1_bias":true`:                                      `mlp_fc1_bias true: not supported`,
		nomicOwn + `,"mlp_fc2_bias":true`:                                      `mlp_fc2_bias true: not supported`,
		nomicOwn + `,"rotary_emb_fraction":0.5`:                                `rotary_emb_fraction 0.5 other than 1: not supported`,
		nomicOwn + `,"rotary_emb_interleaved":true`:                            `rotary_emb_interleaved true: not supported`,
		nomicOwn + `,"rotary_emb_scale_base":512`:                              `rotary_emb_scale_base 512: not supported`,
		nomicOwn + `,"activation_function":"gelu"`:                             `activation_function "gelu": not supported`,
		nomicOwn + `,"moe_every_n_layers":2`:                                   `moe_every_n_layers: a mixture of experts: not supported`,
		nomicOwn + `,"n_head":"two"`:                                           `n_head is a JSON string`,
		gteOwn + `,"rope_scaling":{"type":"ntk","factor":8,"mixed_b":1.5}`:     `rope_scaling.mixed_b 1.5: not supported`,
		gteOwn + `,"rope_scaling":{"type":"dynamic","factor":8}`:               `rope_scaling.rope_type "dynamic": not supported`,
		gteOwn + `,"position_embedding_type":"absolute"`:                       `position_embedding_type "absolute": not supported`,
		gteOwn + `,"layer_norm_type":"rms_norm"`:                               `layer_norm_type "rms_norm": not supported`,
		gteOwn + `,"logn_attention_scale":true`:                                `logn_attention_scale true: not supported`,
		gteOwn + `,"architectures":["NewForMaskedLM"],"hidden_act":"relu"`:     `hidden_act "relu" of a masked language model: not supported`,
		gteClass + `,"type_vocab_size":-1`:                                     `type_vocab_size is -1`,
	} {
		_, err := ParseConfig([]byte(text + "}"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		if strings.Contains(want, "not supported") && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: not ErrUnsupported", text)
		}
	}
}

// NTK's scaling turns by the angles that GTE's own code computes.
func TestTurnsOfNTK(t *testing.T) {
	t.Parallel()
	c, err := ParseConfig([]byte(gteOwn + `,"rope_theta":20000,"rope_scaling":{"type":"ntk","factor":8}}`))
	check(t, err)
	cos, sin := c.Block(0).Turns(5, 7)
	for i, p := range []float64{5, 6} {
		for k := range 3 {
			angle := p * math.Pow(20000*8, -2*float64(k)/6) / math.Pow(8, 2.0/6)
			if math.Abs(float64(cos[i*3+k])-math.Cos(angle)) > 1e-6 || math.Abs(float64(sin[i*3+k])-math.Sin(angle)) > 1e-6 {
				t.Errorf("position %g, pair %d: %g and %g of %g", p, k, cos[i*3+k], sin[i*3+k], angle)
			}
		}
	}
}

// Files have the names of the families' own code or of transformers' classes, with
// or without a prefix, with projections in one tensor or apart; one that has a part
// twice is refused.
func TestNamesOfRotaryFamilies(t *testing.T) {
	t.Parallel()
	for text, layer := range map[string]string{nomicOwn: "encoder.layers.1.", gteOwn: "encoder.layer.1."} {
		c, err := ParseConfig([]byte(text + "}"))
		check(t, err)
		f := c.family()
		names := parsedConfig{Config: c}.canonicalNames()
		for _, prefix := range append([]string{"", f.prefix}, f.prefixes...) {
			for name, want := range map[string]Part{
				"layers.1.self_attn.k_proj.weight":                      Key.In(1),
				"layers.1.self_attn.o_proj.weight":                      AttentionOutput.In(1),
				"layers.1.post_attention_layernorm.weight":              AttentionNorm.In(1),
				"layers.1.mlp.gate_proj.weight":                         Gate.In(1),
				"layers.1.mlp.up_proj.weight":                           Up.In(1),
				"layers.1.mlp.down_proj.weight":                         Down.In(1),
				"layers.1.post_mlp_layernorm.weight":                    OutputNorm.In(1),
				"embeddings.LayerNorm.weight":                           EmbeddingNorm.Part(),
				"embeddings.token_type_embeddings.weight":               TypeEmbeddings.Part(),
				c.ownName(AttentionNorm.In(1).Weight())[len(f.prefix):]: AttentionNorm.In(1),
				c.ownName(Down.In(1).Weight())[len(f.prefix):]:          Down.In(1),
			} {
				if got := names[f.fullName(prefix+name)]; got != want.Weight() {
					t.Errorf("%s%s is %q, want %s", prefix, name, got, want.Weight())
				}
			}
		}
		if !strings.HasPrefix(c.ownName(Down.In(1).Weight()), f.prefix+layer) {
			t.Errorf("%s is written as %s", Down.In(1).Weight(), c.ownName(Down.In(1).Weight()))
		}
		if !bufferName.MatchString(layer + "attn.rotary_emb.inv_freq") {
			t.Error("frequencies are taken for weights")
		}
		twice := map[string]namedTensor{}
		for _, name := range []string{c.fusedName(1, f.fused[0]) + ".weight", Key.In(1).Weight()} {
			twice[name] = namedTensor{name, foreignTensor{F32.code(), NewTensor([]int{36, 12}, make([]float32, 36*12)), true}}
		}
		if err := c.divide(twice); err == nil || !strings.Contains(err.Error(), "expected one of them") {
			t.Errorf("a part twice: %v", err)
		}
	}
}

// GTE's tensor of both factors has the gate last, ModernBERT's first.
func TestOrderOfFusedFactors(t *testing.T) {
	t.Parallel()
	for model, want := range map[string][]Role{"gte": {Up, Gate}, "modernbert": {Gate, Up}} {
		if f := familyOf(model); !slices.Equal(f.fused[1].parts, want) {
			t.Errorf("%s: %v, want %v", model, f.fused[1].parts, want)
		}
	}
}
