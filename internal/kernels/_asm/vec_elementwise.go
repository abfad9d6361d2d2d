package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	register("elementwise", func() {
		binary("add", addps)
		binary("mul", mulps)
		both("axpy", "func(dst []float32, alpha float32, x []float32)", "is axpyGeneric.", func(g *gen) {
			dst, x, n, alpha := ptr("dst"), ptr("x"), length("x"), g.param("alpha")
			g.loop(n, func() {
				v, d := g.floats(x), g.floats(dst)
				g.do(fma231, v, alpha, d)
				g.store(d, dst)
			})
		})
		both("scaleBy", "func(dst []float32, alpha float32, x []float32)", "is scaleByGeneric.", func(g *gen) {
			dst, x, n, alpha := ptr("dst"), ptr("x"), length("x"), g.param("alpha")
			g.loop(n, func() {
				v := g.floats(x)
				g.do(mulps, alpha, v, v)
				g.store(v, dst)
			})
		})
	})
	register("reduce", func() {
		both("sum", "func(x []float32) float32", "is sumGeneric.", func(g *gen) {
			x, n, acc := ptr("x"), length("x"), g.zero()
			g.loop(n, func() { g.do(addps, g.floats(x), acc, acc) })
			result(g.reduce(VADDPS, acc), ReturnIndex(0))
		})
		both("dot", "func(a, b []float32) float32", "is dotGeneric.", func(g *gen) {
			a, b, n, acc := ptr("a"), ptr("b"), length("a"), g.zero()
			g.loop(n, func() { g.do(fma231, g.floats(a), g.floats(b), acc) })
			result(g.reduce(VADDPS, acc), ReturnIndex(0))
		})
		both("maxAbsBits", "func(x []float32) uint32", "is maxAbsBitsGeneric.", func(g *gen) {
			x, n, acc, magnitude := ptr("x"), length("x"), g.zero(), g.broadcast(constantBits(1<<31-1))
			g.unrolled(4, n, func(int) {
				v := g.floats(x)
				g.and(magnitude, v, v)
				g.do(maxud, v, acc, acc)
			})
			bits := GP32()
			VMOVD(g.reduce(VPMAXUD, acc), bits)
			Store(bits, ReturnIndex(0))
		})
		sumSquares()
		columnSums()
	})
}

func binary(name string, in inst) {
	both(name, "func(dst, a, b []float32)", "is "+name+"Generic.", func(g *gen) {
		dst, a, b, n := ptr("dst"), ptr("a"), ptr("b"), length("a")
		g.loop(n, func() {
			v, w := g.floats(a), g.floats(b)
			g.do(in, w, v, v)
			g.store(v, dst)
		})
	})
}

// sumSquares accumulates the 16 lanes in four YMM or two ZMM registers of
// float64. The squares are exact, so that fusing changes nothing.
func sumSquares() {
	both("sumSquares", "func(x []float32) float64", "is sumSquaresGeneric.", func(g *gen) {
		x, n := ptr("x"), length("x")
		acc, wide := make([]reg.VecVirtual, 4), YMM
		if g.avx512 {
			acc, wide = acc[:2], ZMM
		}
		for i := range acc {
			acc[i] = wide()
			if g.avx512 {
				VPXORD(acc[i], acc[i], acc[i])
			} else {
				VPXOR(acc[i], acc[i], acc[i])
			}
		}
		g.loop(n, func() {
			v := g.floats(x)
			for i := range acc {
				d := wide()
				if g.avx512 {
					half := v[0].(reg.VecVirtual).AsY()
					if i == 1 {
						half = YMM()
						VEXTRACTF64X4(Imm(1), v[0], half)
					}
					VCVTPS2PD(half, d)
				} else {
					half := v[i/2].(reg.VecVirtual).AsX()
					if i%2 == 1 {
						half = XMM()
						VEXTRACTF128(Imm(1), v[i/2], half)
					}
					VCVTPS2PD(half, d)
				}
				VFMADD231PD(d, d, acc[i])
			}
		})
		y := YMM()
		if g.avx512 {
			VADDPD(acc[1], acc[0], acc[0])
			VEXTRACTF64X4(Imm(1), acc[0], y)
			VADDPD(acc[0].AsY(), y, y)
		} else {
			VADDPD(acc[2], acc[0], acc[0])
			VADDPD(acc[3], acc[1], acc[1])
			VADDPD(acc[1], acc[0], y)
		}
		t, s := XMM(), XMM()
		VEXTRACTF128(Imm(1), y, t)
		VADDPD(y.AsX(), t, s)
		VPSHUFD(Imm(0xEE), s, t)
		VADDSD(t, s, s)
		VMOVSD(s, resolve(ReturnIndex(0)))
	})
}

// columnSums walks down the rows once for every 64 columns, then for every 16.
func columnSums() {
	both("columnSums", "func(dst, x []float32, rows, ld int)", "is columnSumsGeneric; there is at least one row.", func(g *gen) {
		dst, x, n := ptr("dst"), ptr("x"), length("dst")
		ld := Load(Param("ld"), GP64())
		SHLQ(Imm(2), ld)
		rows := Load(Param("rows"), GP64())
		down := func(vecs int) {
			acc := make([]vec, vecs)
			for i := range acc {
				acc[i] = g.zero()
			}
			p, left := GP64(), GP64()
			MOVQ(x, p)
			MOVQ(rows, left)
			head := g.label("row")
			Label(head)
			for i := range acc {
				if vecs == 1 {
					g.do(addps, g.floats(p), acc[0], acc[0])
					continue
				}
				v := vec{Mem{Base: p, Disp: 64 * i}, Mem{Base: p, Disp: 64*i + 32}}
				for j := range acc[i] {
					VADDPS(v[j], acc[i][j], acc[i][j])
				}
			}
			ADDQ(ld, p)
			DECQ(left)
			JNZ(LabelRef(head))
			for i := range acc {
				if vecs == 1 {
					g.store(acc[i], dst)
					continue
				}
				for j := range acc[i] {
					VMOVUPS(acc[i][j], Mem{Base: dst, Disp: 64*i + 32*j})
				}
			}
		}
		head, rest := g.label("wide"), g.label("narrow")
		Label(head)
		CMPQ(n, Imm(64))
		JLT(LabelRef(rest))
		down(4)
		ADDQ(U32(256), dst)
		ADDQ(U32(256), x)
		SUBQ(Imm(64), n)
		JMP(LabelRef(head))
		Label(rest)
		g.loop(n, func() { down(1) })
	})
}
