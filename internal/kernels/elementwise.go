package kernels

import (
	"math"
	"unsafe"
)

// Prefetch asks the CPU to load x into the second-level cache, if the CPU has such an
// instruction.
func Prefetch[E any](x []E) {
	if len(x) > 0 {
		prefetchBytes((*byte)(unsafe.Pointer(&x[0])), len(x)*int(unsafe.Sizeof(x[0])))
	}
}

// Add sets dst = a + b. dst may be a or b.
func Add(dst, a, b []float32) {
	sameLength(len(dst), len(a), len(b))
	add(dst, a, b)
}

func addGeneric(dst, a, b []float32) {
	for i, v := range a {
		dst[i] = v + b[i]
	}
}

// Mul sets dst = a * b, element by element. dst may be a or b.
func Mul(dst, a, b []float32) {
	sameLength(len(dst), len(a), len(b))
	mul(dst, a, b)
}

func mulGeneric(dst, a, b []float32) {
	for i, v := range a {
		dst[i] = v * b[i]
	}
}

// Axpy adds alpha*x to dst, each element by one fused multiply-add.
func Axpy(dst []float32, alpha float32, x []float32) {
	sameLength(len(dst), len(x))
	axpy(dst, alpha, x)
}

func axpyGeneric(dst []float32, alpha float32, x []float32) {
	for i, v := range x {
		dst[i] = fma32(alpha, v, dst[i])
	}
}

// Scale sets dst = alpha*x. dst may be x.
func Scale(dst []float32, alpha float32, x []float32) {
	sameLength(len(dst), len(x))
	scaleBy(dst, alpha, x)
}

func scaleByGeneric(dst []float32, alpha float32, x []float32) {
	for i, v := range x {
		dst[i] = alpha * v
	}
}

// Sum returns the sum of x in 16 lanes and their tree.
func Sum(x []float32) float32 { return sum(x) }

func sumGeneric(x []float32) float32 {
	var lanes [Lanes]float32
	for i, v := range x {
		lanes[i%Lanes] += v
	}
	return laneSum(&lanes)
}

// Dot returns Σ a[i]*b[i], fused multiply-adds in 16 lanes and their tree.
func Dot(a, b []float32) float32 {
	sameLength(len(a), len(b))
	return dot(a, b)
}

func dotGeneric(a, b []float32) float32 {
	var lanes [Lanes]float32
	for i, v := range a {
		lanes[i%Lanes] = fma32(v, b[i], lanes[i%Lanes])
	}
	return laneSum(&lanes)
}

// SumSquares returns Σ x[i]², the squares exact and summed in 16 lanes of float64 and their tree.
func SumSquares(x []float32) float64 { return sumSquares(x) }

func sumSquaresGeneric(x []float32) float64 {
	var lanes [Lanes]float64
	for i, v := range x {
		lanes[i%Lanes] += float64(float64(v) * float64(v))
	}
	for w := Lanes / 2; w > 0; w /= 2 {
		for i := range w {
			lanes[i] += lanes[i+w]
		}
	}
	return lanes[0]
}

// MaxAbs returns the largest |x[i]|: 0 for an empty x, and NaN if x has a NaN. It compares the
// bits without the sign as integers, in which NaN is above +Inf.
func MaxAbs(x []float32) float32 { return math.Float32frombits(maxAbsBits(x)) }

func maxAbsBitsGeneric(x []float32) uint32 {
	var m uint32
	for _, v := range x {
		m = max(m, math.Float32bits(v)&^(1<<31))
	}
	return m
}

// ColumnSums sets dst[j] to the sum over i < rows, in that order, of x[i*ld+j] for j < n.
func ColumnSums(dst, x []float32, rows, n, ld int) {
	if len(dst) < n || rows > 0 && (ld < n || len(x) < (rows-1)*ld+n) {
		panic(shortData)
	}
	if rows <= 0 {
		clear(dst[:n])
		return
	}
	columnSums(dst[:n], x, rows, ld)
}

func columnSumsGeneric(dst, x []float32, rows, ld int) {
	clear(dst)
	for i := range rows {
		for j, v := range x[i*ld : i*ld+len(dst)] {
			dst[j] += v
		}
	}
}
