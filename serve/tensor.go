package serve

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Data types of the Open Inference Protocol.
const (
	typeBytes = "BYTES"
	typeFP32  = "FP32"
	typeInt64 = "INT64"
)

// sizes are the bytes of an element of the whole numbers that are read.
var sizes = map[string]int{"INT64": 8, "INT32": 4, "UINT64": 8, "UINT32": 4, "INT16": 2, "UINT16": 2, "INT8": 1, "UINT8": 1, "BOOL": 1}

// Tensor is a tensor of the Open Inference Protocol. Its elements are in row-major order in
// one of the lists.
type Tensor struct {
	Name     string
	Datatype string // BYTES, INT64, FP32 and so on
	Shape    []int
	Texts    []string  // of BYTES
	Ints     []int64   // of whole numbers and BOOL
	Floats   []float32 // of FP32
	// SharedMemory says that the elements are in shared memory, which the server refuses.
	SharedMemory bool
}

// badTensor is an error of a tensor, which a client finds by its name.
func badTensor(name, format string, args ...any) error {
	return invalid("tensor %q: %s", short(name), fmt.Sprintf(format, args...))
}

// elements is the number of elements of a shape, which may not be more than a body
// can hold.
func elements(name string, shape []int) (int, error) {
	n := 1
	for _, d := range shape {
		if d < 0 || d > math.MaxInt32 || n > math.MaxInt32 {
			return 0, badTensor(name, "shape %v", shape)
		}
		n *= d
	}
	if len(shape) == 0 || n > math.MaxInt32 {
		return 0, badTensor(name, "shape %v", shape)
	}
	return n, nil
}

// inputTensor is a tensor of a request as its JSON has it.
type inputTensor struct {
	Name       string          `json:"name"`
	Shape      []int           `json:"shape"`
	Datatype   string          `json:"datatype"`
	Data       json.RawMessage `json:"data"`
	Parameters struct {
		BinarySize   *int    `json:"binary_data_size"`
		SharedMemory *string `json:"shared_memory_region"`
	} `json:"parameters"`
}

// read makes a tensor of the JSON, or of the beginning of the binary part, and returns
// the rest of that.
func (in *inputTensor) read(binaryPart []byte) (t Tensor, rest []byte, err error) {
	t = Tensor{Name: in.Name, Datatype: in.Datatype, Shape: in.Shape, SharedMemory: in.Parameters.SharedMemory != nil}
	if err := t.readable(); err != nil {
		return t, nil, err
	}
	if in.Parameters.BinarySize == nil {
		return t, binaryPart, t.readJSON(in.Data)
	}
	size := *in.Parameters.BinarySize
	if size < 0 || size > len(binaryPart) {
		return t, nil, badTensor(in.Name, "binary_data_size %d, the body has %d more bytes", size, len(binaryPart))
	}
	return t, binaryPart[size:], t.readBinary(binaryPart[:size])
}

// readable asks for elements of a type that requests may have, in the request itself.
func (t *Tensor) readable() error {
	if _, ok := sizes[t.Datatype]; !ok && t.Datatype != typeBytes {
		return badTensor(t.Name, "datatype %q, expected BYTES or one of whole numbers", short(t.Datatype))
	}
	if t.SharedMemory {
		return badTensor(t.Name, "shared memory is not supported")
	}
	return nil
}

// check asks for as many elements as the shape has, of the type.
func (t *Tensor) check() error {
	n, err := elements(t.Name, t.Shape)
	if err != nil {
		return err
	}
	found, others := len(t.Texts), len(t.Ints)+len(t.Floats)
	if t.Datatype != typeBytes {
		found, others = len(t.Ints), len(t.Texts)+len(t.Floats)
	}
	switch {
	case others > 0:
		return badTensor(t.Name, "it has contents of another type, expected %s", t.Datatype)
	case found != n:
		return badTensor(t.Name, "%d elements, the shape %v has %d", found, t.Shape, n)
	}
	return nil
}

func (t *Tensor) readBinary(b []byte) error {
	if t.Datatype != typeBytes {
		size := sizes[t.Datatype]
		if len(b)%size != 0 {
			return badTensor(t.Name, "%d bytes, expected a multiple of %d", len(b), size)
		}
		for ; len(b) > 0; b = b[size:] {
			t.Ints = append(t.Ints, wholeNumber(t.Datatype, b))
		}
		return nil
	}
	for len(b) > 0 {
		if len(b) < 4 {
			return badTensor(t.Name, "it ends within the length of element %d", len(t.Texts))
		}
		n := binary.LittleEndian.Uint32(b)
		b = b[4:]
		if uint64(n) > uint64(len(b)) {
			return badTensor(t.Name, "element %d has %d bytes, %d are left", len(t.Texts), n, len(b))
		}
		t.Texts = append(t.Texts, string(b[:n]))
		b = b[n:]
	}
	return nil
}

func wholeNumber(datatype string, b []byte) int64 {
	switch datatype {
	case "INT64", "UINT64":
		return int64(binary.LittleEndian.Uint64(b))
	case "INT32":
		return int64(int32(binary.LittleEndian.Uint32(b)))
	case "UINT32":
		return int64(binary.LittleEndian.Uint32(b))
	case "INT16":
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case "UINT16":
		return int64(binary.LittleEndian.Uint16(b))
	case "INT8":
		return int64(int8(b[0]))
	}
	return int64(b[0])
}

// readJSON reads data that is nested as the shape is, or flat.
func (t *Tensor) readJSON(data json.RawMessage) error {
	if len(data) == 0 {
		return badTensor(t.Name, "it has no data")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	for depth := 0; ; {
		at := len(t.Texts) + len(t.Ints)
		token, err := d.Token()
		if err != nil {
			return badTensor(t.Name, "%v", err)
		}
		bad, what := false, "null"
		switch v := token.(type) {
		case json.Delim:
			what = "an object"
			switch v {
			case '[':
				depth++
			case ']':
				depth--
			default:
				bad = true
			}
		case string:
			what = "a string"
			bad = t.Datatype != typeBytes
			t.Texts = append(t.Texts, v)
		case json.Number:
			what = "a number"
			n, err := strconv.ParseInt(v.String(), 10, 64)
			if err != nil {
				what = "a number that is not a whole one of 64 bits"
			}
			bad = err != nil || t.Datatype == typeBytes
			t.Ints = append(t.Ints, n)
		case bool:
			what = "true or false"
			bad = t.Datatype != "BOOL"
			n := int64(0)
			if v {
				n = 1
			}
			t.Ints = append(t.Ints, n)
		default:
			bad = true
		}
		if bad {
			return badTensor(t.Name, "element %d of the data is %s, expected %s", at, what, t.Datatype)
		}
		if depth == 0 {
			return nil
		}
	}
}

// AppendRaw appends the elements in the protocol's binary form.
func (t *Tensor) AppendRaw(b []byte) []byte {
	for _, s := range t.Texts {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	for _, v := range t.Ints {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	for _, v := range t.Floats {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// appendJSON appends the data as a flat list.
func (t *Tensor) appendJSON(b []byte) ([]byte, error) {
	switch t.Datatype {
	case typeFP32:
		return appendFloats(b, t.Floats), nil
	case typeInt64:
		b = append(b, '[')
		for i, v := range t.Ints {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, v, 10)
		}
		return append(b, ']'), nil
	}
	list, err := marshal(t.Texts)
	return append(b, list...), err
}
