// Package measure times calls. Everything that tells how long something takes, or how much is
// done in a second, uses this harness and its statistics.
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

// ProcessorTime returns the processor time that the process has used, user and system.
func ProcessorTime() time.Duration { return time.Duration(cpuSeconds() * float64(time.Second)) }

// Clock says which time is measured.
type Clock string

const (
	// Wall is the time that passes.
	Wall Clock = "wall clock"
	// Processor is the processor time of the calling thread. On an idle machine it equals the
	// time that passes. On a busy one it excludes the time when other programs had the core. It
	// is for a single worker whose calls compute on one thread.
	Processor Clock = "processor time"
)

// Steadiest returns the clock that other programs disturb least, for calls that compute on this
// number of threads. Several threads wait for one another, and that time counts.
func Steadiest(threads int) Clock {
	if _, ok := threadTime(); ok && threads == 1 {
		return Processor
	}
	return Wall
}

// start ties the caller to its thread, if the clock is that of a thread, until stop is called.
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
	// Clock measures the calls.
	Clock Clock
	// Workers is how many calls run at the same time; 0 means one.
	Workers int
	// Call does the work of call i, from 0 in each pass, as one of the workers. Prepare, if not
	// nil, is called before it and not timed.
	Prepare func(worker, i int)
	Call    func(worker, i int) error
}

// Pass limits a pass by the number of its calls, by their time on the wall clock, or by both. 0
// means no limit. A pass has at least one call.
type Pass struct {
	Calls int
	Time  time.Duration
	// Meter also measures the processor time and the energy of the pass.
	Meter bool
}

// Samples holds the times of the calls of one load.
type Samples struct {
	Clock Clock
	// Passes holds the time of each pass on the wall clock, for all workers together.
	Passes []time.Duration
	// CPU is the processor time of the process in seconds, during passes with Meter. Joules is
	// the energy of the processors during Metered calls, which are those of the passes for which
	// the energy is known.
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

// Calls returns the number of calls.
func (s *Samples) Calls() int { return len(s.calls) }

// Mean returns the mean time of a call in milliseconds.
func (s *Samples) Mean() float64 {
	sum := 0.0
	for _, t := range s.calls {
		sum += t
	}
	return sum / float64(len(s.calls))
}

// Quantile returns the quantile q of the times of the calls, in milliseconds: 0 is the shortest,
// 0.5 the median. There must be calls.
func (s *Samples) Quantile(q float64) float64 {
	slices.Sort(s.calls)
	return Quantile(s.calls, q)
}

// Pass returns the median time of a pass, in seconds.
func (s *Samples) Pass() float64 {
	slices.Sort(s.Passes)
	return Quantile(s.Passes, 0.5).Seconds()
}

// Quantile returns the quantile q of values in ascending order.
func Quantile[T any](ascending []T, q float64) T {
	return ascending[min(len(ascending)-1, int(q*float64(len(ascending))))]
}

// minSamples is how many times are needed for an uncertainty.
const minSamples = 30

// Uncertainty returns half of the 95 % interval of a quantile, as a share of the quantile. It
// uses the order statistics whose ranks are two standard deviations away. It is infinite if there
// are too few samples.
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
