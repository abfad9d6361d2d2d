package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

func init() {
	register("activation", func() {
		forward("gelu", gelu)
		forward("geluTanh", geluTanh)
		forward("relu", func(g *gen) func(v vec) vec {
			zero := g.zero()
			return func(v vec) vec {
				g.do(maxps, v, zero, v)
				return v
			}
		})
		forward("tanh", tanh)
		forward("silu", silu)
		backward("geluBackward", geluBackward)
		backward("geluTanhBackward", geluTanhBackward)
		backward("reluBackward", reluBackward)
		backward("tanhBackward", tanhBackward)
		backward("siluBackward", siluBackward)
	})
}

// forward declares a function of one argument; prepare loads constants and
// returns what computes it, overwriting its argument.
func forward(name string, prepare func(g *gen) func(v vec) vec) {
	both(name, "func(dst, x []float32)", "is "+name+"Generic.", func(g *gen) {
		dst, x, n := ptr("dst"), ptr("x"), length("x")
		f := prepare(g)
		g.loop(n, func() { g.store(f(g.floats(x)), dst) })
	})
}

// backward declares a gradient; prepare returns what computes the derivative
// (or, told so by its second result, the gradient from dy).
func backward(name string, prepare func(g *gen) func(v vec) vec) {
	both(name, "func(dx, dy, pre []float32)", "is "+name+"Generic.", func(g *gen) {
		dx, dy, pre, n := ptr("dx"), ptr("dy"), ptr("pre"), length("pre")
		f := prepare(g)
		g.loop(n, func() {
			d := f(g.floats(pre))
			y := g.floats(dy)
			if name == "reluBackward" {
				g.and(d, y, y)
			} else {
				g.do(mulps, d, y, y)
			}
			g.store(y, dx)
		})
	})
}

// clamp returns what limits its argument to ±bound, NaN staying NaN.
func (g *gen) clamp(bound float64) func(v vec) {
	low, high := g.r(-bound), g.r(bound)
	return func(v vec) {
		g.do(maxps, v, low, v)
		g.do(minps, v, high, v)
	}
}

// erf returns what computes erf32(z), overwriting z.
func (g *gen) erf() func(z vec) vec {
	clamp := g.clamp(4)
	return func(z vec) vec {
		clamp(z)
		s := g.new()
		g.do(mulps, z, z, s)
		p := g.horner(s, -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
			-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02)
		q := g.horner(s, -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
			-1.42647390514189e-02)
		g.do(mulps, p, z, z)
		g.do(divps, q, z, z)
		return z
	}
}

func gelu(g *gen) func(v vec) vec {
	return g.tailGELU(5.6, -0x1.3aae8ep-22, 0x1.f312b8p-18, -0x1.f740fp-15, 0x1.186df2p-15, 0x1.8ac7cap-10,
		-0x1.613118p-11, -0x1.058bf6p-5, -0x1.769c56p-4, 0x1.d5818ep-1)
}

func geluTanh(g *gen) func(v vec) vec {
	return g.tailGELU(5.2, 0x1.0560b2p-21, -0x1.787434p-17, 0x1.928c0cp-14, -0x1.8b2a6cp-12, 0x1.1505ep-11,
		0x1.19056ep-10, -0x1.5f2b46p-12, -0x1.062732p-5, -0x1.76931ep-4, 0x1.d58186p-1)
}

// tailGELU returns what computes tailGELU of its argument.
func (g *gen) tailGELU(bound float64, root ...float64) func(v vec) vec {
	const smallest = 10 // of two numbers that of the smaller magnitude, without its sign
	zero, most, poly := g.zero(), g.r(bound), g.polynomial(root...)
	return func(v vec) vec {
		a := g.new()
		if g.avx512 {
			VRANGEPS(Imm(smallest), most[0], v[0], a[0])
		} else {
			g.and(g.bits(1<<31-1), v, a)
			g.do(minps, a, most, a)
		}
		p := poly(a)
		for range 3 {
			g.do(mulps, p, p, p)
		}
		g.do(maxps, v, zero, v)
		g.do(fnma231, p, a, v)
		return v
	}
}

const sqrtHalf = 0.70710678118654752440

func geluBackward(g *gen) func(v vec) vec {
	erf, exp := g.erf(), g.newExp(false)
	return func(v vec) vec {
		z := g.new()
		g.do(mulps, g.c(sqrtHalf), v, z)
		cdf := erf(z)
		g.do(addps, g.c(1), cdf, cdf)
		g.do(mulps, g.c(0.5), cdf, cdf)
		h := g.new()
		g.do(mulps, g.c(-0.5), v, h)
		g.do(mulps, v, h, h)
		pdf := exp.of(h)
		g.do(mulps, g.c(0.39894228040143267794), pdf, pdf)
		g.do(fma213, cdf, v, pdf)
		return pdf
	}
}

const geluTanhScale = -2 * 0.79788456080286535588

// geluTanhExp returns what computes geluTanhExp of its argument, which becomes
// the clamped one, with cubic.
func (g *gen) geluTanhExp() func(v vec) (e, cubic vec) {
	clamp, exp := g.clamp(9.9), g.newExp(true)
	return func(v vec) (e, cubic vec) {
		clamp(v)
		cubic, u, w := g.new(), g.new(), g.new()
		g.do(mulps, v, v, cubic)
		g.do(mulps, g.c(0.044715), cubic, cubic)
		g.do(mulps, g.c(geluTanhScale), v, u)
		g.unary(VMOVAPS, u, w)
		g.do(fma231, cubic, u, w)
		return exp.of(w), cubic
	}
}

func geluTanhBackward(g *gen) func(v vec) vec {
	exp := g.geluTanhExp()
	return func(v vec) vec {
		e, cubic := exp(v)
		d := g.new()
		g.do(addps, g.c(1), e, d)
		s := g.load(g.c(1))
		g.do(divps, d, s, s)
		g.do(mulps, g.c(-geluTanhScale), v, v)
		t := g.load(g.c(3))
		g.do(fma213, g.c(1), cubic, t)
		g.do(mulps, t, v, v) // the slope
		g.do(mulps, s, e, e)
		g.do(mulps, s, e, e)
		g.do(fma213, s, v, e)
		return e
	}
}

func reluBackward(g *gen) func(v vec) vec {
	zero := g.zero()
	return func(v vec) vec {
		const notLessOrEqual = 6
		if g.avx512 {
			k := K()
			VCMPPS(Imm(notLessOrEqual), zero[0], v[0], k)
			VPMOVM2D(k, v[0])
			return v
		}
		for i := range v {
			VCMPPS(Imm(notLessOrEqual), zero[i], v[i], v[i])
		}
		return v
	}
}

// tanh returns what computes tanh32(v), overwriting v.
func tanh(g *gen) func(v vec) vec {
	clamp, unit := g.clamp(9), g.clamp(1)
	return func(v vec) vec {
		clamp(v)
		s := g.new()
		g.do(mulps, v, v, s)
		p := g.horner(s, -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
			1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03)
		q := g.horner(s, 1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
		g.do(mulps, p, v, v)
		g.do(divps, q, v, v)
		unit(v)
		return v
	}
}

func tanhBackward(g *gen) func(v vec) vec {
	t := tanh(g)
	return func(v vec) vec {
		v = t(v)
		d := g.load(g.c(1))
		g.do(fnma231, v, v, d)
		return d
	}
}

func silu(g *gen) func(v vec) vec {
	exp := g.newExp(true)
	return func(v vec) vec {
		h := g.new()
		g.do(mulps, g.c(-1), v, h)
		e := exp.of(h)
		g.do(addps, g.c(1), e, e)
		g.do(divps, e, v, v)
		return v
	}
}

func siluBackward(g *gen) func(v vec) vec {
	clamp, exp := g.clamp(80), g.newExp(false)
	return func(v vec) vec {
		clamp(v)
		h := g.new()
		g.do(mulps, g.c(-1), v, h)
		e := exp.of(h)
		d := g.new()
		g.do(addps, g.c(1), e, d)
		s := g.load(g.c(1))
		g.do(divps, d, s, s)
		g.do(mulps, s, e, e)
		g.do(mulps, s, e, e)
		g.do(fma213, s, v, e)
		return e
	}
}
