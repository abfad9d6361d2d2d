package pruning

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
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
	// DType is the engine's number format, see infer.Options; "" is that in which
	// a model is stored, f32 for a table of costs.
	DType string
	// Threads is the number of the engine's threads; 0 is one for each CPU.
	Threads int
	// Tokens is the length of the sequence.
	Tokens int
	// Duration is the longest that a measurement goes on; 0 is 20 seconds. It ends
	// sooner when all times are known to a hundredth, which tiny models are within
	// a second. Every model is measured at least a few times, however slow.
	Duration time.Duration
	// Activation is the feed-forward activation to which SearchLatency switches
	// what it measures, see SetActivation; "" keeps the model's.
	Activation string
	// Progress receives a progress bar or sparse lines; nil is quiet.
	Progress io.Writer
}

func (o *MeasureOptions) complete(cfg checkpoints.Config) error {
	if o.Tokens < 1 || o.Tokens > cfg.MaxTokens() {
		return &train.OptionError{Option: "seq", Value: o.Tokens, Want: fmt.Sprintf("1 to the model's %d positions", cfg.MaxTokens())}
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
	o.DType = cmp.Or(o.DType, infer.F32)
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

// Latencies returns the time of a call of each model in milliseconds: the second
// percentile, which other programs on the machine move little. The models take
// turns, so that a machine whose speed drifts favours none.
func Latencies(ctx context.Context, models []*checkpoints.Model, o MeasureOptions) ([]float64, error) {
	return latencies(ctx, nil, models, o)
}

// latencies is Latencies, with that of a reference before the others unless it is
// nil, which is measured in the number format in which it is stored.
func latencies(ctx context.Context, reference *checkpoints.Model, models []*checkpoints.Model, o MeasureOptions) ([]float64, error) {
	b := &bench{}
	defer b.close()
	add := func(m *checkpoints.Model, dtype string) error {
		if err := o.complete(m.Config); err != nil {
			return fmt.Errorf("measuring latency: %w", err)
		}
		b.o = o
		b.o.DType = dtype
		if err := b.add(m); err != nil {
			return fmt.Errorf("measuring latency: %w", err)
		}
		return nil
	}
	if reference != nil {
		if err := add(reference, ""); err != nil {
			return nil, err
		}
	}
	for _, m := range models {
		if err := add(m, o.DType); err != nil {
			return nil, err
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
	// calls is how often an engine is called in its turn, unless that takes longer
	// than turn; minRounds is how many turns each gets at least.
	calls, minRounds = 3, 5
	turn             = 20 * time.Millisecond
	// minTime is how long a measurement goes on at least: a machine that is slowed
	// for a moment is not taken for a slow one.
	minTime = 300 * time.Millisecond
	// quantile of the times of an engine's calls stands for them. Other programs
	// only add to a time, and to a long one more than to a short one, so that on a
	// busy machine medians, and even tenth percentiles, say nothing of ratios; on
	// an idle one they are the same.
	quantile = 0.02
	// precision is the half width of the quantile's 95 % interval, as a share of
	// it, at which it counts as known, of minSamples or more.
	precision, minSamples = 0.01, 30
)

// clock ties the caller to its thread and returns what times a call: on one thread
// its processor time, which on an idle machine is the time that passes and on a
// busy one leaves out how long other programs had the core. Several threads wait
// for one another, and what they wait for counts.
func (b *bench) clock() func() time.Duration {
	runtime.LockOSThread()
	start := time.Now()
	if _, ok := threadTime(); !ok || b.o.Threads != 1 {
		return func() time.Duration { return time.Since(start) }
	}
	return func() time.Duration {
		t, _ := threadTime()
		return t
	}
}

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
	now := b.clock()
	defer runtime.UnlockOSThread()
	bar := progress.New(b.o.Progress, title+", seconds", 0, max(1, int(b.o.Duration.Seconds())))
	known := 0
	defer func() { bar.Finish(fmt.Sprintf("%d of %d times known", known, len(b.engines))) }()
	samples := make([][]float64, len(b.engines))
	times := make([]float64, len(b.engines))
	var logits []float32
	var start time.Time
	check := minRounds // rounds after which the samples are looked at again
	for round := 0; ; round++ {
		if round == 1 { // the first fills arenas and caches
			start = time.Now()
		}
		for i, e := range b.engines {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			began := time.Now()
			for call := 0; call < calls && (call == 0 || time.Since(began) < turn); call++ {
				before := now()
				var err error
				if logits, err = e.PredictTokens(logits, ids, nil, offsets); err != nil {
					return nil, err
				}
				if round > 0 {
					samples[i] = append(samples[i], (now()-before).Seconds()*1e3)
				}
			}
		}
		if round < minRounds {
			continue
		}
		elapsed := time.Since(start)
		over := elapsed >= b.o.Duration
		if round < check && !over {
			continue
		}
		check = round + round/4 + 1
		known = 0
		for i, all := range samples {
			slices.Sort(all)
			times[i] = all[int(quantile*float64(len(all)))]
			if uncertainty(all) <= precision {
				known++
			}
		}
		bar.Set(min(int(elapsed.Seconds()), int(b.o.Duration.Seconds())), fmt.Sprintf("%d of %d times known", known, len(times)))
		if over || known == len(times) && elapsed >= min(minTime, b.o.Duration) {
			return times, nil
		}
	}
}

// uncertainty is half of the quantile's 95 % interval as a share of the quantile, by
// the order statistics whose ranks are two standard deviations away; infinite for
// too few samples. They ascend.
func uncertainty(samples []float64) float64 {
	if len(samples) < minSamples {
		return math.Inf(1)
	}
	n := float64(len(samples))
	rank, deviation := quantile*n, 2*math.Sqrt(n*quantile*(1-quantile))
	low, high := int(max(0, rank-deviation)), int(math.Ceil(rank+deviation))
	return (samples[high] - samples[low]) / 2 / samples[int(rank)]
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
		pools[k-1] = pool{(a.mean*float64(a.n) + b.mean*float64(b.n)) / float64(n), n}
		pools = pools[:k]
	}
	return pools
}

// Target is a latency to prune to: Milliseconds or Speedup.
type Target struct {
	// Milliseconds is the time of a call, Speedup how many times faster than
	// Reference it is to be.
	Milliseconds, Speedup float64
	// Reference is measured in the number format in which it is stored; nil is the
	// whole model, measured as what is pruned of it.
	Reference *checkpoints.Model
}

// String renders the target in one phrase.
func (t Target) String() string {
	if t.Speedup > 0 {
		return fmt.Sprintf("%.4g times the speed", t.Speedup)
	}
	return fmt.Sprintf("%.4g ms", t.Milliseconds)
}

func (t Target) check() error {
	if (t.Milliseconds > 0) == (t.Speedup > 0) {
		return &train.OptionError{Option: "target", Value: t, Want: "either milliseconds or a speed-up, above 0"}
	}
	return nil
}

// goal is the time of a call that the target asks for, where one of the reference
// takes before.
func (t Target) goal(before float64) float64 {
	if t.Speedup > 0 {
		return before / t.Speedup
	}
	return t.Milliseconds
}

// measure measures the reference side by side with the models.
func (t Target) measure(ctx context.Context, whole *checkpoints.Model, o MeasureOptions, models ...*checkpoints.Model) (before float64, times []float64, err error) {
	if t.Reference != nil {
		times, err = latencies(ctx, t.Reference, models, o)
	} else {
		times, err = Latencies(ctx, append([]*checkpoints.Model{whole}, models...), o)
	}
	if err != nil {
		return 0, nil, err
	}
	return times[0], times[1:], nil
}

// Gap returns how many times faster a model has to become for the target, 1 or
// less where it is fast enough.
func (t Target) Gap(ctx context.Context, model *checkpoints.Model, o MeasureOptions) (float64, error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	before, times, err := t.measure(ctx, model, o, model)
	if err != nil {
		return 0, err
	}
	gap := times[0] / t.goal(before)
	if gap <= 1+aim {
		gap = min(gap, 1)
	}
	return gap, nil
}

// ErrTarget says that no pruned model meets a target.
var ErrTarget = errors.New("the target is not reachable")

// Reachable reports, in some seconds and by an ErrTarget, the first of the
// targets that not even the smallest model meets which Search leaves: one head
// and UnitMultiple units in each layer.
func Reachable(ctx context.Context, model *checkpoints.Model, o MeasureOptions, targets ...Target) error {
	masks := newMasks(len(model.Config.Layers))
	for l, size := range model.Config.Layers {
		masks.Heads[l], masks.FFN[l] = firsts(1), firsts(min(UnitMultiple, size.Intermediate))
	}
	smallest, err := o.cut(model, masks)
	if err != nil {
		return err
	}
	var before float64
	var times []float64
	for i, t := range targets {
		if err := t.check(); err != nil {
			return err
		}
		if i == 0 || t.Reference != targets[i-1].Reference {
			if before, times, err = t.measure(ctx, model, o, smallest); err != nil {
				return err
			}
		}
		if least := times[0]; least > t.goal(before)*(1+tolerance) {
			return fmt.Errorf("%s: %w: the smallest model, one head and %d units in each layer, takes %.3g ms, %.3g times the speed",
				t, ErrTarget, UnitMultiple, least, before/least)
		}
	}
	return nil
}

// cut rewires a model, with the activation of the options.
func (o *MeasureOptions) cut(model *checkpoints.Model, masks Masks) (*checkpoints.Model, error) {
	m, err := Rewire(model, masks)
	if err == nil && o.Activation != "" && o.Activation != m.Config.Activation {
		m, err = SetActivation(m, o.Activation)
	}
	return m, err
}

// Fit is what SearchLatency found.
type Fit struct {
	Masks Masks
	// Before and After are the measured milliseconds of a call of the target's
	// reference and of the pruned model.
	Before, After float64
}

const (
	// tolerance is how far from the target a measured latency may be, as a share,
	// and aim how near it the search wants to come, so that who measures again
	// finds it within the tolerance.
	tolerance, aim = 0.05, 0.02
	// trials is how many models the search measures, and guesses how many budgets
	// it tries, of which several may give the same model.
	trials, guesses = 6, 24
)

// SearchLatency is Search to a latency: it searches under costs that MeasureCosts
// measured, measures the model that comes out side by side with the target's
// reference, and where the time is off corrects the budget and searches again.
//
// The time of what it returns is within 5 % of the target, or less where nothing
// nearer was found: models come in steps of a head and UnitMultiple units, and a
// model that meets the target is returned whole. A target that nothing meets is
// an ErrTarget.
func SearchLatency(ctx context.Context, model *checkpoints.Model, s *Scores, c *Costs, target Target, o MeasureOptions) (*Fit, error) {
	if err := target.check(); err != nil {
		return nil, err
	}
	if err := errors.Join(s.check(model.Config), c.check(model.Config)); err != nil {
		return nil, err
	}
	uncut, err := o.cut(model, whole(model.Config))
	if err != nil {
		return nil, err
	}
	return approach(s, model.Config, c, target, func(masks Masks) (*Fit, error) {
		m := uncut
		if !slices.Equal(masks.sizes(), model.Config.Layers) {
			if m, err = o.cut(model, masks); err != nil {
				return nil, err
			}
		}
		before, times, err := target.measure(ctx, model, o, m)
		if err != nil {
			return nil, err
		}
		return &Fit{Masks: masks, Before: before, After: times[0]}, nil
	})
}

// approach searches under budgets until what is measured is at the target.
func approach(s *Scores, cfg checkpoints.Config, c *Costs, target Target, measure func(Masks) (*Fit, error)) (*Fit, error) {
	var tried []*Fit
	try := func(masks Masks) (*Fit, error) {
		for _, f := range tried {
			if slices.Equal(f.Masks.sizes(), masks.sizes()) {
				return f, nil
			}
		}
		f, err := measure(masks)
		tried = append(tried, f)
		return f, err
	}
	// off is the measured time as a multiple of the one that is asked for.
	off := func(f *Fit) float64 { return f.After / target.goal(f.Before) }
	f, err := try(whole(cfg))
	if err != nil || off(f) <= 1+aim {
		return f, err
	}
	_, least := c.parts(s)
	most := c.Of(cfg.Layers)
	low, high := math.Inf(-1), most // budgets that are too small and too large
	// The machine may be slower now than when the table was measured.
	last, lastOff, budget := most, off(f), most/off(f)
	for range guesses {
		budget = min(max(budget, least), most)
		masks, err := Search(s, cfg, c, budget)
		if err != nil {
			return nil, err
		}
		if f, err = try(masks); err != nil {
			return nil, err
		}
		if math.Abs(off(f)-1) <= aim || len(tried) > trials {
			break
		}
		now := off(f)
		if now > 1 {
			high = budget
		} else {
			low = budget
		}
		// Along the line through the last two measurements; inside of the bracket
		// where noise or a step leads out of it.
		next := budget + (1-now)*(last-budget)/(lastOff-now)
		last, lastOff = budget, now
		if budget = next; !(low < budget && budget < high) {
			budget = (max(low, least) + high) / 2
		}
	}
	// Within the tolerance the nearest, else the slowest below the target.
	best := slices.MinFunc(tried, func(a, b *Fit) int {
		rank := func(f *Fit) float64 {
			if x := off(f); x <= 1+tolerance {
				return math.Abs(x - 1)
			}
			return math.Inf(1)
		}
		return cmp.Compare(rank(a), rank(b))
	})
	if off(best) > 1+tolerance {
		best = slices.MinFunc(tried, func(a, b *Fit) int { return cmp.Compare(off(a), off(b)) })
		return nil, fmt.Errorf("%s: %w: the nearest model found takes %.3g ms, %.3g times the speed", target, ErrTarget, best.After, best.Before/best.After)
	}
	return best, nil
}
