package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	register("prefetch", func() {
		TEXT("prefetchBytes", NOSPLIT, "func(p *byte, n int)")
		Pragma("noescape")
		Doc("prefetchBytes asks for the n bytes at p to be brought into the second-level cache.")
		p, n := Load(Param("p"), GP64()), Load(Param("n"), GP64())
		head, done := "loop", "done"
		TESTQ(n, n)
		JLE(LabelRef(done))
		ADDQ(p, n)
		Label(head)
		PREFETCHT1(Mem{Base: p})
		ADDQ(Imm(64), p)
		CMPQ(p, n)
		JLT(LabelRef(head))
		Label(done)
		RET()
	})
}

// rowsAtOnce is the number of rows that kernels of a few rows take.
func (g *gen) rowsAtOnce() int {
	if g.avx512 {
		return 4
	}
	return 2
}

// rows is loop over the columns of rows that begin ld elements apart; row
// chooses the one that is read and written.
func (g *gen) rows(rows int, n, ld reg.GPVirtual, body func(row func(r int))) {
	at := make([]reg.GPVirtual, rows)
	for r := range at {
		at[r] = GP64()
		switch r {
		case 0:
			XORQ(at[r], at[r])
		case 1:
			MOVQ(ld, at[r])
		default:
			LEAQ(Mem{Base: at[r-1], Index: ld, Scale: 1}, at[r])
		}
	}
	g.index = at[0]
	g.loopFrom(n, func() { body(func(r int) { g.index = at[r] }) }, at...)
}

// reduceRows reduces each of one, two or four rows as reduce does, into the lanes
// of one register.
func (g *gen) reduceRows(f func(...Op), rows []vec) reg.VecVirtual {
	if len(rows) == 1 {
		return g.reduce(f, rows[0])
	}
	var pairs []reg.VecVirtual // lanes 0+2 and 1+3 of two rows
	for r := 0; r < len(rows); r += 2 {
		a, b := g.quarter(f, rows[r]), g.quarter(f, rows[r+1])
		low, high := XMM(), XMM()
		VMOVLHPS(b, a, low)
		VMOVHLPS(a, b, high)
		f(high, low, low)
		pairs = append(pairs, low)
	}
	even, odd := XMM(), XMM()
	a, b := pairs[0], pairs[len(pairs)-1]
	VSHUFPS(Imm(0x88), b, a, even)
	VSHUFPS(Imm(0xDD), b, a, odd)
	f(odd, even, even)
	return even
}

// spreadRows returns each of the lowest lanes of x in all lanes.
func (g *gen) spreadRows(x reg.VecVirtual, rows int) []vec {
	out := make([]vec, rows)
	for r := range out {
		lane := x
		if r > 0 {
			lane = XMM()
			VPSHUFD(Imm(uint64(0x55*r)), x, lane)
		}
		out[r] = g.spread(lane)
	}
	return out
}
