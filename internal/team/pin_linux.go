package team

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/skive-ml/skive/internal/machine"
)

// Pin ties the calling goroutine to a thread, and that thread to a core, until the goroutine
// ends. core counts the cores that the process may use, fast ones first. If the system refuses,
// nothing happens: the core is only a preference.
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
