// Package measure times calls: one harness and one statistic for whatever tells how
// long something takes, or how much of it is done in a second.
package measure

import (
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ProcessorTime is what the process has used of the processor, user and system.
func ProcessorTime() time.Duration { return time.Duration(cpuSeconds() * float64(time.Second)) }

// Clock is what a time is of.
type Clock string

const (
	// Wall is the time that passes.
	Wall Clock = "wall clock"
	// Processor is the processor time of the calling thread: on an idle machine the
	// time that passes, on a busy one it leaves out how long other programs had
	// the core. It is for one worker whose calls compute on one thread.
	Processor Clock = "processor time"
)

// Steadiest is the clock that other programs disturb least, for calls that compute
// on a number of threads: several wait for one another, and what they wait for
// counts.
func Steadiest(threads int) Clock {
	if _, ok := threadTime(); ok && threads == 1 {
		return Processor
	}
	return Wall
}

// start ties the caller to its thread where the clock is the thread's, until stop is
// called.
func (c Clock) start() (now func() time.Duration, stop func()) {
	if c == Processor {
		runtime.LockOSThread()
		return func() time.Duration { t, _ := threadTime(); return t }, runtime.UnlockOSThread
	}
	began := time.Now()
	return func() time.Duration { return time.Since(began) }, func() {}
}

// Load is what is measured.
type Load struct {
	// Clock is what the times of the calls are of.
	Clock Clock
	// Workers is how many calls are under way at the same time; 0 is one.
	Workers int
	// Call does the work of call i, from 0 in each pass, as one of the workers.
	// Prepare, unless it is nil, goes before it, and is not timed.
	Prepare func(worker, i int)
	Call    func(worker, i int) error
}

// Pass bounds a pass: by the number of its calls, by their time on the wall clock, or
// by both. Each 0 is no bound. A pass has a call at least.
type Pass struct {
	Calls int
	Time  time.Duration
	// Meter asks for the processor time and the energy of the pass.
	Meter bool
}

// Samples are the times of the calls of one load.
type Samples struct {
	Clock Clock
	// Passes are how long each pass took on the wall clock, all workers together.
	Passes []time.Duration
	// CPU is the processor time of the process during the passes that ask for it, in
	// seconds, and Joules the energy of the processors during Metered calls, those of the passes
	// of which it is known.
	CPU, Joules float64
	Metered     int

	calls []float64 // milliseconds
}

// Run makes a pass and returns its samples.
func (l *Load) Run(ctx context.Context, p Pass) (*Samples, error) {
	s := &Samples{Clock: l.Clock}
	return s, s.Add(ctx, l, p)
}

// Add makes a pass and adds it to the samples.
func (s *Samples) Add(ctx context.Context, l *Load, p Pass) error {
	workers := max(1, l.Workers)
	calls, errs := make([][]float64, workers), make([]error, workers)
	var joules, cpu float64
	var readable bool
	if p.Meter {
		joules, readable = energy()
		cpu = cpuSeconds()
	}
	began := time.Now()
	var next atomic.Int64
	work := func(worker int) {
		now, stop := l.Clock.start()
		defer stop()
		for {
			i := int(next.Add(1)) - 1
			if i > 0 && (p.Calls > 0 && i >= p.Calls || p.Time > 0 && time.Since(began) >= p.Time) {
				return
			}
			if errs[worker] = ctx.Err(); errs[worker] != nil {
				return
			}
			if l.Prepare != nil {
				l.Prepare(worker, i)
			}
			before := now()
			if errs[worker] = l.Call(worker, i); errs[worker] != nil {
				return
			}
			calls[worker] = append(calls[worker], (now()-before).Seconds()*1e3)
		}
	}
	if workers == 1 {
		work(0)
	} else {
		var all sync.WaitGroup
		for worker := range workers {
			all.Go(func() { work(worker) })
		}
		all.Wait()
	}
	s.Passes = append(s.Passes, time.Since(began))
	if p.Meter {
		s.CPU += cpuSeconds() - cpu
		if after, ok := energy(); ok && readable && after >= joules {
			s.Joules += after - joules
			for _, some := range calls {
				s.Metered += len(some)
			}
		}
	}
	for _, some := range calls {
		s.calls = append(s.calls, some...)
	}
	return errors.Join(errs...)
}

// Calls is the number of the calls.
func (s *Samples) Calls() int { return len(s.calls) }

// Mean is the mean time of a call in milliseconds.
func (s *Samples) Mean() float64 {
	sum := 0.0
	for _, t := range s.calls {
		sum += t
	}
	return sum / float64(len(s.calls))
}

// Quantile is the quantile q of the times of the calls, in milliseconds: 0 is the
// shortest, 0.5 the median. There must be calls.
func (s *Samples) Quantile(q float64) float64 {
	slices.Sort(s.calls)
	return Quantile(s.calls, q)
}

// Pass is the median of what a pass took, in seconds.
func (s *Samples) Pass() float64 {
	slices.Sort(s.Passes)
	return Quantile(s.Passes, 0.5).Seconds()
}

// Quantile is the quantile q of values that ascend.
func Quantile[T any](ascending []T, q float64) T {
	return ascending[min(len(ascending)-1, int(q*float64(len(ascending))))]
}

// minSamples is how many times are needed to know one.
const minSamples = 30

// Uncertainty is half of the 95 % interval of a quantile as a share of the quantile,
// by the order statistics whose ranks are two standard deviations away; infinite
// for too few samples.
func (s *Samples) Uncertainty(q float64) float64 {
	if len(s.calls) < minSamples {
		return math.Inf(1)
	}
	slices.Sort(s.calls)
	n := float64(len(s.calls))
	rank, deviation := float64(q*n), float64(2*math.Sqrt(n*q*(1-q)))
	low, high := int(max(0, rank-deviation)), min(len(s.calls)-1, int(math.Ceil(rank+deviation)))
	return (s.calls[high] - s.calls[low]) / 2 / s.calls[int(rank)]
}
