package checkpoints

import (
	"slices"
	"strings"
	"testing"
)

// The buckets of distances are those that MPNet in transformers 5.23 has.
func TestScoreBiasRows(t *testing.T) {
	t.Parallel()
	const reach = 600
	first := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91, reach} // the first distance of each bucket
	rows := ScoreBias{Reach: reach}.Rows()
	if len(rows) != 2*reach-1 {
		t.Fatalf("%d rows", len(rows))
	}
	for b := range first[:16] {
		for d := first[b]; d < first[b+1]; d++ {
			if got := rows[reach-1-d]; got != int32(b) {
				t.Errorf("a key %d before: row %d, want %d", d, got, b)
			}
			if got := rows[reach-1+d]; d > 0 && got != int32(16+b) {
				t.Errorf("a key %d after: row %d, want %d", d, got, 16+b)
			}
		}
	}
}

func mpnet() *Model {
	return InitBERT(Config{
		ModelType: "mpnet", VocabSize: 20, MaxPositions: 14, HiddenSize: 16, HeadDim: 4, PadTokenID: 1,
		Layers:     []LayerSize{{4, 8}, {4, 8}, {4, 8}},
		Activation: "gelu", LayerNormEps: 1e-5, InitializerRange: 0.5, Labels: []string{"no", "yes"},
	}, 1)
}

// A head keeps its biases, whatever is cut or taken away.
func TestHeadsKeepTheirBiases(t *testing.T) {
	t.Parallel()
	m := mpnet()
	biases := func(m *Model, layer, head int) []float32 {
		t.Helper()
		b := m.Config.Block(layer).ScoreBias
		values, err := b.ByDistance(m)
		check(t, err)
		width := 2*b.Reach - 1
		return values[head*width:][:width]
	}
	same := func(what string, got *Model, layer, head, oldLayer, oldHead int) {
		t.Helper()
		check(t, got.Validate())
		if !slices.Equal(biases(got, layer, head), biases(m, oldLayer, oldHead)) {
			t.Errorf("%s: head %d of layer %d has other biases than head %d of layer %d had", what, head, layer, oldHead, oldLayer)
		}
	}
	cut, err := m.Take(Cut{Axis: Heads, Layer: 0, Keep: []int{2, 0}}, Cut{Axis: Heads, Layer: 1, Keep: []int{1}}, Cut{Axis: Heads, Layer: 2, Keep: []int{2, 1}})
	check(t, err)
	if cut.Config.Stock() || cut.Tensors["bert.encoder.relative_attention_bias.weight"].Shape[1] != 3 {
		t.Errorf("the table is %v, of the columns %v", cut.Tensors["bert.encoder.relative_attention_bias.weight"].Shape, cut.Config.BiasColumns)
	}
	again, err := cut.Take(Cut{Axis: Heads, Layer: 2, Keep: []int{1}})
	check(t, err)
	kept, err := cut.KeepLayers([]int{1, 0})
	check(t, err)
	padded, err := cut.Pad()
	check(t, err)
	dir := t.TempDir()
	check(t, cut.SaveHF(dir))
	saved, err := Open(dir)
	check(t, err)
	defer saved.Close()
	for _, got := range []*Model{cut, saved} {
		same("cut", got, 0, 0, 0, 2)
		same("cut", got, 0, 1, 0, 0)
		same("cut", got, 1, 0, 1, 1)
		same("cut", got, 2, 0, 2, 2)
	}
	same("cut again", again, 2, 0, 2, 1)
	same("layers in another order", kept, 0, 0, 1, 1)
	same("layers in another order", kept, 1, 0, 0, 2)
	if !padded.Config.Stock() {
		t.Errorf("padded to %+v", padded.Config)
	}
	for layer, heads := range [][]int{{2, 0}, {1}, {2, 1}} {
		for i, old := range heads {
			same("padded", padded, layer, old, layer, old)
			q, k := padded.Tensors[Query.In(layer).Weight()].Float32s(), cut.Tensors[Query.In(layer).Weight()].Float32s()
			if n := 4 * 16; !slices.Equal(q[old*n:][:n], k[i*n:][:n]) {
				t.Errorf("padded: the queries of head %d of layer %d are not in their place", old, layer)
			}
		}
	}
}

func TestBiasColumnsAreChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.BiasColumns = [][]int{{1, 0, 2, 3}} }, "skive_bias_columns has 1 layers, expected 3"},
		{func(c *Config) { c.BiasColumns = [][]int{{1, 0}, {0, 1, 2, 3}, {0, 1, 2, 3}} }, "layer 0 has 2 heads, expected 4"},
		{func(c *Config) { c.BiasColumns = [][]int{{1, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3}} }, "layer 0 has column 1"},
		{func(c *Config) { c.BiasColumns = [][]int{{-1, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3}} }, "layer 0 has column -1"},
		{func(c *Config) { c.TypeVocabSize = 2 }, "MPNet has no token types"},
	} {
		cfg := mpnet().Config
		c.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
	if _, err := mpnet().Take(Cut{Axis: Vocabulary, Keep: []int{1, 2, 3}}); err == nil || !strings.Contains(err.Error(), "expected it to stay") {
		t.Errorf("padding with another number: error %v", err)
	}
	for _, c := range []struct{ key, want string }{
		{`"relative_attention_num_buckets":64`, "relative_attention_num_buckets 64 other than 32: not supported"},
		{`"pruned_heads":{"0":[1]}`, "pruned_heads of MPNet: not supported"},
	} {
		text := `{"model_type":"mpnet","vocab_size":11,"max_position_embeddings":8,"hidden_size":12,"num_hidden_layers":1,"num_attention_heads":4,"intermediate_size":10,` + c.key + `}`
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.key, err, c.want)
		}
	}
}
