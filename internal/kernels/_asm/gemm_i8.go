package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	register("gemm_i8_avx2", func() {
		gemmI8Wide(avx2, 6)
		widen()
	})
	register("gemm_i8_avx512", func() {
		gemmI8Wide(avx512, 12)
		gemmI8VNNI()
	})
}

const epilogueDoc = "\tc[i][j] = fma(float32(acc - 128*sum[i]), scaleA[i]*scaleB[j], bias[j])   plus c[i][j] when accumulate is not zero"

// i8Epilogue turns the sums of a row into floats and stores them.
type i8Epilogue struct {
	v                              isa
	c, ldc, scaleA, sum, add       reg.GPVirtual
	scaleB, bias                   []reg.VecVirtual
	disp                           int // of the tile's first column in c
	sumLabel, accumulate, storedAt string
}

// newI8Epilogue loads the parameters for columns of n registers from byte disp.
func newI8Epilogue(v isa, n, disp int) *i8Epilogue {
	e := &i8Epilogue{v: v, disp: disp, c: arg("c"), ldc: arg("ldc"), scaleA: arg("scaleA"), sum: arg("sum"), add: arg("accumulate")}
	scaleB, bias := arg("scaleB"), arg("bias")
	for j := range n {
		e.scaleB, e.bias = append(e.scaleB, v.vec()), append(e.bias, v.vec())
		VMOVUPS(Mem{Base: scaleB, Disp: disp + v.wide*j}, e.scaleB[j])
		VMOVUPS(Mem{Base: bias, Disp: disp + v.wide*j}, e.bias[j])
	}
	return e
}

// row finishes the row whose sums are in acc and moves on to the next.
func (e *i8Epilogue) row(acc []reg.VecVirtual, label string) {
	sum, scale := e.v.vec(), e.v.vec()
	VPBROADCASTD(Mem{Base: e.sum}, sum)
	VPSLLD(Imm(7), sum, sum)
	VBROADCASTSS(Mem{Base: e.scaleA}, scale)
	for j := range acc {
		VPSUBD(sum, acc[j], acc[j])
		VCVTDQ2PS(acc[j], acc[j])
		s := e.v.vec()
		VMULPS(e.scaleB[j], scale, s)
		VFMADD213PS(e.bias[j], s, acc[j])
	}
	TESTQ(e.add, e.add)
	JZ(LabelRef(label))
	for j := range acc {
		VADDPS(Mem{Base: e.c, Disp: e.disp + e.v.wide*j}, acc[j], acc[j])
	}
	Label(label)
	for j := range acc {
		VMOVUPS(acc[j], Mem{Base: e.c, Disp: e.disp + e.v.wide*j})
	}
	ADDQ(e.ldc, e.c)
	ADDQ(Imm(4), e.scaleA)
	ADDQ(Imm(4), e.sum)
}

// gemmI8Wide multiplies 16-bit widened bytes: a register holds 4 products of
// either 4 or 8 columns, summed in pairs.
func gemmI8Wide(v isa, maxRows int) {
	TEXT("gemmI8"+v.name, NOSPLIT, "func(rows, k int, a *int16, b *uint8, c *float32, ldc int, scaleA *float32, sum *int32, scaleB, bias *float32, accumulate int)")
	Pragma("noescape")
	Doc(
		"gemmI8"+v.name+" sets, for i < rows and j < 16,",
		"",
		"\tacc = sum over p < k, q < 4 of a[(p*rows+i)*4+q] * b[p*64+j*4+q]",
		epilogueDoc,
		"",
		"The stride of c is in bytes. k is at least 1.")
	var shapes []tileShape
	for rows := maxRows; rows > 0; rows-- {
		shapes = append(shapes, tileShape{rows, 1})
	}
	dispatch(shapes, false)
	for i := range shapes {
		s := shapes[(i+len(shapes)-1)%len(shapes)]
		Label(s.label("tile"))
		// Columns are taken as many at a time as two registers hold.
		for half := range 64 / v.wide {
			gemmI8WideColumns(v, s.rows, half)
		}
		VZEROUPPER()
		RET()
	}
}

func gemmI8WideColumns(v isa, rows, half int) {
	name := func(what string) string { return tileShape{rows, half}.label(what) }
	k, a, b := arg("k"), arg("a"), arg("b")
	acc := make([][2]reg.VecVirtual, rows)
	for r := range acc {
		for j := range acc[r] {
			acc[r][j] = v.vec()
			v.zero(acc[r][j])
		}
	}
	step := func(i int) {
		b0, b1, x, t := v.vec(), v.vec(), v.vec(), v.vec()
		VPMOVZXBW(Mem{Base: b, Disp: 64*i + half*v.wide}, b0)
		VPMOVZXBW(Mem{Base: b, Disp: 64*i + half*v.wide + v.wide/2}, b1)
		for r := range rows {
			VPBROADCASTQ(Mem{Base: a, Disp: 8 * (i*rows + r)}, x)
			VPMADDWD(x, b0, t)
			VPMADDWD(x, b1, x)
			VPADDD(t, acc[r][0], acc[r][0])
			VPADDD(x, acc[r][1], acc[r][1])
		}
	}
	const unroll = 4
	SUBQ(Imm(unroll), k)
	JLT(LabelRef(name("rest")))
	Label(name("loop"))
	for i := range unroll {
		step(i)
	}
	ADDQ(U32(64*unroll), b)
	ADDQ(U32(8*unroll*rows), a)
	SUBQ(Imm(unroll), k)
	JGE(LabelRef(name("loop")))
	Label(name("rest"))
	ADDQ(Imm(unroll), k)
	JZ(LabelRef(name("sum")))
	Label(name("one"))
	step(0)
	ADDQ(Imm(64), b)
	ADDQ(U32(8*rows), a)
	DECQ(k)
	JNZ(LabelRef(name("one")))

	Label(name("sum"))
	// Each column's two sums are added, and the columns put in order.
	var order reg.VecVirtual
	if v.wide == 64 {
		order = v.vec()
		VMOVDQU64(qwordOrder(), order)
	}
	for r := range rows {
		if v.wide == 32 {
			VPHADDD(acc[r][1], acc[r][0], acc[r][0])
			VPERMQ(Imm(0xD8), acc[r][0], acc[r][0])
			continue
		}
		odd := v.vec()
		VSHUFPS(Imm(0xDD), acc[r][1], acc[r][0], odd)
		VSHUFPS(Imm(0x88), acc[r][1], acc[r][0], acc[r][0])
		VPADDD(odd, acc[r][0], acc[r][0])
		VPERMQ(acc[r][0], order, acc[r][0])
	}
	e := newI8Epilogue(v, 1, half*v.wide)
	for r := range rows {
		e.row(acc[r][:1], name("store"+string(rune('a'+r))+"of"))
	}
}

var qwordOrderMem *Mem

// qwordOrder is the constant 0, 2, 4, 6, 1, 3, 5, 7.
func qwordOrder() Mem {
	if qwordOrderMem == nil {
		m := GLOBL("qwordOrder", RODATA|NOPTR)
		for i, q := range []uint64{0, 2, 4, 6, 1, 3, 5, 7} {
			DATA(8*i, U64(q))
		}
		qwordOrderMem = &m
	}
	return *qwordOrderMem
}

func gemmI8VNNI() {
	TEXT("gemmI8VNNI", NOSPLIT, "func(rows, panels, k int, a *int8, as int, b *uint8, bs int, c *float32, ldc int, scaleA *float32, sum *int32, scaleB, bias *float32, accumulate int)")
	Pragma("noescape")
	Doc(
		"gemmI8VNNI sets, for i < rows and j < 16*panels,",
		"",
		"\tacc = sum over p < k, q < 4 of a[i*as+4*p+q] * b[j/16*bs+p*64+j%16*4+q]",
		epilogueDoc,
		"",
		"Strides are in bytes. k is at least 1; rows is at most 14 and panels at most 2.")
	var shapes []tileShape
	for _, panels := range []int{2, 1} {
		for rows := 14; rows > 0; rows-- {
			shapes = append(shapes, tileShape{rows, panels})
		}
	}
	dispatch(shapes, true)
	for i := range shapes {
		s := shapes[(i+len(shapes)-1)%len(shapes)]
		Label(s.label("tile"))
		k, b := arg("k"), arg("b")
		a := newRowSet(s.rows, arg("a"), arg("as"))
		var bs reg.GPVirtual
		if s.panels > 1 {
			bs = arg("bs")
		}
		acc := make([][]reg.VecVirtual, s.rows)
		for r := range acc {
			acc[r] = make([]reg.VecVirtual, s.panels)
			for j := range acc[r] {
				acc[r][j] = ZMM()
				avx512.zero(acc[r][j])
			}
		}
		Label(s.label("loop"))
		bv := make([]reg.VecVirtual, s.panels)
		for j := range bv {
			bv[j] = ZMM()
			VMOVDQU32(panelAt(b, bs, nil, j, 0), bv[j])
		}
		for r := range s.rows {
			for j := range bv {
				VPDPBUSD_BCST(a.at(r, 0), bv[j], acc[r][j])
			}
		}
		ADDQ(Imm(64), b)
		a.advance(Imm(4))
		DECQ(k)
		JNZ(LabelRef(s.label("loop")))
		// With 28 accumulators there are 4 registers left: a panel at a time.
		for j := range s.panels {
			e := newI8Epilogue(avx512, 1, 64*j)
			for r := range s.rows {
				e.row(acc[r][j:j+1], tileShape{r, j}.label(s.label("store")+"of"))
			}
		}
		VZEROUPPER()
		RET()
	}
}

func widen() {
	TEXT("widenI8AVX2", NOSPLIT, "func(dst *int16, src *int8, stride, rows, pairs int)")
	Pragma("noescape")
	Doc("widenI8AVX2 sets dst[(p*rows+i)*4+q] = src[i*stride+4*p+q] for i < rows, p < 2*pairs and q < 4; both counts are at least 1.")
	dst, src, stride, rows, pairs := arg("dst"), arg("src"), arg("stride"), arg("rows"), arg("pairs")
	step := GP64()
	MOVQ(rows, step)
	SHLQ(Imm(3), step)
	left := GP64()
	MOVQ(rows, left)
	Label("row")
	to, from, n := GP64(), GP64(), GP64()
	MOVQ(dst, to)
	MOVQ(src, from)
	MOVQ(pairs, n)
	Label("loop")
	x := XMM()
	VPMOVSXBW(Mem{Base: from}, x)
	VMOVLPS(x, Mem{Base: to})
	VMOVHPS(x, Mem{Base: to, Index: step, Scale: 1})
	ADDQ(Imm(8), from)
	LEAQ(Mem{Base: to, Index: step, Scale: 2}, to)
	DECQ(n)
	JNZ(LabelRef("loop"))
	ADDQ(Imm(8), dst)
	ADDQ(stride, src)
	DECQ(left)
	JNZ(LabelRef("row"))
	RET()
}
