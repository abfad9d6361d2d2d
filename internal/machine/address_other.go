//go:build !linux

package machine

// AddressSpace is without bound where the system has no limit on it.
func AddressSpace() int64 { return unlimited }

func threads() int64 { return 0 }
