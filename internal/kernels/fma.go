package kernels

import "math"

// fma32 returns a*b + c with one rounding, to nearest even: what VFMADD and
// FMADD compute.
//
// The product of two floats is exact in float64, their sum with c is not.
// Rounding that sum again, to float32, errs only where it has come to lie
// halfway between two floats (or near there, among the subnormal numbers, which
// are coarser): there the sum is rounded to odd instead, which keeps on which
// side of it the exact value lies (Boldo and Melquiond, "Emulation of a FMA and
// correctly rounded sums: proved algorithms using rounding to odd", 2008).
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

// restOfSum returns what p + q has lost by rounding to s, exactly (Knuth's TwoSum). It
// is NaN where s is infinite or NaN.
func restOfSum(p, q, s float64) float64 {
	t := s - p
	return (p - (s - t)) + (q - t)
}
