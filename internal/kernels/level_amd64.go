//go:build !noasm

package kernels

import (
	"os"

	"golang.org/x/sys/cpu"
)

// detect returns the capabilities of this CPU, as far as the operating system
// saves its registers.
func detect() capability {
	x := &cpu.X86
	var c capability
	for _, f := range []struct {
		there bool
		adds  capability
	}{
		{x.HasAVX2 && x.HasFMA && x.HasF16C, avx2},
		{x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL, avx512},
		{x.HasAVX512VNNI, vnni},
		{x.HasAVX512BF16, bf16dot},
		{x.HasAMXTile && x.HasAMXInt8 && x.HasAMXBF16 && tilesWanted() && tilesPermitted(), amxTiles},
	} {
		if f.there {
			c |= f.adds
		}
	}
	return c
}

// tilesWanted is false if SKIVE_ISA asks for a lower level. A process with permission for tiles
// may no longer use small stacks for signals.
func tilesWanted() bool {
	l, ok := levelOf(os.Getenv(ISAVariable))
	return !ok || levels[l].has.has(amxTiles)
}
