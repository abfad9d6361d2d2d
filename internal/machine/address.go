package machine

import (
	"fmt"
	"runtime/debug"
)

// LimitMemory makes the garbage collector respect a limit on address space (ulimit -v). It fails
// if the limit is too low for any work.
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

// threadSpace estimates the address space of Go's threads. With cgo each has a stack of 8 MB and
// an arena of 64 MB. A program that computes on some CPUs ends up with six more threads than
// that, including those that it has already.
func threadSpace(cpus int) int64 {
	if !cgo {
		return 0
	}
	return max(0, int64(cpus)+6-threads()) * 72 << 20
}
