package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
	"github.com/mmcloughlin/avo/x86"
)

func init() {
	register("gemm_bf16_avx2", func() { bf16Kernel(avx2, 4).function(avx2Shapes) })
	register("gemm_bf16_avx512", func() {
		bf16Kernel(avx512, 2).function(avx512Shapes())
		bf16DotKernel().function(avx512Shapes())
	})
}

// flushToZero is MXCSR with results and operands that are subnormal taken for
// zero, rounding to nearest even and all exceptions masked.
const flushToZero = 0x9FC0

// bf16Kernel does in two fused multiply-adds what VDPBF16PS does in one
// instruction. The left-hand factors are widened already.
func bf16Kernel(v isa, unroll int) gemmKernel {
	g := gemmKernel{
		isa: v, name: "gemmBF16" + v.name, types: [2]string{"float32", "uint32"}, unroll: unroll, flush: true,
		step: []string{
			"\tacc = fma(a[i*rs+p*cs+1], high(b[j/16*bs+p*16+j%16]), acc)",
			"\tacc = fma(a[i*rs+p*cs], low(b[j/16*bs+p*16+j%16]), acc)   for p = 0, 1, ... k-1",
			"",
			"with subnormal numbers taken for zero, and then",
			"",
		},
		multiply: multiplyF32, broadcast: broadcastF32,
	}
	const upper = 0xFFFF0000
	high := func(at Mem, to reg.VecVirtual) {
		VMOVUPS(at, to)
		if v.wide == 64 {
			VPANDD_BCST(constantBits(upper), to, to)
		} else {
			VPAND(constantBits(upper), to, to)
		}
	}
	low := func(at Mem, to reg.VecVirtual) {
		if v.wide == 64 {
			VPSLLD(U8(16), at, to)
			return
		}
		VMOVUPS(at, to)
		VPSLLD(U8(16), to, to)
	}
	g.passes = []pass{{4, high}, {0, low}}
	return g
}

// bf16DotKernel takes VDPBF16PS.
func bf16DotKernel() gemmKernel {
	g := f32Kernel(avx512, 4)
	g.name, g.types = "gemmBF16Dot", [2]string{"uint32", "uint32"}
	g.step = []string{"\tacc = VDPBF16PS(a[i*rs+p*cs], b[j/16*bs+p*16+j%16], acc)   for p = 0, 1, ... k-1"}
	g.multiply, g.broadcast = VDPBF16PS, VDPBF16PS_BCST
	return g
}

// VDPBF16PS and its form whose first operand is in memory, broadcast, are not
// among the instructions of avo and of Go's assembler: they have the operands of
// VPDPWSSD, and encode makes them bytes.
func VDPBF16PS(x, y, acc reg.VecVirtual)          { vdpbf16psOf(x86.VPDPWSSD(x, y, acc)) }
func VDPBF16PS_BCST(x Mem, y, acc reg.VecVirtual) { vdpbf16psOf(x86.VPDPWSSD_BCST(x, y, acc)) }
func vdpbf16psOf(i *ir.Instruction, err error) {
	if err != nil {
		panic(err)
	}
	i.Opcode, i.ISA = "VDPBF16PS", []string{"AVX512_BF16", "AVX512F"}
	Instruction(i)
}
