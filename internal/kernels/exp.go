package kernels

import "math"

// The exponential is 2^n * e^r with n = round(x*log2(e)) and r = x - n*ln(2) in [-ln(2)/2, ln(2)/2]; e^r is the degree 5
// minimax polynomial of XNNPACK's f32 kernels (rr2-p5), here with doubled coefficients so that the scale is 2^(n-1):
// at n = 128 that is still finite, and at n = -126 its bits are zero, which makes the flush to zero free.
const (
	expLow   = -87.33 // n = -126: the result is 0
	expHigh  = 88.8   // n = 128: the result overflows to +Inf
	expLog2e = 0x1.715476p+0
	// expMagic is 1.5*2^23 + 126: adding it rounds to an integer and leaves n + 126, the biased exponent of 2^(n-1), in
	// the low bits.
	expMagic   = 0x1.8000FCp+23
	expLn2Hi   = 0x1.62E430p-1
	expLn2Lo   = -0x1.05C610p-29
	expC0      = 2
	expC1      = 0x1.FFFFF6p-1 * 2
	expC2      = 0x1.FFFDC6p-2 * 2
	expC3      = 0x1.555A80p-3 * 2
	expC4      = 0x1.573A1Ap-5 * 2
	expC5      = 0x1.0F9F9Cp-7 * 2
	flushBelow = -86.9896
)

// Exp sets dst[i] = e^x[i]. The error is below 2 units in the last place where the result is at least 2^-125 and finite;
// smaller results are 0, larger ones +Inf, NaN stays NaN. dst may be x.
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
	p := fma32(expC5, r, expC4)
	p = fma32(p, r, expC3)
	p = fma32(p, r, expC2)
	p = fma32(p, r, expC1)
	p = fma32(p, r, expC0)
	return p * math.Float32frombits(math.Float32bits(t)<<23)
}
