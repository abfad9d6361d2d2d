package machine

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
)

const unlimited = math.MaxInt64

// AvailableMemory returns what the system, the control group of the process and its limit on
// address space leave, in bytes. It returns [math.MaxInt64] if none of them tells. Only half of
// the address space counts: a growing buffer exists twice for a moment, and leaves gaps.
func AvailableMemory() int64 {
	space := addressSpace()
	if space < unlimited {
		// Memory that the heap has but does not use is available, too.
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		space = (space + int64(m.HeapSys-m.HeapAlloc)) / 2
	}
	return min(availableMemory(os.DirFS("/")), space)
}

func availableMemory(root fs.FS) int64 {
	available := int64(unlimited)
	if kb, ok := field(root, "proc/meminfo", "MemAvailable:"); ok {
		available = kb << 10
	}
	bound := func(dirs []string, limit, usage, reclaimable string) {
		for _, dir := range dirs {
			limit, ok := number(root, path.Join(dir, limit))
			if !ok || limit == unlimited {
				continue
			}
			usage, _ := number(root, path.Join(dir, usage))
			reclaimable, _ := field(root, path.Join(dir, "memory.stat"), reclaimable)
			available = min(available, max(0, limit-max(0, usage-reclaimable)))
		}
	}
	v1, v2 := groups(root, "memory")
	bound(v2, "memory.max", "memory.current", "inactive_file")
	bound(v1, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
	return available
}
