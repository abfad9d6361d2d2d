//go:build !linux

package machine

// addressSpace is without bound where the system has no limit on it.
func addressSpace() int64 { return unlimited }

func threads() int64 { return 0 }
