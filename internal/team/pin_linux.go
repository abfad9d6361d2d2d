package team

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Pin ties the calling goroutine to a thread, and the thread to a core, counted
// among those that the process may use. It lasts until the goroutine ends. A
// system that refuses is left alone: the core is a preference.
func Pin(core int) {
	runtime.LockOSThread()
	var allowed, one unix.CPUSet
	if unix.SchedGetaffinity(0, &allowed) != nil || allowed.Count() == 0 {
		return
	}
	core %= allowed.Count()
	for cpu := 0; ; cpu++ {
		if !allowed.IsSet(cpu) {
			continue
		}
		if core == 0 {
			one.Set(cpu)
			break
		}
		core--
	}
	_ = unix.SchedSetaffinity(0, &one)
}
