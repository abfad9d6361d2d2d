// Package interrupt lets a program end at once when it is told to stop, unless it is about to
// save its work.
package interrupt

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// grace is how long a program may run after it was told to stop, unless it has something to save.
const grace = 800 * time.Millisecond

// Run calls work and tells whether it ended. The first signal cancels its context. Work that does
// not check the context, for example while it reads a file, is abandoned: files that it writes
// are either complete or not there. The second signal ends the program as if it were not caught.
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
	// Work that was just saved still has to be reported.
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

// Holds counts pieces of work that have something to save when their context is cancelled, and
// then end soon by themselves.
type Holds struct{ n atomic.Int64 }

type key struct{}

// In returns a context in which Hold counts in h.
func (h *Holds) In(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, h) }

// Any tells whether such work is in progress.
func (h *Holds) Any() bool { return h.n.Load() > 0 }

// Hold marks the beginning of such work. The returned function marks its end.
func Hold(ctx context.Context) (end func()) {
	h, ok := ctx.Value(key{}).(*Holds)
	if !ok {
		return func() {}
	}
	h.n.Add(1)
	return func() { h.n.Add(-1) }
}
