package train

import (
	"context"
	"fmt"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
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
		_, ok := f.model.Tensors[quantize.InputScale(weight)]
		return !ok
	}
	if f.o.QuantizeAware != quantize.Static || !slices.ContainsFunc(weights, missing) {
		return nil
	}
	var c quantize.Calibration
	o := infer.Options{Threads: f.o.Threads, DType: infer.F32, Observe: c.Observe}
	if !f.model.HasHead() || f.model.Config.Head == checkpoints.MaskedLM {
		o.Embedding = infer.Mean // no head is needed, nor its work
	}
	engine, err := infer.New(f.model, o)
	if err != nil {
		return fmt.Errorf("calibration: %w", err)
	}
	defer engine.Close()
	examples := make([]int32, min(calibrationExamples, f.train.Len()))
	for i := range examples {
		examples[i] = int32(i)
	}
	var batch data.Batch
	var outputs []float32
	for some := range slices.Chunk(examples, DefaultBatchSize) {
		if err := ctx.Err(); err != nil {
			return err
		}
		f.train.Fill(&batch, some)
		if outputs, err = engine.PredictTokens(outputs, batch.IDs, batch.TypeIDs, batch.Offsets); err != nil {
			return fmt.Errorf("calibration: %w", err)
		}
	}
	// Cutting outliers down costs accuracy; training does so where it pays.
	scales, err := c.Scales(weights, quantize.MinMax)
	if err != nil {
		return err
	}
	for weight, scale := range scales {
		f.model.Tensors[quantize.InputScale(weight)] = checkpoints.NewTensor([]int{1}, []float32{scale})
	}
	return nil
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
