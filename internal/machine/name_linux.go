package machine

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

func cpuName() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	return nameOf(string(text))
}

// nameOf returns the processor's name from the text of /proc/cpuinfo. On arm64 there are only
// numbers, which differ between kinds of cores.
func nameOf(cpuinfo string) string {
	var names []string
	implementer := ""
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "model name":
			return value
		case "CPU implementer":
			implementer = value
		case "CPU part":
			id := implementer + " " + value
			name, known := parts[id]
			if !known {
				name = fmt.Sprintf("arm64 CPU (implementer %s, part %s)", implementer, value)
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return strings.Join(names, " and ")
}

// parts holds the names of cores by the fields of MIDR_EL1.
var parts = map[string]string{
	"0x41 0xd03": "Cortex-A53", "0x41 0xd05": "Cortex-A55", "0x41 0xd07": "Cortex-A57", "0x41 0xd08": "Cortex-A72",
	"0x41 0xd09": "Cortex-A73", "0x41 0xd0a": "Cortex-A75", "0x41 0xd0b": "Cortex-A76", "0x41 0xd0c": "Neoverse N1",
	"0x41 0xd0d": "Cortex-A77", "0x41 0xd40": "Neoverse V1", "0x41 0xd41": "Cortex-A78", "0x41 0xd44": "Cortex-X1",
	"0x41 0xd46": "Cortex-A510", "0x41 0xd47": "Cortex-A710", "0x41 0xd48": "Cortex-X2", "0x41 0xd49": "Neoverse N2",
	"0x41 0xd4d": "Cortex-A715", "0x41 0xd4e": "Cortex-X3", "0x41 0xd4f": "Neoverse V2", "0x41 0xd80": "Cortex-A520",
	"0x41 0xd81": "Cortex-A720", "0x41 0xd82": "Cortex-X4", "0x41 0xd84": "Neoverse V3", "0x41 0xd8e": "Neoverse N3",
	"0x48 0xd01": "TaiShan v110", "0x51 0x001": "Oryon", "0xc0 0xac3": "Ampere-1", "0xc0 0xac4": "Ampere-1a",
}
