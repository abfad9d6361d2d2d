package kernels

import "math/bits"

// Dropout sets dst[i] = x[i]/(1-p) with probability 1-p, and 0 otherwise (Srivastava et al., JMLR
// 15, 2014). Only key and offset+i decide whether element i is kept. So the same call on the
// gradient is the backward pass, and a row may be split into several calls. dst may be x. p <= 0
// copies, p >= 1 clears.
func Dropout(dst, x []float32, p float32, key, offset uint64) {
	sameLength(len(dst), len(x))
	if !(p > 0) {
		copy(dst, x)
		return
	}
	if p >= 1 {
		clear(dst)
		return
	}
	scale, threshold := 1/(1-p), uint32(float64(p)*(1<<32))
	for len(dst) > 0 {
		low := uint32(offset)
		n := min(uint64(len(dst)), 1<<32-uint64(low))
		k0, k1 := dropoutKeys(key, offset>>32)
		dropout(dst[:n], x[:n], scale, threshold, low, k0, k1)
		dst, x, offset = dst[n:], x[n:], offset+n
	}
}

// dropoutKeys spreads the key and the high half of the counter over two words (the finalizer of SplitMix64, Steele et
// al., OOPSLA 2014, on a product that mixes both).
func dropoutKeys(key, high uint64) (k0, k1 uint32) {
	h, l := bits.Mul64(high^0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)
	z := key + h ^ l
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	z ^= z >> 31
	return uint32(z), uint32(z >> 32)
}

// dropoutHash is the 32-bit counter generator: three rounds of multiply and xor-shift with the constants of triple32
// (C. Wellons, hash-prospector), the two key words entering before the first and the second round.
func dropoutHash(counter, k0, k1 uint32) uint32 {
	h := counter ^ k0
	h ^= h >> 17
	h *= 0xED5AD4BB
	h ^= h >> 11
	h += k1
	h *= 0xAC4C1B51
	h ^= h >> 15
	h *= 0x31848BAB
	h ^= h >> 14
	return h
}

func dropoutGeneric(dst, x []float32, scale float32, threshold, counter, k0, k1 uint32) {
	for i, v := range x {
		if dropoutHash(counter+uint32(i), k0, k1) >= threshold {
			dst[i] = v * scale
		} else {
			dst[i] = 0
		}
	}
}
