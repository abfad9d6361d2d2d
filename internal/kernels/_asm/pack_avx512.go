package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	register("pack_avx512", func() {
		roundPairs()
		packPairs512()
		transposePairs()
	})
}

// A rounder rounds floats to bfloat16 as F32ToBF16 does.
type rounder struct{ one, bias, quiet reg.VecVirtual }

func newRounder() rounder {
	r := rounder{ZMM(), ZMM(), ZMM()}
	VBROADCASTSS(constantBits(1), r.one)
	VBROADCASTSS(constantBits(0x7FFF), r.bias)
	VBROADCASTSS(constantBits(0x400000), r.quiet)
	return r
}

// upper leaves the rounded number in the upper half of each element of v.
func (r rounder) upper(v reg.VecVirtual) reg.VecVirtual {
	const unordered = 3
	t, nan := ZMM(), K()
	VCMPPS(Imm(unordered), v, v, nan)
	VPSRLD(U8(16), v, t)
	VPANDD(r.one, t, t)
	VPADDD(r.bias, t, t)
	VPADDD(v, t, t)
	VPORD(r.quiet, v, nan, t)
	return t
}

// roundPairs rounds rows.
func roundPairs() {
	TEXT("roundPairsAVX512", NOSPLIT, "func(dst *uint32, dstStride int, src *float32, srcStride, rows, columns int)")
	Pragma("noescape")
	Doc(
		"roundPairsAVX512 sets the rows of dst to those of src, rounded to bfloat16 as F32ToBF16 does and filled up with zeros",
		"to a multiple of 32 columns. Strides are in bytes, rows is at least 1.")
	dst, src, rows, columns := arg("dst"), arg("src"), arg("rows"), arg("columns")
	dstStride, srcStride := arg("dstStride"), arg("srcStride")
	r := newRounder()
	// The masks of what is left beyond whole groups of 32.
	tail, bits := GP64(), GP64()
	MOVQ(columns, tail)
	ANDQ(Imm(31), tail)
	MOVQ(U64(1<<32-1), bits)
	BZHIQ(tail, bits, bits)
	low, high := K(), K()
	KMOVW(bits.As32(), low)
	SHRQ(Imm(16), bits)
	KMOVW(bits.As32(), high)
	SHRQ(Imm(5), columns)

	group := func(from, to reg.GPVirtual, masks ...reg.OpmaskVirtual) {
		for i := range 2 {
			v, w := ZMM(), YMM()
			if masks != nil {
				VMOVUPS_Z(Mem{Base: from, Disp: 64 * i}, masks[i], v)
			} else {
				VMOVUPS(Mem{Base: from, Disp: 64 * i}, v)
			}
			v = r.upper(v)
			VPSRLD(U8(16), v, v)
			VPMOVDW(v, w)
			VMOVDQU(w, Mem{Base: to, Disp: 32 * i})
		}
	}
	Label("row")
	from, to, n := GP64(), GP64(), GP64()
	MOVQ(src, from)
	MOVQ(dst, to)
	MOVQ(columns, n)
	TESTQ(n, n)
	JZ(LabelRef("rest"))
	Label("group")
	group(from, to)
	ADDQ(U32(128), from)
	ADDQ(Imm(64), to)
	DECQ(n)
	JNZ(LabelRef("group"))
	Label("rest")
	TESTQ(tail, tail)
	JZ(LabelRef("next"))
	group(from, to, low, high)
	Label("next")
	ADDQ(srcStride, src)
	ADDQ(dstStride, dst)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// packPairs512 is packPairsAVX2 for a panel of which some columns do not exist.
func packPairs512() {
	TEXT("packPairsAVX512", NOSPLIT, "func(dst *uint32, src *float32, cs, k, mask int)")
	Pragma("noescape")
	Doc(
		"packPairsAVX512 sets the 16 pairs of dst to the floats at src, in the lower halves, and cs bytes on, rounded to bfloat16 as",
		"F32ToBF16 does, zero where mask is; k times, moving on by 64 bytes in dst and 2*cs in src. k is at least 1.")
	dst, src, cs, k, bits := arg("dst"), arg("src"), arg("cs"), arg("k"), arg("mask")
	mask := K()
	KMOVW(bits.As32(), mask)
	r := newRounder()
	Label("pairs")
	var half [2]reg.VecVirtual
	for i := range half {
		v := ZMM()
		at := Mem{Base: src}
		if i == 1 {
			at.Index, at.Scale = cs, 1
		}
		VMOVUPS_Z(at, mask, v)
		half[i] = r.upper(v)
	}
	VPSRLD(U8(16), half[0], half[0])
	odd := K()
	upper := GP32()
	MOVL(U32(0xAAAAAAAA), upper)
	KMOVD(upper, odd)
	VPBLENDMW(half[1], half[0], odd, half[0])
	VMOVDQU32(half[0], Mem{Base: dst})
	LEAQ(Mem{Base: src, Index: cs, Scale: 2}, src)
	ADDQ(Imm(64), dst)
	DECQ(k)
	JNZ(LabelRef("pairs"))
	VZEROUPPER()
	RET()
}

func transposePairs() {
	TEXT("transposePairsAVX512", NOSPLIT, "func(dst *uint32, dstStride int, src *uint32, srcStride int)")
	Pragma("noescape")
	Doc("transposePairsAVX512 sets dst to the transpose of 16 rows of 16 elements. Strides are in bytes.")
	src := newRowSet(16, arg("src"), arg("srcStride"))
	x, t := make([]reg.VecVirtual, 16), make([]reg.VecVirtual, 16)
	for i := range x {
		x[i], t[i] = ZMM(), ZMM()
		VMOVUPS(src.at(i, 0), x[i])
	}
	for i := 0; i < 16; i += 2 {
		VUNPCKLPS(x[i+1], x[i], t[i])
		VUNPCKHPS(x[i+1], x[i], t[i+1])
	}
	for i := 0; i < 16; i += 4 {
		VUNPCKLPD(t[i+2], t[i], x[i])
		VUNPCKHPD(t[i+2], t[i], x[i+1])
		VUNPCKLPD(t[i+3], t[i+1], x[i+2])
		VUNPCKHPD(t[i+3], t[i+1], x[i+3])
	}
	// Column r of a group of four rows is in lane r/4 of register r%4.
	for i := range 4 {
		VSHUFF32X4(Imm(0x88), x[i+4], x[i], t[i])
		VSHUFF32X4(Imm(0xDD), x[i+4], x[i], t[i+4])
		VSHUFF32X4(Imm(0x88), x[i+12], x[i+8], t[i+8])
		VSHUFF32X4(Imm(0xDD), x[i+12], x[i+8], t[i+12])
	}
	for i := range 4 {
		VSHUFF32X4(Imm(0x88), t[i+8], t[i], x[i])
		VSHUFF32X4(Imm(0x88), t[i+12], t[i+4], x[i+4])
		VSHUFF32X4(Imm(0xDD), t[i+8], t[i], x[i+8])
		VSHUFF32X4(Imm(0xDD), t[i+12], t[i+4], x[i+12])
	}
	dst := newRowSet(16, arg("dst"), arg("dstStride"))
	for i := range x {
		VMOVUPS(x[i], dst.at(i, 0))
	}
	VZEROUPPER()
	RET()
}
