//go:build !amd64 && !arm64

package kernels

// See arch_amd64.go.
const (
	zeroI8            = 0
	tinyAfterRounding = true
)
