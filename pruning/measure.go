package pruning

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/machine"
	"github.com/skive-ml/skive/internal/measure"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/settings"
)

// MeasureOptions say how latency is measured. Each call has one sequence.
type MeasureOptions struct {
	// DType is the engine's number format, see infer.Options. "" means the format in which a
	// model is stored, and f32 for a table of costs.
	DType string
	// Threads is the number of the engine's threads; 0 means one for each CPU.
	Threads int
	// Tokens is the length of the sequence.
	Tokens int
	// Duration is the longest time for a measurement; 0 means 20 seconds. It ends earlier when
	// all times are known to within 1 %, for tiny models within a second. Every model is measured
	// at least a few times, however slow it is.
	Duration time.Duration
	// Activation is the feed-forward activation that SearchLatency sets before it measures, see
	// SetActivation; "" keeps the model's.
	Activation string
	// Progress, if not nil, is told how the work comes along.
	Progress progress.Reporter
}

// Clock names the clock of the measured times. On one thread it is the thread's processor time,
// if the system provides it, because other programs do not lengthen that.
func (o *MeasureOptions) Clock() string {
	return string(measure.Steadiest(cmp.Or(o.Threads, machine.CPUs())))
}

func (o *MeasureOptions) complete(cfg checkpoints.Config) error {
	if o.Tokens < 1 || o.Tokens > cfg.MaxTokens() {
		return settings.Wrong("Tokens", o.Tokens, "1 to the model's %d positions", cfg.MaxTokens())
	}
	if o.Threads == 0 {
		o.Threads = machine.CPUs()
	}
	if o.Duration == 0 {
		o.Duration = 20 * time.Second
	}
	return nil
}

// costsKey holds everything on which a table of measured costs depends.
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
	ScoreBias  bool                    `json:"score_bias,omitempty"`
	Gated      bool                    `json:"gated,omitempty"`
	Rotary     bool                    `json:"rotary,omitempty"`
	Windows    []int                   `json:"windows,omitempty"` // of the layers, if there are any
	Distances  int                     `json:"distances,omitempty"`
	Layers     []checkpoints.LayerSize `json:"layers"`
}

// CachedCosts is MeasureCosts with the result kept in a file in the directory dir. It is measured
// once for each machine, version of the program, number of threads and tokens, number format and
// architecture. A file that cannot be read is measured again; one that cannot be written is only
// reported to Progress. With dir "" nothing is kept.
func CachedCosts(ctx context.Context, cfg checkpoints.Config, o MeasureOptions, dir string) (*Costs, error) {
	if err := o.complete(cfg); err != nil {
		return nil, fmt.Errorf("measuring costs: %w", err)
	}
	if dir == "" {
		return MeasureCosts(ctx, cfg, o)
	}
	o.DType = cmp.Or(o.DType, infer.F32)
	type table struct {
		Key   costsKey `json:"key"`
		Costs *Costs   `json:"costs"`
	}
	key := costsKey{
		CPU: machine.CPU(), Cores: machine.CPUs(), ISA: kernels.Current().String(), Version: checkpoints.Version,
		Threads: o.Threads, DType: o.DType, Tokens: o.Tokens,
		HiddenSize: cfg.HiddenSize, HeadDim: cfg.HeadDim, Activation: cfg.Activation, Layers: cfg.Layers,
		ScoreBias: cfg.Block(0).ScoreBias != nil, Gated: cfg.Block(0).Gated, Rotary: cfg.Rotary(), Distances: cfg.RelativeBuckets,
	}
	for l := range cfg.Local {
		key.Windows = append(key.Windows, cfg.Block(l).Window)
	}
	name, err := json.Marshal(key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(name)
	path := filepath.Join(dir, fmt.Sprintf("costs-%x.json", sum[:12]))
	text, err := bounded.ReadFile(path, bounded.Document)
	var t table
	if err == nil && json.Unmarshal(text, &t) == nil && t.Costs != nil && reflect.DeepEqual(t.Key, key) && t.Costs.check(cfg) == nil {
		return t.Costs, nil
	}
	t.Key = key
	if t.Costs, err = MeasureCosts(ctx, cfg, o); err != nil {
		return nil, err
	}
	if err = os.MkdirAll(dir, 0o777); err == nil {
		err = checkpoints.WriteFile(path, func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", " ")
			return e.Encode(t)
		})
	}
	if err != nil {
		progress.Logger(o.Progress).Warn(fmt.Sprintf("the measured costs are not kept: %v", err))
	}
	return t.Costs, nil
}

// MeasureCosts measures, in milliseconds, what each number of heads and each feed-forward width
// of a layer costs on this machine's engine. It uses models with random weights that differ only
// in that width. The last layer computes less than the others and is measured separately.
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

// Latencies returns the time of a call of each model in milliseconds. It is the second
// percentile, on which other programs have little effect. The models take turns, so a machine
// whose speed changes over time favours none of them.
func Latencies(ctx context.Context, models []*checkpoints.Model, o MeasureOptions) ([]float64, error) {
	return latencies(ctx, nil, models, o)
}

// latencies is Latencies with the time of a reference first, unless that is nil. The reference is
// measured in the number format in which it is stored.
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
