package machine

import (
	"os"

	"golang.org/x/sys/unix"
)

// addressSpace returns what a limit on address space (ulimit -v) leaves, in bytes. It returns
// [math.MaxInt64] if there is no limit, or if /proc does not tell how much is in use.
func addressSpace() int64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_AS, &limit) != nil || limit.Cur >= unlimited {
		return unlimited
	}
	pages := numbers(os.DirFS("/"), "proc/self/statm")
	if len(pages) == 0 {
		return unlimited
	}
	return max(0, int64(limit.Cur)-pages[0]*int64(os.Getpagesize()))
}

// threads returns the number of threads of the process.
func threads() int64 {
	n, _ := field(os.DirFS("/"), "proc/self/status", "Threads:")
	return n
}
