package kernels

import "math"

// F16ToF32 converts IEEE 754 half precision values. It is exact; signalling NaNs become quiet.
func F16ToF32(dst []float32, src []uint16) {
	sameLength(len(dst), len(src))
	f16ToF32(dst, src)
}

func f16ToF32Generic(dst []float32, src []uint16) {
	for i, h := range src {
		sign, exponent, fraction := uint32(h&0x8000)<<16, uint32(h>>10&0x1F), uint32(h&0x3FF)
		switch {
		case exponent == 0x1F && fraction != 0:
			dst[i] = math.Float32frombits(sign | 0x7FC00000 | fraction<<13)
		case exponent == 0x1F:
			dst[i] = math.Float32frombits(sign | 0x7F800000)
		case exponent == 0: // zero and subnormal: fraction * 2^-24
			dst[i] = math.Float32frombits(math.Float32bits(float32(fraction)*0x1p-24) | sign)
		default:
			dst[i] = math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
		}
	}
}

// F32ToF16 rounds to IEEE 754 half precision, half to even; values from 65520 on become Inf, NaN stays NaN.
func F32ToF16(dst []uint16, src []float32) {
	sameLength(len(dst), len(src))
	f32ToF16(dst, src)
}

func f32ToF16Generic(dst []uint16, src []float32) {
	for i, v := range src {
		b := math.Float32bits(v)
		sign, b := uint16(b>>16&0x8000), b&^(1<<31)
		switch {
		case b > 0x7F800000: // NaN: the top of the payload, quiet
			dst[i] = sign | 0x7E00 | uint16(b>>13&0x3FF)
		case b >= 0x477FF000: // 65520
			dst[i] = sign | 0x7C00
		case b < 0x38800000: // below 2^-14: adding 0.5 leaves the multiple of 2^-24, rounded, in the low bits
			dst[i] = sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-0x3F000000)
		default:
			dst[i] = sign | uint16((b-112<<23+0xFFF+b>>13&1)>>13)
		}
	}
}

// BF16ToF32 converts bfloat16 values, which are the upper halves of float32. It is exact.
func BF16ToF32(dst []float32, src []uint16) {
	sameLength(len(dst), len(src))
	bf16ToF32(dst, src)
}

func bf16ToF32Generic(dst []float32, src []uint16) {
	for i, h := range src {
		dst[i] = math.Float32frombits(uint32(h) << 16)
	}
}

// F32ToBF16 rounds to bfloat16, half to even; NaN stays NaN and becomes quiet.
func F32ToBF16(dst []uint16, src []float32) {
	sameLength(len(dst), len(src))
	f32ToBF16(dst, src)
}

func f32ToBF16Generic(dst []uint16, src []float32) {
	for i, v := range src {
		dst[i] = roundBF16(v)
	}
}

func roundBF16(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7FFF + b>>16&1) >> 16)
}
