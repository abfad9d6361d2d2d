package onnx

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/quantize"
)

// ErrSelfCheck is returned when a graph's outputs differ from the engine's.
var ErrSelfCheck = errors.New("self-check failed")

// These are the largest differences that the self-check allows, relative to the largest output
// where that is above 1. Half precision rounds each of some hundred steps by 2⁻¹¹. An int8 graph
// is compared twice. Without the rounding of activations it has the bound of f32. With rounding,
// only gross errors can be told from noise, because the graph rounds per tensor and the engine
// per token. Calibrated scales are the same in both, but a value that lies halfway between two
// steps may be rounded to either.
const (
	toleranceF32    = 1e-4
	toleranceFP16   = 3e-2
	toleranceInt8   = 0.5
	toleranceStatic = 0.2
)

// checkLengths are the lengths of the self-check's sequences, in tokens. Their batch has padding.
var checkLengths = []int{12, 1, 7}

// selfCheck interprets the graph in text and compares its outputs with the engine's.
func selfCheck(m *checkpoints.Model, o Options, text []byte, data *dataFile) (difference float64, err error) {
	graph, err := parse(text)
	if err != nil {
		return 0, fmt.Errorf("%w: %v", ErrSelfCheck, err)
	}
	in := &interpreter{m: graph, limit: maxElements, external: func(t *tensor) ([]byte, error) { return data.find(t) }}
	batch := sampleBatch(&m.Config)
	compare := func(m *checkpoints.Model, dtype string, unrounded bool, tolerance float64) error {
		in.unrounded = unrounded
		got, err := in.compute(m, o, batch)
		if err != nil {
			return fmt.Errorf("%w: %v", ErrSelfCheck, err)
		}
		want, err := engineOutputs(m, dtype, o.Embedding, batch)
		if err != nil {
			return err
		}
		if difference, err = differenceOf(got, want); err != nil {
			return fmt.Errorf("%w: %v", ErrSelfCheck, err)
		}
		if math.IsNaN(difference) || math.IsInf(difference, 0) { // the engine reports outputs that are not finite
			return fmt.Errorf("%w: the graph's outputs are not finite: the model's weights are too large to compute with", ErrSelfCheck)
		}
		if limit := tolerance * max(1, largest(want)); difference > limit {
			return fmt.Errorf("%w: the graph's outputs are %.3g from the engine's, expected at most %.3g", ErrSelfCheck, difference, limit)
		}
		return nil
	}
	switch o.DType {
	case infer.F32:
		err = compare(m, infer.F32, false, toleranceF32)
		return difference, err
	case infer.FP16:
		err = compare(m, infer.FP16, false, toleranceFP16)
		return difference, err
	}
	values, err := quantize.Floats(m, checkpoints.F32)
	if err != nil {
		return 0, err
	}
	if err := compare(values, infer.F32, true, toleranceF32); err != nil {
		return 0, err
	}
	tolerance := toleranceStatic
	if slices.ContainsFunc(graph.graph.nodes, func(n node) bool { return n.op == "DynamicQuantizeLinear" }) {
		tolerance = toleranceInt8
	}
	err = compare(m, "", false, tolerance)
	return difference, err
}

// tokens is a batch without padding, as the engine takes it.
type tokens struct{ ids, types, offsets []int32 }

func sampleBatch(c *checkpoints.Config) tokens {
	r := rand.New(rand.NewPCG(1, 2))
	b := tokens{offsets: []int32{0}}
	for _, n := range checkLengths {
		for range min(n, c.MaxTokens()) {
			b.ids = append(b.ids, r.Int32N(int32(c.VocabSize)))
			b.types = append(b.types, r.Int32N(int32(max(c.TypeVocabSize, 1))))
		}
		b.offsets = append(b.offsets, int32(len(b.ids)))
	}
	return b
}

// padded returns the graph's inputs for a batch, filled up with padding to the
// longest sequence.
func (b *tokens) padded(c *checkpoints.Config) map[string]*value {
	sequences, length := len(b.offsets)-1, 0
	for s := range sequences {
		length = max(length, int(b.offsets[s+1]-b.offsets[s]))
	}
	inputs := map[string]*value{}
	for _, name := range inputNames(c) {
		x := &value{int64Type, []int{sequences, length}, make([]float64, sequences*length)}
		inputs[name] = x
		for s := range sequences {
			for i := range length {
				at := int(b.offsets[s]) + i
				real := at < int(b.offsets[s+1])
				v := 0.0
				switch {
				case name == "input_ids" && real:
					v = float64(b.ids[at])
				case name == "input_ids":
					v = float64(c.PadTokenID)
				case name == "attention_mask" && real:
					v = 1
				case name == "token_type_ids" && real:
					v = float64(b.types[at])
				}
				x.v[s*length+i] = v
			}
		}
	}
	return inputs
}

// compute runs the graph and returns what the engine returns for the same batch: the logits
// without those of padding, or, for a graph of hidden states, the sentence embeddings of the mean
// and then of the first token.
func (in *interpreter) compute(m *checkpoints.Model, o Options, b tokens) ([]float32, error) {
	outputs, err := in.run(b.padded(&m.Config))
	if err != nil {
		return nil, err
	}
	var out *value
	for _, out = range outputs {
	}
	if out == nil || len(outputs) != 1 {
		return nil, fmt.Errorf("%d outputs, expected 1", len(outputs))
	}
	switch {
	case len(out.shape) != 3:
	case perToken(&m.Config) && o.Embedding == "":
		var y []float64
		for s := range out.shape[0] {
			y = append(y, out.v[s*out.shape[1]*out.shape[2]:][:int(b.offsets[s+1]-b.offsets[s])*out.shape[2]]...)
		}
		return float32s(y), nil
	default:
		return embeddings(out, b), nil
	}
	return float32s(out.v), nil
}

// perToken tells whether the model has logits for each token.
func perToken(c *checkpoints.Config) bool {
	return c.Head.PerToken()
}

// embeddings returns the sentence embeddings of hidden states.
func embeddings(x *value, b tokens) []float32 {
	length, h := x.shape[1], x.shape[2]
	var means, first []float64
	for s := range x.shape[0] {
		rows, sum := x.v[s*length*h:], make([]float64, h)
		for t := range int(b.offsets[s+1] - b.offsets[s]) {
			for j := range sum {
				sum[j] += rows[t*h+j]
			}
		}
		means = append(means, unit(sum)...)
		first = append(first, unit(rows[:h])...)
	}
	return float32s(append(means, first...))
}

func float32s(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

func unit(x []float64) []float64 {
	var squares float64
	for _, v := range x {
		squares += float64(v * v)
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = v / max(math.Sqrt(squares), 1e-12)
	}
	return y
}

func engineOutputs(m *checkpoints.Model, dtype, embedding string, b tokens) ([]float32, error) {
	kinds := []string{embedding}
	if embedding == "" && !m.HasHead() {
		kinds = []string{infer.Mean, infer.CLS}
	}
	var all []float32
	for _, kind := range kinds {
		e, err := infer.New(m, infer.Options{DType: dtype, Embedding: kind})
		if err != nil {
			return nil, err
		}
		y, err := e.PredictTokens(nil, b.ids, b.types, b.offsets)
		if err != nil {
			e.Close()
			return nil, err
		}
		all = append(all, y...)
		if err := e.Close(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func differenceOf(got, want []float32) (float64, error) {
	if len(got) != len(want) {
		return 0, fmt.Errorf("%d output values, expected %d", len(got), len(want))
	}
	d := 0.0
	for i := range got {
		d = math.Max(d, math.Abs(float64(got[i])-float64(want[i]))) // NaN stays
	}
	return d, nil
}

func largest(x []float32) float64 {
	m := 0.0
	for _, v := range x {
		m = max(m, math.Abs(float64(v)))
	}
	return m
}
