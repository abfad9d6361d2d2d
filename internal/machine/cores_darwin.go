package machine

import (
	"math"

	"golang.org/x/sys/unix"
)

// fastCores returns the number of performance cores on machines that also have others.
func fastCores() int {
	n, err := unix.SysctlUint32("hw.perflevel0.logicalcpu")
	if err != nil || n == 0 {
		return math.MaxInt
	}
	return int(n)
}

func cpuName() string {
	name, _ := unix.Sysctl("machdep.cpu.brand_string")
	return name
}
