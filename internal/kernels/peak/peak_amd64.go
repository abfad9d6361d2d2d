//go:build !noasm

package peak

import "github.com/skive-ml/skive/internal/kernels"

// tiles is the operand of LDTILECFG: eight of 16 rows of 64 bytes.
var tiles = struct {
	palette byte
	_       [15]byte
	bytes   [16]uint16
	rows    [16]byte
}{palette: 1, bytes: [16]uint16{64, 64, 64, 64, 64, 64, 64, 64}, rows: [16]byte{16, 16, 16, 16, 16, 16, 16, 16}}

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
	case l >= kernels.AMX:
		return loop{func(n int) { tileI8(n, &tiles.palette) }, instructions * 2 * 16 * 16 * 64}
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
	switch {
	case l >= kernels.AMX:
		return loop{func(n int) { tileBF16(n, &tiles.palette) }, instructions * 2 * 16 * 16 * 32}
	case l >= kernels.AVX512BF16:
		return loop{dotBF16, instructions * 2 * 32}
	}
	return f32Loop(l)
}
