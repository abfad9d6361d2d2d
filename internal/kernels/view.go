package kernels

import (
	"unsafe"

	"github.com/skive-ml/skive/internal/machine"
)

// ViewF32 is a matrix in memory with any layout. Its element (i, j) is
// Data[i*RowStride+j*ColStride].
type ViewF32 struct {
	Data                 []float32
	RowStride, ColStride int
}

// RowMajor returns the view of a matrix whose rows in d are ld floats apart.
func RowMajor(d []float32, ld int) ViewF32 {
	return ViewF32{Data: d, RowStride: ld, ColStride: 1}
}

// Transposed returns the view of the transpose of the matrix whose rows in d are ld floats apart.
func Transposed(d []float32, ld int) ViewF32 {
	return ViewF32{Data: d, RowStride: 1, ColStride: ld}
}

// T returns the view of the transpose.
func (v ViewF32) T() ViewF32 {
	return ViewF32{Data: v.Data, RowStride: v.ColStride, ColStride: v.RowStride}
}

// at returns the element (i, j).
func (v ViewF32) at(i, j int) float32 { return v.Data[i*v.RowStride+j*v.ColStride] }

// check panics if an m×n matrix does not fit into the view.
func (v ViewF32) check(m, n int) {
	if m > 0 && n > 0 && (v.RowStride < 0 || v.ColStride < 0 || (m-1)*v.RowStride+(n-1)*v.ColStride >= len(v.Data)) {
		panic("kernels: matrix does not lie within its data")
	}
}

// grow returns s with length n. It reuses memory that is large enough. The contents are
// arbitrary.
func grow[E any](s []E, n int) []E {
	if cap(s) < n {
		return make([]E, n)
	}
	return s[:n]
}

// tileBytes is the length of a row of a tile, and of a cache line.
const tileBytes = 64

// growAligned is grow for memory that begins at a cache line and, if it is large, is on large
// pages.
func growAligned[E int8 | uint8 | int32 | uint32 | float32](s []E, n int) []E {
	if cap(s) >= n {
		return s[:n]
	}
	size := int(unsafe.Sizeof(E(0)))
	s = make([]E, n+tileBytes/size)
	machine.HugePages(s)
	off := int(-uintptr(unsafe.Pointer(unsafe.SliceData(s)))%tileBytes) / size
	return s[off:][:n]
}

// ceilDiv returns a/b rounded up.
func ceilDiv(a, b int) int { return (a + b - 1) / b }
