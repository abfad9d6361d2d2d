package kernels

const (
	// zeroI8 is the value that stands for zero in PanelsI8.
	zeroI8 = 0x80
	// tinyAfterRounding says when a result counts as subnormal: after rounding, with an exponent
	// of any size. Otherwise it counts as subnormal if its exact value is below 2^-126.
	tinyAfterRounding = true
)
