package machine

import (
	"fmt"
	"runtime/debug"
)

// LimitMemory makes the garbage collector keep within what a limit on address space
// (ulimit -v) leaves, and fails where that is too little to do anything.
func LimitMemory() error {
	left := addressSpace()
	if left == unlimited {
		return nil
	}
	const least = 128 << 20
	left -= threadSpace(CPUs()) + heapStep
	if left < least {
		return fmt.Errorf("the limit on address space (ulimit -v) leaves %d MB for data, expected at least %d MB%s", max(0, left)>>20, least>>20, lessSpace)
	}
	debug.SetMemoryLimit(left)
	return nil
}

// heapStep is the address space by which Go's heap grows.
const heapStep = 64 << 20

// threadSpace is the address space that Go's threads will take, about: with cgo
// each has a stack of 8 MB and an arena of 64 MB. A program that computes on some
// CPUs comes to six threads more, those included that it has.
func threadSpace(cpus int) int64 {
	if !cgo {
		return 0
	}
	return max(0, int64(cpus)+6-threads()) * 72 << 20
}
