package machine

import (
	"cmp"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Cores returns the numbers of the CPUs that the calling thread may use, on arm64 the fastest
// first. It returns none if the system does not tell.
func Cores() []int {
	var allowed unix.CPUSet
	if unix.SchedGetaffinity(0, &allowed) != nil {
		return nil
	}
	var cores []int
	for cpu := 0; len(cores) < allowed.Count(); cpu++ {
		if allowed.IsSet(cpu) {
			cores = append(cores, cpu)
		}
	}
	speed := speeds()
	slices.SortStableFunc(cores, func(a, b int) int { return cmp.Compare(speed[b], speed[a]) })
	return cores
}

// fastCores returns how many of Cores are fast ones.
func fastCores() int {
	if len(speeds()) == 0 {
		return math.MaxInt
	}
	return fastOf(Cores(), speeds())
}

// fastOf counts the cores that are at least half as fast as the fastest. It returns at least 1.
func fastOf(cores []int, speed map[int]int64) int {
	most, n := int64(0), 0
	for _, c := range cores {
		most = max(most, speed[c])
	}
	for _, c := range cores {
		if 2*speed[c] >= most {
			n++
		}
	}
	return max(n, 1)
}

// speeds returns the relative speeds of the CPUs, if they are known. Different cores on amd64
// differ by less than a factor of two.
var speeds = sync.OnceValue(func() map[int]int64 {
	if runtime.GOARCH != "arm64" {
		return nil
	}
	return speedsOf(os.DirFS("/"))
})

func speedsOf(root fs.FS) map[int]int64 {
	speed := map[int]int64{}
	names, _ := fs.Glob(root, "sys/devices/system/cpu/cpu[0-9]*/cpu_capacity")
	for _, name := range names {
		cpu, err := strconv.Atoi(strings.TrimPrefix(path.Base(path.Dir(name)), "cpu"))
		if capacity, ok := number(root, name); ok && err == nil {
			speed[cpu] = capacity
		}
	}
	return speed
}
