package team

import (
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestEveryPartRunsOnce(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 2, 3, 8} {
		tm := New(workers)
		for _, parts := range []int{0, 1, 2, 3, 7, 64, 1000} {
			counts := make([]atomic.Int32, parts)
			var busy [8]atomic.Int32
			tm.Run(parts, func(worker, part int) {
				if worker < 0 || worker >= tm.Workers() {
					t.Errorf("worker %d of %d", worker, tm.Workers())
				}
				if busy[worker].Add(1) != 1 {
					t.Errorf("two parts at once on worker %d", worker)
				}
				counts[part].Add(1)
				busy[worker].Add(-1)
			})
			for p := range counts {
				if n := counts[p].Load(); n != 1 {
					t.Fatalf("%d workers, %d parts: part %d ran %d times", workers, parts, p, n)
				}
			}
		}
		tm.Close()
	}
}

// Writes made by the parts are visible to the caller after Run, and the
// caller's writes to the parts of the next Run: the race detector checks it.
func TestRunsFollowEachOther(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{2, 5} {
		tm := New(workers)
		values := make([]int, 17)
		for run := range 2000 {
			tm.Run(len(values), func(_, part int) { values[part] += run })
			values[run%len(values)]++
			if run%500 == 0 {
				time.Sleep(2 * time.Millisecond) // long enough to park
			}
		}
		total := 0
		for _, v := range values {
			total += v
		}
		if want := 17*1999*2000/2 + 2000; total != want {
			t.Errorf("%d workers: total %d, want %d", workers, total, want)
		}
		tm.Close()
	}
}

func TestNilTeamRunsOnTheCaller(t *testing.T) {
	t.Parallel()
	var tm *Team
	n := 0
	tm.Run(5, func(worker, part int) { n += part + worker })
	if n != 10 || tm.Workers() != 1 {
		t.Errorf("sum %d, workers %d", n, tm.Workers())
	}
	tm.Close()
}

func TestPanicIsRaisedOnTheCaller(t *testing.T) {
	t.Parallel()
	tm := New(3)
	defer tm.Close()
	boom := errors.New("boom")
	for run := range 50 {
		func() {
			defer func() {
				if got := recover(); got != boom {
					t.Fatalf("run %d: recovered %v", run, got)
				}
			}()
			tm.Run(20, func(_, part int) {
				if part == run%20 {
					panic(boom)
				}
			})
			t.Fatal("Run returned")
		}()
		var n atomic.Int32
		tm.Run(20, func(_, _ int) { n.Add(1) })
		if n.Load() != 20 {
			t.Fatalf("after a panic %d of 20 parts ran", n.Load())
		}
	}
}

func TestPartThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	tm := New(2)
	defer tm.Close()
	caught := make(chan any, 1)
	go func() {
		defer func() { caught <- recover() }()
		var onWorker atomic.Bool
		tm.Run(2, func(worker, _ int) {
			if worker == 1 {
				onWorker.Store(true)
				runtime.Goexit()
			}
			for !onWorker.Load() {
				runtime.Gosched()
			}
		})
	}()
	if s, ok := (<-caught).(string); !ok || !strings.Contains(s, "ended its goroutine") {
		t.Errorf("recovered %v", s)
	}
	n := 0
	tm.Run(1, func(_, _ int) { n++ })
	if n != 1 {
		t.Error("the team is dead")
	}
}

func TestNestedRunPanics(t *testing.T) {
	t.Parallel()
	tm := New(2)
	defer tm.Close()
	defer func() {
		if s, _ := recover().(string); !strings.Contains(s, "under way") {
			t.Errorf("recovered %q", s)
		}
	}()
	tm.Run(2, func(_, _ int) { tm.Run(2, func(_, _ int) {}) })
}

func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		tm := New(4)
		tm.Run(8, func(_, _ int) {})
		tm.Close()
		tm.Close()
		n := 0
		tm.Run(3, func(worker, _ int) { n++ })
		if n != 3 {
			t.Fatalf("%d parts after Close", n)
		}
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}

func TestRunDoesNotAllocate(t *testing.T) {
	tm := New(2)
	defer tm.Close()
	f := func(_, _ int) {}
	if n := testing.AllocsPerRun(100, func() { tm.Run(4, f) }); n > 0 {
		t.Errorf("%v allocations a run", n)
	}
}

// BenchmarkHandOver is the cost of one Run whose parts do nothing.
func BenchmarkHandOver(b *testing.B) {
	f := func(_, _ int) {}
	b.Run("spinning", func(b *testing.B) {
		tm := New(2)
		defer tm.Close()
		for b.Loop() {
			tm.Run(2, f)
		}
	})
	// Both parts must overlap for this to end: the latency of a real hand-over.
	b.Run("meeting", func(b *testing.B) {
		tm := New(2)
		defer tm.Close()
		var met atomic.Int64
		meet := func(_, _ int) {
			met.Add(1)
			for met.Load()&1 != 0 {
				continue
			}
		}
		for b.Loop() {
			tm.Run(2, meet)
		}
	})
	b.Run("parked", func(b *testing.B) {
		tm := New(2)
		defer tm.Close()
		tm.spins = 0
		for b.Loop() {
			tm.Run(2, f)
		}
	})
	b.Run("goroutine", func(b *testing.B) {
		done := make(chan struct{})
		for b.Loop() {
			go func() { f(0, 1); done <- struct{}{} }()
			f(0, 0)
			<-done
		}
	})
}

// A worker that turns to a computation may find the team closed by then, and
// has to end all the same.
func TestCloseRightAfterRun(t *testing.T) {
	t.Parallel()
	rounds := 20000
	if testing.Short() {
		rounds = 2000
	}
	for range rounds {
		tm := New(2)
		var met atomic.Int64
		tm.Run(2, func(_, _ int) { // both are awake after it
			met.Add(1)
			for met.Load() < 2 {
				runtime.Gosched()
			}
		})
		tm.Run(2, func(_, _ int) {})
		tm.Close()
	}
}
