package infer

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPoolUnderLoadWithCancellations(t *testing.T) {
	m := textModel(t)
	for _, instances := range []int{1, 3} {
		p, err := NewPool(m, instances, Options{DType: Int8})
		if err != nil {
			t.Fatal(err)
		}
		if p.Instances() != instances || p.Options().Threads != 1 {
			t.Errorf("%d instances, %+v", p.Instances(), p.Options())
		}
		e := newEngine(t, m, Options{Threads: 1, DType: Int8})
		r := rand.New(rand.NewPCG(1, 2))
		var group sync.WaitGroup
		var answered, cancelled atomic.Int32
		for worker := range 12 {
			b := randomBatch(m.Config, r, 1+r.IntN(40), 1+r.IntN(40))
			want := predict(t, e, b)
			inputs := []Input{{Text: "the room was clean"}, {Text: vocabulary[5+worker]}}
			texts, err := e.Predict(context.Background(), inputs)
			if err != nil {
				t.Fatal(err)
			}
			group.Go(func() {
				for i := range 20 {
					ctx, cancel := context.Background(), func() {}
					if (worker+i)%3 == 0 {
						ctx, cancel = context.WithTimeout(ctx, time.Duration(i)*50*time.Microsecond)
					}
					got, err := p.PredictTokens(ctx, nil, b.ids, b.typeIDs, b.offsets)
					switch {
					case err == nil:
						answered.Add(1)
						if !sameBits(got, want) {
							t.Errorf("logits %v, want %v", got, want)
						}
					case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
						cancelled.Add(1)
					default:
						t.Error(err)
					}
					cancel()
					p, err := p.Predict(context.Background(), inputs)
					if err != nil || !sameBits(p[1].Logits, texts[1].Logits) {
						t.Errorf("texts: %v, %v", p, err)
					}
				}
			})
		}
		group.Wait()
		t.Logf("%d instances: %d answered, %d cancelled", instances, answered.Load(), cancelled.Load())
		if answered.Load() == 0 || cancelled.Load() == 0 {
			t.Error("the test did not test both")
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Requests that were accepted before Close are answered, later ones refused.
func TestPoolCloseDrains(t *testing.T) {
	m := textModel(t)
	p, err := NewPool(m, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := p.acquire(context.Background()) // the only instance is busy
	if err != nil {
		t.Fatal(err)
	}
	b := randomBatch(m.Config, rand.New(rand.NewPCG(1, 2)), 9)
	results := make(chan error, 4)
	for range cap(results) {
		accepted := make(chan struct{})
		go func() {
			ctx := &announced{Context: context.Background(), reached: accepted}
			_, err := p.PredictTokens(ctx, nil, b.ids, b.typeIDs, b.offsets)
			results <- err
		}()
		<-accepted
	}
	closed := make(chan error, 1)
	go func() { closed <- p.Close() }()
	for {
		if _, err := p.PredictTokens(expired(), nil, b.ids, b.typeIDs, b.offsets); errors.Is(err, ErrClosed) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case <-closed:
		t.Fatal("Close returned before the requests were answered")
	default:
	}
	p.release(e)
	for range cap(results) {
		if err := <-results; err != nil {
			t.Errorf("accepted request: %v", err)
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := p.Predict(context.Background(), []Input{{Text: "the"}}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// announced tells when a request has been accepted, which is when its context
// is first looked at.
type announced struct {
	context.Context
	once    sync.Once
	reached chan struct{}
}

func (a *announced) Err() error {
	a.once.Do(func() { close(a.reached) })
	return a.Context.Err()
}

func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestOpenPool(t *testing.T) {
	p, err := OpenPool(filepath.Join("testdata", "gelu"), 2, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := goldenCases(t, filepath.Join("testdata", "gelu", "golden.json"))[3]
	got, err := p.PredictTokens(context.Background(), nil, c.IDs, c.Types, []int32{0, int32(len(c.IDs))})
	if err != nil || !(largestDifference(got, c.Logits) < 1e-4) {
		t.Errorf("%v, %v", got, err)
	}
	if len(p.Profile()) == 0 || p.Config().HiddenSize != 36 {
		t.Errorf("profile %v, configuration %+v", p.Profile(), p.Config())
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenPool(t.TempDir(), 2, Options{}); err == nil {
		t.Error("an empty directory was opened")
	}
}
