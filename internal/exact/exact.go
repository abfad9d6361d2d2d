// Package exact has the elementary functions that results of a run depend on, in float64 and with
// the same bits on every architecture.
//
// Package math does not promise that. Its Exp and Log are assembly on some architectures. In
// plain Go on the others, a compiler may fuse x*y + z unless the product is converted explicitly,
// as it is here. Where a product is meant to be fused, the code says math.FMA. On amd64 with FMA
// the results are those of package math of Go 1.26.
package exact

import "math"

// Exp returns e^x: 0 on underflow, +Inf on overflow.
//
// The method is Shibata's ("Efficient evaluation methods of elementary functions suitable for
// SIMD computation", ISC 2010). Let n be x/ln(2), rounded. The Taylor series of e^r - 1 at r = (x
// - n*ln(2))/16, squared four times, gives e^(16r) - 1.
func Exp(x float64) float64 {
	const (
		most    = 7.09782712893384e+02
		least   = -750
		ln2High = 0.69314718055966295651160180568695068359375
		ln2Low  = 0.28235290563031577122588448175013436025525412068e-12
	)
	switch {
	case x > most || x != x:
		return x * math.Inf(1)
	case x < least:
		return 0
	}
	k := math.RoundToEven(x * math.Log2E)
	r := math.FMA(-ln2High, k, x)
	r = math.FMA(-ln2Low, k, r)
	r *= 0.0625
	p := math.FMA(2.4801587301587301587e-5, r, 1.9841269841269841270e-4)
	p = math.FMA(p, r, 1.3888888888888888889e-3)
	p = math.FMA(p, r, 8.3333333333333333333e-3)
	p = math.FMA(p, r, 4.1666666666666666667e-2)
	p = math.FMA(p, r, 1.6666666666666666667e-1)
	p = math.FMA(p, r, 0.5)
	p = math.FMA(p, r, 1)
	r *= p
	for range 3 {
		r *= 2 + r
	}
	r = math.FMA(2+r, r, 1)
	n := int(k)
	switch {
	case n >= 1024:
		return math.Inf(1)
	case n > -1023:
		return r * power(n)
	case n < -1075:
		return 0
	}
	return r * power(n+1022) * power(-1022)
}

// power returns 2^n for a normal result.
func power(n int) float64 { return math.Float64frombits(uint64(n+1023) << 52) }

const (
	ln2Hi = 6.93147180369123816490e-01
	ln2Lo = 1.90821492927058770002e-10
)

// log1pSeries returns R with log(1+f) = f - f²/2 + s*(f²/2 + R), s = f/(2+f) and z = s², for f
// between √½-1 and √2-1 (FreeBSD, e_log.c). With parts, the terms of even and of odd powers are
// added up separately, as in e_log.c; s_log1p.c does not separate them.
func log1pSeries(z float64, parts bool) float64 {
	const (
		l1 = 6.666666666666735130e-01
		l2 = 3.999999999940941908e-01
		l3 = 2.857142874366239149e-01
		l4 = 2.222219843214978396e-01
		l5 = 1.818357216161805012e-01
		l6 = 1.531383769920937332e-01
		l7 = 1.479819860511658591e-01
	)
	if parts {
		w := z * z
		odd := float64(z * polynomial(w, l7, l5, l3, l1))
		even := float64(w * polynomial(w, l6, l4, l2))
		return odd + even
	}
	return float64(z * polynomial(z, l7, l6, l5, l4, l3, l2, l1))
}

// polynomial evaluates the polynomial with these coefficients, highest first, at x. Each product
// is rounded.
func polynomial(x float64, coefficients ...float64) float64 {
	p := coefficients[0]
	for _, c := range coefficients[1:] {
		p = float64(p*x) + c
	}
	return p
}

// Log returns the natural logarithm of x: -Inf for zero, NaN below.
func Log(x float64) float64 {
	switch {
	case x != x || x > math.MaxFloat64:
		return x
	case x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	}
	// A subnormal x is treated as if it had the exponent -1023 and a leading 1.
	bits := math.Float64bits(x)
	f := math.Float64frombits(bits&(1<<52-1) | 0x3FE<<52)
	k := float64(int(bits>>52) - 0x3FE)
	if f <= math.Sqrt2/2 {
		k--
		f *= 2
	}
	f--
	s := f / (2 + f)
	half := float64(float64(0.5*f) * f)
	r := log1pSeries(s*s, true)
	return float64(k*ln2Hi) - ((half - (float64(s*(half+r)) + float64(k*ln2Lo))) - f)
}

// Log1p returns the natural logarithm of 1+x.
func Log1p(x float64) float64 {
	const (
		sqrt2M1     = 4.142135623730950488017e-01
		sqrt2HalfM1 = -2.928932188134524755992e-01
	)
	abs := math.Abs(x)
	switch {
	case x < -1 || x != x:
		return math.NaN()
	case x == -1:
		return math.Inf(-1)
	case x > math.MaxFloat64:
		return x
	case abs < 0x1p-54:
		return x
	case abs < 0x1p-29:
		return x - float64(float64(x*x)*0.5)
	}
	// 1+x is 2^k * (1+f). c is what 1+x lost by rounding, divided by 1+x.
	var f, c, k float64
	tiny := false // |f| < 2^-20
	if sqrt2HalfM1 < x && x < sqrt2M1 {
		f = x
	} else {
		u := x
		if abs < 0x1p53 {
			u = 1 + x
		}
		bits := math.Float64bits(u)
		k = float64(int(bits>>52) - 1023)
		switch {
		case abs >= 0x1p53:
		case k > 0:
			c = (1 - (u - x)) / u
		default:
			c = (x - (u - 1)) / u
		}
		bits &= 1<<52 - 1
		if bits < 0x0006a09e667f3bcd { // the fraction of √2
			u = math.Float64frombits(bits | 0x3FF<<52)
		} else {
			k++
			u = math.Float64frombits(bits | 0x3FE<<52)
			bits = (1<<52 - bits) >> 2
		}
		f, tiny = u-1, bits == 0
	}
	half := float64(float64(0.5*f) * f)
	if tiny {
		if f == 0 {
			return float64(k*ln2Hi) + (c + float64(k*ln2Lo))
		}
		r := half * (1 - float64(0.66666666666666666*f))
		return float64(k*ln2Hi) - ((r - (float64(k*ln2Lo) + c)) - f)
	}
	s := f / (2 + f)
	r := log1pSeries(s*s, false)
	if k == 0 {
		return f - (half - float64(s*(half+r)))
	}
	return float64(k*ln2Hi) - ((half - (float64(s*(half+r)) + (float64(k*ln2Lo) + c))) - f)
}

// Log2 returns the binary logarithm of x. It is exact for powers of 2.
func Log2(x float64) float64 {
	fraction, exponent := math.Frexp(x)
	if fraction == 0.5 {
		return float64(exponent - 1)
	}
	return float64(Log(fraction)*(1/math.Ln2)) + float64(exponent)
}

// Log10 returns the decimal logarithm of x.
func Log10(x float64) float64 { return Log(x) * (1 / math.Ln10) }

// Pow returns x^y for a positive x and a finite y.
func Pow(x, y float64) float64 {
	whole, fraction := math.Modf(math.Abs(y))
	if fraction == 0 || fraction == 0.5 && whole == 0 {
		return math.Pow(x, y) // only products and square roots
	}
	if fraction > 0.5 {
		fraction--
		whole++
	}
	p := Exp(fraction * Log(x))
	mantissa, exponent := math.Frexp(math.Pow(x, whole))
	if y < 0 {
		return math.Ldexp(1/(p*mantissa), -exponent)
	}
	return math.Ldexp(p*mantissa, exponent)
}

// Sin returns the sine of x, an angle in radians below 2^29.
func Sin(x float64) float64 {
	octant, z := reduced(math.Abs(x))
	if octant&3 == 1 || octant&3 == 2 {
		return math.Copysign(1, x) * sign(octant > 3) * cosine(z)
	}
	return math.Copysign(1, x) * sign(octant > 3) * sine(z)
}

// Cos returns the cosine of x, an angle in radians below 2^29.
func Cos(x float64) float64 {
	octant, z := reduced(math.Abs(x))
	s := sign(octant > 3) * sign(octant&3 > 1)
	if octant&3 == 1 || octant&3 == 2 {
		return s * sine(z)
	}
	return s * cosine(z)
}

func sign(negative bool) float64 {
	if negative {
		return -1
	}
	return 1
}

// reduced returns the octant of x >= 0, made even (0, 2, 4 or 6), and the remainder between -π/4
// and π/4 (Cephes, sin.c).
func reduced(x float64) (octant uint64, z float64) {
	const (
		a = 7.85398125648498535156e-1
		b = 3.77489470793079817668e-8
		c = 2.69515142907905952645e-15
	)
	if !(x < 1<<29) {
		return 0, math.NaN()
	}
	octant = uint64(x * (4 / math.Pi))
	octant += octant & 1
	y := float64(octant)
	return octant & 7, ((x - float64(y*a)) - float64(y*b)) - float64(y*c)
}

func sine(z float64) float64 {
	zz := z * z
	return z + float64(float64(z*zz)*polynomial(zz, 1.58962301576546568060e-10, -2.50507477628578072866e-8,
		2.75573136213857245213e-6, -1.98412698295895385996e-4, 8.33333333332211858878e-3, -1.66666666666666307295e-1))
}

func cosine(z float64) float64 {
	zz := z * z
	return 1 - float64(0.5*zz) + float64(float64(zz*zz)*polynomial(zz, -1.13585365213876817300e-11, 2.08757008419747316778e-9,
		-2.75573141792967388112e-7, 2.48015872888517045348e-5, -1.38888888888730564116e-3, 4.16666666666665929218e-2))
}
