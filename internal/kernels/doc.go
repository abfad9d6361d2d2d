// Package kernels has the arithmetic of Skive on one CPU: matrix products in 32-bit floats and
// 8-bit integers, and the vector operations between them.
//
// Each kernel has one definition, the plain Go loop in its file. The AVX2, AVX-512 and AMX
// levels, and those of arm64, give the same bits as that loop, floats included. There are two
// exceptions: products of bfloat16 have a definition of their own with AMX, and on arm64 they may
// differ near the subnormal numbers.
//
// To give the same bits, an f32 product is, for each output, one chain of correctly rounded fused
// multiply-adds over k = 0..K-1 in order, however it is blocked. A reduction runs in 16 virtual
// lanes and a fixed tree. Nothing is fused unless the definition says so. (Only the bits of a NaN
// are not defined.)
//
// Kernels check few arguments: a slice that is too short panics.
package kernels

//go:generate go run -C _asm . ..
