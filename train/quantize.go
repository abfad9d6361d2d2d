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

// calibrationExamples is how many examples, the first ones of the training set,
// decide where the learned scales of static int8 begin.
const calibrationExamples = 512

// calibrate gives the model the scales of static int8 unless it has them.
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
	// Cutting outliers down costs accuracy; training does so where it pays.
	scales, err := c.Scales(weights, quantize.MinMax)
	if err != nil {
		return err
	}
	for weight, scale := range scales {
		f.model.Tensors[checkpoints.InputScaleOf(weight)] = checkpoints.NewTensor([]int{1}, []float32{scale})
	}
	return nil
}

// Calibrate gathers what the inputs of the model's linear layers are while the
// engine computes the batches. Of these it reads ids, types and offsets.
func Calibrate(ctx context.Context, m *checkpoints.Model, batches iter.Seq[*data.Batch], o infer.Options) (*quantize.Calibration, error) {
	var c quantize.Calibration
	o.Observe = c.Observe
	if !m.HasHead() || m.Config.Head.Outputs() == head.Tokens {
		o.Embedding = infer.Mean // no head is needed, nor its work
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

// served is the model as an engine is to serve it: in int8 if it is trained so.
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
