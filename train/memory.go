package train

import (
	"fmt"
	"log/slog"
	"math"
	"slices"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/machine"
)

// A MemoryError tells that a run would not fit into memory.
type MemoryError struct {
	// Parameters counts parameters, which take 16 bytes each: the weight, its gradient and two
	// moments. Activations is an upper bound in bytes. Available is in bytes, too: what the
	// machine, the control group of the process and its limit on address space leave.
	Parameters, Activations, Available int64
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("%s do not fit the %s that are available: lower batch-size (with accumulate, steps stay as large) or max-length, or set recompute",
		need(e.Parameters, e.Activations), bytesOf(e.Available))
}

// need says how much memory a run takes.
func need(parameters, activations int64) string {
	return fmt.Sprintf("%d parameters × 16 bytes = %s, and up to %s of activations", parameters, bytesOf(16*parameters), bytesOf(activations))
}

func bytesOf(n int64) string {
	switch {
	case n < 1e6:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.0f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// estimated is an objective that can estimate the memory of its steps.
type estimated interface {
	Memory(autograd.Extents) int64
}

// fits reports how much memory the run takes, and fails if that is not available. The weights are
// already loaded.
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
	available := machine.AvailableMemory()
	if more*count+activations > available {
		return &MemoryError{Parameters: count, Activations: activations, Available: available + 4*count}
	}
	left := ""
	if available < math.MaxInt64 {
		left = "; " + bytesOf(available) + " available"
	}
	f.say(slog.LevelInfo, "%s%s", need(count, activations), left)
	return nil
}

// largest bounds the sizes of all batches: the longest examples may come together in one.
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
	// Selected tokens are masked ones, or the first ones of words.
	e.Selected = e.Tokens
	if f.task.Kind.Subject() == head.Masks {
		e.Selected = min(e.Tokens, int(1.5*evaluate.MaskShare*float64(e.Tokens))+e.Sequences)
	}
	return e
}
