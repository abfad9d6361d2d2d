package checkpoints

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/skive-ml/skive/internal/exact"
)

// Block describes the arithmetic of one encoder layer. For the hidden states x of a
// sequence, every family computes
//
//	a = LayerNorm(x + AttentionOutput(Attention(Query(x), Key(x), Value(x))))
//	y = LayerNorm(a + Down(Activation(Up(a))))
//
// where each head of Attention is softmax(q·kᵀ/√HeadDim + bias)·v. With Relative, its
// scores have the terms that RelativeScores describes. Training applies dropout to the
// attention probabilities, and to the two products that are added to x and to a.
//
// With PreNorm the norms stand before the products, and one more follows the last
// layer:
//
//	a = x + AttentionOutput(Attention(Query(n), Key(n), Value(n))), n = LayerNorm(x)
//	y = a + Down(Activation(Up(LayerNorm(a))))
//
// With Gated the units are Activation(Gate(a)) * Up(a) instead of Activation(Up(a)).
// Linear layers and LayerNorms without a bias have none in Model.Tensors.
type Block struct {
	// Heads is the number of attention heads, HeadDim the width of each, and Units the
	// number of feed-forward units.
	Heads, HeadDim, Units int
	// Activation is Hugging Face's name of the feed-forward activation.
	Activation     string
	LayerNormEps   float32
	PreNorm, Gated bool
	// BareAttention says that the norm before the attention is missing. That is the
	// case in a first layer whose embeddings are normalized already.
	BareAttention bool
	// RotaryBase is the base θ of rotary positions (Su et al., arXiv 2104.09864), 0 for
	// none. In each query and key, elements k and k + HeadDim/2 are turned by the angle
	// position * θ^(-2k/HeadDim). Positions count from 0 in each sequence. If RotaryScale
	// is not 0, they are divided by it first.
	RotaryBase, RotaryScale float64
	// Window is how many tokens attention reaches to either side, 0 for all.
	Window int
	// ScoreBias is added to the scores of attention; nil adds nothing. Relative is too.
	ScoreBias *ScoreBias
	Relative  *RelativeScores
	// Dropout probabilities in training: of the attention probabilities, of attention's
	// output, of the feed-forward block's output, and of the units inside that block.
	AttentionDropout, OutputDropout, FeedForwardDropout, UnitDropout float32
}

// Block returns the description of a layer.
func (c Config) Block(layer int) Block {
	b := Block{
		Heads: c.Layers[layer].Heads, HeadDim: c.HeadDim, Units: c.Layers[layer].Intermediate,
		Activation: c.Activation, LayerNormEps: c.LayerNormEps,
		AttentionDropout: c.AttentionDropout, OutputDropout: c.HiddenDropout, FeedForwardDropout: c.HiddenDropout,
	}
	f := c.family()
	if f.noOutputDropout {
		b.OutputDropout = 0
	}
	if f.noFeedForwardDropout {
		b.FeedForwardDropout = 0
	}
	if f.dropsUnits {
		b.OutputDropout, b.FeedForwardDropout, b.UnitDropout = c.AttentionDropout, 0, c.HiddenDropout
	}
	if f.dropsUnitsToo {
		b.UnitDropout = c.HiddenDropout
	}
	b.PreNorm, b.Gated, b.BareAttention = f.preNorm, f.gated, c.bareAttention(layer)
	b.RotaryBase, b.RotaryScale = c.RotaryBase, c.RotaryScale
	if c.Local != nil && c.Local[layer] {
		b.Window, b.RotaryBase = c.LocalAttention/2, c.LocalRotaryBase
	}
	if c.biasesScores() {
		b.ScoreBias = &ScoreBias{Columns: c.biasColumns(layer), Reach: c.MaxTokens()}
	}
	if f.relative {
		b.Relative = &RelativeScores{Buckets: c.RelativeBuckets, Reach: c.MaxTokens(), Dropout: c.HiddenDropout}
	}
	return b
}

// Turns returns the cosines and sines of the angles of RotaryBase and RotaryScale at
// positions first to end-1. Each is [end - first, HeadDim/2]. They equal those of
// transformers: frequencies and angles are rounded to float32 before the cosine is
// taken.
func (b Block) Turns(first, end int) (cos, sin []float32) {
	frequencies := make([]float32, b.HeadDim/2)
	for k := range frequencies {
		frequencies[k] = 1 / float32(exact.Pow(b.RotaryBase, float64(float32(2*k)/float32(b.HeadDim))))
		if b.RotaryScale != 0 {
			frequencies[k] /= float32(b.RotaryScale)
		}
	}
	for p := first; p < end; p++ {
		for _, f := range frequencies {
			angle := float64(float32(p) * f)
			cos, sin = append(cos, float32(exact.Cos(angle))), append(sin, float32(exact.Sin(angle)))
		}
	}
	return cos, sin
}

// ScoreBias is a bias of the attention scores that depends only on the distance between
// key and query. All layers share its table. The table has a row for each bucket of
// distances, and a column for each head of an unpruned layer (MPNet, Song et al., arXiv
// 2004.09297; the buckets are T5's, arXiv 1910.10683).
type ScoreBias struct {
	// Columns holds the column of each of the layer's heads.
	Columns []int
	// Reach is the number of tokens of the longest sequence.
	Reach int
}

// Table is the part that holds the table.
func (ScoreBias) Table() Part { return RelativeBias.Part() }

// biasBuckets is the number of rows. exactDistances is the number of distances to
// either side that have a row of their own.
const (
	biasBuckets    = 32
	exactDistances = biasBuckets / 4
)

// Rows returns the table's row for each distance of a key to a query, from 1-Reach to
// Reach-1: 2*Reach-1 numbers.
func (b ScoreBias) Rows() []int32 {
	rows := make([]int32, 2*b.Reach-1)
	for i := range rows {
		rows[i] = bucket(i - (b.Reach - 1))
	}
	return rows
}

// bucket returns the row for a key that stands distance tokens after the query. The
// second half of the rows is for keys after the query, the first half for the others.
// Near distances have rows of their own. Farther away, each bucket reaches √2 times as
// far as the one before; in other words, the square of its first distance doubles. The
// last bucket begins at 91 tokens and has no end. This equals 8 +
// ⌊8·log(m/8)/log(128/8)⌋, without the rounding of logarithms.
func bucket(distance int) int32 {
	half, m := 0, distance
	if m > 0 {
		half = biasBuckets / 2
	} else {
		m = -m
	}
	if m >= exactDistances {
		doublings := bits.Len(uint(m*m/(exactDistances*exactDistances))) - 1
		m = min(exactDistances+doublings, biasBuckets/2-1)
	}
	return int32(half + m)
}

// ByDistance returns the biases of a layer's heads from the model's table: [heads,
// 2*Reach-1], in the order of Rows.
func (b ScoreBias) ByDistance(m *Model) ([]float32, error) {
	table, err := m.Float32s(b.Table().Weight())
	if err != nil {
		return nil, err
	}
	width := len(table) / biasBuckets
	rows := b.Rows()
	out := make([]float32, 0, len(b.Columns)*len(rows))
	for _, column := range b.Columns {
		for _, row := range rows {
			out = append(out, table[int(row)*width+column])
		}
	}
	return out, nil
}

// bareAttention returns Block.BareAttention of a layer.
func (c Config) bareAttention(layer int) bool { return c.family().preNorm && layer == 0 }

// biasesScores tells whether the layers have a ScoreBias.
func (c Config) biasesScores() bool { return c.family().biasesScores }

// biasColumns returns the column of each of a layer's heads in the table of biases.
func (c Config) biasColumns(layer int) []int {
	if c.BiasColumns != nil {
		return c.BiasColumns[layer]
	}
	columns := make([]int, c.Layers[layer].Heads)
	for i := range columns {
		columns[i] = i
	}
	return columns
}

// biasWidth returns the number of columns of that table.
func (c Config) biasWidth() int {
	n := 0
	for l := range c.Layers {
		for _, column := range c.biasColumns(l) {
			n = max(n, column+1)
		}
	}
	return n
}

// allBiasColumns returns biasColumns of all layers.
func (c Config) allBiasColumns() [][]int {
	all := make([][]int, len(c.Layers))
	for l := range all {
		all[l] = c.biasColumns(l)
	}
	return all
}

// setBiasColumns sets the column of each head in the table of biases, and drops unused
// columns at the end.
func (m *Model) setBiasColumns(columns [][]int) {
	c := &m.Config
	if !c.biasesScores() {
		return
	}
	c.BiasColumns = columns
	name := RelativeBias.Part().Weight()
	if t, ok := m.Tensors[name]; ok && c.biasWidth() < t.Shape[1] {
		m.Tensors[name] = take(t, nil, spread([]int{0}, c.biasWidth()))
	}
	c.shortenBiasColumns()
}

// shortenBiasColumns sets the columns to nil where they are 0, 1, 2, ... in all layers.
func (c *Config) shortenBiasColumns() {
	for _, layer := range c.BiasColumns {
		for head, column := range layer {
			if head != column {
				return
			}
		}
	}
	c.BiasColumns = nil
}

// biasColumnsKey is the name of BiasColumns in config.json.
const biasColumnsKey = "skive_bias_columns"

func (c Config) validateBias() error {
	if c.BiasColumns == nil {
		return nil
	}
	if !c.biasesScores() || len(c.BiasColumns) != len(c.Layers) {
		return fmt.Errorf("%s has %d layers, expected %d", biasColumnsKey, len(c.BiasColumns), len(c.Layers))
	}
	for l, columns := range c.BiasColumns {
		if len(columns) != c.Layers[l].Heads {
			return fmt.Errorf("%s of layer %d has %d heads, expected %d", biasColumnsKey, l, len(columns), c.Layers[l].Heads)
		}
		seen := make(map[int]bool, len(columns))
		for _, column := range columns {
			if column < 0 || column >= maxDimension/biasBuckets || seen[column] {
				return fmt.Errorf("%s of layer %d has column %d, expected numbers from 0 to %d, each once", biasColumnsKey, l, column, maxDimension/biasBuckets-1)
			}
			seen[column] = true
		}
	}
	return nil
}

// ScoreProducts is the number of products of two vectors that a score of attention sums.
func (b Block) ScoreProducts() int {
	if b.Relative != nil {
		return 3
	}
	return 1
}

// ScoreScale is the factor of the scores of attention.
func (b Block) ScoreScale() float32 {
	return float32(1 / math.Sqrt(float64(b.ScoreProducts()*b.HeadDim)))
}
