package team

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/skive-ml/skive/internal/machine"
)

// Pin ties the calling goroutine to a thread, and the thread to a core, counted
// among those that the process may use, fast ones first. It lasts until the goroutine
// ends. A system that refuses is left alone: the core is a preference.
func Pin(core int) {
	runtime.LockOSThread()
	cores := machine.Cores()
	if len(cores) == 0 {
		return
	}
	var one unix.CPUSet
	one.Set(cores[core%len(cores)])
	_ = unix.SchedSetaffinity(0, &one)
}
