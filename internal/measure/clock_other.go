//go:build !linux

package measure

import "time"

// threadTime is known on Linux alone.
func threadTime() (t time.Duration, ok bool) { return 0, false }
