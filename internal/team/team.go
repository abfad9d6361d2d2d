// Package team runs the parts of a computation on a fixed set of persistent workers. Waking a
// parked goroutine takes microseconds, which is too long for the operations of a model that
// answers in a millisecond. So workers spin for a moment after each computation, and park only if
// nothing follows.
package team

import (
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/skive-ml/skive/internal/machine"
)

// spins is how often a waiting goroutine checks before it parks. That is some 20 to 50
// microseconds: longer than the gap between two operations of a forward pass, but short enough
// not to keep a core busy between requests.
const spins = 1 << 16

// Team is a caller and its workers. A nil *Team is the caller alone. A Team runs one computation
// at a time.
type Team struct {
	workers int
	spins   int

	// The current computation. Run writes it before ticket publishes it. Only a goroutine that
	// has claimed one of its parts reads it, and Run waits for that goroutine, so plain fields
	// are enough.
	f     func(worker, part int)
	parts int

	_ [64]byte
	// ticket has the number of the computation in its upper half and the number of unclaimed
	// parts in its lower half. A part is claimed with one compare-and-swap, which fails for a
	// worker that wakes up too late.
	ticket atomic.Uint64
	_      [56]byte
	done   atomic.Int64
	_      [56]byte

	panicked atomic.Pointer[raised]
	running  atomic.Bool
	closed   atomic.Bool

	caller  sleeper
	sleeper []sleeper // by worker; the first is unused
	exited  sync.WaitGroup
}

type raised struct{ value any }

// sleeper is the place where one goroutine parks.
type sleeper struct {
	parked atomic.Bool
	wake   chan struct{}
	_      [40]byte
}

// sleep parks until rouse is called, unless ready is already true. It may return early, so
// callers check again.
func (s *sleeper) sleep(ready func() bool) {
	s.parked.Store(true)
	if ready() && s.parked.CompareAndSwap(true, false) {
		return
	}
	<-s.wake
}

func (s *sleeper) rouse() {
	if s.parked.Load() && s.parked.CompareAndSwap(true, false) {
		s.wake <- struct{}{}
	}
}

// New starts a team of workers, at least 1. The goroutine that calls Run is worker 0, so New(1)
// starts none. If cores are given, worker w is tied to cores[w]; worker 0 has to call Pin itself.
func New(workers int, cores ...int) *Team {
	workers = max(workers, 1)
	t := &Team{workers: workers, spins: spins, sleeper: make([]sleeper, workers)}
	if workers > machine.CPUs() {
		t.spins = 0 // a spinning worker would keep the core that the work needs
	}
	t.caller.wake = make(chan struct{}, 1)
	t.exited.Add(workers - 1)
	for w := 1; w < workers; w++ {
		t.sleeper[w].wake = make(chan struct{}, 1)
		go func() {
			if w < len(cores) {
				Pin(cores[w])
			}
			t.work(w)
		}()
	}
	return t
}

// Workers returns the number of workers, including the caller of Run.
func (t *Team) Workers() int {
	if t == nil {
		return 1
	}
	return t.workers
}

// Run calls f once for every part in [0, parts) and returns after all calls. worker is in [0,
// Workers()). A worker makes one call at a time, so it can select scratch memory. Which worker
// gets which part varies; results do not depend on it if parts write to disjoint places. If a
// call panics, parts that have not begun are skipped, and the first panic is raised again on the
// caller. f must not call Run, and two goroutines must not call it at once. After Close, Run uses
// only the caller.
func (t *Team) Run(parts int, f func(worker, part int)) {
	if t == nil || t.workers == 1 || parts <= 1 || t.closed.Load() {
		for p := range parts {
			f(0, p)
		}
		return
	}
	if !t.running.CompareAndSwap(false, true) {
		panic("team: Run called while another Run is under way")
	}
	t.f, t.parts = f, parts
	t.done.Store(0)
	number := t.ticket.Load()>>32 + 1
	t.ticket.Store(number<<32 | uint64(parts))
	for w := 1; w < t.workers; w++ {
		t.sleeper[w].rouse()
	}
	t.claim(0, uint32(number))

	finished := func() bool { return t.done.Load() == int64(parts) }
	for i := 0; !finished(); i++ {
		if i >= t.spins {
			t.caller.sleep(finished)
		}
	}
	t.f = nil
	p := t.panicked.Swap(nil)
	t.running.Store(false)
	if p != nil {
		panic(p.value)
	}
}

// Close ends the workers and waits for them. It must not be called during Run.
func (t *Team) Close() {
	if t == nil || t.closed.Swap(true) {
		return
	}
	t.ticket.Store((t.ticket.Load()>>32 + 1) << 32)
	for w := 1; w < t.workers; w++ {
		t.sleeper[w].rouse()
	}
	t.exited.Wait()
}

func (t *Team) work(worker int) {
	defer t.exited.Done()
	// A fault in mapped memory is raised on the caller like any other panic.
	debug.SetPanicOnFault(true)
	var seen uint32
	changed := func() bool { return uint32(t.ticket.Load()>>32) != seen }
	for {
		for i := 0; !changed(); i++ {
			if i >= t.spins {
				t.sleeper[worker].sleep(changed)
			}
		}
		// The ticket is read first. Close sets closed before it changes the ticket, so a worker
		// that has seen the last ticket also sees closed.
		seen = uint32(t.ticket.Load() >> 32)
		if t.closed.Load() {
			return
		}
		t.claim(worker, seen)
	}
}

// claim runs parts of the computation with this number until none is left.
func (t *Team) claim(worker int, number uint32) {
	for {
		ticket := t.ticket.Load()
		left := uint32(ticket)
		if uint32(ticket>>32) != number || left == 0 {
			return
		}
		if t.ticket.CompareAndSwap(ticket, ticket-1) {
			t.part(worker, t.parts-int(left))
		}
	}
}

func (t *Team) part(worker, part int) {
	parts := int64(t.parts) // the next Run may change it once the last part is counted
	returned := false
	defer func() {
		if !returned {
			value := recover()
			if value == nil {
				value = "team: a part ended its goroutine"
			}
			t.panicked.CompareAndSwap(nil, &raised{value})
		}
		if t.done.Add(1) == parts {
			t.caller.rouse()
		}
	}()
	if t.panicked.Load() == nil {
		t.f(worker, part)
	}
	returned = true
}
