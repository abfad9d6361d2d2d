package machine

// HeapStep is the address space by which Go's heap grows.
const HeapStep = 64 << 20

// ThreadSpace is the address space that Go's threads will take, about: with cgo
// each has a stack of 8 MB and an arena of 64 MB. A program that computes on some
// CPUs comes to six threads more, those included that it has.
func ThreadSpace(cpus int) int64 {
	if !cgo {
		return 0
	}
	return max(0, int64(cpus)+6-threads()) * 72 << 20
}
