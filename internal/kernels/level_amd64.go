//go:build !noasm

package kernels

import (
	"os"
	"slices"

	"golang.org/x/sys/cpu"
)

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
	case !x.HasAMXTile || !x.HasAMXInt8 || !x.HasAMXBF16 || !tilesWanted() || !tilesPermitted():
		return AVX512BF16
	}
	return AMX
}

// tilesWanted is false where SKIVE_ISA asks for a lower level: a process that is
// granted tiles may no longer use small stacks for signals.
func tilesWanted() bool {
	l := slices.Index(levelNames[:], os.Getenv(ISAVariable))
	return l < 0 || Level(l) == AMX
}
