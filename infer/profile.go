package infer

import "time"

// stage is a kind of work whose time a profile shows.
type stage uint8

const (
	stageEmbeddings stage = iota
	stageQuantize
	stageQKV
	stageAttention
	stageOutput
	stageFeedForward
	stageLayerNorm
	stageHead
	stages
)

var stageNames = [stages]string{
	"embeddings", "quantize", "qkv", "attention", "output", "feed-forward", "layernorm", "head",
}

// StageTime is the time that one stage of the computation took, summed over threads.
type StageTime struct {
	// Stage is one of:
	//   - "embeddings", their LayerNorm included
	//   - "quantize": activations that no other stage quantizes in passing (Int8)
	//   - "qkv"
	//   - "attention"
	//   - "output": the projection after attention
	//   - "feed-forward": both layers and the activation
	//   - "layernorm", residual included
	//   - "head": pooler and classifier, or pooling
	Stage string
	Time  time.Duration
}

// Profile returns the times since the last call of Profile, in the order of
// computation. Without Options.Profile all are zero.
func (e *Engine) Profile() []StageTime {
	e.mu.Lock()
	defer e.mu.Unlock()
	times := make([]StageTime, stages)
	for i := range times {
		times[i].Stage = stageNames[i]
		for w := range e.workers {
			times[i].Time += e.workers[w].times[i]
			e.workers[w].times[i] = 0
		}
	}
	return times
}

// clock measures the stages of one worker.
type clock struct {
	on    bool
	last  time.Time
	times [stages]time.Duration
}

func (c *clock) start() {
	if c.on {
		c.last = time.Now()
	}
}

// stop counts the time since start or the last stop.
func (c *clock) stop(s stage) {
	if c.on {
		now := time.Now()
		c.times[s] += now.Sub(c.last)
		c.last = now
	}
}
