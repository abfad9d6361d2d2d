package compress

import (
	"fmt"
	"runtime"

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

// String describes the machine in one phrase.
func (m Machine) String() string {
	cores := "cores"
	if m.Cores == 1 {
		cores = "core"
	}
	return fmt.Sprintf("%s (%d %s, %s, %s/%s)", m.CPU, m.Cores, cores, m.ISA, m.OS, m.Arch)
}
