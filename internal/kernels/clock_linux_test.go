package kernels_test

import "golang.org/x/sys/unix"

// threadSeconds is the processor time of the calling thread, which other
// processes do not lengthen by taking turns.
func threadSeconds() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return float64(t.Nano()) / 1e9
}
