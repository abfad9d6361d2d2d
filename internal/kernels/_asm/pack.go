package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	register("pack_avx2", func() {
		packColumns()
		packRows()
		packPairs()
	})
}

func packColumns() {
	TEXT("packColumnsAVX2", NOSPLIT, "func(dst, src *float32, ld, n int)")
	Pragma("noescape")
	Doc("packColumnsAVX2 sets dst[p*16+j] = src[j*ld+p] for p < 8*n and j < 16; ld is in bytes and n at least 1.")
	dst, n := arg("dst"), arg("n")
	src := newRowSet(8, arg("src"), arg("ld"))
	lower := newRowSet(8, arg("src"), src.one)
	for i := range lower.base {
		LEAQ(Mem{Base: lower.base[i], Index: src.one, Scale: 8}, lower.base[i])
	}
	Label("columns")
	for half, rows := range []rowSet{src, lower} {
		transpose8(rows, dst, 32*half)
		rows.advance(Imm(32))
	}
	ADDQ(U32(8*64), dst)
	DECQ(n)
	JNZ(LabelRef("columns"))
	VZEROUPPER()
	RET()
}

// transpose8 stores the transpose of 8 rows of 8 floats, 64 bytes apart.
func transpose8(rows rowSet, dst reg.GPVirtual, disp int) {
	ymms := func() (y [8]reg.VecVirtual) {
		for i := range y {
			y[i] = YMM()
		}
		return y
	}
	x, t := ymms(), ymms()
	for i := range x {
		VMOVUPS(rows.at(i, 0), x[i])
	}
	for i := 0; i < 8; i += 2 {
		VUNPCKLPS(x[i+1], x[i], t[i])
		VUNPCKHPS(x[i+1], x[i], t[i+1])
	}
	for i := 0; i < 8; i += 4 {
		VUNPCKLPD(t[i+2], t[i], x[i])
		VUNPCKHPD(t[i+2], t[i], x[i+1])
		VUNPCKLPD(t[i+3], t[i+1], x[i+2])
		VUNPCKHPD(t[i+3], t[i+1], x[i+3])
	}
	for i := range 4 {
		VPERM2F128(Imm(0x20), x[i+4], x[i], t[i])
		VPERM2F128(Imm(0x31), x[i+4], x[i], t[i+4])
	}
	for i := range t {
		VMOVUPS(t[i], Mem{Base: dst, Disp: 64*i + disp})
	}
}

func packRows() {
	TEXT("packRowsAVX2", NOSPLIT, "func(dst, src *float32, step, cs, k int)")
	Pragma("noescape")
	Doc(
		"packRowsAVX2 copies 16 floats from src to dst, k times, moving on by step bytes in dst and cs in src: step is at",
		"most 64, so that the next copy overwrites what is too much of one. k is at least 1.")
	dst, src, step, cs, k := arg("dst"), arg("src"), arg("step"), arg("cs"), arg("k")
	Label("rows")
	x, y := YMM(), YMM()
	VMOVUPS(Mem{Base: src}, x)
	VMOVUPS(Mem{Base: src, Disp: 32}, y)
	VMOVUPS(x, Mem{Base: dst})
	VMOVUPS(y, Mem{Base: dst, Disp: 32})
	ADDQ(cs, src)
	ADDQ(step, dst)
	DECQ(k)
	JNZ(LabelRef("rows"))
	VZEROUPPER()
	RET()
}

func packPairs() {
	TEXT("packPairsAVX2", NOSPLIT, "func(dst *uint32, src *float32, step, cs, k int)")
	Pragma("noescape")
	Doc(
		"packPairsAVX2 rounds 16 floats from src and 16 from cs bytes on to bfloat16, as F32ToBF16 does, and stores them to",
		"dst as pairs, those from src in the lower halves; k times, moving on by step bytes in dst and 2*cs in src. step is",
		"at most 64, so that the next pairs overwrite what is too much. k is at least 1.")
	dst, src, step, cs, k := arg("dst"), arg("src"), arg("step"), arg("cs"), arg("k")
	const unordered = 3
	one, bias, quiet := YMM(), YMM(), YMM()
	VMOVUPS(constantBits(1), one)
	VMOVUPS(constantBits(0x7FFF), bias)
	VMOVUPS(constantBits(0x400000), quiet)
	// rounded leaves the number in the upper half of each element.
	rounded := func(at Mem) reg.VecVirtual {
		v, r, t := YMM(), YMM(), YMM()
		VMOVUPS(at, v)
		VPSRLD(U8(16), v, r)
		VPAND(one, r, r)
		VPADDD(bias, r, r)
		VPADDD(v, r, r)
		VPOR(quiet, v, t)
		VCMPPS(Imm(unordered), v, v, v)
		VBLENDVPS(v, t, r, r)
		return r
	}
	Label("pairs")
	var pairs [2]reg.VecVirtual
	for i := range pairs {
		low := rounded(Mem{Base: src, Disp: 32 * i})
		pairs[i] = rounded(Mem{Base: src, Index: cs, Scale: 1, Disp: 32 * i})
		VPSRLD(U8(16), low, low)
		VPBLENDW(U8(0xAA), pairs[i], low, pairs[i])
	}
	for i, r := range pairs {
		VMOVUPS(r, Mem{Base: dst, Disp: 32 * i})
	}
	LEAQ(Mem{Base: src, Index: cs, Scale: 2}, src)
	ADDQ(step, dst)
	DECQ(k)
	JNZ(LabelRef("pairs"))
	VZEROUPPER()
	RET()
}
