//go:build !amd64 || noasm

package kernels

func detect() Level { return Generic }
