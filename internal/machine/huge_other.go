//go:build !linux

package machine

// HugePages does nothing on systems where programs do not choose pages.
func HugePages[E any]([]E) {}
