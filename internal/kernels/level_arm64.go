//go:build !noasm

package kernels

import "golang.org/x/sys/cpu"

// detect returns the capabilities of this CPU.
func detect() capability {
	c := neon
	if cpu.ARM64.HasASIMDDP {
		c |= dotProd
	}
	if hasI8MM() {
		c |= i8mm
	}
	return c
}
