//go:build !noasm

package kernels

// secondLevel returns the bytes of a core's second-level cache, or 0 if the CPU does not tell.
func secondLevel() int {
	most, _, _, _ := cpuid(0, 0)
	mostExtended, _, _, _ := cpuid(0x80000000, 0)
	if most >= 4 {
		if size := cacheOf(4); size > 0 {
			return size
		}
	}
	if mostExtended >= 0x8000001D {
		return cacheOf(0x8000001D)
	}
	return 0
}

// cacheOf reads the caches of leaf 4 (Intel) or 0x8000001D (AMD), whose format is
// the same.
func cacheOf(leaf uint32) int {
	for i := range uint32(16) {
		a, b, c, _ := cpuid(leaf, i)
		kind, level := a&31, a>>5&7
		if kind == 0 {
			break
		}
		if level != 2 || kind == 2 { // of instructions
			continue
		}
		size := int(b>>22+1) * int(b>>12&1023+1) * int(b&4095+1) * int(c+1)
		// The two threads of a core count as one.
		return size / max(1, int(a>>14&4095+1)/2)
	}
	return 0
}
