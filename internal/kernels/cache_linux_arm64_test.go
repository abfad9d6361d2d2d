//go:build !noasm

package kernels

import (
	"testing"
	"testing/fstest"
)

func TestSecondLevelOfACore(t *testing.T) {
	for _, c := range []struct {
		name, size, shared string
		want               int
	}{
		{"its own", "1024K\n", "00000000,00000001\n", 1 << 20},
		{"four share it", "2048K\n", "f\n", 512 << 10},
		{"across words", "4096K\n", "00000001,80000000\n", 2 << 20},
		{"nobody says who shares it", "512K\n", "", 512 << 10},
		{"unknown", "", "", 0},
		{"nonsense", "big\n", "f\n", 0},
	} {
		const dir = "sys/devices/system/cpu/cpu3/cache/index2/"
		root := fstest.MapFS{dir + "size": {Data: []byte(c.size)}, dir + "shared_cpu_map": {Data: []byte(c.shared)}}
		if got := secondLevelOf(root, 3); got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.name, got, c.want)
		}
	}
	if got := secondLevelOf(fstest.MapFS{}, 0); got != 0 {
		t.Errorf("no file: %d bytes", got)
	}
}
