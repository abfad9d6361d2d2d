// Package peak measures the most that a core can do: arithmetic on registers only. The kernels'
// speed is compared with that.
package peak

import (
	"time"

	"github.com/skive-ml/skive/internal/kernels"
)

// A loop issues one instruction over and over.
type loop struct {
	run func(n int)
	ops float64 // operations of a step of n
}

// instructions is the number of instructions in a step of a loop.
const instructions = 24

// F32 runs fused multiply-adds of level l for about a millisecond. It returns the floating-point
// operations per second, two for each multiply-add, or 0 if the level has no vector instructions.
func F32(l kernels.Level) float64 { return f32Loop(l).measure() }

// I8 is F32 for the instructions that multiply 8-bit integers: VPDPBUSD, SMMLA or SDOT, or the
// ones that replace them.
func I8(l kernels.Level) float64 { return i8Loop(l).measure() }

// BF16 is F32 for products of bfloat16: VDPBF16PS, or the multiply-adds of F32 that replace it.
func BF16(l kernels.Level) float64 { return bf16Loop(l).measure() }

func (l loop) measure() float64 {
	if l.run == nil {
		return 0
	}
	const steps = 10_000
	start := time.Now()
	l.run(steps)
	return steps * l.ops / time.Since(start).Seconds()
}
