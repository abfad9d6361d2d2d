package autograd

import (
	"fmt"

	"github.com/skive-ml/skive/internal/kernels"
)

// scoreBias lays out a table of biases by head and distance.
type scoreBias struct {
	rows    []int32
	columns []int
}

// ScoreBias lays out a table of biases [buckets, heads] as AttentionOptions.Bias
// wants it: the result is [columns, rows], whose element (h, k) is that of the
// table in row rows[k] and column columns[h].
func (g *Graph) ScoreBias(table *Node, rows []int32, columns []int) *Node {
	return g.apply(&scoreBias{rows: rows, columns: columns}, []bool{true}, table)
}

func (*scoreBias) name() string { return "ScoreBias" }

func (s *scoreBias) shape(in []array) (array, error) {
	if in[0].dims != 2 {
		return array{}, fmt.Errorf("table is %v, want a matrix", in[0])
	}
	for _, r := range s.rows {
		if r < 0 || int(r) >= in[0].rows {
			return array{}, fmt.Errorf("row %d of a table of %d", r, in[0].rows)
		}
	}
	for _, c := range s.columns {
		if c < 0 || c >= in[0].columns {
			return array{}, fmt.Errorf("column %d of a table of %d", c, in[0].columns)
		}
	}
	if len(s.rows) == 0 || len(s.columns) == 0 {
		return array{}, fmt.Errorf("%d rows and %d columns of the table, want one or more", len(s.rows), len(s.columns))
	}
	return array{dims: 2, rows: len(s.columns), columns: len(s.rows)}, nil
}

func (s *scoreBias) forward(g *Graph, in []array, out array, keep bool) error {
	table := in[0]
	for h, column := range s.columns {
		dst := out.of(h, h+1)
		for k, row := range s.rows {
			dst[k] = table.f[int(row)*table.columns+column]
		}
	}
	return nil
}

func (s *scoreBias) backward(g *Graph, in []array, out, dout array, d []array) error {
	clear(d[0].f)
	for h, column := range s.columns {
		src := dout.of(h, h+1)
		for k, row := range s.rows {
			d[0].f[int(row)*in[0].columns+column] += src[k]
		}
	}
	return nil
}

// checkBias checks the biases of so many heads.
func checkBias(bias array, heads int) error {
	if bias.dims != 2 || bias.rows != heads || bias.columns%2 == 0 {
		return fmt.Errorf("biases are %v, want [%d heads, an odd number of distances]", bias, heads)
	}
	return nil
}

// checkReach checks that sequences are no longer than the biases reach.
func checkReach(bias array, offsets []int32) error {
	for s := range len(offsets) - 1 {
		if n := int(offsets[s+1] - offsets[s]); n > bias.columns/2+1 {
			return fmt.Errorf("sequence %d has %d tokens, the biases reach %d", s, n, bias.columns/2+1)
		}
	}
	return nil
}

// biasOf returns the biases of a head for sequences of n tokens, as
// kernels.Attention takes them.
func biasOf(bias array, head, n int) []float32 {
	row := bias.of(head, head+1)
	return row[len(row)/2-(n-1):][:2*n-1]
}

// biasGradient holds the gradients of biases by sequence and head, so that they
// are summed in one order whatever the number of threads.
type biasGradient struct {
	offsets []int32
	heads   int
	sums    []float32
}

// reset makes all gradients zero.
func (b *biasGradient) reset(offsets []int32, heads int) {
	b.offsets, b.heads = offsets, heads
	b.sums = grow(b.sums, b.begin(len(offsets)-1))
	clear(b.sums)
}

// begin is where a sequence's gradients begin: one of n tokens has 2n-1 distances.
func (b *biasGradient) begin(s int) int { return (2*int(b.offsets[s]-b.offsets[0]) - s) * b.heads }

func (b *biasGradient) of(s, head int) []float32 {
	n := 2*int(b.offsets[s+1]-b.offsets[s]) - 1
	return b.sums[b.begin(s)+head*n:][:n]
}

// add adds the gradients d of the scores of a sequence's queries from number first on,
// a row for each of so many keys from number lo on.
func (b *biasGradient) add(s, head, first, lo int, d []float32, keys int) {
	sum := b.of(s, head)
	for i := range len(d) / keys {
		row := sum[len(sum)/2-first-i+lo:][:keys]
		kernels.Add(row, row, d[i*keys:][:keys])
	}
}

// total sets d to factor times the sums over the sequences.
func (b *biasGradient) total(d array, factor float32) {
	clear(d.f)
	for s := range len(b.offsets) - 1 {
		for head := range b.heads {
			sum := b.of(s, head)
			kernels.Axpy(biasOf(d, head, (len(sum)+1)/2), factor, sum)
		}
	}
}
