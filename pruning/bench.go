package pruning

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/measure"
	"github.com/skive-ml/skive/progress"
)

const (
	// maxWidths is the number of widths of a part of a layer that are measured;
	// between them costs are interpolated.
	maxWidths = 16
	// benchParameters bounds the weights of the models whose layers are measured.
	benchParameters = 16 << 20
)

// bench is a number of engines that are measured in turn.
type bench struct {
	o       MeasureOptions
	cfg     checkpoints.Config
	engines []*infer.Engine
	inner   int // layers before the last in the models of the first two sweeps
	sweeps  []sweep
}

// sweep is the engines that differ in one width: engine first has the first of
// the widths.
type sweep struct {
	first  int
	widths []int
}

func (b *bench) close() {
	for _, e := range b.engines {
		e.Close()
	}
}

func (b *bench) add(m *checkpoints.Model) error {
	e, err := infer.New(m, infer.Options{Threads: b.o.Threads, DType: b.o.DType})
	if err == nil {
		b.engines = append(b.engines, e)
	}
	return err
}

// widths are the numbers that are measured, ascending to n.
func widths(n, block int) []int {
	var all []int
	for w := block; w < n; w += block {
		all = append(all, w)
	}
	all = append(all, n)
	if len(all) <= maxWidths {
		return all
	}
	some := make([]int, maxWidths)
	for i := range some {
		some[i] = all[i*(len(all)-1)/(maxWidths-1)]
	}
	return some
}

// build makes the model itself, and the sweeps over the heads and units of the
// layers before the last, if there are any, and of the last.
func (b *bench) build() error {
	most := checkpoints.LayerSize{}
	for _, l := range b.cfg.Layers {
		most.Heads, most.Intermediate = max(most.Heads, l.Heads), max(most.Intermediate, l.Intermediate)
	}
	parameters := 4*b.cfg.HiddenSize*most.Heads*b.cfg.HeadDim + products(b.cfg)*b.cfg.HiddenSize*most.Intermediate
	b.inner = min(len(b.cfg.Layers)-1, max(1, benchParameters/parameters))
	if err := b.add(b.random(b.cfg.Layers)); err != nil {
		return err
	}
	inner, last := slices.Repeat([]checkpoints.LayerSize{most}, b.inner), []checkpoints.LayerSize{most}
	layers := slices.Concat(inner, []checkpoints.LayerSize{{Heads: 1, Intermediate: min(UnitMultiple, most.Intermediate)}})
	if b.inner == 0 {
		layers = last
	}
	for _, s := range []struct {
		layers  []checkpoints.LayerSize
		changed int // of them, from the first
	}{{layers, max(1, b.inner)}, {last, 1}} {
		whole := b.random(s.layers)
		for _, heads := range []bool{true, false} {
			w := sweep{first: len(b.engines), widths: widths(most.Intermediate, UnitMultiple)}
			if heads {
				w.widths = widths(most.Heads, 1)
			}
			for _, n := range w.widths {
				m, err := Rewire(whole, narrowed(s.layers, s.changed, heads, n))
				if err == nil {
					err = b.add(m)
				}
				if err != nil {
					return err
				}
			}
			b.sweeps = append(b.sweeps, w)
		}
	}
	return nil
}

// narrowed leaves n heads, or n units, in the first so many layers.
func narrowed(layers []checkpoints.LayerSize, changed int, heads bool, n int) Masks {
	masks := newMasks(len(layers))
	for l, size := range layers {
		if l < changed && heads {
			size.Heads = n
		} else if l < changed {
			size.Intermediate = n
		}
		masks.Heads[l], masks.FFN[l] = firsts(size.Heads), firsts(size.Intermediate)
	}
	return masks
}

func firsts(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// random makes a model of the layers with random weights, of the family's blocks and
// a small vocabulary.
func (b *bench) random(layers []checkpoints.LayerSize) *checkpoints.Model {
	cfg := b.cfg.Clone()
	cfg.EmbeddingSize, cfg.Head = 0, head.SingleLabel
	if cfg.Local != nil { // the last layer is measured for itself
		last := len(layers) - 1
		cfg.Local = append(cfg.Local[:last:last], b.cfg.Local[len(b.cfg.Local)-1])
	}
	cfg.Layers, cfg.BiasColumns, cfg.VocabSize = layers, nil, 256
	cfg.PadTokenID = min(cfg.PadTokenID, 1)
	cfg.MaxPositions += b.o.Tokens - cfg.MaxTokens()
	cfg.InitializerRange, cfg.Labels = 0.02, []string{"0", "1"}
	return checkpoints.InitBERT(cfg, 1)
}

const (
	// calls is how often an engine is called in its turn, unless that takes longer
	// than turn; rounds is how many turns each gets at least.
	calls, rounds = 3, 5
	turn          = 20 * time.Millisecond
	// least is how long a measurement goes on at least.
	least = 300 * time.Millisecond
	// quantile of the times of an engine's calls stands for them. Other programs
	// only add to a time, and to a long one more than to a short one, so that on a
	// busy machine medians, and even tenth percentiles, say nothing of ratios; on
	// an idle one they are the same.
	quantile = 0.02
	// precision is the half width of the quantile's 95 % interval, as a share of
	// it, at which it counts as known.
	precision = 0.01
)

// run measures the engines in turn until their times are known or the time is
// over, and returns the time of a call of each, in milliseconds.
func (b *bench) run(ctx context.Context, title string) ([]float64, error) {
	r := rand.New(rand.NewPCG(1, 2))
	ids, offsets := make([]int32, b.o.Tokens), []int32{0, int32(b.o.Tokens)}
	smallest := b.engines[0].Config().VocabSize
	for _, e := range b.engines {
		smallest = min(smallest, e.Config().VocabSize)
	}
	for i := range ids {
		ids[i] = r.Int32N(int32(smallest))
	}
	var logits []float32
	loads := make([]*measure.Load, len(b.engines))
	for i, e := range b.engines {
		loads[i] = &measure.Load{Clock: measure.Clock(b.o.Clock()), Call: func(_, _ int) (err error) {
			logits, err = e.PredictTokens(logits, ids, nil, offsets)
			return err
		}}
	}
	most := int(b.o.Duration.Seconds())
	bar := progress.Begin(b.o.Progress, title+", seconds", 0, max(1, most))
	note := fmt.Sprintf("0 of %d times known", len(loads))
	defer func() { bar.Finish(note) }()
	turns := measure.Turns{
		Pass: measure.Pass{Calls: calls, Time: turn}, Rounds: rounds,
		Quantile: quantile, Precision: precision, Least: least, Most: b.o.Duration,
		Seen: func(elapsed time.Duration, known int) {
			note = fmt.Sprintf("%d of %d times known", known, len(loads))
			bar.Set(min(int(elapsed.Seconds()), most), note)
		},
	}
	return turns.Run(ctx, loads)
}

// costs turns the times of the engines that build made into curves.
func (b *bench) costs(times []float64) *Costs {
	curves := make([]Curve, len(b.sweeps))
	for i, s := range b.sweeps {
		n := 1
		if i < 2 {
			n = max(1, b.inner)
		}
		curves[i] = ascending(s.widths, times[s.first:s.first+len(s.widths)], n)
	}
	c := &Costs{}
	for l := range b.cfg.Layers {
		at := 0
		if l == len(b.cfg.Layers)-1 {
			at = 2
		}
		c.Heads = append(c.Heads, curves[at])
		c.FFN = append(c.FFN, curves[at+1])
	}
	c.Fixed = max(0, times[0]-c.Of(b.cfg.Layers))
	return c
}

// ascending makes a curve of times for layers layers, above that of the first
// width. More heads or units do not take less time: where noise says so,
// neighbours are averaged (the pool-adjacent-violators algorithm).
func ascending(widths []int, times []float64, layers int) Curve {
	var pools []pool
	for _, t := range times {
		pools = pooled(pools, t)
	}
	var c Curve
	for _, p := range pools {
		for range p.n {
			c = append(c, Point{widths[len(c)], (p.mean - pools[0].mean) / float64(layers)})
		}
	}
	return c
}

// pool is n values that are taken for their mean.
type pool struct {
	mean float64
	n    int
}

// pooled adds a value to pools of ascending means.
func pooled(pools []pool, v float64) []pool {
	pools = append(pools, pool{v, 1})
	for k := len(pools) - 1; k > 0 && pools[k-1].mean > pools[k].mean; k-- {
		a, b := pools[k-1], pools[k]
		n := a.n + b.n
		pools[k-1] = pool{(float64(a.mean*float64(a.n)) + float64(b.mean*float64(b.n))) / float64(n), n}
		pools = pools[:k]
	}
	return pools
}
