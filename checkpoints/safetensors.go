package checkpoints

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"slices"

	"github.com/nlpodyssey/safetensors"

	"github.com/skive-ml/skive/internal/mapped"
)

const (
	safetensorsName      = "model.safetensors"
	safetensorsIndexName = "model.safetensors.index.json"
)

// foreignTensor is a tensor as it is in a file. Skive may not know its element type.
type foreignTensor struct {
	dtype  string
	tensor Tensor
	known  bool // dtype is one of Skive's, and tensor is filled in
}

// float64Type is the element type of tensors written by numpy.
const float64Type = "F64"

// roundFloat64 turns a float64 tensor into an F32 one, rounded to nearest even. Numbers
// that are too large become infinite.
func (f *foreignTensor) roundFloat64() error {
	size, err := byteSize(F32, f.tensor.Shape)
	if err != nil {
		return err
	}
	data := f.tensor.Data
	if int64(len(data)) != 2*size {
		return fmt.Errorf("%d bytes of data, f64 of shape %v has %d", len(data), f.tensor.Shape, 2*size)
	}
	values := make([]float32, len(data)/8)
	for i := range values {
		values[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:])))
	}
	*f = foreignTensor{F32.code(), NewTensor(f.tensor.Shape, values), true}
	return nil
}

// parseSafetensors parses a safetensors file. The tensors' data are views of b.
func parseSafetensors(b []byte) (tensors map[string]foreignTensor, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = corrupt("safetensors: %v", r)
			if fault := mapped.Fault(r); fault != nil {
				err = fault
			}
		}
	}()
	if err := checkSafetensorsHeader(b); err != nil {
		return nil, corrupt("safetensors: %v", err)
	}
	st, err := safetensors.Deserialize(b)
	if err != nil {
		return nil, corrupt("safetensors: %v", err)
	}
	tensors = make(map[string]foreignTensor, st.Len())
	for _, t := range st.Tensors() {
		f := foreignTensor{dtype: t.TensorView.DType().String()}
		switch t.TensorView.DType() {
		case safetensors.F32:
			f.known, f.tensor.DType = true, F32
		case safetensors.F16:
			f.known, f.tensor.DType = true, F16
		case safetensors.BF16:
			f.known, f.tensor.DType = true, BF16
		}
		for _, d := range t.TensorView.Shape() {
			if d > math.MaxInt {
				return nil, corrupt("safetensors: tensor %q: impossible shape %v", t.Name, t.TensorView.Shape())
			}
			f.tensor.Shape = append(f.tensor.Shape, int(d))
		}
		data := t.TensorView.Data()
		f.tensor.Data = data[:len(data):len(data)]
		if f.known {
			if err := f.tensor.check(); err != nil {
				return nil, corrupt("safetensors: tensor %q: %v", t.Name, err)
			}
		}
		tensors[t.Name] = f
	}
	return tensors, nil
}

// checkSafetensorsHeader bounds the cost of decoding the header. Each value takes at
// least some 15 bytes in the header, and some 150 in the library's memory.
func checkSafetensorsHeader(b []byte) error {
	const maxHeader, bytesPerValue, slack = 16 << 20, 4, 64
	if len(b) < 8 {
		return fmt.Errorf("%d bytes have no room for a header", len(b))
	}
	n := binary.LittleEndian.Uint64(b)
	if n > uint64(len(b)-8) || n > maxHeader {
		return fmt.Errorf("header of %d bytes in a file of %d bytes, expected at most %d", n, len(b), maxHeader)
	}
	if values := bytes.Count(b[8:8+n], []byte(",")); values > slack+int(n)/bytesPerValue {
		return fmt.Errorf("header of %d bytes lists %d values, more than tensors have", n, values)
	}
	return nil
}

// writeSafetensors writes the tensors in the order of Hugging Face's library. rename
// maps their names.
func writeSafetensors(w io.Writer, tensors map[string]Tensor, rename func(string) string) (err error) {
	defer mapped.Catch(&err, debug.SetPanicOnFault(true))
	views := make(map[string]safetensors.TensorView, len(tensors))
	for name, t := range tensors {
		var d safetensors.DType
		switch t.DType {
		case F32:
			d = safetensors.F32
		case F16:
			d = safetensors.F16
		case BF16:
			d = safetensors.BF16
		default:
			return fmt.Errorf("tensor %s: %v in a Hugging Face directory: %w", name, t.DType, ErrUnsupported)
		}
		shape := make([]uint64, len(t.Shape))
		for i, n := range t.Shape {
			shape[i] = uint64(n)
		}
		v, err := safetensors.NewTensorView(d, shape, t.Data)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", name, err)
		}
		views[rename(name)] = v
	}
	if err := safetensors.SerializeToWriter(views, map[string]string{"format": "pt"}, w); err != nil {
		return err
	}
	return unchanged(tensors)
}

// shardIndex is model.safetensors.index.json: it maps each tensor to its file.
type shardIndex struct {
	WeightMap map[string]string `json:"weight_map"`
}

// parseIndex returns the names of each shard's tensors, and the shards in order.
func parseIndex(text []byte) (tensors map[string][]string, shards []string, err error) {
	var index shardIndex
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&index); err != nil {
		return nil, nil, corrupt("%v", err)
	}
	if len(index.WeightMap) == 0 {
		return nil, nil, corrupt("weight_map is missing or empty")
	}
	tensors = make(map[string][]string)
	for name, shard := range index.WeightMap {
		if !plainName(shard) {
			return nil, nil, fmt.Errorf("weight_map: %q of tensor %q is not the name of a file in this directory", shard, name)
		}
		tensors[shard] = append(tensors[shard], name)
	}
	for _, names := range tensors {
		slices.Sort(names)
	}
	return tensors, sortedNames(tensors), nil
}
