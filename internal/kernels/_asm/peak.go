package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	register("peak/peak", func() {
		peak("fmaAVX2", "VFMADD231PS of 8 floats", avx2, 12, func(x, acc, _ reg.VecVirtual) { VFMADD231PS(x, x, acc) })
		peak("fmaAVX512", "VFMADD231PS of 16 floats", avx512, 24, func(x, acc, _ reg.VecVirtual) { VFMADD231PS(x, x, acc) })
		peak("widenAVX2", "VPMADDWD of 16 words with a VPADDD", avx2, 12, multiplyAdd)
		peak("widenAVX512", "VPMADDWD of 32 words with a VPADDD", avx512, 24, multiplyAdd)
		peak("dotVNNI", "VPDPBUSD of 64 bytes", avx512, 24, func(x, acc, _ reg.VecVirtual) { VPDPBUSD(x, x, acc) })
		peak("dotBF16", "VDPBF16PS of 32 bfloat16", avx512, 24, func(x, acc, _ reg.VecVirtual) { VDPBF16PS(x, x, acc) })
		peakTiles("tileI8", "TDPBSUD")
		peakTiles("tileBF16", "TDPBF16PS")
	})
}

func multiplyAdd(x, acc, t reg.VecVirtual) {
	VPMADDWD(x, x, t)
	VPADDD(t, acc, acc)
}

func peakTiles(name, op string) {
	TEXT(name, NOSPLIT, "func(n int, config *byte)")
	Pragma("noescape")
	Doc(name + " issues 24*n times " + op + " of tiles of 1 KB, of registers alone.")
	tileMem("LDTILECFG", Mem{Base: arg("config")})
	count := arg("n")
	for t := range 8 {
		tileOp("TILEZERO", t)
	}
	Label("loop")
	for i := range perCall {
		tileOp(op, i%6, 6, 7)
	}
	DECQ(count)
	JNZ(LabelRef("loop"))
	tileOp("TILERELEASE")
	RET()
}

// perCall is the number of instructions of a kind between two counts.
const perCall = 24

func peak(name, what string, v isa, n int, f func(x, acc, t reg.VecVirtual)) {
	TEXT(name, NOSPLIT, "func(n int)")
	Doc(name + " issues 24*n times " + what + ", of registers alone.")
	count := arg("n")
	x, t := v.vec(), v.vec()
	v.zero(x)
	acc := make([]reg.VecVirtual, n)
	for i := range acc {
		acc[i] = v.vec()
		v.zero(acc[i])
	}
	Label("loop")
	for i := range perCall {
		f(x, acc[i%n], t)
	}
	DECQ(count)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
