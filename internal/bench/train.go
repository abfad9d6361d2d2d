package bench

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/kernels/peak"
	"github.com/skive-ml/skive/internal/measure"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// WarmSteps is the number of first steps that do not count, because buffers grow in them.
const WarmSteps = 3

// TrainResult says how fast a model trains. It is written as JSON. Times are medians over the
// steps; shares are of the step.
type TrainResult struct {
	Batch             int                `json:"batch"`
	Seq               float64            `json:"seq"`
	Threads           int                `json:"threads"`
	ISA               string             `json:"isa"`
	Precision         string             `json:"precision"`
	Clock             string             `json:"clock"`
	Steps             int                `json:"steps"`
	StepMS            float64            `json:"step_ms"`
	MinMS             float64            `json:"step_min_ms"`
	ExamplesPerSecond float64            `json:"examples_per_s"`
	TokensPerSecond   float64            `json:"tokens_per_s"`
	GFLOPS            float64            `json:"gflops"`
	PeakGFLOPS        float64            `json:"peak_gflops"`
	PeakShare         float64            `json:"peak_share"`
	OutsideProducts   float64            `json:"outside_gemm_share"`
	Packing           float64            `json:"packing_share"`
	Optimizer         float64            `json:"optimizer_share"`
	Allocations       float64            `json:"allocations_per_step"`
	AllocatedBytes    float64            `json:"allocated_bytes_per_step"`
	GCShare           float64            `json:"gc_share"`
	RSS               float64            `json:"rss_mb"`
	Profile           map[string]float64 `json:"profile_ms,omitempty"`
}

// WriteText writes the result for people.
func (r *TrainResult) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, batch %d × %.0f tokens, %d threads, %d steps\n", r.Precision, r.ISA, r.Batch, r.Seq, r.Threads, r.Steps)
	fmt.Fprintf(&b, "step ms, %s: median %.1f  min %.1f; %.1f examples/s  %.0f tokens/s\n", r.Clock, r.StepMS, r.MinMS, r.ExamplesPerSecond, r.TokensPerSecond)
	fmt.Fprintf(&b, "%.1f GFLOPS, %.0f %% of the measured peak of %.1f; %.1f %% of the step outside products (packing %.1f %%, AdamW %.1f %%)\n",
		r.GFLOPS, 100*r.PeakShare, r.PeakGFLOPS, 100*r.OutsideProducts, 100*r.Packing, 100*r.Optimizer)
	fmt.Fprintf(&b, "%.0f allocations of %.0f KB a step, garbage collection %.2f %% of it; %.0f MB resident\n", r.Allocations, r.AllocatedBytes/1e3, 100*r.GCShare, r.RSS)
	for _, name := range slices.Sorted(maps.Keys(r.Profile)) {
		fmt.Fprintf(&b, "  %-28s %8.2f ms a step\n", name, r.Profile[name])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Train measures training steps of a copy of m. If teacher is nil, these are whole steps of
// fine-tuning, and otherwise of distillation from the teacher's hidden states and logits. The
// options may add more. Models without a head get one.
func Train(ctx context.Context, m, teacher *checkpoints.Model, o Options) (*TrainResult, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := withHead(m, []string{"0", "1"})
	if err != nil {
		return nil, err
	}
	m = m.Clone() // its tokenizer is replaced, like the teacher's
	models := []*checkpoints.Model{m}
	if teacher != nil {
		if teacher, err = withHead(teacher, m.Config.Labels); err != nil {
			return nil, err
		}
		teacher = teacher.Clone()
		models = append(models, teacher)
	}
	var set *data.Dataset
	if o.File == "" {
		set, err = o.randomTexts(models...)
	} else if set, err = readTexts(o.File, m); err != nil {
		err = settings.Errorf("File", "%w", err)
	}
	if err != nil {
		return nil, err
	}
	d := o.distillation()
	d.Steps = o.Steps + WarmSteps
	// Examples are consecutive, as in benchmarks/train.py.
	d.NoShuffle = true
	var all []train.Profile
	d.OnProfile = func(p train.Profile) {
		if p.Step > WarmSteps {
			all = append(all, p)
		}
	}
	if teacher == nil {
		d.Stage = ""
		_, _, err = train.Run(ctx, m, set, nil, d.Options)
	} else {
		_, _, err = distill.Run(ctx, teacher, m, set, nil, d)
	}
	if err != nil {
		return nil, err
	}
	r := summary(all, o)
	r.RSS = resident()
	if !o.Profile {
		r.Profile = nil
	}
	return r, nil
}

// summary summarizes the profiles of the steps.
func summary(all []train.Profile, o Options) *TrainResult {
	r := &TrainResult{Batch: o.Batch, Threads: o.Threads, ISA: kernels.Current().String(), Precision: o.Precision, Clock: string(measure.Wall), Steps: o.Steps, Profile: map[string]float64{}}
	var total, products, packing, optimizer, gc time.Duration
	var sequences, tokens int
	var flops int64
	var times []float64
	ms := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
	n := float64(len(all))
	for _, p := range all {
		times = append(times, ms(p.Time))
		total += p.Time
		products += p.Graph.Products
		packing += p.Graph.Packing
		optimizer += p.Optimizer
		gc += p.GC
		flops += p.Graph.FLOPs
		sequences += p.Sequences
		tokens += p.Tokens
		r.Allocations += float64(p.Allocations) / n
		r.AllocatedBytes += float64(p.AllocatedBytes) / n
		for name, t := range p.Graph.Operations {
			r.Profile[name] += ms(t) / n
		}
	}
	r.Profile["AdamW and clipping"] = ms(optimizer) / n
	slices.Sort(times)
	r.StepMS, r.MinMS = measure.Quantile(times, 0.5), times[0]
	r.Seq = float64(tokens) / float64(sequences)
	r.ExamplesPerSecond = float64(sequences) / total.Seconds()
	r.TokensPerSecond = float64(tokens) / total.Seconds()
	r.GFLOPS = float64(flops) / total.Seconds() / 1e9
	// The peak of a single core is measured alone and counts for each of them.
	measured := peak.F32
	if o.Precision == infer.BF16 {
		measured = peak.BF16
	}
	for range 100 {
		r.PeakGFLOPS = max(r.PeakGFLOPS, measured(kernels.Current())/1e9*float64(o.Threads))
	}
	if r.PeakGFLOPS > 0 {
		r.PeakShare = r.GFLOPS / r.PeakGFLOPS
	}
	share := func(d time.Duration) float64 { return d.Seconds() / total.Seconds() }
	r.OutsideProducts, r.Packing, r.Optimizer = 1-share(products), share(packing), share(optimizer)
	r.GCShare = share(gc) / float64(o.Threads)
	return r
}

// randomTexts replaces the models' tokenizer by one with the words w0, w1, ..., each a token, and
// draws texts of exactly Seq tokens for the steps.
func (o *Options) randomTexts(models ...*checkpoints.Model) (*data.Dataset, error) {
	count, seq := o.Batch*(o.Steps+WarmSteps), o.Seq
	switch most := models[0].Config.MaxTokens(); {
	case seq > most:
		return nil, settings.Wrong("Seq", seq, "at most the model's %d positions", most)
	case seq < 3:
		return nil, settings.Wrong("Seq", seq, "3 or more in training steps: a word between [CLS] and [SEP]")
	}
	size := models[0].Config.VocabSize
	vocab := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
	special := len(vocab)
	for i := special; i < size; i++ {
		vocab = append(vocab, fmt.Sprintf("w%d", i))
	}
	file := []byte(strings.Join(vocab, "\n") + "\n")
	for _, m := range models {
		m.Tokenizer = map[string][]byte{"vocab.txt": file}
	}
	r := rand.New(rand.NewPCG(1, 2))
	set := &data.Dataset{Task: task(models[0])}
	for i := range count {
		words := make([]string, seq-2)
		for j := range words {
			words[j] = vocab[special+r.IntN(size-special)]
		}
		set.Examples = append(set.Examples, data.Example{Text: strings.Join(words, " "), Label: i % len(set.Task.Labels)})
	}
	return set, nil
}

// readTexts reads inputs in the form for predict, and gives them labels in turn.
func readTexts(path string, m *checkpoints.Model) (*data.Dataset, error) {
	f, err := bounded.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	set := &data.Dataset{Task: task(m)}
	lines := bounded.NewLines(f)
	for lines.Next() {
		input, err := infer.ParseInput(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, lines.Number(), err)
		}
		set.Examples = append(set.Examples, data.Example{
			Text: input.Text, Pair: input.Pair, HasPair: input.HasPair, Label: len(set.Examples) % len(set.Task.Labels),
		})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", path, lines.Number()+1, err)
	}
	return set, nil
}

func task(m *checkpoints.Model) data.Task {
	return data.Task{Name: "text", Labels: m.Config.Labels, Metric: "accuracy"}
}
