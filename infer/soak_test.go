package infer

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A pool at full load, with callers that give up and a queue that overflows,
// keeps its memory and answers as one engine alone does. SKIVE_SOAK is how long
// it is kept up, a second by default: SKIVE_SOAK=10m go test -run Soak -timeout
// 20m ./infer.
func TestSoak(t *testing.T) {
	duration := time.Second
	if s := os.Getenv("SKIVE_SOAK"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	m := textModel(t)
	p, err := NewPool(m, PoolOptions{Options: Options{DType: Int8}, MaxDelay: 200 * time.Microsecond, MaxQueue: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	e := newEngine(t, m, Options{Threads: 1, DType: Int8})
	r := rand.New(rand.NewPCG(1, 2))
	batches, want := make([]batch, 200), make([][]float32, 200)
	for i := range batches {
		batches[i] = randomBatch(m.Config, r, 1+r.IntN(48), 1+r.IntN(48))
		want[i] = predict(t, e, batches[i])
	}
	var answered, refused, abandoned atomic.Int64
	load := func(until time.Time) {
		var group sync.WaitGroup
		for caller := range 32 {
			group.Go(func() {
				r := rand.New(rand.NewPCG(3, uint64(caller)))
				var got []float32
				for time.Now().Before(until) {
					i := r.IntN(len(batches))
					ctx, cancel := context.Background(), func() {}
					if r.IntN(4) == 0 {
						ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(2000))*time.Microsecond)
					}
					answer, err := p.PredictTokens(ctx, got, batches[i].ids, batches[i].typeIDs, batches[i].offsets)
					cancel()
					switch {
					case err == nil:
						got = answer
						answered.Add(1)
						if !sameBits(got, want[i]) {
							t.Errorf("batch %d: %v, want %v", i, got, want[i])
							return
						}
					case errors.Is(err, ErrOverloaded):
						refused.Add(1)
						time.Sleep(100 * time.Microsecond)
					case errors.Is(err, context.DeadlineExceeded):
						abandoned.Add(1)
					default:
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
	}
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	load(time.Now().Add(duration / 5))
	before, goroutines := heap(), runtime.NumGoroutine()
	load(time.Now().Add(duration * 4 / 5))
	after := heap()
	t.Logf("%d answered, %d refused, %d abandoned; %d KB, then %d KB; %+v",
		answered.Load(), refused.Load(), abandoned.Load(), before>>10, after>>10, p.Stats())
	if after > before+before/4+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if answered.Load() == 0 || refused.Load() == 0 || abandoned.Load() == 0 {
		t.Error("the test did not test all three")
	}
}
