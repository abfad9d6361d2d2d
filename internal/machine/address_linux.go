package machine

import (
	"os"

	"golang.org/x/sys/unix"
)

// addressSpace is what a limit on address space (ulimit -v) leaves, in bytes;
// [math.MaxInt64] where there is none, or where /proc does not tell what is taken.
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

// threads is how many the process has.
func threads() int64 {
	n, _ := field(os.DirFS("/"), "proc/self/status", "Threads:")
	return n
}
