package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/progress"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/train"
)

func newQuantize() *cobra.Command {
	var (
		task                       taskFlags
		model, dtype, file, output string
		calibrate, method          string
		embeddings, overwrite      bool
		maxDrop                    float64
	)
	c := &cobra.Command{
		Use:   "quantize",
		Short: "Store a model's weights in fewer bits, as one .skive file",
		Long: `Store a model's weights in fewer bits, as one .skive file.

With --max-drop the sensitivity of each layer to int8 is measured on a labelled data set, and the most sensitive layers
keep their format, as many as the metric needs to stay within so many points of the float model's.

With --calibrate the scales of activations are chosen before, from how they are distributed on that file, in place of one for
each token at run time.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "output"); err != nil {
				return err
			}
			mixed := c.Flags().Changed("max-drop")
			switch {
			case dtype != "int8" && (mixed || embeddings || calibrate != ""):
				return usagef("--max-drop, --calibrate and --embeddings go with --dtype int8, not %q", dtype)
			case calibrate == "" && c.Flags().Changed("calibrate-method"):
				return usagef("--calibrate-method goes with --calibrate")
			case !mixed && (file != "" || task.task != ""):
				return usagef("--data and --task go with --max-drop")
			case !mixed && calibrate == "" && c.Flags().Changed("max-length"):
				return usagef("--max-length goes with --max-drop or --calibrate")
			case !slices.Contains(quantize.Methods, quantize.Method(method)):
				return usagef("--calibrate-method: %q, expected one of %v", method, quantize.Methods)
			case mixed && !(maxDrop >= 0 && maxDrop <= 100):
				return usagef("--max-drop: %g, expected 0 to 100 points", maxDrop)
			case mixed:
				if err := require(c, "task", "data"); err != nil {
					return err
				}
			}
			for _, name := range []string{"text-column", "pair-column", "label-column"} {
				if c.Flags().Changed(name) && !mixed {
					return usagef("--%s goes with --max-drop", name)
				}
			}
			release, err := claimOutput(c, output, checkOutputFile, unless(overwrite, checkpoints.CheckFree))
			if err != nil {
				return err
			}
			defer release()
			m, err := openCheckpoint("model", model)
			if err != nil {
				return err
			}
			defer m.Close()
			activations := func(q *checkpoints.Model) (*checkpoints.Model, error) { return q, nil }
			if calibrate != "" {
				observed, err := observe(c.Context(), m, calibrate, task.maxLength)
				if err != nil {
					return err
				}
				activations = func(q *checkpoints.Model) (*checkpoints.Model, error) {
					return observed.Static(q, quantize.Method(method))
				}
			}
			if mixed {
				return quantizeMixed(c.Context(), m, &task, file, output, maxDrop/100, embeddings, activations)
			}
			var q *checkpoints.Model
			if dtype == "int8" {
				q, err = quantize.Int8Weights(m, int8Weights(m, embeddings))
			} else {
				q, err = withDType(m, dtype)
			}
			if err != nil {
				return err
			}
			if q, err = activations(q); err != nil {
				return err
			}
			if err := checkOutputs(q); err != nil {
				return err
			}
			if err := q.SaveSkive(output); err != nil {
				return err
			}
			return printSize(os.Stdout, q, output, m.Parameters())
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` to quantize")
	f.StringVar(&dtype, "dtype", "int8", "int8, fp16, bf16 or f32")
	f.BoolVar(&embeddings, "embeddings", false, "word and position embeddings in int8, too")
	f.Float64Var(&maxDrop, "max-drop", 0, "largest loss of the task's metric, in `POINTS` (0.5 of 100): sensitive layers keep their format")
	f.StringVar(&calibrate, "calibrate", "", "`FILE` of inputs, one a line as predict takes them: static scales of activations")
	f.StringVar(&method, "calibrate-method", string(quantize.MinMax), "minmax, percentile, entropy or mse")
	f.StringVar(&file, "data", "", "labelled `FILE` for --max-drop, may be .gz")
	f.StringVarP(&output, "output", "o", "", "`FILE.skive` to write")
	overwriteFlag(f, &overwrite)
	task.register(f, false)
	return c
}

// checkOutputs refuses a model that answers with NaN or infinity, by a few random
// tokens.
func checkOutputs(m *checkpoints.Model) error {
	o := infer.Options{Threads: common.threads}
	if !m.HasHead() {
		o.Embedding = infer.Mean
	}
	engine, err := infer.New(m, o)
	if err != nil {
		return err
	}
	defer engine.Close()
	n := min(16, m.Config.MaxTokens())
	ids, r := make([]int32, n), rand.New(rand.NewPCG(1, 2))
	for i := range ids {
		ids[i] = r.Int32N(int32(m.Config.VocabSize))
	}
	_, err = engine.PredictTokens(nil, ids, nil, []int32{0, int32(n)})
	return err
}

func int8Weights(m *checkpoints.Model, embeddings bool) []string {
	weights := quantize.LinearWeights(m.Config)
	if embeddings {
		weights = append(weights, quantize.Embeddings()...)
	}
	return weights
}

// observe runs the model in its own format over a file of inputs.
func observe(ctx context.Context, m *checkpoints.Model, file string, maxLength int) (*quantize.Calibration, error) {
	switch {
	case maxLength == 0:
		maxLength = m.Config.MaxTokens()
	case maxLength < 0 || maxLength > m.Config.MaxTokens():
		return nil, usagef("--max-length: %d, expected 1 to the model's %d positions", maxLength, m.Config.MaxTokens())
	}
	batches, err := readInputs("calibrate", m, file, 16, maxLength)
	if err != nil {
		return nil, err
	}
	bar := progress.New(common.progress(), "calibration", 0, len(batches))
	defer bar.Finish("")
	return train.Calibrate(ctx, m, func(yield func(*data.Batch) bool) {
		for i, b := range batches {
			if !yield(&data.Batch{IDs: b.IDs, TypeIDs: b.TypeIDs, Offsets: b.Offsets}) {
				return
			}
			bar.Set(i+1, "")
		}
	}, infer.Options{Threads: common.threads})
}

func quantizeMixed(ctx context.Context, m *checkpoints.Model, task *taskFlags, file, output string, maxDrop float64, embeddings bool, activations func(*checkpoints.Model) (*checkpoints.Model, error)) error {
	if m.Config.Head.Subject() == head.Masks {
		return fmt.Errorf("--max-drop: a model that does %s is measured by its loss on masks, expected one with labels, choices or a number", m.Config.Head)
	}
	set, err := task.read("data", file, m)
	if err != nil {
		return err
	}
	if err := evaluate.CheckHead(m.Config, set.Task); err != nil {
		return fmt.Errorf("--task: %w", err)
	}
	if set, err = evaluate.Relabel("--data", set, m.Config, true); err != nil {
		return err
	}
	enc, err := evaluate.Encode(m, set, task.maxLength)
	if err != nil {
		return err
	}
	metric := evaluate.MainMetric(set.Task)
	evaluate := func(ctx context.Context, m *checkpoints.Model) ([]float32, float64, error) {
		if m.DType() == checkpoints.I8 {
			var err error
			if m, err = activations(m); err != nil {
				return nil, 0, err
			}
		}
		logits, err := evaluate.Logits(ctx, m, enc, infer.Options{Threads: common.threads})
		if err != nil {
			return nil, 0, err
		}
		metrics, err := evaluate.Metrics(enc.Outcome(logits, m.Config.NumLabels()))
		return logits, metrics[metric], err
	}
	weights := int8Weights(m, embeddings)
	var bar *progress.Bar
	q, report, err := quantize.Mixed(ctx, m, evaluate, quantize.MixedOptions{
		MaxDrop:    maxDrop,
		Weights:    weights,
		Divergence: divergence(enc),
		Progress: func(done, total int, note string) {
			if bar == nil {
				bar = progress.New(common.progress(), "sensitivity", 0, total)
			}
			bar.Set(min(done, total), note)
		},
	})
	bar.Finish("")
	if err != nil {
		return err
	}
	if q.DType() == checkpoints.I8 {
		if q, err = activations(q); err != nil {
			return err
		}
	}
	if err := q.SaveSkive(output); err != nil {
		return err
	}
	if common.json {
		return printJSON(struct {
			Output     string `json:"output"`
			Parameters int64  `json:"parameters"`
			Bytes      int64  `json:"bytes"`
			Metric     string `json:"metric_name"`
			*quantize.MixedReport
		}{output, q.Parameters(), q.Bytes(), metric, report})
	}
	if err := printSensitivity(os.Stdout, metric, report); err != nil {
		return err
	}
	return printSize(os.Stdout, q, output, m.Parameters())
}

// divergence compares predictions on a data set: nil for rows of classes.
func divergence(enc *data.Encoded) func(want, got []float32) float64 {
	if of := divergences[enc.Task.Kind]; of != nil {
		return func(want, got []float32) float64 { return of(enc, want, got) }
	}
	return nil
}

// divergences have nil for rows of classes, and for heads that are not measured.
var divergences = map[head.Kind]func(enc *data.Encoded, want, got []float32) float64{
	head.SingleLabel: nil,
	head.MultiLabel: func(_ *data.Encoded, want, got []float32) float64 {
		pairs := func(logits []float32) []float32 { // each label is a class against another of logit 0
			all := make([]float32, 2*len(logits))
			for i, v := range logits {
				all[2*i] = v
			}
			return all
		}
		return quantize.Divergence(pairs(want), pairs(got), 2)
	},
	head.Regression: func(_ *data.Encoded, want, got []float32) (sum float64) {
		for i, v := range want { // that of normal distributions of variance 1
			sum += float64(v-got[i]) * float64(v-got[i]) / 2
		}
		return sum / float64(len(want))
	},
	head.MultipleChoice: func(enc *data.Encoded, want, got []float32) (sum float64) {
		for i := range enc.Len() {
			lo, hi := enc.Rows(i)
			sum += quantize.Divergence(want[lo:hi], got[lo:hi], hi-lo)
		}
		return sum / float64(enc.Len())
	},
	head.TokenClassification: nil,
	head.MaskedLM:            nil,
}

// printSensitivity prints the parts, the most sensitive first, and the metrics.
func printSensitivity(to io.Writer, metric string, r *quantize.MixedReport) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "int8 alone in\tdivergence\t%s\tformat\n", metric)
	kept := 0
	for _, p := range r.Parts {
		format := "int8"
		if p.Kept {
			format = "kept"
			kept++
		}
		fmt.Fprintf(w, "%s\t%.2e\t%+.2f\t%s\n", p.Part, math.Max(p.Divergence, 0), 100*(p.Metric-r.Float), format)
	}
	fmt.Fprintf(w, "%s: float %.2f, all in int8 %.2f, with %d of %d parts kept %.2f\n", metric, 100*r.Float, 100*r.Int8, kept, len(r.Parts), 100*r.Mixed)
	return w.Flush()
}

// withDType stores a model's weights in the number format of a --dtype flag.
func withDType(m *checkpoints.Model, dtype string) (*checkpoints.Model, error) {
	out, err := quantize.Format(m, dtype)
	if errors.Is(err, quantize.ErrFormat) {
		return nil, usagef("--dtype: %q is not a number format of this command, expected f32, fp16, bf16 or int8", dtype)
	}
	return out, err
}
