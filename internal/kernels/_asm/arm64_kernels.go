package main

func init() {
	registerARM("neon_exp", func(f *armFile) {
		f.vector("exp", "func(dst, x []float32)", func(g *armFunc) {
			g.needConstants()
			dst, x, n := g.arg("dst_base"), g.arg("x_base"), g.arg("x_len")
			g.loop(n, func() {
				v := g.floats(x)
				p := g.exp(v, true)
				g.store(p, dst)
				g.free(p)
			})
		})
	})
	registerARM("neon_softmax", armSoftmax)
	registerARM("neon_activation", armActivations)
	registerARM("neon_layernorm", armLayerNorm)
	registerARM("neon_elementwise", armElementwise)
	registerARM("neon_reduce", armReductions)
	registerARM("neon_quantize", armQuantize)
	registerARM("neon_half", armHalf)
	registerARM("neon_train", armTrain)
}

// vector declares the kernel of a Go loop.
func (f *armFile) vector(name, signature string, body func(g *armFunc)) {
	f.function(name+"NEON", signature, "is "+name+"Generic.", body)
}

// exp gives x back and returns its exponential; high tells that x may be above 0.
func (g *armFunc) exp(x quad, high bool) quad {
	g.doConstant(fmax, x, x, -87.33)
	if high {
		g.doConstant(fmin, x, x, 88.8)
	}
	t := g.constant(magic)
	g.doConstant(fmla, t, x, 0x1.715476p+0)
	n := g.quad()
	g.doConstant(fsub, n, t, magic)
	g.doConstant(fmla, x, n, -0x1.62E430p-1)
	g.doConstant(fmla, x, n, 0x1.05C610p-29)
	g.free(n)
	p := g.horner(x, 0x1.6A241Ap-9, 0x1.1239F2p-6, 0x1.5558F2p-4, 0x1.555492p-2, 0x1.FFFFFCp-1, 2, 2)
	g.free(x)
	g.by(shl, t, t, 23)
	g.do(fmul, p, p, t)
	g.free(t)
	return p
}

// exp2 gives t back and returns exp2 of it.
func (g *armFunc) exp2(t quad) quad {
	g.doConstant(fmax, t, t, -125.5)
	z, n := g.quad(), g.quad()
	g.with(float32Bits(magic), func(c quad) {
		g.do(fadd, z, t, c)
		g.do(fsub, n, z, c)
	})
	g.do(fsub, t, t, n)
	g.free(n)
	p := g.horner(t, 2*0x1.5bba14p-10, 2*0x1.3cea88p-7, 2*0x1.c6b752p-5, 2*0x1.ebf9bcp-3, 2*0x1.62e42ap-1, 2)
	g.free(t)
	g.by(shl, z, z, 23)
	g.do(fmul, p, p, z)
	g.free(z)
	return p
}

// roundToBF16 rounds numbers to bfloat16, in the upper halves.
func (g *armFunc) roundToBF16(v quad) {
	odd := g.quad()
	g.by(ushr, odd, v, 16)
	g.with(1, func(c quad) { g.do(and, odd, odd, c) })
	g.with(0x7FFF, func(c quad) { g.do(addi, v, v, c) })
	g.do(addi, v, v, odd)
	g.with(0xFFFF0000, func(c quad) { g.do(and, v, v, c) })
	g.free(odd)
}

// powers replaces the n elements of x by powers of 2, rounded if need be, and returns
// their sum in the lowest lane.
func (g *armFunc) powers(n xreg, round bool) vreg {
	most := g.largest(n, "x_base")
	m, scale, total, x := g.spread(most), g.param("scale"), g.zeroQuad(), g.arg("x_base")
	g.free(most)
	g.loop(n, func() {
		v := g.floats(x)
		g.do(fsub, v, v, m)
		g.do(fmul, v, v, scale)
		p := g.exp2(v)
		if round {
			g.roundToBF16(p)
		}
		g.store(p, x)
		g.keep(p)
		g.do(fadd, total, total, p)
		g.free(p)
	})
	g.free(x, m[0], scale[0])
	return g.sum(total)
}

func armSoftmax(f *armFile) {
	f.vector("softmax", "func(x []float32, scale float32)", func(g *armFunc) {
		g.needConstants()
		n := g.arg("x_len")
		s, x, one := g.powers(n, false), g.arg("x_base"), g.v()
		g.setConstant(one, float32Bits(1))
		g.emit(fdivS(one, one, s))
		r := g.spread(one)
		g.loop(n, func() {
			v := g.floats(x)
			g.do(fmul, v, v, r)
			g.store(v, x)
			g.free(v)
		})
	})
	f.vector("softmaxWeights", "func(x []float32, scale float32) (sum float32)", func(g *armFunc) {
		g.needConstants()
		g.result(g.powers(g.arg("x_len"), true), "sum")
	})
	f.vector("softmaxBackward", "func(dx, dp, p []float32, scale float32)", func(g *armFunc) {
		n := g.arg("dx_len")
		dp, p, acc := g.arg("dp_base"), g.arg("p_base"), g.zeroQuad()
		g.loop(n, func() {
			a, b := g.floats(dp), g.floats(p)
			g.do(fmla, acc, a, b)
			g.free(a, b)
		})
		g.free(dp, p)
		s, scale := g.spread(g.sum(acc)), g.param("scale")
		dx, dp, p := g.arg("dx_base"), g.arg("dp_base"), g.arg("p_base")
		g.loop(n, func() {
			a, b := g.floats(dp), g.floats(p)
			g.do(fsub, a, a, s)
			g.do(fmul, b, b, scale)
			g.do(fmul, b, b, a)
			g.store(b, dx)
			g.free(a, b)
		})
	})
	f.vector("logSumExp", "func(x []float32) (m, s float32)", func(g *armFunc) {
		g.needConstants()
		n := g.arg("x_len")
		most := g.largest(n, "x_base")
		g.result(most, "m")
		m, x, acc := g.spread(most), g.arg("x_base"), g.zeroQuad()
		g.loop(n, func() {
			v := g.floats(x)
			g.do(fsub, v, v, m)
			p := g.exp(v, false)
			g.keep(p)
			g.do(fadd, acc, acc, p)
			g.free(p)
		})
		g.result(g.sum(acc), "s")
	})
}

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
}

// asFloat returns an argument of 64 bits as a float32 in the lowest lane.
func (g *armFunc) asFloat(n xreg) vreg {
	v := g.v()
	g.plain("SCVTFS R%d, F%d", n, v)
	return v
}

// armNorm writes the three passes over a row; residual adds another matrix first, most
// finds the largest magnitude of the result.
func armNorm(g *armFunc, residual, most bool) {
	g.needConstants()
	n, stats := g.arg("n"), g.arg("stats")
	x, total := g.arg("x"), g.zeroQuad()
	from := "x"
	if residual {
		from = "sum"
		r, sum := g.arg("residual"), g.arg("sum")
		g.loop(n, func() {
			a, b := g.floats(x), g.floats(r)
			g.do(fadd, a, a, b)
			g.store(a, sum)
			g.do(fadd, total, total, a)
			g.free(a, b)
		})
		g.free(r, sum)
	} else {
		g.loop(n, func() {
			a := g.floats(x)
			g.do(fadd, total, total, a)
			g.free(a)
		})
	}
	g.free(x)
	count, s := g.asFloat(n), g.sum(total)
	g.emit(fdivS(s, s, count))
	g.plain("FMOVS F%d, (R%d)", s, stats)
	mean, squares := g.spread(s), g.zeroQuad()
	g.free(s)
	x = g.arg(from)
	g.loop(n, func() {
		d := g.floats(x)
		g.do(fsub, d, d, mean)
		g.keep(d)
		g.do(fmla, squares, d, d)
		g.free(d)
	})
	g.free(x)
	v, eps := g.sum(squares), g.float("eps")
	g.emit(fdivS(v, v, count), faddS(v, v, eps), fsqrtS(v, v))
	g.setConstant(eps, float32Bits(1))
	g.emit(fdivS(v, eps, v))
	g.plain("FMOVS F%d, 16(R%d)", v, stats)
	rstd := g.spread(v)
	g.free(v, eps, count)
	var largest quad
	if most {
		largest = g.zeroQuad()
	}
	x = g.arg(from)
	dst, gamma, beta := g.arg("dst"), g.arg("gamma"), g.arg("beta")
	g.loop(n, func() {
		d, a, b := g.floats(x), g.floats(gamma), g.floats(beta)
		g.do(fsub, d, d, mean)
		g.do(fmul, d, d, rstd)
		g.do(fmla, b, d, a)
		g.store(b, dst)
		if most {
			g.do2(fabs, b, b)
			g.keep(b) // beside the row stands 0 * (-mean * rstd), which may be NaN
			g.do(umax, largest, largest, b)
		}
		g.free(d, a, b)
	})
	if most {
		g.emit(umax(largest[0], largest[0], largest[1]), umax(largest[2], largest[2], largest[3]),
			umax(largest[0], largest[0], largest[2]), umaxvS(largest[0], largest[0]))
		g.plain("FMOVS F%d, 32(R%d)", largest[0], stats)
	}
}

func armLayerNorm(f *armFile) {
	const added = "func(dst, sum, x, residual, gamma, beta *float32, n int, eps float32, stats *float32)"
	doc := "Generic; stats points to a rowStats."
	f.function("layerNormNEON", "func(dst, x, gamma, beta *float32, n int, eps float32, stats *float32)", "is layerNorm"+doc,
		func(g *armFunc) { armNorm(g, false, false) })
	f.function("addLayerNormNEON", added, "is addLayerNorm"+doc, func(g *armFunc) { armNorm(g, true, false) })
	f.function("addLayerNormMaxNEON", added, "is addLayerNormMax"+doc, func(g *armFunc) { armNorm(g, true, true) })
	f.vector("layerNormBackward", "func(dx, dgamma, dbeta, dy, x, gamma []float32, mean, rstd float32)", func(g *armFunc) {
		n, mean, rstd := g.arg("dx_len"), g.param("mean"), g.param("rstd")
		dgamma, dbeta, dy, x, gamma := g.arg("dgamma_base"), g.arg("dbeta_base"), g.arg("dy_base"), g.arg("x_base"), g.arg("gamma_base")
		normalized := func() quad {
			h := g.floats(x)
			g.do(fsub, h, h, mean)
			g.do(fmul, h, h, rstd)
			return h
		}
		sumD, sumDH := g.zeroQuad(), g.zeroQuad()
		g.loop(n, func() {
			h := normalized()
			g.keep(h)
			y := g.floats(dy)
			b := g.floats(dbeta)
			g.do(fadd, b, b, y)
			g.store(b, dbeta)
			g.free(b)
			a := g.floats(dgamma)
			g.do(fmla, a, y, h)
			g.store(a, dgamma)
			g.free(a)
			d := g.floats(gamma)
			g.do(fmul, d, d, y)
			g.do(fadd, sumD, sumD, d)
			g.do(fmla, sumDH, d, h)
			g.free(h, y, d)
		})
		g.free(dgamma, dbeta, dy, x, gamma)
		count, s, t := g.asFloat(n), g.sum(sumD), g.sum(sumDH)
		g.emit(fdivS(s, s, count), fdivS(t, t, count))
		meanD, meanDH := g.spread(s), g.spread(t)
		dx := g.arg("dx_base")
		dy, x, gamma = g.arg("dy_base"), g.arg("x_base"), g.arg("gamma_base")
		g.loop(n, func() {
			h, y, d := normalized(), g.floats(dy), g.floats(gamma)
			g.do(fmul, d, d, y)
			g.do(fsub, d, d, meanD)
			g.do(fmls, d, h, meanDH)
			g.do(fmul, d, d, rstd)
			g.store(d, dx)
			g.free(h, y, d)
		})
	})
}

func armElementwise(f *armFile) {
	binary := func(name string, in func(d, n, m vreg) armInst) {
		f.vector(name, "func(dst, a, b []float32)", func(g *armFunc) {
			dst, a, b, n := g.arg("dst_base"), g.arg("a_base"), g.arg("b_base"), g.arg("a_len")
			g.loop(n, func() {
				v, w := g.floats(a), g.floats(b)
				g.do(in, v, v, w)
				g.store(v, dst)
				g.free(v, w)
			})
		})
	}
	binary("add", fadd)
	binary("mul", fmul)
	f.vector("axpy", "func(dst []float32, alpha float32, x []float32)", func(g *armFunc) {
		dst, x, n, alpha := g.arg("dst_base"), g.arg("x_base"), g.arg("x_len"), g.param("alpha")
		g.loop(n, func() {
			v, d := g.floats(x), g.floats(dst)
			g.do(fmla, d, v, alpha)
			g.store(d, dst)
			g.free(v, d)
		})
	})
	f.vector("scaleBy", "func(dst []float32, alpha float32, x []float32)", func(g *armFunc) {
		dst, x, n, alpha := g.arg("dst_base"), g.arg("x_base"), g.arg("x_len"), g.param("alpha")
		g.loop(n, func() {
			v := g.floats(x)
			g.do(fmul, v, v, alpha)
			g.store(v, dst)
			g.free(v)
		})
	})
	f.function("prefetchBytes", "func(p *byte, n int)", "asks for the n bytes at p to be brought into the second-level cache.", func(g *armFunc) {
		p, n := g.arg("p"), g.arg("n")
		g.plain("ADD R%d, R%d, R%d", p, n, n)
		g.at("line")
		g.plain("CMP R%d, R%d", n, p)
		g.plain("BGE done")
		g.plain("PRFM (R%d), PLDL2KEEP", p)
		g.plain("ADD $64, R%d, R%d", p, p)
		g.plain("B line")
		g.at("done")
	})
}

func armReductions(f *armFile) {
	f.vector("sum", "func(x []float32) float32", func(g *armFunc) {
		x, n, acc := g.arg("x_base"), g.arg("x_len"), g.zeroQuad()
		g.loop(n, func() {
			v := g.floats(x)
			g.do(fadd, acc, acc, v)
			g.free(v)
		})
		g.result(g.sum(acc), "ret")
	})
	f.vector("dot", "func(a, b []float32) float32", func(g *armFunc) {
		a, b, n, acc := g.arg("a_base"), g.arg("b_base"), g.arg("a_len"), g.zeroQuad()
		g.loop(n, func() {
			v, w := g.floats(a), g.floats(b)
			g.do(fmla, acc, v, w)
			g.free(v, w)
		})
		g.result(g.sum(acc), "ret")
	})
	f.vector("maxAbsBits", "func(x []float32) uint32", func(g *armFunc) {
		x, n, acc := g.arg("x_base"), g.arg("x_len"), g.zeroQuad()
		g.loop(n, func() {
			v := g.floats(x)
			g.do2(fabs, v, v)
			g.do(umax, acc, acc, v)
			g.free(v)
		})
		g.emit(umax(acc[0], acc[0], acc[1]), umax(acc[2], acc[2], acc[3]), umax(acc[0], acc[0], acc[2]), umaxvS(acc[0], acc[0]))
		g.result(acc[0], "ret")
	})
	f.vector("sumSquares", "func(x []float32) float64", func(g *armFunc) {
		x, n := g.arg("x_base"), g.arg("x_len")
		low, high := g.zeroQuad(), g.zeroQuad() // of each register of floats
		g.loop(n, func() {
			v := g.floats(x)
			t := g.v()
			for i := range v {
				g.emit(fcvtld(t, v[i]), fmlad(low[i], t, t), fcvtld2(t, v[i]), fmlad(high[i], t, t))
			}
			g.free(v, t)
		})
		for _, q := range []quad{low, high} {
			g.emit(faddd(q[0], q[0], q[2]), faddd(q[1], q[1], q[3]), faddd(q[0], q[0], q[1]))
		}
		g.emit(faddd(low[0], low[0], high[0]), faddpD(low[0], low[0]))
		g.plain("FMOVD F%d, %s", low[0], g.slot("ret"))
	})
	f.function("columnSumsNEON", "func(dst, x []float32, rows, ld int)", "is columnSumsGeneric; there is at least one row.", func(g *armFunc) {
		dst, x, n, rows, ld := g.arg("dst_base"), g.arg("x_base"), g.arg("dst_len"), g.arg("rows"), g.arg("ld")
		g.plain("LSL $2, R%d, R%d", ld, ld)
		g.loop(n, func() {
			acc := g.zeroQuad()
			p, left, head := g.x(), g.x(), g.label("row")
			g.plain("MOVD R%d, R%d", x, p)
			g.plain("MOVD R%d, R%d", rows, left)
			g.at(head)
			v := g.floats(p)
			g.do(fadd, acc, acc, v)
			g.plain("ADD R%d, R%d, R%d", ld, p, p)
			g.plain("SUBS $1, R%d, R%d", left, left)
			g.plain("BNE %s", head)
			g.store(acc, dst)
			if !g.inTail {
				g.moving = []xreg{x, dst}
			}
			g.free(acc, v, p, left)
		})
	})
}

func armQuantize(f *armFile) {
	f.vector("quantizeRow", "func(dst []int8, x []float32, inverse float32) (sum int32)", func(g *armFunc) {
		g.needConstants()
		dst, x, n, inverse, acc := g.arg("dst_base"), g.arg("x_base"), g.arg("x_len"), g.param("inverse"), g.zeroQuad()
		g.loop(n, func() {
			v := g.floats(x)
			g.do(fmul, v, v, inverse)
			g.doConstant(fmaxnm, v, v, -127) // which NaN becomes
			g.doConstant(fminnm, v, v, 127)
			g.do2(fcvtns, v, v)
			g.do(addi, acc, acc, v)
			g.emit(xtn(v[0], v[0]), xtn2(v[0], v[1]), xtn(v[2], v[2]), xtn2(v[2], v[3]), xtnb(v[0], v[0]), xtnb2(v[0], v[2]))
			if g.inTail {
				g.tailBytes(v[0], v[1], dst)
			} else {
				g.plain("FMOVQ.P F%d, 16(R%d)", v[0], dst)
			}
			g.free(v)
		})
		g.emit(addi(acc[0], acc[0], acc[1]), addi(acc[2], acc[2], acc[3]), addi(acc[0], acc[0], acc[2]), addvS(acc[0], acc[0]))
		g.result(acc[0], "sum")
	})
	f.function("dequantizeRowNEON", "func(dst []float32, src []int8, scale float32)", "is dequantizeRowGeneric for the whole vectors of 16.", func(g *armFunc) {
		dst, src, n, scale := g.arg("dst_base"), g.arg("src_base"), g.arg("src_len"), g.param("scale")
		g.whole(n, func() {
			b, v := g.v(), g.quad()
			g.emit(ldqPost(b, src, 16), sshllb(v[0], b, 0), sshllb2(v[2], b, 0))
			g.emit(sshll2(v[1], v[0], 0), sshll(v[0], v[0], 0), sshll2(v[3], v[2], 0), sshll(v[2], v[2], 0))
			g.do2(scvtf, v, v)
			g.do(fmul, v, v, scale)
			g.storeWhole(v, dst)
			g.free(b, v)
		})
	})
}

// storeWhole stores a vector and moves on.
func (g *armFunc) storeWhole(v quad, dst xreg) {
	g.emit(stp(v[0], v[1], dst, 0), stp(v[2], v[3], dst, 32))
	g.plain("ADD $64, R%d, R%d", dst, dst)
}

// tailBytes stores the first count bytes of v, which it overwrites.
func (g *armFunc) tailBytes(v, t vreg, dst xreg) {
	for _, step := range []struct {
		bit, bytes int
		store      string
	}{
		{3, 8, "FMOVD.P F%d, 8(R%d)"}, {2, 4, "FMOVS.P F%d, 4(R%d)"}, {1, 2, "VST1.P V%d.H[0], 2(R%d)"}, {0, 1, "VST1.P V%d.B[0], 1(R%d)"},
	} {
		skip := g.label("b")
		g.plain("TBZ $%d, R%d, %s", step.bit, g.count, skip)
		g.plain(step.store, v, dst)
		g.emit(ext(v, v, v, step.bytes))
		g.at(skip)
	}
}

// roundedBF16 returns v rounded to bfloat16, in the upper halves; NaN becomes quiet.
func (g *armFunc) roundedBF16(v quad) quad {
	r, t := g.quad(), g.quad()
	g.by(ushr, r, v, 16)
	g.with(1, func(c quad) { g.do(and, r, r, c) })
	g.with(0x7FFF, func(c quad) { g.do(addi, r, r, c) })
	g.do(addi, r, r, v)
	g.do(fcmeq, t, v, v)
	g.with(0x400000, func(c quad) { g.do(orr, v, v, c) })
	g.do(bif, r, v, t)
	g.free(t, v)
	return r
}

func armHalf(f *armFile) {
	const doc = "Generic for the whole vectors of 16."
	widen := func(name string, low, high func(d, n vreg) armInst) {
		f.function(name+"NEON", "func(dst []float32, src []uint16)", "is "+name+doc, func(g *armFunc) {
			dst, src, n := g.arg("dst_base"), g.arg("src_base"), g.arg("src_len")
			g.whole(n, func() {
				a, b, v := g.v(), g.v(), g.quad()
				g.emit(ldp(a, b, src, 0))
				g.plain("ADD $32, R%d, R%d", src, src)
				g.emit(low(v[0], a), high(v[1], a), low(v[2], b), high(v[3], b))
				g.storeWhole(v, dst)
				g.free(a, b, v)
			})
		})
	}
	widen("f16ToF32", fcvtl, fcvtl2)
	widen("bf16ToF32", shll, shll2)
	narrow := func(name string, compute func(g *armFunc, v quad)) {
		f.function(name+"NEON", "func(dst []uint16, src []float32)", "is "+name+doc, func(g *armFunc) {
			g.needConstants()
			dst, src, n := g.arg("dst_base"), g.arg("src_base"), g.arg("src_len")
			g.whole(n, func() {
				v := g.quad()
				g.emit(ldp(v[0], v[1], src, 0), ldp(v[2], v[3], src, 32))
				g.plain("ADD $64, R%d, R%d", src, src)
				compute(g, v)
				g.emit(stp(v[0], v[2], dst, 0))
				g.plain("ADD $32, R%d, R%d", dst, dst)
				g.free(v)
			})
		})
	}
	narrow("f32ToF16", func(g *armFunc, v quad) {
		g.emit(fcvtn(v[0], v[0]), fcvtn2(v[0], v[1]), fcvtn(v[2], v[2]), fcvtn2(v[2], v[3]))
	})
	narrow("f32ToBF16", func(g *armFunc, v quad) {
		r := g.roundedBF16(v)
		// roundedBF16 has given v back, of which the first and third are written.
		for _, x := range v {
			g.vs[x] = true
		}
		g.emit(shrn(v[0], r[0], 16), shrn2(v[0], r[1], 16), shrn(v[2], r[2], 16), shrn2(v[2], r[3], 16))
		g.free(r)
	})
}

func armTrain(f *armFile) {
	f.vector("dropout", "func(dst, x []float32, scale float32, threshold, counter, k0, k1 uint32)", func(g *armFunc) {
		g.needConstants()
		dst, x, n := g.arg("dst_base"), g.arg("x_base"), g.arg("x_len")
		scale, threshold, k0, k1 := g.param("scale"), g.param("threshold"), g.param("k0"), g.param("k1")
		start, counter, t := g.param("counter"), g.quad(), g.x()
		for half, pair := range []uint64{1 << 32, 3<<32 | 2} {
			g.plain("MOVD $%#x, R%d", pair, t)
			g.plain("VMOV R%d, V%d.D[%d]", t, counter[0], half)
		}
		g.emit(addi(counter[0], counter[0], start[0]))
		g.free(t, start[0])
		g.with(4, func(c quad) {
			for i := 1; i < 4; i++ {
				g.emit(addi(counter[i], counter[i-1], c[0]))
			}
		})
		g.loop(n, func() {
			h, t := g.quad(), g.quad()
			g.do(eor, h, k0, counter)
			fold := func(by int) {
				g.by(ushr, t, h, by)
				g.do(eor, h, h, t)
			}
			times := func(by uint32) { g.with(by, func(c quad) { g.do(muli, h, h, c) }) }
			fold(17)
			times(0xED5AD4BB)
			fold(11)
			g.do(addi, h, h, k1)
			times(0xAC4C1B51)
			fold(15)
			times(0x31848BAB)
			fold(14)
			g.do(cmhs, h, h, threshold)
			g.free(t)
			v := g.floats(x)
			g.do(fmul, v, v, scale)
			g.do(and, v, v, h)
			g.store(v, dst)
			g.with(lanes, func(c quad) { g.do(addi, counter, counter, c) })
			g.free(v, h)
		})
	})
	f.function("adamWNEON", "func(w, g, m, v []float32, f *float32)", "is adamWGeneric; f points to the fields of adamWFactors.", func(g *armFunc) {
		w, gr, m, v, n, at := g.arg("w_base"), g.arg("g_base"), g.arg("m_base"), g.arg("v_base"), g.arg("w_len"), g.arg("f")
		factor := func() quad {
			r := g.v()
			g.emit(ld1r(r, at))
			return all(r)
		}
		grad, decay, first, beta2 := factor(), factor(), factor(), factor()
		second, correction, eps, step := factor(), factor(), factor(), factor()
		g.loop(n, func() {
			d, a, t := g.floats(gr), g.floats(m), g.quad()
			g.do(fmul, d, d, grad)
			g.do(fsub, t, d, a)
			g.do(fmul, t, t, first)
			g.do(fadd, a, a, t)
			g.store(a, m)
			g.free(t)
			b := g.floats(v)
			g.do(fmul, b, b, beta2)
			g.do(fmul, d, d, d)
			g.do(fmul, d, d, second)
			g.do(fadd, b, b, d)
			g.store(b, v)
			g.free(d)
			g.do2(fsqrt, b, b)
			g.do(fdiv, b, b, correction)
			g.do(fadd, b, b, eps)
			g.do(fdiv, a, a, b)
			g.do(fmul, a, a, step)
			c := g.floats(w)
			g.do(fmul, c, c, decay)
			g.do(fsub, c, c, a)
			g.store(c, w)
			g.free(a, b, c)
		})
	})
}
