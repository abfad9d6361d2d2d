//go:build noasm || !amd64

package kernels

func secondLevel() int { return 0 }
