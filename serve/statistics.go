package serve

import (
	"sync"
	"time"
)

// statistic counts what a version has answered.
type statistic struct {
	mu                            sync.Mutex
	success, fail, queue, compute duration
	tokenize                      duration
	answered                      int64
	last                          time.Time
}

// duration is the sum of so many times, as Triton's statistics have it.
type duration struct {
	Count int64 `json:"count"`
	Sum   int64 `json:"ns"`
}

func (d *duration) add(t time.Duration) {
	d.Count++
	d.Sum += t.Nanoseconds()
}

func (s *statistic) note(x *exchange, failed *problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := time.Since(x.began)
	if failed != nil {
		s.fail.add(took)
		return
	}
	s.success.add(took)
	s.queue.add(x.call.Queue)
	s.tokenize.add(x.call.Tokenize)
	s.compute.add(x.call.Compute)
	s.answered += int64(x.admitted)
	s.last = time.Now()
}

func (v *version) statistics() any {
	batches := v.pool.Stats().Batches
	v.mu.Lock()
	defer v.mu.Unlock()
	last := int64(0)
	if !v.last.IsZero() {
		last = v.last.UnixMilli()
	}
	return map[string]any{
		"name": v.model.options.Name, "version": v.number, "last_inference": last,
		"inference_count": v.answered, "execution_count": batches,
		"inference_stats": map[string]duration{
			"success": v.success, "fail": v.fail, "queue": v.queue,
			"compute_input": v.tokenize, "compute_infer": v.compute, "compute_output": {Count: v.success.Count},
		},
		"batch_stats": []any{},
	}
}
