package train

import (
	"context"
	"fmt"
	"math"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
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
}

// Evaluate measures a model on a labelled data set by the inference engine:
// "accuracy", "loss" (mean cross-entropy) and the task's main metric.
func Evaluate(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o EvaluateOptions) (map[string]float64, error) {
	if ds == nil || len(ds.Examples) == 0 {
		return nil, fmt.Errorf("evaluation: %w", ErrEmpty)
	}
	if err := checkLabels("evaluation", ds, model.Config, true); err != nil {
		return nil, err
	}
	enc, err := Encode(model, ds, o.MaxLength)
	if err != nil {
		return nil, fmt.Errorf("evaluation: %w", err)
	}
	return evaluateEncoded(ctx, model, enc, infer.Options{Threads: o.Threads, DType: o.DType})
}

// Encode encodes a data set with the model's own tokenizer, cut to maxLength
// tokens (0: the model's positions).
func Encode(model *checkpoints.Model, ds *data.Dataset, maxLength int) (*data.Encoded, error) {
	switch {
	case maxLength == 0:
		maxLength = model.Config.MaxPositions
	case maxLength < 0 || maxLength > model.Config.MaxPositions:
		return nil, &OptionError{"max-length", maxLength, fmt.Sprintf("1 to the model's %d positions", model.Config.MaxPositions)}
	}
	tok, err := tokenize.Load(model.Tokenizer)
	if err != nil {
		return nil, fmt.Errorf("the model's tokenizer: %w", err)
	}
	return data.Encode(ds, tok, maxLength)
}

// Logits computes the logits of every example by the inference engine,
// [examples × labels] in the order of the data set.
func Logits(ctx context.Context, model *checkpoints.Model, enc *data.Encoded, o infer.Options) ([]float32, error) {
	engine, err := infer.New(model, o)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	classes := model.Config.NumLabels()
	all := make([]float32, enc.Len()*classes)
	var batch data.Batch
	var some []float32
	// Batches of similar lengths keep the engine's buffers small and even.
	for _, examples := range data.Batches(enc, data.BatchOptions{Tokens: evalTokens, Bucket: true}, 0) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		enc.Fill(&batch, examples)
		if some, err = engine.PredictTokens(some, batch.IDs, batch.TypeIDs, batch.Offsets); err != nil {
			return nil, err
		}
		for i, example := range examples {
			copy(all[int(example)*classes:], some[i*classes:(i+1)*classes])
		}
	}
	return all, nil
}

func evaluateEncoded(ctx context.Context, model *checkpoints.Model, enc *data.Encoded, o infer.Options) (map[string]float64, error) {
	all, err := Logits(ctx, model, enc, o)
	if err != nil {
		return nil, err
	}
	return Metrics(enc, all, model.Config.NumLabels())
}

// Metrics measures logits, [examples × classes] in the order of a labelled data
// set, as Evaluate does.
func Metrics(enc *data.Encoded, all []float32, classes int) (map[string]float64, error) {
	predicted, want := make([]int32, enc.Len()), make([]int32, enc.Len())
	var loss float64
	for i := range want {
		row := all[i*classes : (i+1)*classes]
		want[i] = int32(enc.Label(i))
		predicted[i] = argmax(row)
		loss += crossEntropy(row, int(want[i]))
	}
	metrics := map[string]float64{"loss": loss / float64(len(want))}
	for _, name := range []string{"accuracy", MainMetric(enc.Task)} {
		var err error
		if metrics[name], err = Metric(name, predicted, want, classes); err != nil {
			return nil, err
		}
	}
	return metrics, nil
}

// MainMetric is the metric by which the task's best model is chosen.
func MainMetric(t data.Task) string {
	if t.Metric == "" {
		return "accuracy"
	}
	return t.Metric
}

func argmax(row []float32) int32 {
	best := 0
	for i, v := range row {
		if v > row[best] {
			best = i
		}
	}
	return int32(best)
}

func crossEntropy(row []float32, label int) float64 {
	top := float64(row[argmax(row)])
	var sum float64
	for _, v := range row {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum) - float64(row[label])
}
