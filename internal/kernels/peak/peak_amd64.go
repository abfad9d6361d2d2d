//go:build !noasm

package peak

import "github.com/skive-ml/skive/internal/kernels"

func f32Loop(l kernels.Level) loop {
	switch {
	case l >= kernels.AVX512:
		return loop{fmaAVX512, instructions * 2 * 16}
	case l == kernels.AVX2:
		return loop{fmaAVX2, instructions * 2 * 8}
	}
	return loop{}
}

func i8Loop(l kernels.Level) loop {
	switch {
	case l >= kernels.AVX512VNNI:
		return loop{dotVNNI, instructions * 2 * 64}
	case l == kernels.AVX512:
		return loop{widenAVX512, instructions * 2 * 32}
	case l == kernels.AVX2:
		return loop{widenAVX2, instructions * 2 * 16}
	}
	return loop{}
}

func bf16Loop(l kernels.Level) loop {
	if l >= kernels.AVX512BF16 {
		return loop{dotBF16, instructions * 2 * 32}
	}
	return f32Loop(l)
}
