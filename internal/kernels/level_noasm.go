//go:build (!amd64 && !arm64) || noasm

package kernels

func detect() capability { return 0 }
