package machine

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"sync"
)

// CPUs returns how many threads can compute at the same time, which is the default for every
// number of threads. It is Go's GOMAXPROCS, which respects the affinity and the quota of the
// process, with two exceptions. Go uses two threads for a quota of one CPU or less; here it is
// one, because threads spin while they wait for each other. For the same reason slow cores beside
// fast ones (on arm64, half as fast or less) do not count.
func CPUs() int { return min(runtime.GOMAXPROCS(0), limit()) }

var limit = sync.OnceValue(func() int {
	if os.Getenv("GOMAXPROCS") != "" {
		return math.MaxInt
	}
	return min(quotaOf(os.DirFS("/")), fastCores())
})

// quotaOf returns the quota of the process's control groups, rounded up.
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
