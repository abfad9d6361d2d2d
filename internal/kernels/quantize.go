package kernels

import "math"

// quantizeTiny is the magnitude below which a row counts as zero, because 127/amax must stay
// finite.
const quantizeTiny = 0x1p-100

// QuantizeRow quantizes one row symmetrically to dst with x ≈ scale*dst. With amax the largest
// |x[i]|, scale is amax/127 and dst[i] is x[i]*(127/amax) rounded half to even, which is in
// [-127, 127]. It returns the scale and the sum of dst. A row whose amax is below 2^-100 gives
// zeros and scale 0. A row with an Inf or a NaN gives zeros and a scale of Inf or NaN, so a
// product with the row is NaN.
func QuantizeRow(dst []int8, x []float32) (scale float32, sum int32) {
	sameLength(len(dst), len(x))
	return quantizeRowTo(dst, x, MaxAbs(x))
}

// quantizeRowTo is QuantizeRow of a row whose largest magnitude is known.
func quantizeRowTo(dst []int8, x []float32, amax float32) (scale float32, sum int32) {
	if amax < quantizeTiny {
		clear(dst)
		return 0, 0
	}
	if !(amax <= math.MaxFloat32) {
		clear(dst)
		return amax, 0
	}
	return amax / 127, quantizeRow(dst, x, 127/amax)
}

// QuantizeRowStatic quantizes one row with a given scale: dst[i] is x[i]*(1/scale) rounded half
// to even and limited to [-127, 127], or -127 for a NaN. It returns the sum of dst. The scale
// must be positive, and 1/scale finite.
func QuantizeRowStatic(dst []int8, x []float32, scale float32) (sum int32) {
	sameLength(len(dst), len(x))
	return quantizeRow(dst, x, 1/scale)
}

func quantizeRowGeneric(dst []int8, x []float32, inverse float32) (sum int32) {
	for i, v := range x {
		t := float32(v * inverse)
		if !(t > -127) {
			t = -127
		}
		if t > 127 {
			t = 127
		}
		q := int32(math.RoundToEven(float64(t)))
		dst[i] = int8(q)
		sum += q
	}
	return sum
}

// DequantizeRow sets dst[i] = scale*src[i].
func DequantizeRow(dst []float32, src []int8, scale float32) {
	sameLength(len(dst), len(src))
	dequantizeRow(dst, src, scale)
}

func dequantizeRowGeneric(dst []float32, src []int8, scale float32) {
	for i, q := range src {
		dst[i] = scale * float32(q)
	}
}
