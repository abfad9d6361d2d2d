package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	register("layernorm", func() {
		both("layerNorm", "func(dst, x, gamma, beta []float32, eps float32) (mean, rstd float32)", "is layerNormGeneric.", func(g *gen) {
			x := ptr("x")
			g.layerNorm(x, func() vec { return g.floats(x) })
		})
		both("addLayerNorm", "func(dst, sum, x, residual, gamma, beta []float32, eps float32) (mean, rstd float32)", "is addLayerNormGeneric.", func(g *gen) {
			x, residual, sum := ptr("x"), ptr("residual"), ptr("sum")
			g.layerNorm(sum, func() vec {
				a, b := g.floats(x), g.floats(residual)
				g.do(addps, b, a, a)
				g.store(a, sum)
				return a
			})
		})
		layerNormBackward()
	})
}

// layerNorm writes the three passes over a row; first returns the elements of a
// turn in the first pass, which are at x in the later ones.
func (g *gen) layerNorm(x reg.Register, first func() vec) {
	n := length("dst")
	total := g.zero()
	g.loop(n, func() { g.do(addps, first(), total, total) })
	count := toFloat(n)
	s := g.reduce(VADDPS, total)
	VDIVSS(count, s, s)
	Store(s, Return("mean"))
	mean := g.spread(s)

	squares := g.zero()
	g.loop(n, func() {
		d := g.floats(x)
		g.do(subps, mean, d, d)
		g.keep(d)
		g.do(fma231, d, d, squares)
	})
	v := g.reduce(VADDPS, squares)
	VDIVSS(count, v, v)
	eps := XMM()
	Load(Param("eps"), eps)
	VADDSS(eps, v, v)
	VSQRTSS(v, v, v)
	one := XMM()
	VMOVSS(constantBits(0x3F800000), one)
	VDIVSS(v, one, v)
	Store(v, Return("rstd"))
	rstd := g.spread(v)

	dst, gamma, beta := ptr("dst"), ptr("gamma"), ptr("beta")
	g.loop(n, func() {
		d := g.floats(x)
		g.do(subps, mean, d, d)
		g.do(mulps, rstd, d, d)
		a, b := g.floats(gamma), g.floats(beta)
		g.do(fma213, b, a, d)
		g.store(d, dst)
	})
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
