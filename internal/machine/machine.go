// Package machine tells what the program runs on.
package machine

import (
	"cmp"
	"strings"
)

// CPU is the processor's name, as far as the system tells it.
func CPU() string { return cmp.Or(strings.TrimSpace(cpuName()), "unknown CPU") }
