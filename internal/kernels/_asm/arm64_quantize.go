package main

func init() {
	registerARM("neon_quantize", armQuantize)
	registerARM("neon_half", armHalf)
}

func armQuantize(f *armFile) {
	f.vector("quantizeRow", "func(dst []int8, x []float32, inverse float32) (sum int32)", func(g *armFunc) {
		g.needConstants()
		dst, x, n, inverse, acc := g.arg("dst_base"), g.arg("x_base"), g.arg("x_len"), g.param("inverse"), g.zeroQuad()
		g.each(n, x, func(v quad) {
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
