package main

func init() { registerARM("neon_activation", armActivations) }

// forward declares a function of one argument, which compute overwrites and replaces.
func (f *armFile) forward(name string, compute func(g *armFunc, v quad) quad) {
	f.vector(name, "func(dst, x []float32)", func(g *armFunc) {
		g.needConstants()
		dst, x, n := g.arg("dst_base"), g.arg("x_base"), g.arg("x_len")
		g.loop(n, func() {
			v := compute(g, g.floats(x))
			g.store(v, dst)
			g.free(v)
		})
	})
}

// backward declares a gradient; join makes it of dy and of what compute makes of its
// argument.
func (f *armFile) backward(name string, compute func(g *armFunc, v quad) quad, join func(d, n, m vreg) armInst) {
	f.vector(name, "func(dx, dy, pre []float32)", func(g *armFunc) {
		g.needConstants()
		dx, dy, pre, n := g.arg("dx_base"), g.arg("dy_base"), g.arg("pre_base"), g.arg("pre_len")
		g.loop(n, func() {
			d := compute(g, g.floats(pre))
			y := g.floats(dy)
			g.do(join, y, y, d)
			g.store(y, dx)
			g.free(y, d)
		})
	})
}

// limit clamps v to ±bound; NaN stays NaN.
func (g *armFunc) limit(v quad, bound float64) {
	g.doConstant(fmax, v, v, -bound)
	g.doConstant(fmin, v, v, bound)
}

// rational returns z*p(s)/q(s) in z, and gives the others back.
func (g *armFunc) rational(z, s quad, p, q []float64) quad {
	n := g.horner(s, p...)
	g.do(fmul, z, z, n)
	g.free(n)
	d := g.horner(s, q...)
	g.do(fdiv, z, z, d)
	g.free(d, s)
	return z
}

func (g *armFunc) erf(z quad) quad {
	g.limit(z, 4)
	s := g.quad()
	g.do(fmul, s, z, z)
	return g.rational(z, s,
		[]float64{-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
			-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02},
		[]float64{-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02})
}

func (g *armFunc) tanh(z quad) quad {
	g.limit(z, 9)
	s := g.quad()
	g.do(fmul, s, z, z)
	z = g.rational(z, s,
		[]float64{-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
			1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03},
		[]float64{1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03})
	g.limit(z, 1)
	return z
}

// positive sets to zero what is below it. FMAX would make +0 of -0.
func (g *armFunc) positive(v quad) {
	m := g.quad()
	g.do2(fcmlt0, m, v)
	g.do(bic, v, v, m)
	g.free(m)
}

func (g *armFunc) tailGELU(v quad, bound float64, root ...float64) quad {
	a := g.quad()
	g.do2(fabs, a, v)
	g.doConstant(fmin, a, a, bound)
	p := g.horner(a, root...)
	for range 3 {
		g.do(fmul, p, p, p)
	}
	g.positive(v)
	g.do(fmls, v, a, p)
	g.free(a, p)
	return v
}

func armActivations(f *armFile) {
	f.forward("gelu", func(g *armFunc, v quad) quad {
		return g.tailGELU(v, 5.6, -0x1.3aae8ep-22, 0x1.f312b8p-18, -0x1.f740fp-15, 0x1.186df2p-15, 0x1.8ac7cap-10,
			-0x1.613118p-11, -0x1.058bf6p-5, -0x1.769c56p-4, 0x1.d5818ep-1)
	})
	f.forward("geluTanh", func(g *armFunc, v quad) quad {
		return g.tailGELU(v, 5.2, 0x1.0560b2p-21, -0x1.787434p-17, 0x1.928c0cp-14, -0x1.8b2a6cp-12, 0x1.1505ep-11,
			0x1.19056ep-10, -0x1.5f2b46p-12, -0x1.062732p-5, -0x1.76931ep-4, 0x1.d58186p-1)
	})
	f.forward("relu", func(g *armFunc, v quad) quad {
		g.positive(v)
		return v
	})
	f.forward("tanh", func(g *armFunc, v quad) quad { return g.tanh(v) })
	f.forward("silu", func(g *armFunc, v quad) quad {
		h := g.quad()
		g.doConstant(fmul, h, v, -1)
		e := g.exp(h, true)
		g.doConstant(fadd, e, e, 1)
		g.do(fdiv, v, v, e)
		g.free(e)
		return v
	})
	f.backward("geluBackward", func(g *armFunc, v quad) quad {
		z, h := g.quad(), g.quad()
		g.doConstant(fmul, z, v, sqrtHalf)
		cdf := g.erf(z)
		g.doConstant(fadd, cdf, cdf, 1)
		g.doConstant(fmul, cdf, cdf, 0.5)
		g.doConstant(fmul, h, v, -0.5)
		g.do(fmul, h, h, v)
		pdf := g.exp(h, false)
		g.doConstant(fmul, pdf, pdf, 0.39894228040143267794)
		g.do(fmla, cdf, v, pdf)
		g.free(v, pdf)
		return cdf
	}, fmul)
	f.backward("geluTanhBackward", func(g *armFunc, v quad) quad {
		g.limit(v, 9.9)
		cubic, w, u := g.quad(), g.quad(), g.quad()
		g.do(fmul, cubic, v, v)
		g.doConstant(fmul, cubic, cubic, 0.044715)
		g.doConstant(fmul, u, v, geluTanhScale)
		for i := range w {
			g.emit(move(w[i], u[i]))
		}
		g.do(fmla, w, u, cubic)
		g.free(u)
		e := g.exp(w, true)
		s, d := g.constant(1), g.quad()
		g.do(fadd, d, e, s)
		g.do(fdiv, s, s, d)
		g.free(d)
		t := g.constant(1)
		g.doConstant(fmla, t, cubic, 3)
		g.free(cubic)
		g.doConstant(fmul, v, v, -geluTanhScale)
		g.do(fmul, v, v, t) // the slope
		g.free(t)
		g.do(fmul, e, e, s)
		g.do(fmul, e, e, s)
		g.do(fmla, s, e, v)
		g.free(v, e)
		return s
	}, fmul)
	f.backward("reluBackward", func(g *armFunc, v quad) quad {
		g.do2(fcmle0, v, v)
		return v
	}, bic)
	f.backward("tanhBackward", func(g *armFunc, v quad) quad {
		t := g.tanh(v)
		d := g.constant(1)
		g.do(fmls, d, t, t)
		g.free(t)
		return d
	}, fmul)
	f.backward("siluBackward", func(g *armFunc, v quad) quad {
		g.limit(v, 80)
		h := g.quad()
		g.doConstant(fmul, h, v, -1)
		e := g.exp(h, false)
		s, d := g.constant(1), g.quad()
		g.do(fadd, d, e, s)
		g.do(fdiv, s, s, d)
		g.free(d)
		g.do(fmul, e, e, s)
		g.do(fmul, e, e, s)
		g.do(fmla, s, e, v)
		g.free(v, e)
		return s
	}, fmul)
}
