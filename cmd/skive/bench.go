package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/measure"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

// benchResult is bench's JSON document.
type benchResult struct {
	Batch          int     `json:"batch"`
	Seq            float64 `json:"seq"`
	Threads        int     `json:"threads"`
	Instances      int     `json:"instances"`
	ISA            string  `json:"isa"`
	DType          string  `json:"dtype"`
	AttentionDType string  `json:"attention_dtype,omitempty"`
	// Clock is what the times of the calls are of.
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

func (r *benchResult) print() error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, batch %d × %.0f tokens, %d threads × %d instances\n", r.DType, r.ISA, r.Batch, r.Seq, r.Threads, r.Instances)
	fmt.Fprintf(&b, "latency ms, %s: mean %.3f  p50 %.3f  p90 %.3f  p99 %.3f\n", r.Clock, r.Latency.Mean, r.Latency.P50, r.Latency.P90, r.Latency.P99)
	fmt.Fprintf(&b, "%.1f examples/s  %.0f tokens/s  %.0f MB resident\n", r.ExamplesPerSecond, r.TokensPerSecond, r.RSS)
	for _, stage := range sortedKeys(r.Profile) {
		fmt.Fprintf(&b, "  %-14s %8.3f ms a call\n", stage, r.Profile[stage])
	}
	_, err := fmt.Print(b.String())
	return err
}

// Bounds of what is made up to be measured: tokens of a batch, and of all training
// steps; training steps.
const (
	maxBenchTokens = 1 << 22
	maxBenchSteps  = 100_000
)

// benchBatch is one call's input.
type benchBatch struct {
	ids, types, offsets []int32
	examples            int
}

func newBench() *cobra.Command {
	var (
		model, configFile, dtype, file string
		attentionDType                 string
		teacher, teacherConfig         string
		precision, teacherPrecision    string
		batch, seq, instances, steps   int
		profile, training, attention   bool
		duration                       time.Duration
	)
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure latency and throughput",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case batch < 1 || batch > train.MaxBatchSize:
				return usagef("--batch: %d, expected 1 to %d", batch, train.MaxBatchSize)
			case seq < 1 || file == "" && seq > maxBenchTokens/batch:
				return usagef("--seq: %d, expected 1 to %d with --batch %d", seq, maxBenchTokens/batch, batch)
			case instances < 1 || instances > infer.MaxInstances:
				return usagef("--instances: %d, expected 1 to %d", instances, infer.MaxInstances)
			case duration <= 0:
				return usagef("--duration: %s, expected a positive time", duration)
			case training && (steps < 1 || steps > maxBenchSteps):
				return usagef("--steps: %d, expected 1 to %d", steps, maxBenchSteps)
			case training && file == "" && steps+warmSteps > maxBenchTokens/batch/seq:
				return usagef("--steps: %d, expected %d at most with --batch %d and --seq %d", steps, maxBenchTokens/batch/seq-warmSteps, batch, seq)
			case training && dtype != "" && dtype != infer.F32:
				return usagef("--dtype: %s, expected f32 with --train", dtype)
			case training && attentionDType != "":
				return usagef("--attention-dtype does not go with --train, whose attention has the --precision")
			case training && (instances != 1 || c.Flags().Changed("duration")):
				return usagef("--instances and --duration do not go with --train, which does --steps on --threads")
			case !training && c.Flags().Changed("steps"):
				return usagef("--steps goes with --train")
			case file != "" && configFile != "":
				return usagef("--data goes with --model: the weights of --config have no tokenizer")
			case !training && (teacher != "" || teacherConfig != ""):
				return usagef("--teacher and --teacher-config go with --train")
			case attention && teacher == "" && teacherConfig == "":
				return usagef("--attention goes with --teacher or --teacher-config")
			case !training && (c.Flags().Changed("precision") || teacherPrecision != ""):
				return usagef("--precision and --teacher-precision go with --train; --dtype is that of inference")
			case teacherPrecision != "" && teacher == "" && teacherConfig == "":
				return usagef("--teacher-precision goes with --teacher or --teacher-config")
			}
			if err := checkDType(dtype); err != nil {
				return err
			}
			if err := checkAttentionDType(attentionDType); err != nil {
				return err
			}
			trainOptions := trainBenchOptions(batch, precision, teacherPrecision, attention)
			if err := trainOptions.Validate(); err != nil {
				return usagef("--%w", err)
			}
			m, err := openModel(c, modelFlags{"model", "config"}, model, configFile, 1, false)
			if err != nil {
				return err
			}
			defer m.Close()
			if !m.HasHead() {
				// The head costs next to nothing; a model without one is as fast.
				if m = m.Clone(); m.AddHead([]string{"0", "1"}, 1) != nil {
					return infer.ErrNoHead
				}
			}
			if !c.Flags().Changed("seq") {
				seq = min(seq, m.Config.MaxTokens())
			}
			if seq > m.Config.MaxTokens() && file == "" {
				return usagef("--seq: %d is more than the model's %d positions", seq, m.Config.MaxTokens())
			}
			switch {
			case !training:
			case !m.Config.Head.OneClass():
				return fmt.Errorf("--train measures models that choose one class; this one does %s", m.Config.Head)
			case seq < 3 && file == "":
				return usagef("--seq: %d, expected 3 or more with --train: a word between [CLS] and [SEP]", seq)
			}
			if training {
				r, err := runTrainBench(c, m, teacher, teacherConfig, file, trainOptions, seq, steps, profile)
				if err != nil {
					return err
				}
				if common.json {
					return printJSON(r)
				}
				return r.print()
			}
			var batches []benchBatch
			if file != "" {
				if batches, err = readBatches(m, file, batch, m.Config.MaxTokens()); err != nil {
					return ofFlag("data", err)
				}
			} else {
				batches = randomBatches(m.Config, batch, seq)
			}
			r, err := bench(c.Context(), m, batches, infer.Options{Threads: common.threads, DType: dtype, AttentionDType: attentionDType, Profile: profile}, instances, duration)
			if err != nil {
				return err
			}
			r.Batch = batch
			if common.json {
				return printJSON(r)
			}
			return r.print()
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` to measure")
	f.StringVar(&configFile, "config", "", "config.json `FILE`: measure random weights of this shape")
	f.StringVar(&dtype, "dtype", "", "f32, fp16, bf16 or int8 (default as stored)")
	attentionFlag(f, &attentionDType)
	f.StringVar(&file, "data", "", "`FILE` of inputs, one a line as predict takes them (default random tokens)")
	f.IntVar(&batch, "batch", 1, "examples in a call")
	f.IntVar(&seq, "seq", 128, "tokens of each example, at most the model's positions")
	f.IntVar(&instances, "instances", 1, "engines that run at the same time, each with --threads threads")
	f.BoolVar(&training, "train", false, "measure training steps instead")
	f.IntVar(&steps, "steps", 10, "training steps to measure")
	f.StringVar(&teacher, "teacher", "", "`MODEL` to distill from in the training steps: hidden states and soft labels")
	f.StringVar(&teacherConfig, "teacher-config", "", "config.json `FILE`: a teacher of this shape with random weights")
	f.BoolVar(&attention, "attention", false, "attention scores, too, are distilled from the teacher (TinyBERT)")
	f.StringVar(&precision, "precision", infer.F32, "f32 or bf16 products of the training steps, as skive train has it")
	f.StringVar(&teacherPrecision, "teacher-precision", "", "f32 or bf16, for the teacher alone (default that of --precision)")
	f.BoolVar(&profile, "profile", false, "time of each stage")
	f.DurationVar(&duration, "duration", 3*time.Second, "how long to measure")
	return c
}

// bench runs the batches in turn on every instance until the time is over.
func bench(ctx context.Context, m *checkpoints.Model, batches []benchBatch, o infer.Options, instances int, duration time.Duration) (*benchResult, error) {
	engine, err := newBenchEngine(m, o, instances)
	if err != nil {
		return nil, err
	}
	defer engine.close()
	logits, examples, tokens := make([][]float32, instances), make([]int, instances), make([]int, instances)
	load := measure.Load{Clock: measure.Wall, Workers: instances, Call: func(worker, i int) (err error) {
		b := batches[i%len(batches)]
		logits[worker], err = engine.predict(logits[worker], b)
		examples[worker] += b.examples
		tokens[worker] += len(b.ids)
		return err
	}}
	if _, err := load.Run(ctx, measure.Pass{Calls: 5 * instances}); err != nil { // arenas grow and caches fill
		return nil, err
	}
	engine.profile()
	clear(examples)
	clear(tokens)
	s, err := load.Run(ctx, measure.Pass{Time: duration})
	if err != nil {
		return nil, err
	}
	r := &benchResult{
		Threads: engine.options.Threads, Instances: instances, ISA: kernels.Current().String(), DType: engine.options.DType,
		AttentionDType: o.AttentionDType, Clock: string(s.Clock), RSS: residentMB(),
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

// benchEngine computes calls, as many at a time as it has instances.
type benchEngine struct {
	options infer.Options
	predict func(dst []float32, b benchBatch) ([]float32, error)
	profile func() []infer.StageTime
	close   func() error
}

// newBenchEngine compiles the model: for one instance an engine, whose calls go
// straight to it, and for several a pool, in which they share the weights and
// every call is a batch of its own.
func newBenchEngine(m *checkpoints.Model, o infer.Options, instances int) (*benchEngine, error) {
	if instances == 1 {
		e, err := infer.New(m, o)
		if err != nil {
			return nil, err
		}
		predict := func(dst []float32, b benchBatch) ([]float32, error) {
			return e.PredictTokens(dst, b.ids, b.types, b.offsets)
		}
		return &benchEngine{e.Options(), predict, e.Profile, e.Close}, nil
	}
	p, err := infer.NewPool(m, infer.PoolOptions{Options: o, Instances: instances, MaxBatch: 1})
	if errors.Is(err, infer.ErrMaskedLM) {
		return nil, usagef("--instances: %d, expected 1 for a masked language model, which a pool does not serve", instances)
	}
	if err != nil {
		return nil, err
	}
	predict := func(dst []float32, b benchBatch) ([]float32, error) {
		return p.PredictTokens(context.Background(), dst, b.ids, b.types, b.offsets)
	}
	return &benchEngine{p.Options().Options, predict, p.Profile, p.Close}, nil
}

// randomBatches draws token ids.
func randomBatches(cfg checkpoints.Config, batch, seq int) []benchBatch {
	r := rand.New(rand.NewPCG(1, 2))
	batches := make([]benchBatch, 8)
	for i := range batches {
		b := &batches[i]
		b.examples = batch
		b.types = make([]int32, batch*seq)
		for s := range batch + 1 {
			b.offsets = append(b.offsets, int32(s*seq))
		}
		for range batch * seq {
			b.ids = append(b.ids, int32(r.IntN(cfg.VocabSize)))
		}
	}
	return batches
}

// readBatches tokenizes a file of inputs.
func readBatches(m *checkpoints.Model, path string, batch, maxLength int) ([]benchBatch, error) {
	tokenizer, err := tokenize.Load(m.Tokenizer)
	if err != nil {
		return nil, err
	}
	f, err := bounded.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var (
		batches  []benchBatch
		encoding tokenize.Encoding
		current  = benchBatch{offsets: []int32{0}}
		noted    bool
	)
	lines := bounded.NewLines(f)
	for lines.Next() {
		input, err := parseInput(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, lines.Number(), err)
		}
		if err := infer.CheckInput(m.Config, &input); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, lines.Number(), err)
		}
		if !input.HasPair && !noted && mayWantPairs(m.Config) && !common.quiet {
			noteSingle(path)
			noted = true
		}
		o := tokenize.Options{MaxLength: maxLength}
		pairs := input.Choices // each is a sequence of its own with the text
		if input.HasPair {
			pairs = []string{input.Pair}
		}
		for i := range max(1, len(pairs)) {
			if len(pairs) > 0 {
				err = tokenizer.EncodePair(&encoding, input.Text, pairs[i], o)
			} else {
				err = tokenizer.Encode(&encoding, input.Text, o)
			}
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, lines.Number(), err)
			}
			current.ids = append(current.ids, encoding.IDs...)
			if m.Config.TypeVocabSize > 1 {
				current.types = append(current.types, encoding.TypeIDs...)
			} else {
				current.types = append(current.types, make([]int32, len(encoding.IDs))...)
			}
			current.offsets = append(current.offsets, int32(len(current.ids)))
		}
		if current.examples++; current.examples == batch {
			batches = append(batches, current)
			current = benchBatch{offsets: []int32{0}}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", path, lines.Number()+1, err)
	}
	if len(current.ids) > 0 {
		batches = append(batches, current)
	}
	if len(batches) == 0 {
		return nil, fmt.Errorf("%s: no inputs", path)
	}
	return batches, nil
}

// residentMB is the memory that the process holds, 0 where the system does not
// tell.
func residentMB() float64 {
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

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
