package checkpoints

import (
	"slices"
	"strings"
	"testing"
)

const debertaSizes = `{"model_type":"deberta-v2","vocab_size":11,"max_position_embeddings":512,"hidden_size":12,"num_hidden_layers":2,"num_attention_heads":4,"intermediate_size":10`

// debertaV3 is what microsoft/deberta-v3-base says, with other sizes.
const debertaV3 = debertaSizes + `,"attention_probs_dropout_prob":0.1,"hidden_act":"gelu","hidden_dropout_prob":0.1,"initializer_range":0.02,"relative_attention":true,"position_buckets":256,` +
	`"norm_rel_ebd":"layer_norm","share_att_key":true,"pos_att_type":"p2c|c2p","layer_norm_eps":1e-7,"max_relative_positions":-1,"position_biased_input":false,"type_vocab_size":0`

// The settings of DeBERTa-v3 are read, with pos_att_type in each form, and nothing else
// that would change the scores.
func TestDeBERTaConfigs(t *testing.T) {
	t.Parallel()
	for add, want := range map[string]string{
		``:                              ``,
		`,"pos_att_type":["c2p","p2c"]`: ``,
		`,"pos_att_type":"C2P | p2c"`:   ``,
		`,"max_relative_positions":512`: ``,
		`,"layer_norm_eps":null`:        ``,
		`,"conv_kernel_size":0`:         ``,
		`,"embedding_size":12,"pooler_hidden_size":12`: ``,
		`,"pos_att_type":"c2p"`:                        `pos_att_type "c2p" other than both of c2p and p2c: not supported`,
		`,"pos_att_type":"c2p|p2c|p2p"`:                `pos_att_type "c2p|p2c|p2p" other`,
		`,"pos_att_type":null`:                         `pos_att_type "" other`,
		`,"pos_att_type":3`:                            `pos_att_type is a JSON number, expected a text or a list of texts`,
		`,"relative_attention":false`:                  `relative_attention false: not supported`,
		`,"share_att_key":false`:                       `share_att_key false: not supported`,
		`,"position_buckets":-1`:                       `position_buckets -1: not supported`,
		`,"position_buckets":1`:                        `position_buckets is 1, expected 2 to`,
		`,"max_relative_positions":128`:                `max_relative_positions 128 other than max_position_embeddings 512: not supported`,
		`,"position_biased_input":true`:                `position_biased_input true: not supported`,
		`,"position_biased_input":null`:                `position_biased_input true: not supported`,
		`,"norm_rel_ebd":"none"`:                       `norm_rel_ebd "none": not supported`,
		`,"conv_kernel_size":3`:                        `conv_kernel_size 3: not supported`,
		`,"embedding_size":6`:                          `embedding_size 6 other than hidden_size 12: not supported`,
		`,"pooler_hidden_size":6`:                      `pooler_hidden_size 6 other than hidden_size 12: not supported`,
		`,"pooler_hidden_act":"tanh"`:                  `pooler_hidden_act "tanh": not supported`,
		`,"pooler_dropout":1.5`:                        `pooler_dropout is 1.5, expected 0 to below 1`,
		`,"type_vocab_size":-1`:                        `type_vocab_size is -1`,
		`,"max_position_embeddings":70000`:             `max_position_embeddings is 70000, expected at most 65536`,
	} {
		c, err := ParseConfig([]byte(debertaV3 + add + "}"))
		switch {
		case want != "":
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want %s", add, err, want)
			}
		case err != nil:
			t.Errorf("%s: %v", add, err)
		case c.RelativeBuckets != 256 || c.LayerNormEps != 1e-7 || c.TypeVocabSize != 0 || c.PositionTable():
			t.Errorf("%s: %+v", add, c)
		}
	}
}

// Dropouts of the heads follow transformers: a classifier of tokens has that of the
// hidden states, whatever cls_dropout says.
func TestDeBERTaDropouts(t *testing.T) {
	t.Parallel()
	for add, want := range map[string][2]float32{
		`,"architectures":["DebertaV2ForSequenceClassification"]`:                                         {0.1, 0},
		`,"architectures":["DebertaV2ForSequenceClassification"],"cls_dropout":0.25,"pooler_dropout":0.5`: {0.25, 0.5},
		`,"architectures":["DebertaV2ForTokenClassification"],"cls_dropout":0.25`:                         {0.1, 0},
	} {
		c, err := ParseConfig([]byte(debertaV3 + add + "}"))
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]float32{c.ClassifierDropout, c.HeadInputDropout()}; got != want {
			t.Errorf("%s: %v, want %v", add, got, want)
		}
	}
}

// Rows of distances are those of make_log_bucket_position of transformers: exact ones
// up to half the buckets, and farther away as many as its float32 logarithms give.
func TestRelativeRows(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		buckets, reach int
		distances      []int   // query minus key
		rows           []int32 // of transformers
	}{
		{256, 512, []int{0, 1, -1, 128, -128, 129, -129, 200, 256, 511, -511}, []int32{256, 257, 255, 384, 128, 385, 127, 425, 448, 511, 1}},
		{8, 32, []int{0, 1, -1, 4, 5, 7, 9, 31, -31}, []int32{8, 9, 7, 12, 13, 13, 14, 15, 1}},
	} {
		r := RelativeScores{Buckets: k.buckets, Reach: k.reach}
		rows := r.Rows()
		for i, d := range k.distances {
			if rows[k.reach-1-d] != k.rows[i] {
				t.Errorf("%d buckets, distance %d: row %d, want %d", k.buckets, d, rows[k.reach-1-d], k.rows[i])
			}
		}
		if !slices.IsSortedFunc(rows, func(a, b int32) int { return int(b - a) }) {
			t.Errorf("%d buckets: rows rise: %v", k.buckets, rows)
		}
	}
}
