package kernels

import "math"

// fma32 returns a*b + c with one rounding, to nearest even, as VFMADD and FMADD do.
//
// The product of two floats is exact in float64, but its sum with c is not. Rounding that sum
// again, to float32, is only wrong if it lies halfway between two floats (or near that, among the
// subnormal numbers, which are coarser). In that case the sum is rounded to odd, which preserves
// on which side the exact value lies (Boldo and Melquiond, "Emulation of a FMA and correctly
// rounded sums: proved algorithms using rounding to odd", 2008).
func fma32(a, b, c float32) float32 {
	p, q := float64(float64(a)*float64(b)), float64(c)
	s := p + q
	bits := math.Float64bits(s)
	if bits&(1<<29-1) != 1<<28 && math.Abs(s) >= 0x1p-126 {
		return float32(s)
	}
	e := restOfSum(p, q, s)
	if bits&1 == 0 && (e > 0 || e < 0) {
		if (e > 0) == (s > 0) {
			bits++
		} else {
			bits--
		}
		s = math.Float64frombits(bits)
	}
	return float32(s)
}

// restOfSum returns exactly what p + q lost when it was rounded to s (Knuth's TwoSum). It is NaN
// if s is infinite or NaN.
func restOfSum(p, q, s float64) float64 {
	t := s - p
	return (p - (s - t)) + (q - t)
}
