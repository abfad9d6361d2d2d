package infer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/machine"
	"github.com/skive-ml/skive/internal/team"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/tokenize"
)

// MaxInstances is the largest number of instances in a pool.
const MaxInstances = 1 << 12

// PoolOptions configure a pool. The zero value has one instance of one thread for each
// core.
type PoolOptions struct {
	// Options are the options of each instance. Threads 0 means one.
	Options
	// Instances is how many batches are computed at the same time; 0 means the number
	// of cores divided by Threads.
	Instances int
	// MaxBatch is the largest number of tokens in a batch; only a single request may be
	// larger. 0 means 512; larger batches gain little.
	MaxBatch int
	// MaxDelay is how long a request may wait for others to fill its batch. With 0 an
	// idle instance takes waiting requests at once.
	MaxDelay time.Duration
	// MaxQueue is how many requests may wait; further ones get ErrOverloaded. 0 means
	// 1,024.
	MaxQueue int
	// OnBatch, if not nil, is called with the size of each batch before it is computed.
	// Several goroutines may call it at the same time.
	OnBatch func(sequences, tokens int)
	// Pin ties every thread to its own core where the system allows it (Linux). It
	// helps a process that has these cores to itself.
	Pin bool
}

func (o *PoolOptions) fill() error {
	switch {
	case o.Instances < 0 || o.Instances > MaxInstances:
		return invalid(settings.Wrong("Instances", o.Instances, "0 to %d", MaxInstances))
	case o.MaxBatch < 0:
		return invalid(settings.Wrong("MaxBatch", o.MaxBatch, "a positive number of tokens, or 0 for 512"))
	case o.MaxDelay < 0:
		return invalid(settings.Wrong("MaxDelay", o.MaxDelay, "a time that is not negative"))
	case o.MaxQueue < 0:
		return invalid(settings.Wrong("MaxQueue", o.MaxQueue, "a positive number of requests, or 0 for 1024"))
	}
	orElse := func(x *int, otherwise int) {
		if *x == 0 {
			*x = otherwise
		}
	}
	orElse(&o.Threads, 1)
	orElse(&o.Instances, max(1, machine.CPUs()/o.Threads))
	orElse(&o.MaxBatch, 512)
	orElse(&o.MaxQueue, 1024)
	return nil
}

// Pool answers requests from any number of goroutines, with several engines that share
// their weights. When an engine becomes idle, it packs the waiting requests into one
// batch without padding. So batches are large under load, and without load answers come
// at once. Answers do not depend on the batch.
type Pool struct {
	options PoolOptions
	engines []*Engine
	model   *checkpoints.Model // closed with the pool that opened it
	workers sync.WaitGroup
	texts   sync.Pool // of *textBuffers
	wake    chan struct{}
	closing chan struct{}

	mu     sync.Mutex
	closed bool
	queue  []*request
	tokens int // in the queue
	idle   int // engines
	free   []*request
	stats  PoolStats
}

// PoolStats counts what a pool has done.
type PoolStats struct {
	// Requests were answered, Refused found the queue full, and Abandoned were
	// cancelled by their callers.
	Requests, Refused, Abandoned int64
	// Batches were computed, with this many sequences and tokens.
	Batches, Sequences, Tokens int64
	// Waiting is the number of requests in the queue now.
	Waiting int
}

// request is a call that waits for its answer. A waiting request is either taken by an
// engine, or goes back to its caller. If the caller of a taken request has left, it
// goes back to the free list once it is answered.
type request struct {
	ids, typeIDs, offsets []int32 // the caller's; not read once the request is taken
	selected              []int32 // wanted tokens, nil for all
	want                  want
	unscaled              bool // see Call
	size                  int  // of the answer
	arrived               time.Time
	queue, compute        time.Duration
	taken, abandoned      bool
	logits                []float32
	err                   error
	done                  chan struct{}
}

// OpenPool compiles the model at path for a pool, in any format that checkpoints.Open
// reads. As Open says, a changed file closes all of the pool's instances.
func OpenPool(path string, o PoolOptions) (*Pool, error) {
	m, p, err := open(path, func(m *checkpoints.Model) (*Pool, error) { return newPool(m, o, true) })
	if err != nil {
		return nil, err
	}
	p.model = m
	return p, nil
}

// NewPool compiles a model for a pool. Close the pool before the model is closed or
// changed.
func NewPool(m *checkpoints.Model, o PoolOptions) (*Pool, error) { return newPool(m, o, false) }

func newPool(m *checkpoints.Model, o PoolOptions, opened bool) (*Pool, error) {
	if err := o.Options.check(m.Config); err != nil {
		return nil, err
	}
	if err := o.fill(); err != nil {
		return nil, err
	}
	w, err := load(m, o.Options, opened)
	if err != nil {
		return nil, err
	}
	p := &Pool{
		options: o, idle: o.Instances,
		wake:    make(chan struct{}, o.Instances),
		closing: make(chan struct{}),
	}
	p.texts.New = func() any { return new(textBuffers) }
	for i := range o.Instances {
		var cores []int
		for t := 0; o.Pin && t < o.Threads; t++ {
			cores = append(cores, i*o.Threads+t)
		}
		e := w.engine(o.Options, cores)
		p.engines = append(p.engines, e)
		p.workers.Go(func() { p.work(e, cores) })
	}
	p.options.Options = p.engines[0].Options()
	return p, nil
}

// Notes says what was ignored or assumed when the model was read; see
// checkpoints.Model.
func (p *Pool) Notes() []string { return p.engines[0].Notes() }

// Config returns the model's architecture.
func (p *Pool) Config() checkpoints.Config { return p.engines[0].Config() }

// Options returns the options in effect, with defaults filled in.
func (p *Pool) Options() PoolOptions { return p.options }

// Stats returns what the pool has done so far.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Waiting = len(p.queue)
	return s
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

// PredictTokens is Engine.PredictTokens, in batches shared with other goroutines. It
// returns ErrOverloaded at once if the queue is full, and ctx's error as soon as ctx
// ends.
func (p *Pool) PredictTokens(ctx context.Context, dst []float32, ids, typeIDs, offsets []int32) ([]float32, error) {
	return p.PredictTokensCall(ctx, new(Call), dst, ids, typeIDs, offsets)
}

// PredictTokensCall is PredictTokens with the settings of call.
func (p *Pool) PredictTokensCall(ctx context.Context, call *Call, dst []float32, ids, typeIDs, offsets []int32) ([]float32, error) {
	return p.computed(ctx, call, dst, request{ids: ids, typeIDs: typeIDs, offsets: offsets})
}

// computed computes a request and writes the outputs to dst.
func (p *Pool) computed(ctx context.Context, call *Call, dst []float32, q request) ([]float32, error) {
	if err := p.engines[0].check(q.ids, q.typeIDs, q.offsets); err != nil {
		return nil, err
	}
	r, err := p.submit(ctx, call, q)
	if err != nil {
		return nil, err
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if p.abandon(r) {
			return nil, ctx.Err()
		}
		<-r.done
	}
	dst, err = append(dst[:0], r.logits...), r.err
	call.Queue += r.queue
	call.Compute += r.compute
	p.mu.Lock()
	p.recycle(r)
	p.mu.Unlock()
	if err == nil {
		err = p.engines[0].weights.checkFinite(dst, q.offsets, q.selected, q.want)
	}
	if err != nil {
		return nil, err
	}
	return dst, nil
}

// Predict is Engine.Predict. The calling goroutine tokenizes the texts; they are
// computed in batches shared with other goroutines.
func (p *Pool) Predict(ctx context.Context, inputs []Input) ([]Prediction, error) {
	return p.PredictCall(ctx, new(Call), inputs)
}

// PredictCall is Predict with the settings of call. With Call.Windows, the logits of a
// text that is too long are the mean over its windows, weighted by their tokens. Words
// have the label of the window in which they stand farthest from an edge. Pairs that
// are too long are then refused.
func (p *Pool) PredictCall(ctx context.Context, call *Call, inputs []Input) ([]Prediction, error) {
	if call.Windows {
		return p.predictWindows(ctx, call, inputs)
	}
	t := p.texts.Get().(*textBuffers)
	defer p.texts.Put(t)
	return p.engines[0].weights.classify(t, &p.options.Options, call, inputs, p.compute(ctx, call))
}

// Embed is Engine.Embed; see Predict.
func (p *Pool) Embed(ctx context.Context, inputs []Input) ([][]float32, error) {
	return p.EmbedCall(ctx, new(Call), inputs)
}

// EmbedCall is Embed with the settings of call. With Call.Windows, the embedding of a
// text that is too long is the mean over its windows, weighted by their tokens, and is
// scaled to unit length afterwards. Each window begins with the prompt.
func (p *Pool) EmbedCall(ctx context.Context, call *Call, inputs []Input) ([][]float32, error) {
	if call.Windows {
		return p.embedWindows(ctx, call, inputs)
	}
	t := p.texts.Get().(*textBuffers)
	defer p.texts.Put(t)
	return p.engines[0].weights.embed(t, &p.options.Options, call, inputs, p.compute(ctx, call))
}

// Tokenizer returns the model's tokenizer. It fails as Predict does.
func (p *Pool) Tokenizer() (*tokenize.Tokenizer, error) { return p.engines[0].weights.tokenizer() }

// compute asks the pool for the outputs of the texts in t.
func (p *Pool) compute(ctx context.Context, call *Call) func(t *textBuffers) error {
	return func(t *textBuffers) (err error) {
		q := request{ids: t.ids, typeIDs: t.typeIDs, offsets: t.offsets}
		if p.engines[0].weights.fillsMasks() {
			_, _, _, _, mask := t.tokenizer.Special()
			t.findMasks(mask)
			q.selected = t.rows
		}
		t.outputs, err = p.computed(ctx, call, t.outputs, q)
		return err
	}
}

// submit puts a request into the queue.
func (p *Pool) submit(ctx context.Context, call *Call, q request) (*request, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if err := p.engines[0].weights.usable(); err != nil {
		return nil, err
	}
	if len(p.queue) >= p.options.MaxQueue {
		p.stats.Refused++
		return nil, ErrOverloaded
	}
	var r *request
	if n := len(p.free); n > 0 {
		r, p.free = p.free[n-1], p.free[:n-1]
	} else {
		r = &request{done: make(chan struct{}, 1)}
	}
	rows, width := p.engines[0].weights.size(q.want, len(q.offsets)-1, len(q.ids), q.selected)
	q.logits, q.done, q.unscaled, q.size, q.arrived = r.logits, r.done, call.Unscaled, rows*width, time.Now()
	*r = q
	p.queue = append(p.queue, r)
	p.tokens += len(q.ids)
	p.signal()
	return r, nil
}

// signal wakes an idle worker. There is room for as many pending signals as workers, so
// none is lost.
func (p *Pool) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// abandon gives up a request that is not answered yet.
func (p *Pool) abandon(r *request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !r.taken:
		i := slices.Index(p.queue, r)
		p.queue = slices.Delete(p.queue, i, i+1)
		p.tokens -= len(r.ids)
		p.recycle(r)
	case len(r.done) == 0:
		r.abandoned = true
	default:
		return false // it has just been answered
	}
	p.stats.Abandoned++
	return true
}

// keptOutputs is the largest answer, in numbers, whose memory a request keeps for its
// next use.
const keptOutputs = 1 << 18

// recycle keeps a request for the next caller.
func (p *Pool) recycle(r *request) {
	*r = request{logits: r.logits[:0], done: r.done}
	if cap(r.logits) > keptOutputs {
		r.logits = nil
	}
	p.free = append(p.free, r)
}

// packed is the batch that a worker is computing.
type packed struct {
	requests              []*request
	ids, typeIDs, offsets []int32
	unscaled              []bool  // for each sequence
	want                  want    // of all requests
	selected              []int32 // tokens, if some request selects them
	taken                 time.Time
	logits                []float32
}

// work computes batches until the pool is closed and its queue is empty.
func (p *Pool) work(e *Engine, cores []int) {
	if len(cores) > 0 {
		team.Pin(cores[0])
	}
	var b packed
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for p.next(&b, timer) {
		if p.options.OnBatch != nil {
			p.options.OnBatch(len(b.offsets)-1, len(b.ids))
		}
		var err error
		b.logits, err = e.batch(&b)
		p.answer(&b, err)
	}
}

// batch computes checked input of several callers. Each caller checks its own part for
// NaN and infinity.
func (e *Engine) batch(b *packed) ([]float32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.run.unscaled = nil
	if slices.Contains(b.unscaled, true) {
		e.run.unscaled = b.unscaled
	}
	return e.compute(b.logits, b.ids, b.typeIDs, b.offsets, b.selected, b.want)
}

// next waits for a batch. It returns false when there will be no more.
func (p *Pool) next(b *packed, timer *time.Timer) bool {
	for {
		p.mu.Lock()
		wait := time.Duration(-1)
		switch {
		case len(p.queue) > 0:
			if !p.closed && p.tokens < p.options.MaxBatch {
				wait = p.options.MaxDelay - time.Since(p.queue[0].arrived)
			}
			if wait <= 0 {
				p.take(b)
				p.mu.Unlock()
				return true
			}
		case p.closed:
			p.mu.Unlock()
			return false
		default:
			wait = time.Hour
		}
		p.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-p.wake:
		case <-p.closing:
		case <-timer.C:
		}
	}
}

// take packs waiting requests with the same want into a batch, in order of arrival, up
// to this worker's share among the idle ones.
func (p *Pool) take(b *packed) {
	share := (len(p.queue) + p.idle - 1) / p.idle
	n, tokens := 0, 0
	for n < share && (n == 0 || tokens+len(p.queue[n].ids) <= p.options.MaxBatch && p.queue[n].want == p.queue[0].want) {
		tokens += len(p.queue[n].ids)
		n++
	}
	b.ids, b.typeIDs, b.offsets = b.ids[:0], b.typeIDs[:0], append(b.offsets[:0], 0)
	b.requests, b.unscaled, b.taken = append(b.requests[:0], p.queue[:n]...), b.unscaled[:0], time.Now()
	b.want, b.selected = b.requests[0].want, b.chosen()
	for _, r := range b.requests {
		first := int32(len(b.ids))
		b.ids = append(b.ids, r.ids...)
		if r.typeIDs != nil {
			b.typeIDs = append(b.typeIDs, r.typeIDs...)
		} else {
			for range r.ids {
				b.typeIDs = append(b.typeIDs, 0)
			}
		}
		for _, end := range r.offsets[1:] {
			b.offsets = append(b.offsets, first+end)
			b.unscaled = append(b.unscaled, r.unscaled)
		}
		r.taken, r.queue = true, b.taken.Sub(r.arrived)
	}
	p.queue = slices.Delete(p.queue, 0, n)
	p.tokens -= tokens
	p.idle--
	p.stats.Batches++
	p.stats.Sequences += int64(len(b.offsets) - 1)
	p.stats.Tokens += int64(tokens)
	if len(p.queue) > 0 {
		p.signal()
	}
}

// chosen returns the tokens that the requests have selected, nil for all.
func (b *packed) chosen() []int32 {
	if !slices.ContainsFunc(b.requests, func(r *request) bool { return r.selected != nil }) {
		return nil
	}
	chosen := []int32{}
	first := int32(0)
	for _, r := range b.requests {
		for i := range r.ids {
			if r.selected == nil {
				chosen = append(chosen, first+int32(i))
			}
		}
		for _, token := range r.selected {
			chosen = append(chosen, first+token)
		}
		first += int32(len(r.ids))
	}
	return chosen
}

// answer distributes the outputs of a batch.
func (p *Pool) answer(b *packed, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle++
	took := time.Since(b.taken)
	first := 0
	for _, r := range b.requests {
		n := r.size
		if err == nil && !r.abandoned {
			r.logits = append(r.logits[:0], b.logits[first:first+n]...)
		}
		first += n
		if r.abandoned {
			p.recycle(r)
			continue
		}
		r.err, r.compute = err, took
		p.stats.Requests++
		r.done <- struct{}{}
	}
}

// Close waits for accepted requests to be answered, and releases the threads. New
// requests fail with ErrClosed.
func (p *Pool) Close() error {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if !closed {
		close(p.closing)
	}
	p.workers.Wait()
	if closed {
		return nil
	}
	var errs []error
	for _, e := range p.engines {
		errs = append(errs, e.Close())
	}
	if p.model != nil {
		errs = append(errs, p.model.Close())
	}
	return errors.Join(errs...)
}
