package main

func init() { registerARM("neon_layernorm", armLayerNorm) }

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
		g.both(n, x, r, func(a, b quad) {
			g.do(fadd, a, a, b)
			g.store(a, sum)
			g.do(fadd, total, total, a)
		})
		g.free(r, sum)
	} else {
		g.each(n, x, func(a quad) {
			g.do(fadd, total, total, a)
		})
	}
	g.free(x)
	count, s := g.asFloat(n), g.sum(total)
	g.emit(fdivS(s, s, count))
	g.plain("FMOVS F%d, (R%d)", s, stats)
	mean, squares := g.spread(s), g.zeroQuad()
	g.free(s)
	x = g.arg(from)
	g.each(n, x, func(d quad) {
		g.do(fsub, d, d, mean)
		g.keep(d)
		g.do(fmla, squares, d, d)
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
