//go:build !linux

package team

// Pin does nothing, because this system cannot tie a thread to a core.
func Pin(int) {}
