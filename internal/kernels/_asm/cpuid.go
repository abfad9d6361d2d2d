package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	register("cpuid", func() {
		TEXT("cpuid", NOSPLIT, "func(leaf, subleaf uint32) (a, b, c, d uint32)")
		Doc("cpuid asks the CPU about itself.")
		Load(Param("leaf"), reg.EAX)
		Load(Param("subleaf"), reg.ECX)
		CPUID()
		for i, r := range []reg.Register{reg.EAX, reg.EBX, reg.ECX, reg.EDX} {
			Store(r, ReturnIndex(i))
		}
		RET()
	})
}
