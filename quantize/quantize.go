// Package quantize converts a model's weights to smaller number formats.
package quantize

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
	"unsafe"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/exact"
	"github.com/skive-ml/skive/internal/quant"
)

// ErrQuantized is returned for a model that is already int8 and is to be quantized or converted.
var ErrQuantized = errors.New("the model is already int8")

// ErrFormat is returned for an unknown number format.
var ErrFormat = errors.New("no such number format")

// LinearWeights returns the names of the weights that Int8 quantizes: those of the encoder's
// linear layers (queries, keys, values, attention output, feed-forward). Embeddings, LayerNorms,
// biases, pooler and classifier are not among them.
func LinearWeights(c checkpoints.Config) []string {
	var names []string
	for s := range c.Tensors() {
		if s.EncoderLinear() {
			names = append(names, s.Name)
		}
	}
	return names
}

// Embeddings returns the names of the word and position embeddings. In int8 each row has its own
// scale, and is converted to float when it is read. This saves no time, but three quarters of the
// memory of what is often the largest tensor.
func Embeddings() []string {
	return []string{checkpoints.WordEmbeddings.Part().Weight(), checkpoints.PositionEmbeddings.Part().Weight()}
}

// Int8 returns a copy of the model in which the weights of all linear layers of the encoder are
// int8, as Int8Weights converts them.
func Int8(m *checkpoints.Model) (*checkpoints.Model, error) {
	return Int8Weights(m, LinearWeights(m.Config))
}

// Int8Weights returns a copy of the model in which the named weights, from LinearWeights and
// Embeddings, are int8. The format is symmetric: each row (an output channel, or a token's
// embedding) has its own scale max|w|/127, rounding is half to even, and no value is beyond ±127.
// Each int8 weight W of shape [out, in] gets a companion W+"_scale" of shape [out]. Activations
// are quantized at run time, per token. A layer that was trained with a scale for its input,
// which the model holds, uses that scale instead.
//
// The provenance records the signal-to-noise ratio of the weights in decibels, of all together
// and of the worst matrix.
func Int8Weights(m *checkpoints.Model, weights []string) (*checkpoints.Model, error) {
	if err := floats(m); err != nil {
		return nil, err
	}
	known := append(LinearWeights(m.Config), Embeddings()...)
	r := m.Clone()
	var signal, noise float64
	worst := math.Inf(1)
	for _, name := range weights {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("quantize: tensor %s: not a linear layer of the encoder and not word or position embeddings: %w", name, checkpoints.ErrUnsupported)
		}
		w, ok := m.Tensors[name]
		if !ok { // with rotary positions there are no position embeddings
			continue
		}
		out, in := w.Shape[0], w.Shape[1]
		values := w.Float32s()
		q := make([]int8, out*in)
		scale := make([]float32, out)
		if err := quant.Channels(q, scale, values, out, in); err != nil {
			return nil, fmt.Errorf("quantize: tensor %s: %w", name, err)
		}
		var s, n float64
		for o := range out {
			for i := o * in; i < (o+1)*in; i++ {
				d := float64(values[i]) - float64(float64(scale[o])*float64(q[i]))
				s += float64(float64(values[i]) * float64(values[i]))
				n += float64(d * d)
			}
		}
		signal, noise, worst = signal+s, noise+n, min(worst, decibels(s, n))
		r.Tensors[name] = checkpoints.Tensor{DType: checkpoints.I8, Shape: []int{out, in}, Data: bytesOf(q)}
		r.Tensors[checkpoints.ScaleOf(name)] = checkpoints.NewTensor([]int{out}, scale)
	}
	r.Provenance = append(r.Provenance, checkpoints.Stage{
		Name:    "quantize",
		Version: checkpoints.Version,
		Time:    time.Now().UTC().Truncate(time.Second),
		Settings: map[string]string{
			"dtype":       "int8",
			"weights":     "symmetric, per output channel",
			"activations": activations(r),
		},
		Measured: map[string]float64{
			"weight_snr_db":       decibels(signal, noise),
			"worst_weight_snr_db": worst,
			"bytes":               float64(r.Bytes()),
		},
	})
	return r, nil
}

// activations says, for the provenance, how a model's activations are quantized.
func activations(m *checkpoints.Model) string {
	for name := range m.Tensors {
		if _, kind, ok := checkpoints.ParseTensor(name); ok && kind == checkpoints.InputScale {
			return "static, per tensor"
		}
	}
	return "dynamic, per token"
}

// decibels returns the ratio of two powers, limited to the range of float32 so that weights
// without any error give a finite figure.
func decibels(signal, noise float64) float64 {
	const most = 150
	if noise <= signal*1e-15 {
		return most
	}
	return min(10*exact.Log10(signal/noise), most)
}

// Format stores a model's weights in a number format given by name: f32, fp16 or bf16 (see
// Floats), or int8. Any other name is an error.
func Format(m *checkpoints.Model, name string) (*checkpoints.Model, error) {
	switch name {
	case "int8":
		return Int8(m)
	case "f32":
		return Floats(m, checkpoints.F32)
	case "fp16":
		return Floats(m, checkpoints.F16)
	case "bf16":
		return Floats(m, checkpoints.BF16)
	}
	return nil, fmt.Errorf("%w: %q, expected f32, fp16, bf16 or int8", ErrFormat, name)
}

// Floats returns a copy of the model whose weight matrices and embeddings are F32, F16 or BF16.
// Biases and LayerNorm parameters stay float32. An int8 model can only become F32. Its weights
// are then the scaled int8 values, so the copy computes in float what the int8 model
// approximates.
func Floats(m *checkpoints.Model, dtype checkpoints.DType) (*checkpoints.Model, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	switch dtype {
	case checkpoints.F32, checkpoints.F16, checkpoints.BF16:
	default:
		return nil, fmt.Errorf("quantize: %v is not a float type", dtype)
	}
	r := m.Clone()
	for _, name := range m.Names() {
		t := m.Tensors[name]
		if t.DType == checkpoints.I8 {
			if dtype != checkpoints.F32 {
				return nil, fmt.Errorf("quantize: %w", ErrQuantized)
			}
			values, err := m.Float32s(name)
			if err != nil {
				return nil, fmt.Errorf("quantize: %w", err)
			}
			r.Tensors[name] = checkpoints.NewTensor(t.Shape, values)
			delete(r.Tensors, checkpoints.ScaleOf(name))
			delete(r.Tensors, checkpoints.InputScaleOf(name))
			continue
		}
		if len(t.Shape) != 2 {
			continue
		}
		c, err := r.Tensors[name].Convert(dtype)
		if err != nil {
			return nil, fmt.Errorf("quantize: tensor %s: %w", name, err)
		}
		r.Tensors[name] = c
	}
	r.Provenance = append(r.Provenance, checkpoints.Stage{
		Name:     "quantize",
		Version:  checkpoints.Version,
		Time:     time.Now().UTC().Truncate(time.Second),
		Settings: map[string]string{"dtype": dtype.String()},
		Measured: map[string]float64{"bytes": float64(r.Bytes())},
	})
	return r, nil
}

func floats(m *checkpoints.Model) error {
	if err := m.Validate(); err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	for _, name := range m.Names() {
		if m.Tensors[name].DType == checkpoints.I8 {
			return fmt.Errorf("quantize: tensor %s: %w", name, ErrQuantized)
		}
	}
	return nil
}

func bytesOf(q []int8) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(q))), len(q))
}
