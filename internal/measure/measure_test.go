package measure

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// A time counts as known when the order statistics around it lie close.
func TestUncertainty(t *testing.T) {
	t.Parallel()
	times := func(n int, step float64) *Samples {
		s := &Samples{}
		for i := range n {
			s.calls = append(s.calls, 1+step*float64(n-1-i))
		}
		return s
	}
	for _, c := range []struct {
		n     int
		step  float64
		known bool
	}{{29, 0, false}, {30, 0, true}, {60, 0.02, false}, {1000, 0.0008, true}, {1000, 0.005, false}} {
		if got := times(c.n, c.step).Uncertainty(0.02); (got <= 0.01) != c.known {
			t.Errorf("%d samples in steps of %g: an uncertainty of %g", c.n, c.step, got)
		}
	}
	if s := times(10, 1); s.Quantile(0) != 1 || s.Quantile(0.5) != 6 || s.Quantile(1) != 10 || s.Mean() != 5.5 {
		t.Errorf("quantiles %v, %v, %v, mean %v", s.Quantile(0), s.Quantile(0.5), s.Quantile(1), s.Mean())
	}
}

// Every call is made once, by whichever worker; a pass ends by its calls or its time, and
// at an error or a context that is done.
func TestPass(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	made := map[int]int{}
	l := &Load{Clock: Wall, Workers: 3, Call: func(_, i int) error {
		mu.Lock()
		defer mu.Unlock()
		made[i]++
		return nil
	}}
	s, err := l.Run(context.Background(), Pass{Calls: 20, Meter: true})
	if err != nil || s.Calls() != 20 || len(made) != 20 || len(s.Passes) != 1 {
		t.Errorf("%d calls, %v, %d passes, %v", s.Calls(), made, len(s.Passes), err)
	}
	l = &Load{Clock: Steadiest(1), Call: func(_, _ int) error { return nil }}
	if s, err := l.Run(context.Background(), Pass{Time: time.Nanosecond}); err != nil || s.Calls() != 1 {
		t.Errorf("a pass without time: %d calls, %v", s.Calls(), err)
	}
	failed := errors.New("failed")
	l.Call = func(_, i int) error {
		if i == 2 {
			return failed
		}
		return nil
	}
	if s, err := l.Run(context.Background(), Pass{Calls: 5}); !errors.Is(err, failed) || s.Calls() != 2 {
		t.Errorf("%d calls, error %v", s.Calls(), err)
	}
	done, stop := context.WithCancel(context.Background())
	stop()
	if _, err := l.Run(done, Pass{Calls: 5}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Loads take turns, and the first round is not counted.
func TestTurns(t *testing.T) {
	t.Parallel()
	var order []int
	loads := make([]*Load, 2)
	for i := range loads {
		loads[i] = &Load{Clock: Wall, Call: func(_, _ int) error { order = append(order, i); return nil }}
	}
	known := -1
	turns := Turns{Pass: Pass{Calls: 1}, Rounds: 4, Quantile: 0.5, Precision: 0.01, Seen: func(_ time.Duration, n int) { known = n }}
	times, err := turns.Run(context.Background(), loads)
	if err != nil || len(times) != 2 || len(order) != 10 || known != 0 {
		t.Errorf("times %v of the calls %v, %d known, %v", times, order, known, err)
	}
	for i, load := range order {
		if load != i%2 {
			t.Fatalf("order %v", order)
		}
	}
}
