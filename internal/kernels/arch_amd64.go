package kernels

const (
	// zeroI8 is what stands for zero in PanelsI8.
	zeroI8 = 0x80
	// tinyAfterRounding tells that a result counts as subnormal if it were so with an
	// exponent of any size, and not if its exact value is below 2^-126.
	tinyAfterRounding = true
)
