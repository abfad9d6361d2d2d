package train

import (
	runtimemetrics "runtime/metrics"
	"time"

	"github.com/skive-ml/skive/autograd"
)

// Profile says how the time of one step was spent.
type Profile struct {
	// Step counts from 1. Sequences and Tokens are the sizes of its batches.
	Step, Sequences, Tokens int
	// Time is that of the whole step, from making the batch to the update. Optimizer is the part
	// for the gradient norm, clipping and the update.
	Time, Optimizer time.Duration
	// Graph is the part for forward and backward.
	Graph autograd.Profile
	// Allocations and AllocatedBytes count allocations, and GC is the processor time of garbage
	// collection, over all threads. The runtime counts allocations in portions and GC at the end
	// of its cycles, so only sums over many steps are meaningful.
	Allocations, AllocatedBytes uint64
	GC                          time.Duration
}

// profiled is an objective that can measure its times.
type profiled interface{ SetProfile(*autograd.Profile) }

// profiler measures one step after another for Options.OnProfile. A nil profiler does nothing.
type profiler struct {
	report  func(Profile)
	current Profile
	started time.Time
	samples [3]runtimemetrics.Sample
	gc      float64
}

func newProfiler(report func(Profile)) *profiler {
	if report == nil {
		return nil
	}
	p := &profiler{report: report}
	for i, name := range []string{"/gc/heap/allocs:objects", "/gc/heap/allocs:bytes", "/cpu/classes/gc/total:cpu-seconds"} {
		p.samples[i].Name = name
	}
	return p
}

// begin starts to measure a step.
func (p *profiler) begin(step int, o Objective) {
	if p == nil {
		return
	}
	p.current = Profile{Step: step}
	if o, ok := o.(profiled); ok {
		o.SetProfile(&p.current.Graph)
	}
	runtimemetrics.Read(p.samples[:])
	p.current.Allocations, p.current.AllocatedBytes = -p.samples[0].Value.Uint64(), -p.samples[1].Value.Uint64()
	p.gc = p.samples[2].Value.Float64()
	p.started = time.Now()
}

// optimizer adds the time since start to the optimizer's part.
func (p *profiler) optimizer(start time.Time) {
	if p != nil {
		p.current.Optimizer += time.Since(start)
	}
}

// end reports the step.
func (p *profiler) end(sequences, tokens int) {
	if p == nil {
		return
	}
	p.current.Time = time.Since(p.started)
	p.current.Sequences, p.current.Tokens = sequences, tokens
	runtimemetrics.Read(p.samples[:])
	p.current.Allocations += p.samples[0].Value.Uint64()
	p.current.AllocatedBytes += p.samples[1].Value.Uint64()
	p.current.GC = time.Duration((p.samples[2].Value.Float64() - p.gc) * float64(time.Second))
	p.report(p.current)
}
