package infer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/skive-ml/skive/checkpoints"
)

// Pool is a number of engines that share their weights. It takes requests from
// any number of goroutines and gives each to an idle engine; requests wait
// while there is none. More instances of one thread each answer more requests a
// second than one instance with as many threads.
type Pool struct {
	engines []*Engine
	idle    chan *Engine
	model   *checkpoints.Model

	mu       sync.Mutex
	closed   bool
	requests sync.WaitGroup
}

// OpenPool compiles the model at path, which may have any format that
// checkpoints.Open reads, for a pool of instances.
func OpenPool(path string, instances int, o Options) (*Pool, error) {
	m, err := checkpoints.Open(path)
	if err != nil {
		return nil, err
	}
	p, err := NewPool(m, instances, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), m.Close())
	}
	p.model = m
	return p, nil
}

// NewPool compiles a model for a pool of instances. Options.Threads is the
// number of threads of each; 0 stands for one. The model must not be closed or
// changed before the pool is closed.
func NewPool(m *checkpoints.Model, instances int, o Options) (*Pool, error) {
	if err := o.check(m.Config); err != nil {
		return nil, err
	}
	if instances < 1 || instances > 1<<12 {
		return nil, fmt.Errorf("%w: %d instances", ErrOption, instances)
	}
	w, err := load(m, o.DType)
	if err != nil {
		return nil, err
	}
	if o.Threads == 0 {
		o.Threads = 1
	}
	p := &Pool{idle: make(chan *Engine, instances)}
	for range instances {
		e := w.engine(o)
		p.engines = append(p.engines, e)
		p.idle <- e
	}
	return p, nil
}

// Instances is the number of requests that are computed at the same time.
func (p *Pool) Instances() int { return len(p.engines) }

// Config returns the architecture of the model.
func (p *Pool) Config() checkpoints.Config { return p.engines[0].Config() }

// Options returns the options of each instance, with defaults filled in.
func (p *Pool) Options() Options { return p.engines[0].Options() }

// acquire waits for an idle engine. Every engine that it gives must be
// released.
func (p *Pool) acquire(ctx context.Context) (*Engine, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	p.requests.Add(1)
	p.mu.Unlock()
	if err := ctx.Err(); err != nil {
		p.requests.Done()
		return nil, err
	}
	select {
	case e := <-p.idle:
		return e, nil
	case <-ctx.Done():
		p.requests.Done()
		return nil, ctx.Err()
	}
}

func (p *Pool) release(e *Engine) {
	p.idle <- e
	p.requests.Done()
}

// PredictTokens is Engine.PredictTokens on an idle instance. It returns the
// error of ctx if ctx ends before one is idle; a computation that has begun is
// finished.
func (p *Pool) PredictTokens(ctx context.Context, dst []float32, ids, typeIDs, offsets []int32) ([]float32, error) {
	e, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer p.release(e)
	return e.PredictTokens(dst, ids, typeIDs, offsets)
}

// Predict is Engine.Predict on an idle instance.
func (p *Pool) Predict(ctx context.Context, inputs []Input) ([]Prediction, error) {
	e, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer p.release(e)
	return e.Predict(ctx, inputs)
}

// Profile returns the times of all instances; see Engine.Profile.
func (p *Pool) Profile() []StageTime {
	var sum []StageTime
	for _, e := range p.engines {
		times := e.Profile()
		if sum == nil {
			sum = times
			continue
		}
		for i := range sum {
			sum[i].Time += times[i].Time
		}
	}
	return sum
}

// Close makes new requests fail with ErrClosed, waits for those already
// accepted to be answered, and releases the threads.
func (p *Pool) Close() error {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	p.requests.Wait()
	if closed {
		return nil
	}
	var first error
	for _, e := range p.engines {
		if err := e.Close(); err != nil && first == nil {
			first = err
		}
	}
	if p.model != nil {
		if err := p.model.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
