package measure

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// energy reads the RAPL counters of all processor packages in joules. ok is false if there are
// none or they cannot be read.
func energy() (joules float64, ok bool) {
	counters, _ := filepath.Glob("/sys/class/powercap/intel-rapl:[0-9]*/energy_uj")
	for _, path := range counters {
		// Subdomains (intel-rapl:0:0) are included in their package.
		if strings.Count(filepath.Base(filepath.Dir(path)), ":") != 1 {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, false
		}
		micro, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		if err != nil {
			return 0, false
		}
		joules, ok = joules+micro/1e6, true
	}
	return joules, ok
}
