// Package interrupt lets a program that was told to stop end at once, unless it is
// about to save what it has done.
package interrupt

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// grace is how long a program that was told to stop may go on, unless it has
// something to save.
const grace = 800 * time.Millisecond

// Run calls work and tells whether it ended. The first signal cancels its context;
// work that does not look at it, because it reads a file for instance, is left where it
// is: what it writes is in place whole or not at all. The second signal ends the
// program as if it were not caught.
func Run(work func(ctx context.Context)) (ended bool) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	var saving Holds
	done := make(chan struct{})
	go func() {
		defer close(done)
		work(saving.In(ctx))
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	// What was saved is still to be told of.
	tick := time.NewTicker(grace / 8)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-done:
			return true
		case now := <-tick.C:
			if saving.Any() {
				last = now
			} else if now.Sub(last) >= grace {
				return false
			}
		}
	}
}

// Holds counts the pieces of work that end by themselves, and soon, when their
// context is cancelled, and have something to save before.
type Holds struct{ n atomic.Int64 }

type key struct{}

// In returns a context in which Hold counts in h.
func (h *Holds) In(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, h) }

// Any tells whether such work is under way.
func (h *Holds) Any() bool { return h.n.Load() > 0 }

// Hold marks the beginning of such work and returns what marks its end.
func Hold(ctx context.Context) (end func()) {
	h, ok := ctx.Value(key{}).(*Holds)
	if !ok {
		return func() {}
	}
	h.n.Add(1)
	return func() { h.n.Add(-1) }
}
