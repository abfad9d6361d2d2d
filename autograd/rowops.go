package autograd

import (
	"fmt"

	"github.com/skive-ml/skive/internal/kernels"
)

// dropout zeroes elements at random and scales the others up.
type dropout struct {
	p  float32
	id uint64
}

// Dropout sets each element of x [rows, columns] to zero with probability p and
// divides the others by 1-p. Which ones follows from the graph's seed, the
// session's step and the operation's place among the graph's dropouts. A p of 0
// returns x itself.
func (g *Graph) Dropout(x *Node, p float32) *Node {
	if p == 0 {
		return x
	}
	if !(p > 0 && p < 1) {
		return g.fail("Dropout: probability is %v, want 0 <= p < 1", p)
	}
	return g.apply(&dropout{p: p, id: g.nextDropout()}, []bool{true}, x)
}

func (g *Graph) nextDropout() uint64 {
	g.dropouts++
	return g.dropouts
}

// dropoutKey mixes seed, step and the number of the dropout (SplitMix64).
func (g *Graph) dropoutKey(id uint64) uint64 {
	z := g.seed
	for _, v := range []uint64{g.step, id} {
		z += v*0x9e3779b97f4a7c15 + 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
	}
	return z
}

func (*dropout) name() string { return "Dropout" }

func (*dropout) shape(in []array) (array, error) {
	if in[0].dims != 2 {
		return array{}, fmt.Errorf("input is %v, want a matrix", in[0])
	}
	return in[0], nil
}

func (o *dropout) apply(g *Graph, to, from array) {
	key := g.dropoutKey(o.id)
	g.rows(from.rows, func(_, _, lo, hi int) {
		kernels.Dropout(to.of(lo, hi), from.of(lo, hi), o.p, key, uint64(lo*from.columns))
	})
}

func (o *dropout) forward(g *Graph, in []array, out array, _ bool) error {
	o.apply(g, out, in[0])
	return nil
}

func (o *dropout) backward(g *Graph, in []array, out, dout array, d []array) error {
	o.apply(g, d[0], array{rows: out.rows, columns: out.columns, f: dout.f})
	return nil
}

// selectFirst takes the rows at the offsets.
type selectFirst struct{}

// SelectFirst returns the first row of each sequence, [CLS]: x [tokens, hidden]
// and offsets [sequences+1] give [sequences, hidden].
func (g *Graph) SelectFirst(x, offsets *Node) *Node {
	return g.apply(selectFirst{}, []bool{true, false}, x, offsets)
}

func (selectFirst) name() string { return "SelectFirst" }

func (selectFirst) shape(in []array) (array, error) {
	if err := checkPacked(in[0], in[1]); err != nil {
		return array{}, err
	}
	return array{dims: 2, rows: sequences(in[1]), columns: in[0].columns}, nil
}

func (selectFirst) forward(g *Graph, in []array, out array, _ bool) error {
	for s := range out.rows {
		copy(out.row(s), in[0].row(int(in[1].i[s])))
	}
	return nil
}

func (selectFirst) backward(g *Graph, in []array, out, dout array, d []array) error {
	clear(d[0].f)
	for s := range out.rows {
		copy(d[0].row(int(in[1].i[s])), dout.row(s))
	}
	return nil
}

// selectRows takes the rows of the given numbers.
type selectRows struct{}

// SelectRows returns the rows of x whose numbers are given: x [tokens, hidden]
// and rows [selected] give [selected, hidden].
func (g *Graph) SelectRows(x, rows *Node) *Node {
	return g.apply(selectRows{}, []bool{true, false}, x, rows)
}

func (selectRows) name() string { return "SelectRows" }

func (selectRows) shape(in []array) (array, error) {
	if in[0].dims != 2 || in[1].dims != 1 || in[1].i == nil {
		return array{}, fmt.Errorf("input is %v and rows %v, want a matrix and [selected] integers", in[0], in[1])
	}
	return array{dims: 2, rows: in[1].rows, columns: in[0].columns}, nil
}

func (selectRows) forward(g *Graph, in []array, out array, _ bool) error {
	for i, row := range in[1].i {
		if row < 0 || int(row) >= in[0].rows {
			return fmt.Errorf("row %d, want 0 to %d", row, in[0].rows-1)
		}
		copy(out.row(i), in[0].row(int(row)))
	}
	return nil
}

func (selectRows) backward(g *Graph, in []array, out, dout array, d []array) error {
	clear(d[0].f)
	for i, row := range in[1].i {
		to := d[0].row(int(row))
		kernels.Add(to, to, dout.row(i))
	}
	return nil
}

// sequences returns the number of sequences that offsets delimit.
func sequences(offsets array) int {
	if offsets.rows == nominalBoundaries {
		return nominalSequences
	}
	return offsets.rows - 1
}

// addition is x + y.
type addition struct{}

// Add returns x + y, both [rows, columns].
func (g *Graph) Add(x, y *Node) *Node {
	return g.apply(addition{}, []bool{true, true}, x, y)
}

func (addition) name() string { return "Add" }

// twinOf tells that both have one gradient.
func (addition) twinOf(int) int { return 0 }

func (addition) shape(in []array) (array, error) {
	if x, y := in[0], in[1]; x.dims != 2 || y.dims != 2 || x.rows != y.rows || x.columns != y.columns {
		return array{}, fmt.Errorf("inputs are %v and %v, want two matrices of one shape", x, y)
	}
	return in[0], nil
}

func (addition) forward(g *Graph, in []array, out array, _ bool) error {
	g.rows(out.rows, func(_, _, lo, hi int) { kernels.Add(out.of(lo, hi), in[0].of(lo, hi), in[1].of(lo, hi)) })
	return nil
}

func (addition) backward(g *Graph, in []array, out, dout array, d []array) error {
	to := d[0].f
	if to == nil {
		to = d[1].f
	}
	copy(to, dout.f)
	return nil
}

// sequenceMeans are the means of the rows of sequences.
type sequenceMeans struct{}

// SequenceMeans returns the mean of the rows of each sequence: x [tokens, hidden] and
// offsets [sequences+1] give [sequences, hidden].
func (g *Graph) SequenceMeans(x, offsets *Node) *Node {
	return g.apply(sequenceMeans{}, []bool{true, false}, x, offsets)
}

func (sequenceMeans) name() string { return "SequenceMeans" }

func (sequenceMeans) shape(in []array) (array, error) { return selectFirst{}.shape(in) }

func (sequenceMeans) forward(g *Graph, in []array, out array, _ bool) error {
	x, offsets := in[0], in[1].i
	g.team.Run(out.rows, func(_, s int) {
		row := out.row(s)
		clear(row)
		for i := offsets[s]; i < offsets[s+1]; i++ {
			kernels.Add(row, row, x.row(int(i)))
		}
		n := float64(offsets[s+1] - offsets[s])
		for i, v := range row {
			row[i] = float32(float64(v) / n)
		}
	})
	return nil
}

func (sequenceMeans) backward(g *Graph, in []array, out, dout array, d []array) error {
	offsets := in[1].i
	g.team.Run(out.rows, func(_, s int) {
		lo, hi := int(offsets[s]), int(offsets[s+1])
		for i := lo; i < hi; i++ {
			kernels.Scale(d[0].row(i), 1/float32(hi-lo), dout.f[s*out.columns:][:out.columns])
		}
	})
	return nil
}

// checkPacked checks that the offsets delimit the rows of x. At build time there
// are no values to check.
func checkPacked(x, offsets array) error {
	if x.dims != 2 || offsets.dims != 1 || offsets.i == nil {
		return fmt.Errorf("input is %v with offsets %v, want [tokens columns] and [sequences+1] integers", x, offsets)
	}
	if offsets.rows == nominalBoundaries {
		if x.rows != nominalTokens {
			return fmt.Errorf("input is %v, want one row a token", x)
		}
		return nil
	}
	return checkOffsets(x.rows, offsets.i)
}

func checkOffsets(tokens int, offsets []int32) error {
	n := len(offsets) - 1
	if n < 1 || offsets[0] != 0 || int(offsets[n]) != tokens {
		return fmt.Errorf("%d offsets that do not run from 0 to the %d tokens", len(offsets), tokens)
	}
	for s := range n {
		if offsets[s+1] <= offsets[s] {
			return fmt.Errorf("sequence %d runs from offset %d to %d: it is empty", s, offsets[s], offsets[s+1])
		}
	}
	return nil
}

// sequenceMask multiplies the rows of each sequence by that sequence's mask.
type sequenceMask struct{ perRow bool }

// FFNMask multiplies the activations x [tokens, units] of each sequence by its
// row of mask [sequences, units]. Under a summed loss the gradient's row of a
// sequence is that example's own. When x has one row a sequence, offsets is nil.
func (g *Graph) FFNMask(x, mask, offsets *Node) *Node {
	if offsets == nil {
		return g.apply(sequenceMask{perRow: true}, []bool{true, true}, x, mask)
	}
	return g.apply(sequenceMask{}, []bool{true, true, false}, x, mask, offsets)
}

func (sequenceMask) name() string { return "FFNMask" }

func (m sequenceMask) shape(in []array) (array, error) {
	x, mask := in[0], in[1]
	n := x.rows
	if !m.perRow {
		if err := checkPacked(x, in[2]); err != nil {
			return array{}, err
		}
		n = sequences(in[2])
	}
	if x.dims != 2 || mask.dims != 2 || mask.rows != n || mask.columns != x.columns {
		return array{}, fmt.Errorf("input is %v and mask %v, want [rows units] and [sequences units]", x, mask)
	}
	return array{dims: 2, rows: x.rows, columns: x.columns}, nil
}

// span returns the rows of sequence s.
func (m sequenceMask) span(in []array, s int) (lo, hi int) {
	if m.perRow {
		return s, s + 1
	}
	return int(in[2].i[s]), int(in[2].i[s+1])
}

func (m sequenceMask) forward(g *Graph, in []array, out array, _ bool) error {
	x, mask := in[0], in[1]
	g.team.Run(mask.rows, func(_, s int) {
		lo, hi := m.span(in, s)
		for i := lo; i < hi; i++ {
			kernels.Mul(out.row(i), x.row(i), mask.row(s))
		}
	})
	return nil
}

func (m sequenceMask) backward(g *Graph, in []array, out, dout array, d []array) error {
	x, mask := in[0], in[1]
	g.team.Run(mask.rows, func(worker, s int) {
		w := &g.workers[worker]
		w.a = grow(w.a, x.columns)
		if d[1].f != nil {
			clear(d[1].row(s))
		}
		lo, hi := m.span(in, s)
		for i := lo; i < hi; i++ {
			if d[1].f != nil {
				kernels.Mul(w.a, x.row(i), dout.row(i))
				kernels.Add(d[1].row(s), d[1].row(s), w.a)
			}
			if d[0].f != nil {
				kernels.Mul(d[0].row(i), dout.row(i), mask.row(s))
			}
		}
	})
	return nil
}
