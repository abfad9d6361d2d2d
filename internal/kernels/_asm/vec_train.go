package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

func init() {
	register("dropout", dropout)
	register("adamw", adamW)
}

func dropout() {
	iota := GLOBL("iota", attrRODATA)
	for i := range lanes {
		DATA(4*i, U32(i))
	}
	both("dropout", "func(dst, x []float32, scale float32, threshold, counter, k0, k1 uint32)", "is dropoutGeneric.", func(g *gen) {
		dst, x, n := ptr("dst"), ptr("x"), length("x")
		scale, threshold, k0, k1 := g.param("scale"), g.param("threshold"), g.param("k0"), g.param("k1")
		counter, start := g.new(), g.param("counter")
		for i := range counter {
			VMOVUPS(iota.Offset(32*i), counter[i])
		}
		g.do(addd, start, counter, counter)
		g.loop(n, func() {
			h, t := g.new(), g.new()
			g.xor(k0, counter, h)
			fold := func(n uint64) {
				g.shift(VPSRLD, n, h, t)
				g.xor(t, h, h)
			}
			fold(17)
			g.do(mulld, g.bits(0xED5AD4BB), h, h)
			fold(11)
			g.do(addd, k1, h, h)
			g.do(mulld, g.bits(0xAC4C1B51), h, h)
			fold(15)
			g.do(mulld, g.bits(0x31848BAB), h, h)
			fold(14)
			v := g.floats(x)
			g.do(mulps, scale, v, v)
			g.do(maxud, threshold, h, t) // t == h: h >= threshold
			if g.avx512 {
				k := K()
				VPCMPEQD(h[0], t[0], k)
				VMOVAPS_Z(v[0], k, v[0])
			} else {
				for i := range h {
					VPCMPEQD(h[i], t[i], t[i])
					VANDPS(t[i], v[i], v[i])
				}
			}
			g.store(v, dst)
			g.do(addd, g.bits(lanes), counter, counter)
		})
	})
}

// adamW works on one register at a time: it is bound by memory, and two would
// need more registers than AVX2 has.
func adamW() {
	both("adamW", "func(w, g, m, v []float32, f *float32)", "is adamWGeneric; f points to the fields of adamWFactors.", func(g *gen) {
		w, gr, m, v, n := ptr("w"), ptr("g"), ptr("m"), ptr("v"), length("w")
		f := Load(Param("f"), GP64())
		factor := func(i int) Op { return g.broadcast(Mem{Base: f, Disp: 4 * i})[0] }
		grad, decay, first, beta2 := factor(0), factor(1), factor(2), factor(3)
		second, correction, eps, step := factor(4), factor(5), factor(6), factor(7)
		g.loop(n, func() {
			for i := range g.new() {
				d, a := g.new()[0], g.new()[0]
				g.floatsPart(gr, i, d)
				VMULPS(grad, d, d)
				g.floatsPart(m, i, a)
				t := g.new()[0]
				VSUBPS(a, d, t)
				VMULPS(first, t, t)
				VADDPS(t, a, a)
				g.storePart(a, m, i)
				b := g.new()[0]
				g.floatsPart(v, i, b)
				VMULPS(beta2, b, b)
				VMULPS(d, d, d)
				VMULPS(second, d, d)
				VADDPS(d, b, b)
				g.storePart(b, v, i)
				VSQRTPS(b, b)
				VDIVPS(correction, b, b)
				VADDPS(eps, b, b)
				VDIVPS(b, a, a)
				VMULPS(step, a, a)
				c := g.new()[0]
				g.floatsPart(w, i, c)
				VMULPS(decay, c, c)
				VSUBPS(a, c, c)
				g.storePart(c, w, i)
			}
		})
	})
}
