//go:build !noasm

package kernels

import "golang.org/x/sys/cpu"

// detect returns the best level of this CPU, as far as the operating system
// saves its registers.
func detect() Level {
	x := &cpu.X86
	switch {
	case !x.HasAVX2 || !x.HasFMA || !x.HasF16C:
		return Generic
	case !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512DQ || !x.HasAVX512VL:
		return AVX2
	case !x.HasAVX512VNNI:
		return AVX512
	case !x.HasAVX512BF16:
		return AVX512VNNI
	case !x.HasAMXTile || !x.HasAMXInt8 || !x.HasAMXBF16 || !tilesPermitted():
		return AVX512BF16
	}
	return AMX
}
