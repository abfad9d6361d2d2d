package train

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/quantize"
)

// calibrationExamples is the number of examples, from the start of the training set, that
// determine the initial values of the learned scales of static int8.
const calibrationExamples = 512

// calibrate sets the model's scales of static int8 if it has none.
func (f *fit) calibrate(ctx context.Context) error {
	weights := quantize.LinearWeights(f.model.Config)
	missing := func(weight string) bool {
		_, ok := f.model.Tensors[checkpoints.InputScaleOf(weight)]
		return !ok
	}
	if f.o.QuantizeAware != quantize.Static || !slices.ContainsFunc(weights, missing) {
		return nil
	}
	examples := make([]int32, min(calibrationExamples, f.train.Len()))
	for i := range examples {
		examples[i] = int32(i)
	}
	c, err := Calibrate(ctx, f.model, func(yield func(*data.Batch) bool) {
		var batch data.Batch
		for some := range slices.Chunk(examples, DefaultBatchSize) {
			if f.train.Fill(&batch, some); !yield(&batch) {
				return
			}
		}
	}, infer.Options{Threads: f.o.Threads, DType: infer.F32})
	if err != nil {
		return err
	}
	// Clipping outliers costs accuracy. Training does it where it pays.
	scales, err := c.Scales(weights, quantize.MinMax)
	if err != nil {
		return err
	}
	for weight, scale := range scales {
		f.model.Tensors[checkpoints.InputScaleOf(weight)] = checkpoints.NewTensor([]int{1}, []float32{scale})
	}
	return nil
}

// Calibrate records the inputs of the model's linear layers while the engine computes the
// batches. It reads the batches' ids, types and offsets only.
func Calibrate(ctx context.Context, m *checkpoints.Model, batches iter.Seq[*data.Batch], o infer.Options) (*quantize.Calibration, error) {
	var c quantize.Calibration
	o.Observe = c.Observe
	if !m.HasHead() || m.Config.Head.Outputs() == head.Tokens {
		o.Embedding = infer.Mean // saves the work of a head
		if m.Config.Sentence != nil {
			o.Embedding = infer.OfModel
		}
	}
	engine, err := infer.New(m, o)
	if err != nil {
		return nil, fmt.Errorf("calibration: %w", err)
	}
	defer engine.Close()
	var outputs []float32
	for b := range batches {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if outputs, err = engine.PredictTokens(outputs, b.IDs, b.TypeIDs, b.Offsets); err != nil {
			return nil, fmt.Errorf("calibration: %w", err)
		}
	}
	return &c, nil
}

// served returns the model that an engine will run: in int8 if it is trained for int8.
func (f *fit) served() (*checkpoints.Model, error) {
	if f.o.QuantizeAware == "" {
		return f.model, nil
	}
	weights := quantize.LinearWeights(f.model.Config)
	if f.o.QuantizeEmbeddings {
		weights = append(weights, quantize.Embeddings()...)
	}
	return quantize.Int8Weights(f.model, weights)
}
