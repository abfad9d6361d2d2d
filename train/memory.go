package train

import (
	"bufio"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/data"
)

// A MemoryError tells that a run would not fit the memory.
type MemoryError struct {
	// Parameters, counted, take 16 bytes each: weight, gradient and two moments.
	// Activations are bytes, at most, as is Available, what the machine and the
	// control group of the process leave.
	Parameters, Activations, Available int64
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("%s do not fit the %s that are available: lower batch-size (with accumulate, steps stay as large) or max-length, or set recompute",
		need(e.Parameters, e.Activations), bytesOf(e.Available))
}

// need says what a run takes.
func need(parameters, activations int64) string {
	return fmt.Sprintf("%d parameters × 16 bytes = %s, and up to %s of activations", parameters, bytesOf(16*parameters), bytesOf(activations))
}

func bytesOf(n int64) string {
	if n < 1e9 {
		return fmt.Sprintf("%.0f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// estimated is an objective that tells how much memory its steps take.
type estimated interface {
	Memory(autograd.Extents) int64
}

// fits says how much memory the run takes, and fails where that is not there.
// The weights are loaded by now.
func (f *fit) fits(parameters []*parameter) error {
	var count, activations int64
	for _, p := range parameters {
		count += int64(len(p.weights))
	}
	if o, ok := f.objective.(estimated); ok {
		activations = o.Memory(f.largest())
	}
	more := int64(12)
	if f.o.Accumulate > 1 {
		more += 4
	}
	available := availableMemory(os.DirFS("/"))
	if more*count+activations > available {
		return &MemoryError{Parameters: count, Activations: activations, Available: available + 4*count}
	}
	left := ""
	if available < math.MaxInt64 {
		left = "; " + bytesOf(available) + " available"
	}
	f.bar.Print(fmt.Sprintf("%s: %s%s", f.o.stage(), need(count, activations), left))
	return nil
}

// largest bounds the batches of all epochs: the longest examples may meet in one.
func (f *fit) largest() autograd.Extents {
	lengths := make([]int, f.train.Len())
	for i := range lengths {
		lengths[i] = f.train.Length(i)
	}
	slices.Sort(lengths)
	e := autograd.Extents{Longest: lengths[len(lengths)-1]}
	if f.o.BatchTokens > 0 {
		e.Tokens = max(f.o.BatchTokens, e.Longest)
		e.Sequences = min(len(lengths), e.Tokens/lengths[0]+1)
	} else {
		e.Sequences = min(len(lengths), f.o.BatchSize)
		for _, n := range lengths[len(lengths)-e.Sequences:] {
			e.Tokens += n
		}
	}
	// Masked tokens, or the first ones of words.
	e.Selected = e.Tokens
	if f.task.Kind == data.MaskedLM {
		e.Selected = min(e.Tokens, int(1.5*maskShare*float64(e.Tokens))+e.Sequences)
	}
	return e
}

// availableMemory is what the system and the control group of the process leave,
// in bytes; without bound where neither tells. Root is the root of the file
// system.
func availableMemory(root fs.FS) int64 {
	available := int64(math.MaxInt64)
	if kb, ok := field(root, "proc/meminfo", "MemAvailable:"); ok {
		available = kb << 10
	}
	group := "/"
	if b, err := fs.ReadFile(root, "proc/self/cgroup"); err == nil {
		for _, line := range strings.Split(string(b), "\n") {
			// number:controllers:path, of which version 2 has no controllers.
			if parts := strings.SplitN(line, ":", 3); len(parts) == 3 && (parts[1] == "" || parts[1] == "memory") {
				group = parts[2]
			}
		}
	}
	// A group is bounded by those above it; inside a container its path may
	// not be there, and the root stands for it.
	for {
		for _, version := range []struct{ dir, limit, usage, reclaimable string }{
			{"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
			{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
		} {
			dir := path.Join(version.dir, group)
			limit, ok := number(root, path.Join(dir, version.limit))
			if !ok {
				continue
			}
			usage, _ := number(root, path.Join(dir, version.usage))
			reclaimable, _ := field(root, path.Join(dir, "memory.stat"), version.reclaimable)
			available = min(available, max(0, limit-max(0, usage-reclaimable)))
		}
		if group == "/" || group == "." || group == "" {
			return available
		}
		group = path.Dir(group)
	}
}

// number reads a file of one number; "max" and what is not there are none.
func number(root fs.FS, name string) (int64, bool) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// field reads the number behind a name at the beginning of a line.
func field(root fs.FS, name, key string) (int64, bool) {
	f, err := root.Open(name)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == key {
			n, err := strconv.ParseInt(words[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
