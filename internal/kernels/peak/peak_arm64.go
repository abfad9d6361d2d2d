//go:build !noasm

package peak

import "github.com/skive-ml/skive/internal/kernels"

func f32Loop(l kernels.Level) loop {
	if l >= kernels.NEON {
		return loop{fmaNEON, instructions * 2 * 4}
	}
	return loop{}
}

func i8Loop(l kernels.Level) loop {
	switch {
	case l >= kernels.I8MM:
		return loop{matNEON, instructions * 2 * 32}
	case l == kernels.DotProd:
		return loop{dotNEON, instructions * 2 * 16}
	case l == kernels.NEON:
		return loop{widenNEON, instructions * 2 * 16}
	}
	return loop{}
}

// bf16Loop is f32Loop: no instruction of arm64 rounds as the kernels do.
func bf16Loop(l kernels.Level) loop { return f32Loop(l) }
