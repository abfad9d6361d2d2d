package train

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/fstest"
)

func TestAvailableMemory(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for _, c := range []struct {
		name string
		root fstest.MapFS
		want int64
	}{
		{"nothing known", fstest.MapFS{}, math.MaxInt64},
		{"machine", fstest.MapFS{"proc/meminfo": file("MemTotal: 2000 kB\nMemAvailable:    1000 kB\n")}, 1000 << 10},
		{"version 2, a group above bounds it", fstest.MapFS{
			"proc/meminfo":                     file("MemAvailable: 1000 kB\n"),
			"proc/self/cgroup":                 file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max":     file("max\n"),
			"sys/fs/cgroup/a/memory.max":       file("500000\n"),
			"sys/fs/cgroup/a/memory.current":   file("300000\n"),
			"sys/fs/cgroup/a/memory.stat":      file("anon 5\ninactive_file 100000\n"),
			"sys/fs/cgroup/a/b/memory.current": file("999999\n"),
		}, 300000},
		{"version 2 in a container", fstest.MapFS{
			"proc/self/cgroup":             file("0::/not/there\n"),
			"sys/fs/cgroup/memory.max":     file("700\n"),
			"sys/fs/cgroup/memory.current": file("900\n"),
		}, 0},
		{"version 1", fstest.MapFS{
			"proc/self/cgroup": file("3:cpu:/x\n2:memory:/job\n"),
			"sys/fs/cgroup/memory/job/memory.limit_in_bytes": file("800000\n"),
			"sys/fs/cgroup/memory/job/memory.usage_in_bytes": file("200000\n"),
		}, 600000},
	} {
		if got := availableMemory(c.root); got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.name, got, c.want)
		}
	}
}

func TestMemoryIsPrintedBeforeTheFirstStep(t *testing.T) {
	var out bytes.Buffer
	o := quick()
	o.Progress = &out
	run(t, o)
	memory, step := strings.Index(out.String(), "parameters × 16 bytes = "), strings.Index(out.String(), "train: 1/21")
	if memory < 0 || step < memory {
		t.Errorf("progress:\n%s", out.String())
	}
}

func TestMemoryErrorSaysWhatToDo(t *testing.T) {
	err := error(&MemoryError{Parameters: 1e9, Activations: 3e9, Available: 2e9})
	const want = "1000000000 parameters × 16 bytes = 16.0 GB, and up to 3.0 GB of activations do not fit the 2.0 GB that are available: " +
		"lower batch-size (with accumulate, steps stay as large) or max-length, or set recompute"
	var e *MemoryError
	if !errors.As(err, &e) || err.Error() != want {
		t.Errorf("error %q", err)
	}
}
