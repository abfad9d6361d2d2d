//go:build !linux

package machine

// addressSpace is unlimited on systems without such a limit.
func addressSpace() int64 { return unlimited }

func threads() int64 { return 0 }
