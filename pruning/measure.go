package pruning

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/machine"
	"github.com/skive-ml/skive/internal/progress"
	"github.com/skive-ml/skive/train"
)

// MeasureOptions say under which circumstances latency is measured: one sequence
// a call.
type MeasureOptions struct {
	// DType is the engine's number format, see infer.Options; "" is infer.F32.
	DType string
	// Threads is the number of the engine's threads; 0 is one for each CPU.
	Threads int
	// Tokens is the length of the sequence.
	Tokens int
	// Duration is how long a measurement goes on; 0 is 20 seconds. Every candidate
	// is measured at least a few times.
	Duration time.Duration
	// Progress receives a progress bar or sparse lines; nil is quiet.
	Progress io.Writer
}

func (o *MeasureOptions) complete(cfg checkpoints.Config) error {
	if o.Tokens < 1 || o.Tokens > cfg.MaxTokens() {
		return &train.OptionError{Option: "seq", Value: o.Tokens, Want: fmt.Sprintf("1 to the model's %d positions", cfg.MaxTokens())}
	}
	if o.DType == "" {
		o.DType = infer.F32
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Duration == 0 {
		o.Duration = 20 * time.Second
	}
	return nil
}

// costsKey is everything on which a table of measured costs depends.
type costsKey struct {
	CPU        string                  `json:"cpu"`
	Cores      int                     `json:"cores"`
	ISA        string                  `json:"isa"`
	Version    string                  `json:"version"`
	Threads    int                     `json:"threads"`
	DType      string                  `json:"dtype"`
	Tokens     int                     `json:"tokens"`
	HiddenSize int                     `json:"hidden_size"`
	HeadDim    int                     `json:"head_dim"`
	Activation string                  `json:"activation"`
	Layers     []checkpoints.LayerSize `json:"layers"`
}

// CachedCosts is MeasureCosts with its result kept in a file of the directory
// dir, which is measured once for each machine, version of the program, number of
// threads and tokens, number format and architecture. A file that cannot be read
// is measured again.
func CachedCosts(ctx context.Context, cfg checkpoints.Config, o MeasureOptions, dir string) (*Costs, error) {
	if err := o.complete(cfg); err != nil {
		return nil, fmt.Errorf("measuring costs: %w", err)
	}
	type table struct {
		Key   costsKey `json:"key"`
		Costs *Costs   `json:"costs"`
	}
	key := costsKey{
		CPU: machine.CPU(), Cores: runtime.GOMAXPROCS(0), ISA: kernels.Current().String(), Version: checkpoints.Version,
		Threads: o.Threads, DType: o.DType, Tokens: o.Tokens,
		HiddenSize: cfg.HiddenSize, HeadDim: cfg.HeadDim, Activation: cfg.Activation, Layers: cfg.Layers,
	}
	name, err := json.Marshal(key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(name)
	path := filepath.Join(dir, fmt.Sprintf("costs-%x.json", sum[:12]))
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var t table
	if err == nil && json.Unmarshal(text, &t) == nil && t.Costs != nil && reflect.DeepEqual(t.Key, key) && t.Costs.check(cfg) == nil {
		return t.Costs, nil
	}
	t.Key = key
	if t.Costs, err = MeasureCosts(ctx, cfg, o); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	return t.Costs, checkpoints.WriteFile(path, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		return e.Encode(t)
	})
}

const (
	// maxWidths is the number of widths of a part of a layer that are measured;
	// between them costs are interpolated.
	maxWidths = 16
	// benchParameters bounds the weights of the models whose layers are measured.
	benchParameters = 16 << 20
)

// MeasureCosts measures what each number of heads and each feed-forward width of
// a layer costs, in milliseconds, on this machine's engine: on models of random
// weights that differ in the one width. Layers before the last, and the last,
// which computes less, are measured apart.
func MeasureCosts(ctx context.Context, cfg checkpoints.Config, o MeasureOptions) (*Costs, error) {
	if err := o.complete(cfg); err != nil {
		return nil, fmt.Errorf("measuring costs: %w", err)
	}
	b := &bench{o: o, cfg: cfg}
	defer b.close()
	if err := b.build(); err != nil {
		return nil, fmt.Errorf("measuring costs: %w", err)
	}
	times, err := b.run(ctx, "measuring costs")
	if err != nil {
		return nil, err
	}
	return b.costs(times), nil
}

// Latencies returns the time of a call of each model in milliseconds: the tenth
// percentile, which other programs on the machine move little. The models take
// turns, so that a machine whose speed drifts favours none.
func Latencies(ctx context.Context, models []*checkpoints.Model, o MeasureOptions) ([]float64, error) {
	b := &bench{}
	defer b.close()
	for _, m := range models {
		if err := o.complete(m.Config); err != nil {
			return nil, fmt.Errorf("measuring latency: %w", err)
		}
		b.o, b.cfg = o, m.Config
		if err := b.add(m); err != nil {
			return nil, fmt.Errorf("measuring latency: %w", err)
		}
	}
	return b.run(ctx, "measuring")
}

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
	parameters := 4*b.cfg.HiddenSize*most.Heads*b.cfg.HeadDim + 2*b.cfg.HiddenSize*most.Intermediate
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
				masks := newMasks(len(s.layers))
				for l, size := range s.layers {
					if l < s.changed && heads {
						size.Heads = n
					} else if l < s.changed {
						size.Intermediate = n
					}
					masks.Heads[l], masks.FFN[l] = firsts(size.Heads), firsts(size.Intermediate)
				}
				m, err := Rewire(whole, masks)
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

func firsts(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// random makes a model of the layers with random weights. Families differ in what
// does not cost time alone: it is a BERT, with a small vocabulary.
func (b *bench) random(layers []checkpoints.LayerSize) *checkpoints.Model {
	cfg := b.cfg.Clone()
	cfg.ModelType, cfg.EmbeddingSize, cfg.Head = "bert", 0, checkpoints.SingleLabel
	cfg.Layers, cfg.VocabSize, cfg.MaxPositions, cfg.TypeVocabSize, cfg.PadTokenID = layers, 256, b.o.Tokens, 1, 0
	cfg.InitializerRange, cfg.Labels = 0.02, []string{"0", "1"}
	return checkpoints.InitBERT(cfg, 1)
}

const (
	// calls is how often an engine is called in its turn, minRounds how many turns
	// each gets at least.
	calls, minRounds = 3, 5
	// quantile of the times of an engine's calls stands for them. Other programs
	// only add to a time, and to a long one more than to a short one, so that on a
	// busy machine medians say nothing of ratios; on an idle one they are the same.
	quantile = 0.1
)

// run measures the engines in turn until the time is over and returns the time of
// a call of each, in milliseconds.
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
	bar := progress.New(b.o.Progress, title, 0, int(b.o.Duration.Milliseconds()))
	defer bar.Finish("")
	samples := make([][]float64, len(b.engines))
	var logits []float32
	start := time.Now()
	for round := -1; round < minRounds || time.Since(start) < b.o.Duration; round++ {
		for i, e := range b.engines {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			for range calls {
				before := time.Now()
				var err error
				if logits, err = e.PredictTokens(logits, ids, nil, offsets); err != nil {
					return nil, err
				}
				if round >= 0 { // the first fills arenas and caches
					samples[i] = append(samples[i], time.Since(before).Seconds()*1e3)
				}
			}
		}
		bar.Set(min(int(time.Since(start).Milliseconds()), int(b.o.Duration.Milliseconds())), "")
	}
	times := make([]float64, len(samples))
	for i, all := range samples {
		slices.Sort(all)
		times[i] = all[int(quantile*float64(len(all)))]
	}
	return times, nil
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
	type pool struct {
		mean float64
		n    int
	}
	var pools []pool
	for _, t := range times {
		pools = append(pools, pool{t, 1})
		for k := len(pools) - 1; k > 0 && pools[k-1].mean > pools[k].mean; k-- {
			a, b := pools[k-1], pools[k]
			n := a.n + b.n
			pools[k-1] = pool{(a.mean*float64(a.n) + b.mean*float64(b.n)) / float64(n), n}
			pools = pools[:k]
		}
	}
	var c Curve
	for _, p := range pools {
		for range p.n {
			c = append(c, Point{widths[len(c)], (p.mean - pools[0].mean) / float64(layers)})
		}
	}
	return c
}

// Target is a latency to prune to: one of the two.
type Target struct {
	// Milliseconds is the time of a call, Speedup how many times faster than the
	// whole model it is to be.
	Milliseconds, Speedup float64
}

// Fit is what SearchLatency found.
type Fit struct {
	Masks Masks
	// Before and After are the measured milliseconds of a call of the model and
	// of the pruned one.
	Before, After float64
}

const (
	// tolerance is how far from the target a measured latency may be, as a share.
	tolerance = 0.05
	// corrections is how often the budget is corrected by what was measured.
	corrections = 3
)

// SearchLatency is Search to a latency: it searches under costs that MeasureCosts
// measured, measures the model that comes out side by side with the whole one,
// and where the time is more than 5 % off, corrects the budget and searches
// again. It returns the nearest that it found, which on a busy machine may be
// further off. A target below the smallest model's time is an ErrBudget.
func SearchLatency(ctx context.Context, model *checkpoints.Model, s *Scores, c *Costs, target Target, o MeasureOptions) (*Fit, error) {
	if (target.Milliseconds > 0) == (target.Speedup > 0) {
		return nil, &train.OptionError{Option: "target", Value: target, Want: "either milliseconds or a speed-up, above 0"}
	}
	whole := c.Of(model.Config.Layers)
	goal := func(before float64) float64 {
		if target.Speedup > 0 {
			return before / target.Speedup
		}
		return target.Milliseconds
	}
	before, err := Latencies(ctx, []*checkpoints.Model{model}, o)
	if err != nil {
		return nil, err
	}
	// The machine may be slower now than when the table was measured.
	budget := goal(before[0]) * whole / before[0]
	var best *Fit
	off := func(f *Fit) float64 { return f.After / goal(f.Before) }
	distance := func(f *Fit) float64 { return max(off(f), 1/off(f)) - 1 }
	for range 1 + corrections {
		masks, err := Search(s, model.Config, c, budget)
		if errors.Is(err, ErrBudget) && best != nil {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("a target of %.4g ms: %w", goal(before[0]), err)
		}
		pruned, err := Rewire(model, masks)
		if err != nil {
			return nil, err
		}
		times, err := Latencies(ctx, []*checkpoints.Model{model, pruned}, o)
		if err != nil {
			return nil, err
		}
		f := &Fit{Masks: masks, Before: times[0], After: times[1]}
		if best == nil || distance(f) < distance(best) {
			best = f
		}
		if distance(f) <= tolerance || off(f) < 1 && slices.Equal(masks.sizes(), model.Config.Layers) {
			break
		}
		budget = min(budget/off(f), whole)
	}
	return best, nil
}
