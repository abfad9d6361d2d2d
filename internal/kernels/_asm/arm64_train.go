package main

func init() { registerARM("neon_train", armTrain) }

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
