package compress

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/machine"
)

// Machine says where the figures of a report were measured.
type Machine struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	ISA   string `json:"isa"`
	OS    string `json:"os"`
	Arch  string `json:"arch"`
	Go    string `json:"go"`
}

// ThisMachine describes the machine that the program runs on.
func ThisMachine() Machine {
	return Machine{
		CPU: machine.CPU(), Cores: machine.CPUs(), ISA: kernels.Current().String(),
		OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(),
	}
}

// String renders the machine in one phrase.
func (m Machine) String() string {
	cores := "cores"
	if m.Cores == 1 {
		cores = "core"
	}
	return fmt.Sprintf("%s (%d %s, %s, %s/%s)", m.CPU, m.Cores, cores, m.ISA, m.OS, m.Arch)
}

// energy reads the RAPL counters of all processor packages in joules; ok is
// false where there is none to read.
func energy() (joules float64, ok bool) {
	counters, _ := filepath.Glob("/sys/class/powercap/intel-rapl:[0-9]*/energy_uj")
	for _, path := range counters {
		// Subdomains (intel-rapl:0:0) are contained in their package.
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
