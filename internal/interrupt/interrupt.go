// Package interrupt lets a program that was told to stop end at once, unless it is
// about to save what it has done.
package interrupt

import (
	"context"
	"sync/atomic"
)

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
