package machine

import (
	"math"
	"testing"
	"testing/fstest"
)

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func TestAvailableMemory(t *testing.T) {
	t.Parallel()
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

func TestQuota(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		root fstest.MapFS
		want int
	}{
		{"nothing known", fstest.MapFS{}, math.MaxInt},
		{"version 2", fstest.MapFS{
			"proc/self/cgroup":        file("0::/a\n"),
			"sys/fs/cgroup/a/cpu.max": file("150000 100000\n"),
		}, 2},
		{"version 2, a group above bounds it", fstest.MapFS{
			"proc/self/cgroup":          file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/cpu.max": file("max 100000\n"),
			"sys/fs/cgroup/a/cpu.max":   file("100000 100000\n"),
		}, 1},
		{"version 2 in a container", fstest.MapFS{
			"proc/self/cgroup":      file("0::/not/there\n"),
			"sys/fs/cgroup/cpu.max": file("20000 100000\n"),
		}, 1},
		{"version 1", fstest.MapFS{
			"proc/self/cgroup":                        file("4:memory:/m\n3:cpu,cpuacct:/job\n"),
			"sys/fs/cgroup/cpu/job/cpu.cfs_quota_us":  file("300000\n"),
			"sys/fs/cgroup/cpu/job/cpu.cfs_period_us": file("100000\n"),
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":      file("-1\n"),
			"sys/fs/cgroup/cpu/cpu.cfs_period_us":     file("100000\n"),
		}, 3},
		{"nonsense", fstest.MapFS{
			"proc/self/cgroup":      file("x\n"),
			"sys/fs/cgroup/cpu.max": file("many 0\n"),
		}, math.MaxInt},
	} {
		if got := quotaOf(c.root); got != c.want {
			t.Errorf("%s: %d CPUs, want %d", c.name, got, c.want)
		}
	}
}
