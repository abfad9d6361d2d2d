package evaluate

import (
	"context"
	"fmt"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
)

// Options are the settings of an evaluation.
type Options struct {
	// Threads is the number of threads; 0 means one for each CPU.
	Threads int
	// MaxLength is the number of tokens to which inputs are truncated; 0 means the model's
	// maximum.
	MaxLength int
	// DType is the number format in which the engine computes, see infer.Options. "" means the
	// one in which the model is stored.
	DType string
	// AttentionDType is the AttentionDType of infer.Options.
	AttentionDType string
}

func (o Options) engine() infer.Options {
	return infer.Options{Threads: o.Threads, DType: o.DType, AttentionDType: o.AttentionDType}
}

// Model measures a model on a labelled data set with the inference engine. It returns the task's
// metrics (see data.Task.Metrics) and "loss", the mean of what training minimizes.
func Model(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o Options) (map[string]float64, error) {
	out, err := Outcome(ctx, model, ds, o)
	if err != nil {
		return nil, err
	}
	return Metrics(out)
}

// Outcome returns a model's answers to a labelled data set, from the inference engine, together
// with the truth. Metrics and their intervals can be computed from it.
func Outcome(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o Options) (*data.Outcome, error) {
	_, enc, err := prepare("evaluation", model, ds, true, o.MaxLength)
	if err != nil {
		return nil, err
	}
	return Encoded(ctx, model, enc, o.engine())
}

// prepare returns a data set with the labels of the model, and encoded. set is its name in
// errors, such as "evaluation".
func prepare(set string, model *checkpoints.Model, ds *data.Dataset, required bool, maxLength int) (*data.Dataset, *data.Encoded, error) {
	if ds == nil || len(ds.Examples) == 0 {
		return nil, nil, fmt.Errorf("%s: %w", set, data.ErrEmpty)
	}
	if err := CheckHead(model.Config, ds.Task); err != nil {
		return nil, nil, err
	}
	ds, err := Relabel(set, ds, model.Config, required)
	if err != nil {
		return nil, nil, err
	}
	enc, err := Encode(model, ds, maxLength)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", set, err)
	}
	return ds, enc, nil
}

// Encoded is Outcome for a data set that is already encoded.
func Encoded(ctx context.Context, model *checkpoints.Model, enc *data.Encoded, o infer.Options) (*data.Outcome, error) {
	if enc.Task.Kind.Subject() == head.Masks {
		return maskedOutcome(ctx, model, enc, o)
	}
	all, err := Logits(ctx, model, enc, o)
	if err != nil {
		return nil, err
	}
	return enc.Outcome(all, model.Config.NumLabels()), nil
}

// Answered returns the data set with the model's own answers, from the inference engine, instead
// of the true ones. A masked language model is an error, because its answers are of another form.
func Answered(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o Options) (*data.Dataset, error) {
	if err := CheckHead(model.Config, ds.Task); err != nil {
		return nil, err
	}
	if ds.Task.Kind.Subject() == head.Masks {
		return nil, fmt.Errorf("the answers of a %s are not labels: %w", ds.Task.Kind, checkpoints.ErrUnsupported)
	}
	ds, enc, err := prepare("data", model, ds, false, o.MaxLength)
	if err != nil {
		return nil, err
	}
	all, err := Logits(ctx, model, enc, o.engine())
	if err != nil {
		return nil, err
	}
	return enc.Answered(ds, all, model.Config.NumLabels()), nil
}

// Metrics returns for an outcome what Model returns.
func Metrics(o *data.Outcome) (map[string]float64, error) {
	all := map[string]float64{"loss": o.Loss}
	for _, name := range o.Task.Metrics() {
		var err error
		if all[name], err = o.Metric(name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// MainMetric returns the metric that decides which model of the task is best.
func MainMetric(t data.Task) string { return t.Metrics()[0] }

// Better tells whether value is better than best in this metric.
func Better(metric string, value, best float64) bool {
	if metric == "perplexity" {
		return value < best
	}
	return value > best
}

// Perfect tells whether no value of this metric is better. All but perplexity end at 1.
func Perfect(metric string, value float64) bool { return !Better(metric, 1, value) }
