package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	register("quantize", func() {
		quantizeRow()
		dequantizeRow()
	})
	register("half", half)
}

// quantizeRow takes four registers of floats at a time, which become one of
// bytes; vectors of 16 follow. It is long as assembly is: an instruction a line.
func quantizeRow() {
	// Packing four registers leaves each with a part in every 128 bits. These are
	// the orders of 32-bit parts that undo it.
	order := map[bool]Mem{true: GLOBL("order512", attrRODATA)}
	for i := range 16 {
		DATA(4*i, U32(i%4*4+i/4))
	}
	order[false] = GLOBL("order256", attrRODATA)
	for i := range 8 {
		DATA(4*i, U32(i%2*4+i/2))
	}
	both("quantizeRow", "func(dst []int8, x []float32, inverse float32) (sum int32)", "is quantizeRowGeneric.", func(g *gen) {
		dst, x, n := ptr("dst"), ptr("x"), length("x")
		inverse, acc, most := g.param("inverse"), g.zero(), g.r(127)
		register := func() reg.VecVirtual { return g.new()[0].(reg.VecVirtual) }
		size := 32
		if g.avx512 {
			size = 64
		}
		undo, least := register(), g.broadcast(constantBits(0x81818181))[0]
		one8, one16 := g.broadcast(constantBits(0x01010101))[0], g.broadcast(constantBits(0x00010001))[0]
		VMOVUPS(order[g.avx512], undo)

		head, rest := g.label("loop"), g.label("rest")
		end := GP64()
		g.index = GP64()
		XORQ(g.index, g.index)
		LEAQ(Mem{Base: n, Disp: -size}, end)
		CMPQ(g.index, end)
		JGT(LabelRef(rest))
		Label(head)
		var v [4]reg.VecVirtual
		for i := range v {
			v[i] = register()
			VMULPS(Mem{Base: x, Index: g.index, Scale: 4, Disp: size * i}, inverse[0], v[i])
			// Of a NaN and the limit this takes the NaN, its second source, of which
			// conversion makes the least integer, as of what is too small.
			VMINPS(v[i], most[0], v[i])
			VCVTPS2DQ(v[i], v[i])
		}
		VPACKSSDW(v[1], v[0], v[0])
		VPACKSSDW(v[3], v[2], v[2])
		VPACKSSWB(v[2], v[0], v[0])
		VPERMD(v[0], undo, v[0])
		VPMAXSB(least, v[0], v[0])
		VPMADDUBSW(v[0], one8, v[1])
		VPMADDWD(one16, v[1], v[1])
		VPADDD(v[1], acc[0], acc[0])
		VMOVUPS(v[0], Mem{Base: dst, Index: g.index, Scale: 1})
		ADDQ(Imm(uint64(size)), g.index)
		CMPQ(g.index, end)
		JLE(LabelRef(head))
		Label(rest)

		g.loopFrom(n, func() {
			v := g.floats(x)
			g.do(mulps, inverse, v, v)
			g.do(minps, v, most, v)
			g.unary(VCVTPS2DQ, v, v)
			g.do(maxsd, g.bits(1<<32-127), v, v)
			g.do(addd, v, acc, acc)
			to := Mem{Base: dst, Index: g.index, Scale: 1}
			switch {
			case g.avx512 && g.inTail:
				VPMOVDB(v[0], g.k, to)
			case g.avx512:
				VPMOVDB(v[0], to)
			default:
				b := g.packWords(v)
				h := XMM()
				VEXTRACTI128(Imm(1), b, h)
				VPACKSSWB(h, b.AsX(), h)
				if g.inTail {
					g.storeBytes(h, to)
				} else {
					VMOVDQU(h, to)
				}
			}
		}, g.index)
		s := GP32()
		VMOVD(g.reduce(VPADDD, acc), s)
		Store(s, Return("sum"))
	})
}

func dequantizeRow() {
	both("dequantizeRow", "func(dst []float32, src []int8, scale float32)", "is dequantizeRowGeneric for the whole vectors of 16.", func(g *gen) {
		scale := g.param("scale")
		g.whole(func(dst, src reg.Register) {
			v := g.new()
			for i := range v {
				VPMOVSXBD(Mem{Base: src, Index: g.index, Scale: 1, Disp: 8 * i}, v[i])
			}
			g.unary(VCVTDQ2PS, v, v)
			g.do(mulps, scale, v, v)
			g.store(v, dst)
		})
	})
}

// packWords packs 16 int32s, each within int16, to int16s in order.
func (g *gen) packWords(v vec) reg.VecVirtual {
	w := YMM()
	VPACKSSDW(v[1], v[0], w)
	VPERMQ(Imm(0xD8), w, w)
	return w
}

// storeBytes writes the first g.count bytes of x; it overwrites x.
func (g *gen) storeBytes(x reg.VecVirtual, to Mem) {
	p := GP64()
	LEAQ(to, p)
	for _, step := range []struct {
		bytes uint64
		store func()
	}{
		{8, func() { VMOVQ(x, Mem{Base: p}) }},
		{4, func() { VMOVD(x, Mem{Base: p}) }},
		{2, func() { VPEXTRW(Imm(0), x, Mem{Base: p}) }},
		{1, func() { VPEXTRB(Imm(0), x, Mem{Base: p}) }},
	} {
		skip := g.label("skip")
		TESTQ(U32(step.bytes), g.count)
		JZ(LabelRef(skip))
		step.store()
		ADDQ(Imm(step.bytes), p)
		VPSRLDQ(Imm(step.bytes), x, x)
		Label(skip)
	}
}

// half declares the conversions of whole vectors: the callers do the tails.
func half() {
	both("f16ToF32", "func(dst []float32, src []uint16)", "is f16ToF32Generic for the whole vectors of 16.", func(g *gen) {
		g.whole(func(dst, src reg.Register) {
			v := g.new()
			for i := range v {
				VCVTPH2PS(Mem{Base: src, Index: g.index, Scale: 2, Disp: 16 * i}, v[i])
			}
			g.store(v, dst)
		})
	})
	both("f32ToF16", "func(dst []uint16, src []float32)", "is f32ToF16Generic for the whole vectors of 16.", func(g *gen) {
		g.whole(func(dst, src reg.Register) {
			v := g.floats(src)
			for i := range v {
				VCVTPS2PH(Imm(0), v[i], Mem{Base: dst, Index: g.index, Scale: 2, Disp: 16 * i})
			}
		})
	})
	both("bf16ToF32", "func(dst []float32, src []uint16)", "is bf16ToF32Generic for the whole vectors of 16.", func(g *gen) {
		g.whole(func(dst, src reg.Register) {
			v := g.new()
			for i := range v {
				VPMOVZXWD(Mem{Base: src, Index: g.index, Scale: 2, Disp: 16 * i}, v[i])
			}
			g.shift(VPSLLD, 16, v, v)
			g.store(v, dst)
		})
	})
	both("f32ToBF16", "func(dst []uint16, src []float32)", "is f32ToBF16Generic for the whole vectors of 16.", func(g *gen) {
		const unordered = 3
		g.whole(func(dst, src reg.Register) {
			v, r, quiet := g.floats(src), g.new(), g.new()
			g.shift(VPSRLD, 16, v, r)
			g.or(g.bits(0x40), r, quiet)
			g.and(g.bits(1), r, r)
			g.do(addd, g.bits(0x7FFF), r, r)
			g.do(addd, v, r, r)
			g.shift(VPSRLD, 16, r, r)
			to := Mem{Base: dst, Index: g.index, Scale: 2}
			if g.avx512 {
				k := K()
				VCMPPS(Imm(unordered), v[0], v[0], k)
				VPBLENDMD(quiet[0], r[0], k, r[0])
				VPMOVDW(r[0], to)
				return
			}
			for i := range v {
				VCMPPS(Imm(unordered), v[i], v[i], v[i])
				VBLENDVPS(v[i], quiet[i], r[i], r[i])
			}
			w := YMM()
			VPACKUSDW(r[1], r[0], w)
			VPERMQ(Imm(0xD8), w, w)
			VMOVDQU(w, to)
		})
	})
}

// whole writes a loop over the whole vectors of src.
func (g *gen) whole(body func(dst, src reg.Register)) {
	dst, src, n := ptr("dst"), ptr("src"), length("src")
	ANDQ(I32(-lanes), n)
	g.loop(n, func() {
		if !g.inTail {
			body(dst, src)
		}
	})
}
