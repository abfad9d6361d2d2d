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
