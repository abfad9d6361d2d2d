//go:build !linux

package measure

import "time"

// threadTime is only known on Linux.
func threadTime() (t time.Duration, ok bool) { return 0, false }
