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
	// maxWidths is the number of widths of a part of a layer that are measured. Costs in between
	// are interpolated.
	maxWidths = 16
	// benchParameters is the largest number of weights of a model that is built to be measured.
	benchParameters = 16 << 20
)

// bench is a set of engines that are measured in turn.
type bench struct {
	o       MeasureOptions
	cfg     checkpoints.Config
	engines []*infer.Engine
	inner   int // layers before the last, in the models of the first two sweeps
	sweeps  []sweep
}

// sweep is a series of engines that differ in one width. Its first engine, number first, has the
// first of the widths.
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

// widths returns the numbers to measure, in ascending order up to n.
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

// build makes the whole model, and the sweeps over heads and units: one pair for the layers
// before the last, if there are any, and one for the last.
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
		changed int // how many layers, from the first, are changed
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

// narrowed leaves n heads, or n units, in each of the first changed layers.
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

// random makes a model with random weights in the family's blocks and with a small vocabulary.
func (b *bench) random(layers []checkpoints.LayerSize) *checkpoints.Model {
	cfg := b.cfg.Clone()
	cfg.EmbeddingSize, cfg.Head = 0, head.SingleLabel
	if cfg.Local != nil { // the last layer is measured separately
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
	// An engine's turn is this many calls, unless they take longer than turn. Each engine gets at
	// least rounds turns.
	calls, rounds = 3, 5
	turn          = 20 * time.Millisecond
	// least is the shortest time for a measurement.
	least = 300 * time.Millisecond
	// An engine's time is this quantile of the times of its calls. Other programs only add to a
	// time, and add more to a long one than to a short one. So on a busy machine the ratios of
	// medians, and even of tenth percentiles, mean nothing. On an idle machine all are the same.
	quantile = 0.02
	// precision is how narrow the quantile's 95 % interval must be for it to count as known: half
	// its width, as a share of the quantile.
	precision = 0.01
)

// run measures the engines in turn until their times are known or the time is up. It returns the
// time of a call of each engine, in milliseconds.
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

// costs turns the times of the engines, as build made them, into curves.
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

// ascending makes a curve from times, above the time of the first width, for that many layers.
// More heads or units never take less time, so neighbours are averaged where noise says otherwise
// (the pool-adjacent-violators algorithm).
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

// pool is n values that are replaced by their mean.
type pool struct {
	mean float64
	n    int
}

// pooled adds a value to pools whose means ascend.
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
