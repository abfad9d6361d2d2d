package main

func init() {
	registerARM("neon_elementwise", armElementwise)
	registerARM("neon_reduce", armReductions)
}

func armElementwise(f *armFile) {
	binary := func(name string, in func(d, n, m vreg) armInst) {
		f.vector(name, "func(dst, a, b []float32)", func(g *armFunc) {
			dst, a, b, n := g.arg("dst_base"), g.arg("a_base"), g.arg("b_base"), g.arg("a_len")
			g.both(n, a, b, func(v, w quad) {
				g.do(in, v, v, w)
				g.store(v, dst)
			})
		})
	}
	binary("add", fadd)
	binary("mul", fmul)
	f.vector("axpy", "func(dst []float32, alpha float32, x []float32)", func(g *armFunc) {
		dst, x, n, alpha := g.arg("dst_base"), g.arg("x_base"), g.arg("x_len"), g.param("alpha")
		g.both(n, x, dst, func(v, d quad) {
			g.do(fmla, d, v, alpha)
			g.store(d, dst)
		})
	})
	f.vector("scaleBy", "func(dst []float32, alpha float32, x []float32)", func(g *armFunc) {
		dst, x, n, alpha := g.arg("dst_base"), g.arg("x_base"), g.arg("x_len"), g.param("alpha")
		g.each(n, x, func(v quad) {
			g.do(fmul, v, v, alpha)
			g.store(v, dst)
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
		g.each(n, x, func(v quad) {
			g.do(fadd, acc, acc, v)
		})
		g.result(g.sum(acc), "ret")
	})
	f.vector("dot", "func(a, b []float32) float32", func(g *armFunc) {
		a, b, n, acc := g.arg("a_base"), g.arg("b_base"), g.arg("a_len"), g.zeroQuad()
		g.both(n, a, b, func(v, w quad) {
			g.do(fmla, acc, v, w)
		})
		g.result(g.sum(acc), "ret")
	})
	f.vector("maxAbsBits", "func(x []float32) uint32", func(g *armFunc) {
		x, n, acc := g.arg("x_base"), g.arg("x_len"), g.zeroQuad()
		g.each(n, x, func(v quad) {
			g.do2(fabs, v, v)
			g.do(umax, acc, acc, v)
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
