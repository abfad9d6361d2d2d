package kernels

// L2 is the memory in bytes of a core's second-level cache, or of its share of
// one. Blocks of matrices are cut to it.
var L2 = cacheSize(secondLevel())

// cacheSize is the size to reckon with for one that was found out; 0 stands for
// one that was not.
func cacheSize(found int) int {
	const least, usual, most = 256 << 10, 1 << 20, 4 << 20
	if found == 0 {
		return usual
	}
	return min(max(found, least), most)
}
