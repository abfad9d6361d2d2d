// Package machine describes the machine that the program runs on.
package machine

import (
	"cmp"
	"strings"
)

// CPU returns the name of the processor, as far as the system tells it.
func CPU() string { return cmp.Or(strings.TrimSpace(cpuName()), "unknown CPU") }
