//go:build !linux

package machine

// HugePages does nothing where pages are not chosen by the program.
func HugePages[E any]([]E) {}
