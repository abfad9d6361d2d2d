//go:build !noasm

package kernels

import (
	"os"
	"strconv"
	"strings"
)

// secondLevel returns the bytes of a core's second-level cache, 0 if the system does
// not tell.
func secondLevel() int {
	text, err := os.ReadFile("/sys/devices/system/cpu/cpu0/cache/index2/size")
	if err != nil {
		return 0
	}
	kilobytes, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(string(text)), "K"))
	if err != nil {
		return 0
	}
	return kilobytes << 10
}
