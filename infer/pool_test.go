package infer

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skive-ml/skive/checkpoints"
)

func TestPoolUnderLoadWithCancellations(t *testing.T) {
	t.Parallel()
	m := textModel(t)
	for _, instances := range []int{1, 3} {
		p, err := NewPool(m, PoolOptions{Instances: instances, Options: Options{DType: Int8}, Pin: instances > 1})
		if err != nil {
			t.Fatal(err)
		}
		if p.Options().Instances != instances || p.Options().Threads != 1 {
			t.Errorf("%+v", p.Options())
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
	t.Parallel()
	m := textModel(t)
	p, err := NewPool(m, PoolOptions{Instances: 1})
	if err != nil {
		t.Fatal(err)
	}
	p.engines[0].mu.Lock() // the only instance is busy
	b := randomBatch(m.Config, rand.New(rand.NewPCG(1, 2)), 9)
	results := make(chan error, 4)
	for range cap(results) {
		go func() {
			_, err := p.PredictTokens(context.Background(), nil, b.ids, b.typeIDs, b.offsets)
			results <- err
		}()
	}
	waitFor(t, func() bool { s := p.Stats(); return s.Waiting+int(s.Sequences) == cap(results) })
	closed := make(chan error, 1)
	go func() { closed <- p.Close() }()
	waitFor(t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_, err := p.PredictTokens(ctx, nil, b.ids, b.typeIDs, b.offsets)
		return errors.Is(err, ErrClosed)
	})
	select {
	case <-closed:
		t.Fatal("Close returned before the requests were answered")
	default:
	}
	p.engines[0].mu.Unlock()
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

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for range 5000 {
		if condition() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it did not happen in five seconds")
}

// Requests that wait are computed together, and their answers are those of each
// alone.
func TestPoolBatches(t *testing.T) {
	t.Parallel()
	m := textModel(t)
	p, err := NewPool(m, PoolOptions{Instances: 1, MaxBatch: 60, MaxQueue: 20})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	e := newEngine(t, m, Options{Threads: 1})
	r := rand.New(rand.NewPCG(3, 4))
	p.engines[0].mu.Lock()
	var group sync.WaitGroup
	ask := func(b batch) {
		want := predict(t, e, b)
		group.Go(func() {
			got, err := p.PredictTokens(context.Background(), nil, b.ids, b.typeIDs, b.offsets)
			if err != nil || !sameBits(got, want) {
				t.Errorf("%v, %v, want %v", got, err, want)
			}
		})
	}
	ask(randomBatch(m.Config, r, 10))
	waitFor(t, func() bool { return p.Stats().Batches == 1 })
	for range 20 {
		ask(randomBatch(m.Config, r, 4, 6))
	}
	waitFor(t, func() bool { return p.Stats().Waiting == 20 })
	b := randomBatch(m.Config, r, 3)
	if _, err := p.PredictTokens(context.Background(), nil, b.ids, b.typeIDs, b.offsets); !errors.Is(err, ErrOverloaded) {
		t.Errorf("with a full queue: %v", err)
	}
	p.engines[0].mu.Unlock()
	group.Wait()
	s := p.Stats()
	if s.Requests != 21 || s.Refused != 1 || s.Batches != 5 || s.Sequences != 41 || s.Tokens != 210 || s.Waiting != 0 {
		t.Errorf("%+v, want 20 requests in 4 batches after the first", s)
	}
}

// With a delay, requests that come one after the other share a batch.
func TestPoolDelay(t *testing.T) {
	t.Parallel()
	m := textModel(t)
	p, err := NewPool(m, PoolOptions{Instances: 1, MaxBatch: 40, MaxDelay: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	b := randomBatch(m.Config, rand.New(rand.NewPCG(3, 4)), 10)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			if _, err := p.PredictTokens(context.Background(), nil, b.ids, b.typeIDs, b.offsets); err != nil {
				t.Error(err)
			}
		})
		if i < 3 {
			waitFor(t, func() bool { return p.Stats().Waiting == i+1 })
		}
	}
	group.Wait()
	if s := p.Stats(); s.Batches != 1 || s.Sequences != 4 {
		t.Errorf("%+v, want one batch of four", s)
	}
}

// A caller that gives up gets its context's error at once, and its slices back.
func TestPoolAbandonedRequests(t *testing.T) {
	t.Parallel()
	m := textModel(t)
	p, err := NewPool(m, PoolOptions{Instances: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.engines[0].mu.Lock()
	b := randomBatch(m.Config, rand.New(rand.NewPCG(3, 4)), 10)
	for range 3 { // the first is being computed, the others wait
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		if _, err := p.PredictTokens(ctx, nil, b.ids, b.typeIDs, b.offsets); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		cancel()
	}
	for i := range b.offsets {
		b.offsets[i] = 1 << 30
	}
	p.engines[0].mu.Unlock()
	waitFor(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.idle == 1 })
	if s := p.Stats(); s.Abandoned != 3 || s.Requests != 0 || s.Batches != 1 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPoolAllocatesNothing(t *testing.T) {
	m := textModel(t)
	p, err := NewPool(m, PoolOptions{Instances: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	b := randomBatch(m.Config, rand.New(rand.NewPCG(3, 4)), 10, 20)
	var dst []float32
	if n := testing.AllocsPerRun(100, func() {
		if dst, err = p.PredictTokens(context.Background(), dst, b.ids, b.typeIDs, b.offsets); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%g allocations a call", n)
	}
}

func TestPoolOptions(t *testing.T) {
	t.Parallel()
	m := textModel(t)
	for _, o := range []PoolOptions{{Instances: -1}, {MaxBatch: -1}, {MaxDelay: -1}, {MaxQueue: -1}, {Options: Options{Threads: -1}}} {
		if _, err := NewPool(m, o); !errors.Is(err, ErrOption) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestOpenPool(t *testing.T) {
	t.Parallel()
	p, err := OpenPool(filepath.Join("testdata", "gelu"), PoolOptions{Instances: 2})
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
	if _, err := OpenPool(t.TempDir(), PoolOptions{}); err == nil {
		t.Error("an empty directory was opened")
	}
}

// A .skive file is verified while it is compiled: a changed byte of any tensor
// ends in an error that names it, whatever compiling made of it.
func TestOpenFindsDamage(t *testing.T) {
	t.Parallel()
	m := randomModel(configs["head 32"], 1)
	whole := filepath.Join(t.TempDir(), "whole.skive")
	if err := m.SaveSkive(whole); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.dense.weight", "classifier.bias"} {
		path := filepath.Join(t.TempDir(), "m.skive")
		damaged := bytes.Clone(b)
		at := bytes.Index(damaged, m.Tensors[name].Data)
		damaged[at] ^= 0x40
		if err := os.WriteFile(path, damaged, 0o666); err != nil {
			t.Fatal(err)
		}
		for _, dtype := range []string{"", Int8} {
			e, err := Open(path, Options{DType: dtype, Threads: 1})
			if !errors.Is(err, checkpoints.ErrCorrupt) || !strings.Contains(err.Error(), name) || e != nil {
				t.Errorf("%s %s: engine %v, error %v", name, dtype, e, err)
			}
			if p, err := OpenPool(path, PoolOptions{}); !errors.Is(err, checkpoints.ErrCorrupt) || !strings.Contains(err.Error(), name) || p != nil {
				t.Errorf("%s %s: pool %v, error %v", name, dtype, p, err)
			}
		}
	}
}
