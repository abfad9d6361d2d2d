// Package bench measures how fast models answer and train.
package bench

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/measure"
	"github.com/skive-ml/skive/settings"
)

// Result says how fast a model answers. It is written as JSON.
type Result struct {
	Batch          int     `json:"batch"`
	Seq            float64 `json:"seq"`
	Threads        int     `json:"threads"`
	Instances      int     `json:"instances"`
	ISA            string  `json:"isa"`
	DType          string  `json:"dtype"`
	AttentionDType string  `json:"attention_dtype,omitempty"`
	// Clock is the clock of the calls' times.
	Clock   string `json:"clock"`
	Latency struct {
		Mean float64 `json:"mean"`
		Min  float64 `json:"min"`
		P50  float64 `json:"p50"`
		P90  float64 `json:"p90"`
		P99  float64 `json:"p99"`
	} `json:"latency_ms"`
	ExamplesPerSecond float64            `json:"examples_per_s"`
	TokensPerSecond   float64            `json:"tokens_per_s"`
	RSS               float64            `json:"rss_mb"`
	Profile           map[string]float64 `json:"profile_ms,omitempty"`
}

// WriteText writes the result for people.
func (r *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, batch %d × %.0f tokens, %d threads × %d instances\n", r.DType, r.ISA, r.Batch, r.Seq, r.Threads, r.Instances)
	fmt.Fprintf(&b, "latency ms, %s: mean %.3f  p50 %.3f  p90 %.3f  p99 %.3f\n", r.Clock, r.Latency.Mean, r.Latency.P50, r.Latency.P90, r.Latency.P99)
	fmt.Fprintf(&b, "%.1f examples/s  %.0f tokens/s  %.0f MB resident\n", r.ExamplesPerSecond, r.TokensPerSecond, r.RSS)
	for _, stage := range slices.Sorted(maps.Keys(r.Profile)) {
		fmt.Fprintf(&b, "  %-14s %8.3f ms a call\n", stage, r.Profile[stage])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Infer answers the batches in turn on every instance until the time is over. A model without a
// head gets one, which takes almost no time.
func Infer(ctx context.Context, m *checkpoints.Model, batches []evaluate.Inputs, o Options) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := withHead(m, []string{"0", "1"})
	if err != nil {
		return nil, err
	}
	instances := o.Instances
	engine, err := newEngine(m, infer.Options{Threads: o.Threads, DType: o.DType, AttentionDType: o.AttentionDType, Profile: o.Profile}, instances)
	if err != nil {
		return nil, err
	}
	defer engine.close()
	logits, examples, tokens := make([][]float32, instances), make([]int, instances), make([]int, instances)
	load := measure.Load{Clock: measure.Wall, Workers: instances, Call: func(worker, i int) (err error) {
		b := batches[i%len(batches)]
		logits[worker], err = engine.predict(logits[worker], b)
		examples[worker] += b.Examples
		tokens[worker] += len(b.IDs)
		return err
	}}
	if _, err := load.Run(ctx, measure.Pass{Calls: 5 * instances}); err != nil { // arenas grow and caches fill
		return nil, err
	}
	engine.profile()
	clear(examples)
	clear(tokens)
	s, err := load.Run(ctx, measure.Pass{Time: o.Duration})
	if err != nil {
		return nil, err
	}
	r := &Result{
		Batch: o.Batch, Threads: engine.options.Threads, Instances: instances, ISA: kernels.Current().String(), DType: engine.options.DType,
		AttentionDType: o.AttentionDType, Clock: string(s.Clock), RSS: resident(),
	}
	totalExamples, totalTokens := 0, 0
	for i := range instances {
		totalExamples += examples[i]
		totalTokens += tokens[i]
	}
	r.Latency.Mean, r.Latency.Min, r.Latency.P50, r.Latency.P90, r.Latency.P99 = s.Mean(), s.Quantile(0), s.Quantile(0.5), s.Quantile(0.9), s.Quantile(0.99)
	r.ExamplesPerSecond, r.TokensPerSecond = float64(totalExamples)/s.Pass(), float64(totalTokens)/s.Pass()
	r.Seq = float64(totalTokens) / float64(totalExamples)
	if o.Profile {
		r.Profile = map[string]float64{}
		for _, stage := range engine.profile() {
			r.Profile[stage.Stage] = stage.Time.Seconds() * 1e3 / float64(s.Calls())
		}
	}
	return r, nil
}

// engine computes as many calls at the same time as it has instances.
type engine struct {
	options infer.Options
	predict func(dst []float32, b evaluate.Inputs) ([]float32, error)
	profile func() []infer.StageTime
	close   func() error
}

// newEngine compiles the model. A single instance is an engine, which gets the calls directly.
// Several are a pool, in which they share the weights and every call is a separate batch.
func newEngine(m *checkpoints.Model, o infer.Options, instances int) (*engine, error) {
	if instances == 1 {
		e, err := infer.New(m, o)
		if err != nil {
			return nil, err
		}
		predict := func(dst []float32, b evaluate.Inputs) ([]float32, error) {
			return e.PredictTokens(dst, b.IDs, b.TypeIDs, b.Offsets)
		}
		return &engine{e.Options(), predict, e.Profile, e.Close}, nil
	}
	p, err := infer.NewPool(m, infer.PoolOptions{Options: o, Instances: instances, MaxBatch: 1})
	if err != nil {
		return nil, err
	}
	predict := func(dst []float32, b evaluate.Inputs) ([]float32, error) {
		return p.PredictTokens(context.Background(), dst, b.IDs, b.TypeIDs, b.Offsets)
	}
	return &engine{p.Options().Options, predict, p.Profile, p.Close}, nil
}

// withHead returns the model with a head. If it has none, the head gets these labels.
func withHead(m *checkpoints.Model, labels []string) (*checkpoints.Model, error) {
	if m.HasHead() {
		return m, nil
	}
	m = m.Clone()
	if m.AddHead(labels, 1) != nil {
		return nil, infer.ErrNoHead
	}
	return m, nil
}

// RandomBatches draws token ids for batches of Batch examples with Seq tokens. The model must
// have that many positions.
func (o *Options) RandomBatches(cfg checkpoints.Config) ([]evaluate.Inputs, error) {
	batch, seq := o.Batch, o.Seq
	if most := cfg.MaxTokens(); seq > most {
		return nil, settings.Wrong("Seq", seq, "at most the model's %d positions", most)
	}
	r := rand.New(rand.NewPCG(1, 2))
	batches := make([]evaluate.Inputs, 8)
	for i := range batches {
		b := &batches[i]
		b.Examples = batch
		b.TypeIDs = make([]int32, batch*seq)
		for s := range batch + 1 {
			b.Offsets = append(b.Offsets, int32(s*seq))
		}
		for range batch * seq {
			b.IDs = append(b.IDs, int32(r.IntN(cfg.VocabSize)))
		}
	}
	return batches, nil
}

// resident returns the memory that the process holds in megabytes, or 0 if the system does not
// tell.
func resident() float64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize()) / 1e6
}
