package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	register("layernorm", func() {
		norm{}.declare("layerNorm")
		norm{residual: true}.declare("addLayerNorm")
		norm{residual: true, max: true}.declare("addLayerNormMax")
		layerNormBackward()
	})
}

// A norm is a form of the normalization of rows.
type norm struct {
	residual bool // add another matrix first
	max      bool // find the largest magnitude of each row
}

// declare declares the kernel of one row and that of a few, whose chains of
// additions hide each other's latency.
func (l norm) declare(name string) {
	arguments := "dst, x, gamma, beta *float32, n int, eps float32, stats *float32"
	if l.residual {
		arguments = "dst, sum, x, residual, gamma, beta *float32, n int, eps float32, stats *float32"
	}
	both(name, "func("+arguments+")", "is "+name+"Generic; stats points to a rowStats.", func(g *gen) { l.write(g, 1) })
	both(name+"Rows", "func("+arguments+")", "is "+name+"Generic for a few rows.", func(g *gen) { l.write(g, g.rowsAtOnce()) })
}

// write writes the three passes over the rows. It is long as assembly is: an
// instruction a line.
func (l norm) write(g *gen, rows int) {
	var x reg.Register = Load(Param("x"), GP64())
	n := Load(Param("n"), GP64()).(reg.GPVirtual)
	stats := Load(Param("stats"), GP64())
	each := func(f func(r int)) {
		for r := range rows {
			f(r)
		}
	}
	// ahead returns what fetches the part of a matrix that the next call of the
	// kernel will read.
	ahead := func(name string) (fetch func()) {
		if !l.residual || rows == 1 {
			return func() {}
		}
		next := GP64()
		IMUL3Q(Imm(uint64(4*rows)), n, next)
		ADDQ(Load(Param(name), GP64()), next)
		return func() {
			if !g.inTail {
				PREFETCHT0(Mem{Base: next, Index: g.index, Scale: 4})
			}
		}
	}
	totals := make([]vec, rows)
	each(func(r int) { totals[r] = g.zero() })
	if l.residual {
		residual, sum := Load(Param("residual"), GP64()), Load(Param("sum"), GP64())
		g.rows(rows, n, n, func(row func(r int)) {
			each(func(r int) {
				row(r)
				a, b := g.floats(x), g.floats(residual)
				g.do(addps, b, a, a)
				g.store(a, sum)
				g.do(addps, a, totals[r], totals[r])
			})
		})
		x = sum
	} else {
		g.rows(rows, n, n, func(row func(r int)) {
			each(func(r int) {
				row(r)
				g.do(addps, g.floats(x), totals[r], totals[r])
			})
		})
	}
	count := toFloat(n)
	VBROADCASTSS(count, count)
	s := g.reduceRows(VADDPS, totals)
	VDIVPS(count, s, s)
	VMOVUPS(s, Mem{Base: stats})
	means := g.spreadRows(s, rows)

	fetch := ahead("residual")
	squares := make([]vec, rows)
	each(func(r int) { squares[r] = g.zero() })
	g.rows(rows, n, n, func(row func(r int)) {
		each(func(r int) {
			row(r)
			d := g.floats(x)
			fetch()
			g.do(subps, means[r], d, d)
			g.keep(d)
			g.do(fma231, d, d, squares[r])
		})
	})
	v := g.reduceRows(VADDPS, squares)
	VDIVPS(count, v, v)
	eps, one := XMM(), XMM()
	VBROADCASTSS(paramAddr("eps"), eps)
	VADDPS(eps, v, v)
	VSQRTPS(v, v)
	VBROADCASTSS(constantBits(0x3F800000), one)
	VDIVPS(v, one, v)
	VMOVUPS(v, Mem{Base: stats, Disp: 16})
	rstds := g.spreadRows(v, rows)

	dst, gamma, beta := Load(Param("dst"), GP64()), Load(Param("gamma"), GP64()), Load(Param("beta"), GP64())
	fetch = ahead("x")
	var most []vec
	if l.max {
		most = make([]vec, rows)
		each(func(r int) { most[r] = g.zero() })
	}
	g.rows(rows, n, n, func(row func(r int)) {
		row(0)
		a, b := g.floats(gamma), g.floats(beta)
		each(func(r int) {
			row(r)
			d := g.floats(x)
			fetch()
			g.do(subps, means[r], d, d)
			g.do(mulps, rstds[r], d, d)
			g.do(fma213, b, a, d)
			g.store(d, dst)
			if l.max {
				g.and(g.bits(1<<31-1), d, d)
				g.keep(d) // beside the row stands 0 * (-mean * rstd), which may be NaN
				g.do(maxud, d, most[r], most[r])
			}
		})
	})
	if l.max {
		VMOVUPS(g.reduceRows(VPMAXUD, most), Mem{Base: stats, Disp: 32})
	}
}

func layerNormBackward() {
	both("layerNormBackward", "func(dx, dgamma, dbeta, dy, x, gamma []float32, mean, rstd float32)", "is layerNormBackwardGeneric.", func(g *gen) {
		dgamma, dbeta, dy, x, gamma, n := ptr("dgamma"), ptr("dbeta"), ptr("dy"), ptr("x"), ptr("gamma"), length("dx")
		mean, rstd := g.param("mean"), g.param("rstd")
		normalized := func() vec {
			h := g.floats(x)
			g.do(subps, mean, h, h)
			g.do(mulps, rstd, h, h)
			g.keep(h)
			return h
		}
		sumD, sumDH := g.zero(), g.zero()
		g.loop(n, func() {
			h, y := normalized(), g.floats(dy)
			b := g.floats(dbeta)
			g.do(addps, y, b, b)
			g.store(b, dbeta)
			a := g.floats(dgamma)
			g.do(fma231, y, h, a)
			g.store(a, dgamma)
			d := g.floats(gamma)
			g.do(mulps, y, d, d)
			g.do(addps, d, sumD, sumD)
			g.do(fma231, d, h, sumDH)
		})
		count := toFloat(n)
		s, t := g.reduce(VADDPS, sumD), g.reduce(VADDPS, sumDH)
		VDIVSS(count, s, s)
		VDIVSS(count, t, t)
		meanD, meanDH := g.spread(s), g.spread(t)
		dx := ptr("dx")
		g.loop(n, func() {
			h, y, d := normalized(), g.floats(dy), g.floats(gamma)
			g.do(mulps, y, d, d)
			g.do(subps, meanD, d, d)
			g.do(fnma231, meanDH, h, d)
			g.do(mulps, rstd, d, d)
			g.store(d, dx)
		})
	})
}
