//go:build !noasm

package kernels

import (
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// secondLevel returns the bytes of a core's second-level cache, or of its share of one, or 0 if
// the system does not tell. Where cores differ, the last one is a fast one.
func secondLevel() int {
	root, most := os.DirFS("/"), 0
	for _, cpu := range []int{0, runtime.NumCPU() - 1} {
		most = max(most, secondLevelOf(root, cpu))
	}
	return most
}

func secondLevelOf(root fs.FS, cpu int) int {
	read := func(name string) string {
		text, _ := fs.ReadFile(root, fmt.Sprintf("sys/devices/system/cpu/cpu%d/cache/index2/%s", cpu, name))
		return strings.TrimSpace(string(text))
	}
	kilobytes, err := strconv.Atoi(strings.TrimSuffix(read("size"), "K"))
	if err != nil {
		return 0
	}
	cores := 0 // cores that share it: the bits of hexadecimal words between commas
	for word := range strings.SplitSeq(read("shared_cpu_map"), ",") {
		mask, _ := strconv.ParseUint(word, 16, 32)
		cores += bits.OnesCount64(mask)
	}
	return kilobytes << 10 / max(cores, 1)
}
