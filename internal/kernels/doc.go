// Package kernels holds the arithmetic of Skive: matrix products in 32-bit
// floats and 8-bit integers, and the vector operations between them, on one
// CPU.
//
// Each kernel has one definition, the plain Go loop in its file, and one
// result: the AVX2, AVX-512 and AMX levels, and those of arm64, give the same bits,
// floats included, but for products of bfloat16, which have a definition of their own
// at AMX, and on arm64 near the subnormal numbers. To that end a product in f32 is, for each output, one chain of correctly rounded
// fused multiply-adds over k = 0..K-1 in order, however it is blocked; a
// reduction runs in 16 virtual lanes and a fixed tree; and nothing is fused
// where the definition does not say so. (The bits of a NaN are not defined,
// only that it is one.)
//
// Kernels check their arguments little: a slice that is too short panics.
package kernels

//go:generate go run -C _asm . ..
