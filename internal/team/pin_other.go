//go:build !linux

package team

// Pin does nothing: this system has no way to tie a thread to a core.
func Pin(int) {}
