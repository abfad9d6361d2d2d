package machine

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"sync"
)

// CPUs is how many threads can compute at the same time, and the default of
// every number of threads: what Go's GOMAXPROCS says, which knows the affinity
// and the quota of the process. Go takes two where a quota is of one CPU or less;
// here it is one, because threads that wait for each other spin. For the same reason
// slow cores beside fast ones (on arm64, by half and more) do not count.
func CPUs() int { return min(runtime.GOMAXPROCS(0), limit()) }

var limit = sync.OnceValue(func() int {
	if os.Getenv("GOMAXPROCS") != "" {
		return math.MaxInt
	}
	return min(quotaOf(os.DirFS("/")), fastCores())
})

// quotaOf is the quota of the control groups of the process, rounded up.
func quotaOf(root fs.FS) int {
	least := math.MaxInt
	bound := func(quota, period int64) {
		if quota > 0 && quota < unlimited && period > 0 {
			least = min(least, int((quota-1)/period+1))
		}
	}
	v1, v2 := groups(root, "cpu")
	for _, dir := range v2 {
		if n := numbers(root, path.Join(dir, "cpu.max")); len(n) == 2 {
			bound(n[0], n[1])
		}
	}
	for _, dir := range v1 {
		quota, _ := number(root, path.Join(dir, "cpu.cfs_quota_us"))
		period, _ := number(root, path.Join(dir, "cpu.cfs_period_us"))
		bound(quota, period)
	}
	return least
}
