//go:build !noasm

package kernels

import "golang.org/x/sys/unix"

// secondLevel returns a performance core's share of its cluster's second-level cache, or 0 if the
// system does not tell.
func secondLevel() int {
	size, err := unix.SysctlUint32("hw.perflevel0.l2cachesize")
	if err != nil {
		return 0
	}
	cores, err := unix.SysctlUint32("hw.perflevel0.cpusperl2")
	if err != nil {
		return 0
	}
	return int(size) / int(max(cores, 1))
}
