package main

func init() {
	registerARM("neon_exp", func(f *armFile) {
		f.forward("exp", func(g *armFunc, v quad) quad { return g.exp(v, true) })
	})
	registerARM("neon_softmax", armSoftmax)
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
		g.each(n, x, func(v quad) {
			g.do(fmul, v, v, r)
			g.store(v, x)
		})
	})
	f.vector("softmaxWeights", "func(x []float32, scale float32) (sum float32)", func(g *armFunc) {
		g.needConstants()
		g.result(g.powers(g.arg("x_len"), true), "sum")
	})
	f.vector("softmaxBackward", "func(dx, dp, p []float32, scale float32)", func(g *armFunc) {
		n := g.arg("dx_len")
		dp, p, acc := g.arg("dp_base"), g.arg("p_base"), g.zeroQuad()
		g.both(n, dp, p, func(a, b quad) {
			g.do(fmla, acc, a, b)
		})
		g.free(dp, p)
		s, scale := g.spread(g.sum(acc)), g.param("scale")
		dx, dp, p := g.arg("dx_base"), g.arg("dp_base"), g.arg("p_base")
		g.both(n, dp, p, func(a, b quad) {
			g.do(fsub, a, a, s)
			g.do(fmul, b, b, scale)
			g.do(fmul, b, b, a)
			g.store(b, dx)
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
