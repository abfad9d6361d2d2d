package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	register("exp", func() {
		both("exp", "func(dst, x []float32)", "is expGeneric.", func(g *gen) {
			dst, x, n := ptr("dst"), ptr("x"), length("x")
			e := g.newExp(true)
			g.loop(n, func() {
				v := g.floats(x)
				g.store(e.of(v), dst)
			})
		})
	})
	register("softmax", func() {
		softmax()
		softmaxWeights()
		softmaxBackward()
		logSumExp()
	})
}

// An expGen writes exp32.
type expGen struct {
	*gen
	low, high vec // bounds; high is nil where no argument is above 0
}

func (g *gen) newExp(high bool) expGen {
	e := expGen{gen: g, low: g.r(-87.33)}
	if high {
		e.high = g.r(88.8)
	}
	return e
}

const magic = 0x1.8000FCp+23

// of returns the exponential of x, which it overwrites.
func (e expGen) of(x vec) vec {
	e.do(maxps, x, e.low, x)
	if e.high != nil {
		e.do(minps, x, e.high, x)
	}
	t := e.load(e.c(0x1.715476p+0))
	e.do(fma213, e.c(magic), x, t)
	n := e.new()
	e.do(subps, e.c(magic), t, n)
	e.do(fma231, e.c(-0x1.62E430p-1), n, x)
	e.do(fma231, e.c(0x1.05C610p-29), n, x)
	p := e.horner(x, 0x1.6A241Ap-9, 0x1.1239F2p-6, 0x1.5558F2p-4, 0x1.555492p-2, 0x1.FFFFFCp-1, 2, 2)
	e.shift(VPSLLD, 23, t, t)
	e.do(mulps, t, p, p)
	return p
}

// exp2 returns what computes exp2 of its argument, which it overwrites.
func (g *gen) exp2() func(t vec) vec {
	coefficients := []float64{0x1.5bba14p-10, 0x1.3cea88p-7, 0x1.c6b752p-5, 0x1.ebf9bcp-3, 0x1.62e42ap-1, 1}
	low := g.r(-125.5)
	if g.avx512 {
		const notLessOrEqual, nearest = 6, 0
		power := g.polynomial(coefficients...)
		return func(t vec) vec {
			k, r := K(), g.new()
			VCMPPS(Imm(notLessOrEqual), low[0], t[0], k)
			VREDUCEPS(Imm(nearest), t[0], r[0])
			g.do(subps, r, t, t)
			p := power(r)
			VSCALEFPS_Z(t[0], p[0], k, p[0])
			return p
		}
	}
	for i := range coefficients {
		coefficients[i] *= 2
	}
	power := g.polynomial(coefficients...)
	return func(t vec) vec {
		z, n := g.new(), g.new()
		g.do(maxps, t, low, t)
		g.do(addps, g.c(magic), t, z)
		g.do(subps, g.c(magic), z, n)
		g.do(subps, n, t, t)
		p := power(t)
		g.shift(VPSLLD, 23, z, z)
		g.do(mulps, z, p, p)
		return p
	}
}

const minusInf = 0xFF800000

// maximum writes the pass of laneMax over the n elements at x.
func (g *gen) maximum(n reg.GPVirtual, x reg.Register) reg.VecVirtual {
	least := g.broadcast(constantBits(minusInf))
	m := []vec{g.copy(least), g.copy(least), g.copy(least), g.copy(least)}
	g.unrolled(len(m), n, func(number int) {
		v := g.floats(x)
		g.fill(v, least)
		g.do(maxps, m[number], v, m[number]) // v > m ? v : m
	})
	g.do(maxps, m[1], m[0], m[0])
	g.do(maxps, m[3], m[2], m[2])
	g.do(maxps, m[2], m[0], m[0])
	return g.reduce(VMAXPS, m[0])
}

func softmax() {
	both("softmax", "func(x []float32, scale float32)", "is softmaxGeneric.", func(g *gen) {
		x, n := ptr("x"), length("x")
		g.softmax(x, n, n, []vec{g.spread(g.maximum(n, x))})
	})
	both("softmaxRows", "func(x *float32, n, ld int, scale float32)", "is softmaxGeneric for a few rows of n elements, ld apart.", func(g *gen) {
		x, n, ld := word("x"), word("n"), word("ld")
		g.softmax(x, n, ld, g.maxima(x, n, ld))
	})
}

func softmaxWeights() {
	both("softmaxWeights", "func(x []float32, scale float32) (sum float32)", "is softmaxWeightsGeneric.", func(g *gen) {
		x, n := ptr("x"), length("x")
		m := []vec{g.spread(g.maximum(n, x))}
		result(g.powers(x, n, n, m, g.roundBF16()), Return("sum"))
	})
	both("softmaxWeightsRows", "func(x *float32, n, ld int, scale float32, sums *float32)", "is softmaxWeightsGeneric for a few rows of n elements, ld apart.", func(g *gen) {
		x, n, ld := word("x"), word("n"), word("ld")
		s := g.powers(x, n, ld, g.maxima(x, n, ld), g.roundBF16())
		to := Mem{Base: word("sums")}
		if g.avx512 {
			VMOVUPS(s, to)
		} else {
			VMOVSD(s, to)
		}
	})
}

// maxima is maximum for a few rows.
func (g *gen) maxima(x, n, ld reg.GPVirtual) []vec {
	least := g.broadcast(constantBits(minusInf))
	m := make([]vec, g.rowsAtOnce())
	for r := range m {
		m[r] = g.copy(least)
	}
	g.rows(len(m), n, ld, func(row func(r int)) {
		for r := range m {
			row(r)
			v := g.floats(x)
			g.fill(v, least)
			g.do(maxps, m[r], v, m[r])
		}
	})
	return g.spreadRows(g.reduceRows(VMAXPS, m), len(m))
}

// powers replaces the rows, of which m are the maxima, by powers of 2, rounded by
// round, and returns the sums in the lowest lanes.
func (g *gen) powers(x, n, ld reg.GPVirtual, m []vec, round func(v vec)) reg.VecVirtual {
	scale, exp2 := g.param("scale"), g.exp2()
	sums := make([]vec, len(m))
	for r := range sums {
		sums[r] = g.zero()
	}
	g.rows(len(m), n, ld, func(row func(r int)) {
		for r := range m {
			row(r)
			v := g.floats(x)
			g.do(subps, m[r], v, v)
			g.do(mulps, scale, v, v)
			p := exp2(v)
			round(p)
			g.store(p, x)
			g.keep(p)
			g.do(addps, p, sums[r], sums[r])
		}
	})
	return g.reduceRows(VADDPS, sums)
}

// roundBF16 returns what rounds floats to bfloat16.
func (g *gen) roundBF16() func(v vec) {
	half, last, high := g.bits(0x7FFF), g.bits(1), g.bits(0xFFFF0000)
	if g.avx512 {
		half, last, high = g.broadcast(half[0]), g.broadcast(last[0]), g.broadcast(high[0])
	}
	return func(v vec) {
		odd := g.new()
		g.shift(VPSRLD, 16, v, odd)
		g.and(last, odd, odd)
		g.do(addd, half, v, v)
		g.do(addd, odd, v, v)
		g.and(high, v, v)
	}
}

func (g *gen) softmax(x, n, ld reg.GPVirtual, m []vec) {
	totals, one := g.powers(x, n, ld, m, func(vec) {}), XMM()
	VBROADCASTSS(constantBits(0x3F800000), one)
	VDIVPS(totals, one, totals)
	f := g.spreadRows(totals, len(m))
	g.rows(len(m), n, ld, func(row func(r int)) {
		for r := range m {
			row(r)
			v := g.floats(x)
			g.do(mulps, f[r], v, v)
			g.store(v, x)
		}
	})
}

func softmaxBackward() {
	both("softmaxBackward", "func(dx, dp, p []float32, scale float32)", "is softmaxBackwardGeneric.", func(g *gen) {
		dx, dp, p, n := ptr("dx"), ptr("dp"), ptr("p"), length("dx")
		acc := g.zero()
		g.loop(n, func() {
			a, b := g.floats(dp), g.floats(p)
			g.do(fma231, a, b, acc)
		})
		s, scale := g.spread(g.reduce(VADDPS, acc)), g.param("scale")
		g.loop(n, func() {
			a, b := g.floats(dp), g.floats(p)
			g.do(subps, s, a, a)
			g.do(mulps, scale, b, b)
			g.do(mulps, a, b, b)
			g.store(b, dx)
		})
	})
}

func logSumExp() {
	both("logSumExp", "func(x []float32) (m, s float32)", "is logSumExpGeneric.", func(g *gen) {
		x, n := ptr("x"), length("x")
		most := g.maximum(n, x)
		m := g.spread(most)
		e := g.newExp(false)
		sum := g.zero()
		g.loop(n, func() {
			v := g.floats(x)
			g.do(subps, m, v, v)
			p := e.of(v)
			g.keep(p)
			g.do(addps, p, sum, sum)
		})
		result(most, Return("m"))
		result(g.reduce(VADDPS, sum), Return("s"))
	})
}
