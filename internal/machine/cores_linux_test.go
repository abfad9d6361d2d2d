package machine

import (
	"maps"
	"testing"
	"testing/fstest"
)

func TestFastCores(t *testing.T) {
	t.Parallel()
	const cpu = "sys/devices/system/cpu/"
	root := fstest.MapFS{
		cpu + "cpu0/cpu_capacity":  file("397\n"),
		cpu + "cpu1/cpu_capacity":  file("397\n"),
		cpu + "cpu4/cpu_capacity":  file("900\n"),
		cpu + "cpu10/cpu_capacity": file("1024\n"),
		cpu + "cpu11/cpu_capacity": file("much\n"),
		cpu + "cpufreq/x":          file("1\n"),
	}
	speed := speedsOf(root)
	if want := map[int]int64{0: 397, 1: 397, 4: 900, 10: 1024}; !maps.Equal(speed, want) {
		t.Errorf("speeds %v, want %v", speed, want)
	}
	for _, c := range []struct {
		name  string
		cores []int
		want  int
	}{
		{"all", []int{0, 1, 4, 10}, 2},
		{"slow ones alone", []int{0, 1}, 2},
		{"one of each", []int{1, 4}, 1},
		{"none that is known", []int{2, 3, 5}, 3},
		{"none", nil, 1},
	} {
		if got := fastOf(c.cores, speed); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestNameOfTheProcessor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, cpuinfo, want string }{
		{"amd64", "processor\t: 0\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: AMD EPYC\n", "AMD EPYC"},
		{"arm64", "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\nprocessor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "Neoverse N1"},
		{"cores that differ", "CPU implementer : 0x41\nCPU part : 0xd05\n\nCPU implementer : 0x41\nCPU part : 0xd0b\n", "Cortex-A55 and Cortex-A76"},
		{"one that is not known", "CPU implementer\t: 0x99\nCPU part\t: 0x1\n", "arm64 CPU (implementer 0x99, part 0x1)"},
		{"nothing", "", ""},
	} {
		if got := nameOf(c.cpuinfo); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
