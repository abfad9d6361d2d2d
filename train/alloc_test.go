package train

import (
	"context"
	"runtime"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/golden"
)

// After warm-up a step allocates what Gorgonia does for each node of the graph,
// and nothing that grows with the batch or with the model's width.
func TestStepsAllocateLittle(t *testing.T) {
	ds := golden.Data(t)
	wide := checkpoints.InitBERT(func() checkpoints.Config {
		c := golden.Model(t).Config.Clone()
		c.HiddenSize, c.HeadDim = 64, 16
		for l := range c.Layers {
			c.Layers[l].Intermediate = 256
		}
		return c
	}(), 1)
	wide.Tokenizer = golden.Model(t).Tokenizer
	for _, c := range []struct {
		name  string
		model *checkpoints.Model
		batch int
	}{{"small", golden.Model(t), 4}, {"large batch", golden.Model(t), 64}, {"wide", wide, 16}} {
		const warm, steps = 10, 30
		o := quick()
		o.EvalEvery, o.SaveEvery = 0, 0
		o.Epochs, o.Steps, o.BatchSize, o.Threads, o.NoShuffle = 0, steps, c.batch, 2, true
		var before, after runtime.MemStats
		o.OnStep = func(r Record) {
			switch r.Step {
			case warm:
				runtime.ReadMemStats(&before)
			case steps:
				runtime.ReadMemStats(&after)
			}
		}
		if _, _, err := Run(context.Background(), c.model, ds, nil, o); err != nil {
			t.Fatal(err)
		}
		const n = steps - warm
		allocations, bytes := (after.Mallocs-before.Mallocs)/n, (after.TotalAlloc-before.TotalAlloc)/n
		// Some 70 nodes, and the records of the step. One value of the large batch
		// alone has more bytes.
		if allocations > 1500 || bytes > 100_000 {
			t.Errorf("%s: %d allocations of %d bytes a step", c.name, allocations, bytes)
		}
	}
}
