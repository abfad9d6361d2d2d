package kernels

// L2 is the size in bytes of a core's second-level cache, or of its share of one. Blocks of
// matrices are sized to fit.
var L2 = cacheSize(secondLevel())

// cacheSize returns the size to assume for a measured one, where 0 means unknown.
func cacheSize(found int) int {
	const least, usual, most = 256 << 10, 1 << 20, 4 << 20
	if found == 0 {
		return usual
	}
	return min(max(found, least), most)
}
