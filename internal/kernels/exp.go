package kernels

import "math"

// The exponential is 2^n * e^r with n = round(x*log2(e)) and r = x - n*ln(2) in [-ln(2)/2,
// ln(2)/2]. e^r is 1 + r + r²*q(r), where q is the polynomial of degree 4 with the smallest
// largest relative error (a weighted least-squares fit, reweighted until level: 4e-9 with
// coefficients rounded to f32). The coefficients are doubled here so that the scale is 2^(n-1).
// At n = 128 that is still finite. At n = -126 its bits are zero, which flushes the result to
// zero at no cost.
const (
	expLow   = -87.33 // n = -126: the result is 0
	expHigh  = 88.8   // n = 128: the result overflows to +Inf
	expLog2e = 0x1.715476p+0
	// expMagic is 1.5*2^23 + 126. Adding it rounds to an integer and leaves n + 126, the biased
	// exponent of 2^(n-1), in the low bits.
	expMagic = 0x1.8000FCp+23
	expLn2Hi = 0x1.62E430p-1
	expLn2Lo = -0x1.05C610p-29
	expC0    = 2
	expC1    = 2
	expC2    = 0x1.FFFFFCp-2 * 2
	expC3    = 0x1.555492p-3 * 2
	expC4    = 0x1.5558F2p-5 * 2
	expC5    = 0x1.1239F2p-7 * 2
	expC6    = 0x1.6A241Ap-10 * 2
)

// Exp sets dst[i] = e^x[i]. The error is below 2 units in the last place if the result is at
// least 2^-125 and finite. Smaller results are 0, larger ones +Inf, and NaN stays NaN. dst may be
// x.
func Exp(dst, x []float32) {
	sameLength(len(dst), len(x))
	vexp(dst, x)
}

func expGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = exp32(v)
	}
}

func exp32(x float32) float32 {
	if x < expLow {
		x = expLow
	}
	if x > expHigh {
		x = expHigh
	}
	t := fma32(x, expLog2e, expMagic)
	n := t - expMagic
	r := fma32(n, -expLn2Hi, x)
	r = fma32(n, -expLn2Lo, r)
	p := fma32(expC6, r, expC5)
	p = fma32(p, r, expC4)
	p = fma32(p, r, expC3)
	p = fma32(p, r, expC2)
	p = fma32(p, r, expC1)
	p = fma32(p, r, expC0)
	return p * math.Float32frombits(math.Float32bits(t)<<23)
}

// 2^t is 2^n * 2^r with n = round(t) and r = t - n. 2^r is 1 + r*q(r), where q is the polynomial
// of degree 4 with the smallest largest relative error (9e-8). The coefficients are doubled like
// those of the exponential.
const (
	exp2Low = -125.5 // n = -126
	exp2C0  = 1 * 2
	exp2C1  = 0x1.62e42ap-1 * 2
	exp2C2  = 0x1.ebf9bcp-3 * 2
	exp2C3  = 0x1.c6b752p-5 * 2
	exp2C4  = 0x1.3cea88p-7 * 2
	exp2C5  = 0x1.5bba14p-10 * 2
)

// exp2 returns 2^t for t up to 0, and 0 where that is below 2^-125.
func exp2(t float32) float32 {
	if t < exp2Low {
		t = exp2Low
	}
	z := t + expMagic
	r := t - (z - expMagic)
	p := fma32(exp2C5, r, exp2C4)
	p = fma32(p, r, exp2C3)
	p = fma32(p, r, exp2C2)
	p = fma32(p, r, exp2C1)
	p = fma32(p, r, exp2C0)
	return p * math.Float32frombits(math.Float32bits(z)<<23)
}
