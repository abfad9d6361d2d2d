package train

import (
	"context"
	"errors"
	"fmt"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/tokenize"
)

// evalTokens is the token budget of the batches of an evaluation.
const evalTokens = 4096

// EvaluateOptions are the settings of Evaluate.
type EvaluateOptions struct {
	// Threads is the number of threads; 0 is one for each CPU.
	Threads int
	// MaxLength truncates inputs to this number of tokens; 0 is the model's
	// maximum.
	MaxLength int
	// DType is the number format that the engine computes in, see
	// infer.Options; "" is the one that the model is stored in.
	DType string
	// AttentionDType is the AttentionDType of infer.Options.
	AttentionDType string
}

// Evaluate measures a model on a labelled data set by the inference engine: the
// task's metrics, see data.Task.Metrics, and "loss", the mean of what training
// minimizes.
func Evaluate(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o EvaluateOptions) (map[string]float64, error) {
	out, err := Outcome(ctx, model, ds, o)
	if err != nil {
		return nil, err
	}
	return metrics(out)
}

// Outcome compares a model's answers with a labelled data set, by the inference
// engine: for metrics with their intervals.
func Outcome(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o EvaluateOptions) (*data.Outcome, error) {
	if ds == nil || len(ds.Examples) == 0 {
		return nil, fmt.Errorf("evaluation: %w", ErrEmpty)
	}
	if err := CheckHead(model.Config, ds.Task); err != nil {
		return nil, err
	}
	ds, err := Relabel("evaluation", ds, model.Config, true)
	if err != nil {
		return nil, err
	}
	enc, err := Encode(model, ds, o.MaxLength)
	if err != nil {
		return nil, fmt.Errorf("evaluation: %w", err)
	}
	return outcome(ctx, model, enc, infer.Options{Threads: o.Threads, DType: o.DType, AttentionDType: o.AttentionDType})
}

// Encode encodes a data set with the model's own tokenizer, cut to maxLength
// tokens (0: the model's positions). A model of one token type has that for the
// second text of a pair, too, as in the engine.
func Encode(model *checkpoints.Model, ds *data.Dataset, maxLength int) (*data.Encoded, error) {
	switch {
	case maxLength == 0:
		maxLength = model.Config.MaxTokens()
	case maxLength < 0 || maxLength > model.Config.MaxTokens():
		return nil, &OptionError{"max-length", maxLength, fmt.Sprintf("1 to the model's %d positions", model.Config.MaxTokens())}
	}
	tok, err := tokenize.Load(model.Tokenizer)
	if err != nil {
		return nil, fmt.Errorf("the model's tokenizer: %w", err)
	}
	enc, err := data.Encode(ds, tok, maxLength)
	if err == nil && model.Config.TypeVocabSize < 2 {
		enc.OneType()
	}
	return enc, err
}

// Logits computes the logits of every example by the inference engine, in the
// order of the data set: [sequences × labels], of a model that labels tokens
// [tokens × labels].
func Logits(ctx context.Context, model *checkpoints.Model, enc *data.Encoded, o infer.Options) ([]float32, error) {
	engine, err := infer.New(model, o)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	classes := model.Config.NumLabels()
	_, rows := enc.Rows(enc.Len() - 1)
	all := make([]float32, rows*classes)
	var batch data.Batch
	var some []float32
	// Batches of similar lengths keep the engine's buffers small and even.
	for _, examples := range data.Batches(enc, data.BatchOptions{Tokens: evalTokens, Bucket: true}, 0) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		enc.Fill(&batch, examples)
		if some, err = engine.PredictTokens(some, batch.IDs, batch.TypeIDs, batch.Offsets); err != nil {
			return nil, ofExample(err, &batch)
		}
		at := 0
		for _, example := range examples {
			lo, hi := enc.Rows(int(example))
			at += copy(all[lo*classes:hi*classes], some[at:])
		}
	}
	return all, nil
}

// ofExample makes the sequence of a batch for which a model gives NaN or infinity
// the number of its example in the data set.
func ofExample(err error, b *data.Batch) error {
	var number *infer.NotFiniteError
	if errors.As(err, &number) {
		return &infer.NotFiniteError{Model: number.Model, Input: int(b.Index[number.Input]), Value: number.Value}
	}
	return err
}

// Answered returns the data set with the model's own answers, by the inference
// engine, in the place of the truth. A masked language model answers otherwise,
// which is an error.
func Answered(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o EvaluateOptions) (*data.Dataset, error) {
	if err := CheckHead(model.Config, ds.Task); err != nil {
		return nil, err
	}
	if ds.Task.Kind == head.MaskedLM {
		return nil, fmt.Errorf("the answers of a %s are no labels: %w", ds.Task.Kind, checkpoints.ErrUnsupported)
	}
	ds, err := Relabel("data", ds, model.Config, false)
	if err != nil {
		return nil, err
	}
	enc, err := Encode(model, ds, o.MaxLength)
	if err != nil {
		return nil, err
	}
	all, err := Logits(ctx, model, enc, infer.Options{Threads: o.Threads, DType: o.DType, AttentionDType: o.AttentionDType})
	if err != nil {
		return nil, err
	}
	return enc.Answered(ds, all, model.Config.NumLabels()), nil
}

// outcome runs a model on a labelled data set.
func outcome(ctx context.Context, model *checkpoints.Model, enc *data.Encoded, o infer.Options) (*data.Outcome, error) {
	if enc.Task.Kind == head.MaskedLM {
		return maskedOutcome(ctx, model, enc, o)
	}
	all, err := Logits(ctx, model, enc, o)
	if err != nil {
		return nil, err
	}
	return enc.Outcome(all, model.Config.NumLabels()), nil
}

func evaluateEncoded(ctx context.Context, model *checkpoints.Model, enc *data.Encoded, o infer.Options) (map[string]float64, error) {
	out, err := outcome(ctx, model, enc, o)
	if err != nil {
		return nil, err
	}
	return metrics(out)
}

// Metrics measures logits, in the order of a labelled data set as Logits has
// them, as Evaluate does.
func Metrics(enc *data.Encoded, all []float32, classes int) (map[string]float64, error) {
	return metrics(enc.Outcome(all, classes))
}

func metrics(o *data.Outcome) (map[string]float64, error) {
	all := map[string]float64{"loss": o.Loss}
	for _, name := range o.Task.Metrics() {
		var err error
		if all[name], err = o.Metric(name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// MainMetric is the metric by which the task's best model is chosen.
func MainMetric(t data.Task) string { return t.Metrics()[0] }

// better tells whether value is better than best.
func better(metric string, value, best float64) bool {
	if metric == "perplexity" {
		return value < best
	}
	return value > best
}
