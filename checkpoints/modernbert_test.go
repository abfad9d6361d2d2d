package checkpoints

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/head"
)

const modernSizes = `{"model_type":"modernbert","vocab_size":11,"max_position_embeddings":8,"hidden_size":12,"num_hidden_layers":5,"num_attention_heads":2,"intermediate_size":10,"pad_token_id":0`

// Old and new keys of windows and rotary positions, as transformers reads them,
// and their way out and back.
func TestModernBERTConfigs(t *testing.T) {
	t.Parallel()
	third := []bool{false, true, true, false, true}
	for keys, want := range map[string]Config{
		``: {LocalAttention: 128, Local: third, RotaryBase: 160000, LocalRotaryBase: 10000},
		`,"global_attn_every_n_layers":2,"local_attention":7,"global_rope_theta":500,"local_rope_theta":20.5`: {
			LocalAttention: 7, Local: []bool{false, true, false, true, false}, RotaryBase: 500, LocalRotaryBase: 20.5},
		`,"global_rope_theta":500,"local_rope_theta":null`: {LocalAttention: 128, Local: third, RotaryBase: 500, LocalRotaryBase: 500},
		`,"global_attn_every_n_layers":9,"rope_parameters":null,"rope_scaling":null`: {
			LocalAttention: 128, Local: []bool{false, true, true, true, true}, RotaryBase: 160000, LocalRotaryBase: 10000},
		`,"layer_types":["sliding_attention","full_attention","full_attention","sliding_attention","full_attention"],"global_attn_every_n_layers":3,` +
			`"rope_parameters":{"full_attention":{"rope_theta":7},"sliding_attention":{"rope_type":"default","rope_theta":8}},"global_rope_theta":9`: {
			LocalAttention: 128, Local: []bool{true, false, false, true, false}, RotaryBase: 7, LocalRotaryBase: 8},
		`,"rope_parameters":{"sliding_attention":null,"full_attention":{"rope_type":"default"}},"local_rope_theta":9`: {
			LocalAttention: 128, Local: third, RotaryBase: 160000, LocalRotaryBase: 9},
		// mmBERT's value, which transformers does not read.
		`,"position_embedding_type":"sans_pos"`: {LocalAttention: 128, Local: third, RotaryBase: 160000, LocalRotaryBase: 10000},
		// transformers sets local_attention by it.
		`,"local_attention":16,"sliding_window":4`: {LocalAttention: 8, Local: third, RotaryBase: 160000, LocalRotaryBase: 10000},
		// Settings of heads that are not there.
		`,"architectures":["ModernBertModel"],"decoder_bias":false,"classifier_bias":true,"classifier_activation":"mish"`: {
			LocalAttention: 128, Local: third, RotaryBase: 160000, LocalRotaryBase: 10000},
	} {
		c, err := ParseConfig([]byte(modernSizes + keys + "}"))
		if err != nil {
			t.Errorf("%s: %v", keys, err)
			continue
		}
		got := Config{LocalAttention: c.LocalAttention, Local: c.Local, RotaryBase: c.RotaryBase, LocalRotaryBase: c.LocalRotaryBase}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", keys, got, want)
		}
		text, err := formatConfig(InitBERT(c, 1), true)
		check(t, err)
		if back, err := ParseConfig(text); err != nil || !reflect.DeepEqual(back, c) {
			t.Errorf("%s: written and read again\n%+v, was\n%+v (%v)", keys, back, c, err)
		}
	}
	c, err := ParseConfig([]byte(modernSizes + `,"local_attention":7,"norm_eps":0.001,"mlp_dropout":0.1,"attention_dropout":0.2,"embedding_dropout":0.3,"classifier_dropout":0.4,` +
		`"classifier_pooling":"mean","classifier_activation":"relu","hidden_activation":"gelu_new"}`))
	check(t, err)
	if c.LayerNormEps != 0.001 || c.EmbeddingDropout != 0.3 || c.ClassifierDropout != 0.4 || c.ClassifierPooling != MeanPooling || c.HeadActivation() != "relu" || c.LMActivation() != "relu" {
		t.Errorf("%+v", c)
	}
	local, full := c.Block(1), c.Block(3)
	if local.Window != 3 || local.RotaryBase != 10000 || full.Window != 0 || full.RotaryBase != 160000 || !c.Block(0).BareAttention || local.BareAttention {
		t.Errorf("blocks %+v and %+v", local, full)
	}
	if local.UnitDropout != 0.1 || local.OutputDropout != 0.2 || local.AttentionDropout != 0.2 || local.FeedForwardDropout != 0 || local.Activation != "gelu_new" {
		t.Errorf("block %+v", local)
	}
	for keys, want := range map[string]string{
		`"layer_types":["full_attention"]`:                                     `layer_types has 1 entries, num_hidden_layers is 5`,
		`"layer_types":["full_attention","linear","linear","linear","linear"]`: `layer_types: "linear" of layer 1: not supported`,
		`"global_attn_every_n_layers":0`:                                       `global_attn_every_n_layers is 0, expected at least 1`,
		`"local_attention":-1`:                                                 `local_attention is -1, expected 2 to`,
		`"local_attention":"wide"`:                                             `local_attention is a JSON string`,
		`"norm_bias":true`:                                                     `norm_bias true: not supported`,
		`"attention_bias":true`:                                                `attention_bias true: not supported`,
		`"mlp_bias":true`:                                                      `mlp_bias true: not supported`,
		`"classifier_bias":true`:                                               `classifier_bias true: not supported`,
		`"decoder_bias":false`:                                                 `decoder_bias false: not supported`,
		`"rope_scaling":{"rope_type":"linear","factor":2}`:                     `rope_scaling: not supported`,
		`"rope_parameters":{"rope_theta":1000}`:                                `rope_parameters.rope_theta: not supported`,
		`"rope_parameters":{"full_attention":{"rope_type":"yarn","rope_theta":9}}`:          `rope_parameters.full_attention.rope_type "yarn": not supported`,
		`"rope_parameters":{"full_attention":{"rope_theta":9,"partial_rotary_factor":0.5}}`: `rope_parameters.full_attention.partial_rotary_factor 0.5: not supported`,
		`"rope_parameters":{"sliding_attention":{"rope_theta":"x"}}`:                        `rope_parameters.sliding_attention.rope_theta is a JSON string, expected a number`,
		`"global_rope_theta":-5`:                  `rope_theta of full_attention is -5, expected at least 1`,
		`"classifier_pooling":"max"`:              `classifier_pooling "max": not supported`,
		`"classifier_activation":"mish"`:          `classifier_activation "mish": not supported`,
		`"hidden_activation":"mish"`:              `hidden_activation "mish": not supported`,
		`"head_dim":3`:                            `head_dim is 3, expected an even number`,
		`"embedding_dropout":1`:                   `embedding_dropout is 1, expected 0 to below 1`,
		`"mlp_dropout":2`:                         `mlp_dropout is 2, expected 0 to below 1`,
		`"norm_eps":0`:                            `layer_norm_eps is 0`,
		`"rope_parameters":[1]`:                   `rope_parameters is a JSON array`,
		`"rope_parameters":{"full_attention":[]}`: `rope_parameters.full_attention: expected an object`,
	} {
		_, err := ParseConfig([]byte(modernSizes + "," + keys + "}"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", keys, err, want)
		}
		if strings.Contains(want, "not supported") && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: not ErrUnsupported", keys)
		}
	}
}

func modernModel(t *testing.T) *Model {
	t.Helper()
	c, err := ParseConfig([]byte(modernSizes + `,"architectures":["ModernBertForMaskedLM"]}`))
	check(t, err)
	return InitBERT(c, 1)
}

// A classifier keeps the dense layer and the norm of the masked language model that
// it is made of, as transformers does.
func TestModernBERTKeepsItsHead(t *testing.T) {
	t.Parallel()
	for _, kind := range []head.Kind{head.SingleLabel, head.TokenClassification} {
		m := modernModel(t)
		dense, norm := m.Tensors[Pooler.Part().Weight()], m.Tensors[HeadNorm.Part().Weight()]
		check(t, m.SetHead(kind, []string{"a", "b"}, 2))
		check(t, m.Validate())
		if &m.Tensors[Pooler.Part().Weight()].Data[0] != &dense.Data[0] || &m.Tensors[HeadNorm.Part().Weight()].Data[0] != &norm.Data[0] {
			t.Errorf("%s: the head begins with other tensors", kind)
		}
		if _, ok := m.Tensors[lmBias]; ok {
			t.Errorf("%s: the decoder is still there", kind)
		}
	}
}

// Layers keep their windows, and the new first one has no norm before its attention.
func TestModernBERTKeepsLayers(t *testing.T) {
	t.Parallel()
	m := modernModel(t)
	some, err := m.KeepLayers([]int{1, 3, 4})
	check(t, err)
	check(t, some.Validate())
	if !slices.Equal(some.Config.Local, []bool{true, false, true}) {
		t.Errorf("windows %v", some.Config.Local)
	}
	if _, ok := some.Tensors[AttentionNorm.In(0).Weight()]; ok {
		t.Error("the first layer has a norm before its attention")
	}
	if _, err := m.KeepLayers([]int{1, 0}); err == nil || !strings.Contains(err.Error(), "expected it to be the first") {
		t.Errorf("layer 0 after another: %v", err)
	}
	units, err := m.Take(Cut{Axis: Units, Layer: 2, Keep: []int{7, 1}}, Cut{Axis: Heads, Layer: 2, Keep: []int{1}})
	check(t, err)
	check(t, units.Validate())
	for _, role := range []Role{Gate, Up} {
		was, is := m.Tensors[role.In(2).Weight()].Float32s(), units.Tensors[role.In(2).Weight()].Float32s()
		if !slices.Equal(is, slices.Concat(was[7*12:8*12], was[12:24])) {
			t.Errorf("role %d: other rows than 7 and 1", role)
		}
	}
}

// A fused tensor of another height, or with a part missing, is refused by its name.
func TestModernBERTRefusesFusedTensors(t *testing.T) {
	t.Parallel()
	c := modernModel(t).Config
	for want, tensor := range map[string]Tensor{
		"tensor model.layers.1.attn.Wqkv.weight: shape [35 12], the configuration says 36 rows": NewTensor([]int{35, 12}, make([]float32, 35*12)),
		"tensor model.layers.1.attn.Wqkv.weight: shape [], the configuration says 36 rows":      NewTensor([]int{}, make([]float32, 1)),
	} {
		name := "model.layers.1.attn.Wqkv.weight"
		err := c.divide(map[string]namedTensor{name: {name, foreignTensor{F32.code(), tensor, true}}})
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	m := modernModel(t)
	half, err := m.Tensors[Key.In(1).Weight()].Convert(F16)
	check(t, err)
	m.Tensors[Key.In(1).Weight()] = half
	if err := m.SaveHF(t.TempDir()); err == nil || !strings.Contains(err.Error(), "tensor bert.encoder.layer.1.attention.self.key.weight: fp16 beside f32") {
		t.Errorf("parts of two types: %v", err)
	}
}
