//go:build !noasm

package kernels

import "golang.org/x/sys/unix"

// tilesPermitted asks Linux to save the tiles of this process's threads, and
// tells whether it will (Documentation/arch/x86/xstate.rst of the kernel).
func tilesPermitted() bool {
	const requestPermission, tileData = 0x1023, 18
	_, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, requestPermission, tileData, 0)
	return errno == 0
}
