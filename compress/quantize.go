package compress

import (
	"context"
	"io"
	"math/rand/v2"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// QuantizeOptions say how Quantize stores a model's weights. Start from QuantizeDefaults.
type QuantizeOptions struct {
	// DType is the number format: infer.Int8, FP16, BF16 or F32. The other settings are for Int8.
	DType string
	// Embeddings also quantizes word and position embeddings.
	Embeddings bool
	// Inputs, if there are any, give the activations static scales, chosen by Method. Without
	// them each token gets a scale at run time.
	Inputs []evaluate.Inputs
	Method quantize.Method
	// Examples, if not nil, are labelled examples on which the sensitivity of each part to int8
	// is measured. The most sensitive parts keep their format: as many as are needed so that the
	// task's metric loses at most MaxDrop points (0.5 of 100).
	Examples *data.Dataset
	MaxDrop  float64
	// MaxLength is the number of tokens to which the examples are truncated; 0 means the model's
	// maximum.
	MaxLength int
	// Threads is the number of threads; 0 means one for each CPU.
	Threads int
	// Progress, if not nil, is told how the work comes along.
	Progress progress.Reporter
}

// QuantizeDefaults returns the options from which the command line starts: int8 weights in linear
// layers.
func QuantizeDefaults() QuantizeOptions {
	return QuantizeOptions{DType: infer.Int8, Method: quantize.MinMax}
}

// Settings returns the fields as a table of settings.
func (o *QuantizeOptions) Settings() settings.Table {
	int8 := o.DType == infer.Int8
	const want = "it in int8 alone"
	return settings.Table{
		{Name: "dtype", Field: "DType", Value: &o.DType, Doc: "int8, fp16, bf16 or f32",
			Want: settings.Unless(slices.Contains([]string{infer.Int8, infer.FP16, infer.BF16, infer.F32}, o.DType), "f32, fp16, bf16 or int8")},
		{Name: "embeddings", Field: "Embeddings", Value: &o.Embeddings, Doc: "word and position embeddings in int8, too",
			Want: settings.Unless(int8 || !o.Embeddings, want)},
		{Name: "calibrate-method", Field: "Method", Value: (*string)(&o.Method), Doc: "minmax, percentile, entropy or mse",
			Want: settings.Unless(slices.Contains(quantize.Methods, o.Method), "one of %v", quantize.Methods)},
		{Name: "max-drop", Field: "MaxDrop", Value: &o.MaxDrop,
			Doc:  "largest loss of the task's metric, in `POINTS` (0.5 of 100); the most sensitive layers keep their format",
			Want: settings.Unless(o.MaxDrop >= 0 && o.MaxDrop <= 100, "0 to 100 points")},
	}
}

// Validate reports the first setting that is not usable, as a *settings.Error.
func (o *QuantizeOptions) Validate() error {
	err := o.Settings().Check()
	switch {
	case err != nil || o.DType == infer.Int8:
		return err
	case len(o.Inputs) > 0:
		return settings.Errorf("Inputs", "it is only for int8, but the format is %s", o.DType)
	case o.Examples != nil:
		return settings.Errorf("Examples", "it is only for int8, but the format is %s", o.DType)
	}
	return nil
}

// Quantized is the result of Quantize.
type Quantized struct {
	Model *checkpoints.Model
	// Metric is the name of the metric by which parts were chosen, and Report holds what was
	// measured. Without Examples they are "" and nil.
	Metric string
	Report *quantize.MixedReport

	before int64 // parameters of the original model
}

// Save writes the model to a .skive file.
func (q *Quantized) Save(path string) (*QuantizedFile, error) {
	size := Pruned{Output: path, Parameters: q.Model.Parameters(), Bytes: q.Model.Bytes(), Before: q.before}
	return &QuantizedFile{size, q.Metric, q.Report}, q.Model.SaveSkive(path)
}

// A QuantizedFile describes a saved quantized model, with what was measured of it, if anything.
// It is written as JSON.
type QuantizedFile struct {
	Pruned
	Metric string `json:"metric_name,omitempty"`
	*quantize.MixedReport
}

// WriteText writes the description for people.
func (f *QuantizedFile) WriteText(w io.Writer) error {
	if f.MixedReport != nil {
		if err := f.MixedReport.WriteText(w, f.Metric); err != nil {
			return err
		}
	}
	return WritePruned(w, f.Pruned)
}

// Quantize stores a model's weights in fewer bits. A model that gives NaN or infinity, before or
// after, is an error.
func Quantize(ctx context.Context, m *checkpoints.Model, o QuantizeOptions) (*Quantized, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	q := &quantizing{o: o}
	// Rounding can turn an overflow into finite nonsense, so the model is tried before.
	if err := try(m, o.Threads); err != nil {
		return nil, err
	}
	if len(o.Inputs) > 0 {
		if err := q.observe(ctx, m); err != nil {
			return nil, err
		}
	}
	var made *Quantized
	var err error
	switch {
	case o.Examples != nil:
		made, err = q.mixed(ctx, m)
	case o.DType == infer.Int8:
		made = &Quantized{}
		made.Model, err = quantize.Int8Weights(m, q.weights(m))
	default:
		made = &Quantized{}
		made.Model, err = quantize.Format(m, o.DType)
	}
	if err != nil {
		return nil, err
	}
	if made.Model, err = q.static(made.Model); err != nil {
		return nil, err
	}
	made.before = m.Parameters()
	return made, try(made.Model, o.Threads)
}

// quantizing is a quantization in progress.
type quantizing struct {
	o        QuantizeOptions
	observed *quantize.Calibration // nil without inputs
}

// try reports a model that gives NaN or infinity for a few random tokens.
func try(m *checkpoints.Model, threads int) error {
	o := infer.Options{Threads: threads}
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

func (q *quantizing) weights(m *checkpoints.Model) []string {
	weights := quantize.LinearWeights(m.Config)
	if q.o.Embeddings {
		weights = append(weights, quantize.Embeddings()...)
	}
	return weights
}

// observe runs the model in its own format on the inputs.
func (q *quantizing) observe(ctx context.Context, m *checkpoints.Model) (err error) {
	bar := progress.Begin(q.o.Progress, "calibration", 0, len(q.o.Inputs))
	defer bar.Finish("")
	q.observed, err = train.Calibrate(ctx, m, func(yield func(*data.Batch) bool) {
		for i, b := range q.o.Inputs {
			if !yield(&data.Batch{IDs: b.IDs, TypeIDs: b.TypeIDs, Offsets: b.Offsets}) {
				return
			}
			bar.Set(i+1, "")
		}
	}, infer.Options{Threads: q.o.Threads})
	return err
}

// static gives an int8 model the observed scales.
func (q *quantizing) static(m *checkpoints.Model) (*checkpoints.Model, error) {
	if q.observed == nil || m.DType() != checkpoints.I8 {
		return m, nil
	}
	return q.observed.Static(m, q.o.Method)
}

// mixed keeps the most sensitive parts in their format.
func (q *quantizing) mixed(ctx context.Context, m *checkpoints.Model) (*Quantized, error) {
	if m.Config.Head.Subject() == head.Masks {
		return nil, settings.Errorf("MaxDrop", "a model that does %s is measured by its loss on masks, expected one with labels, choices or a number: %w", m.Config.Head, checkpoints.ErrUnsupported)
	}
	set := q.o.Examples
	if err := evaluate.CheckHead(m.Config, set.Task); err != nil {
		return nil, settings.Errorf("Examples.Task", "%w", err)
	}
	set, err := evaluate.Relabel("examples", set, m.Config, true)
	if err != nil {
		return nil, settings.Errorf("Examples", "%w", err)
	}
	enc, err := evaluate.Encode(m, set, q.o.MaxLength)
	if err != nil {
		return nil, err
	}
	made := &Quantized{Metric: evaluate.MainMetric(set.Task)}
	measure := func(ctx context.Context, m *checkpoints.Model) ([]float32, float64, error) {
		m, err := q.static(m)
		if err != nil {
			return nil, 0, err
		}
		logits, err := evaluate.Logits(ctx, m, enc, infer.Options{Threads: q.o.Threads})
		if err != nil {
			return nil, 0, err
		}
		metrics, err := evaluate.Metrics(enc.Outcome(logits, m.Config.NumLabels()))
		return logits, metrics[made.Metric], err
	}
	made.Model, made.Report, err = quantize.Mixed(ctx, m, measure, quantize.MixedOptions{
		MaxDrop:    q.o.MaxDrop / 100,
		Weights:    q.weights(m),
		Divergence: divergence(enc),
		Progress:   q.o.Progress,
	})
	return made, err
}

// divergence returns a function that compares predictions on a data set, or nil if these are rows
// of classes.
func divergence(enc *data.Encoded) func(want, got []float32) float64 {
	if of := divergences[enc.Task.Kind]; of != nil {
		return func(want, got []float32) float64 { return of(enc, want, got) }
	}
	return nil
}

// divergences holds nil for rows of classes, and for heads that are not measured.
var divergences = map[head.Kind]func(enc *data.Encoded, want, got []float32) float64{
	head.SingleLabel: nil,
	head.MultiLabel: func(_ *data.Encoded, want, got []float32) float64 {
		pairs := func(logits []float32) []float32 { // each label is a class whose alternative has logit 0
			all := make([]float32, 2*len(logits))
			for i, v := range logits {
				all[2*i] = v
			}
			return all
		}
		return quantize.Divergence(pairs(want), pairs(got), 2)
	},
	head.Regression: func(_ *data.Encoded, want, got []float32) (sum float64) {
		for i, v := range want { // divergence of normal distributions with variance 1
			sum += float64(float64(v-got[i]) * float64(v-got[i]) / 2)
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
