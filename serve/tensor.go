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

// tensor is an array of a request or an answer. Of its data one is filled in.
type tensor struct {
	name, datatype string
	shape          []int
	texts          []string
	ints           []int64
	floats         []float32
}

// badTensor is an error of a tensor, which a client finds by its name.
func badTensor(name, format string, args ...any) error {
	return invalid("tensor %q: %s", name, fmt.Sprintf(format, args...))
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
func (in *inputTensor) read(binaryPart []byte) (t tensor, rest []byte, err error) {
	t = tensor{name: in.Name, datatype: in.Datatype, shape: in.Shape}
	n, err := elements(in.Name, in.Shape)
	if err != nil {
		return t, nil, err
	}
	if _, ok := sizes[in.Datatype]; !ok && in.Datatype != typeBytes {
		return t, nil, badTensor(in.Name, "datatype %q, expected BYTES or one of whole numbers", in.Datatype)
	}
	switch {
	case in.Parameters.SharedMemory != nil:
		return t, nil, badTensor(in.Name, "shared memory is not supported")
	case in.Parameters.BinarySize == nil:
		err = t.readJSON(in.Data)
	default:
		size := *in.Parameters.BinarySize
		if size < 0 || size > len(binaryPart) {
			return t, nil, badTensor(in.Name, "binary_data_size %d, the body has %d more bytes", size, len(binaryPart))
		}
		err = t.readBinary(binaryPart[:size])
		binaryPart = binaryPart[size:]
	}
	if found := len(t.texts) + len(t.ints); err == nil && found != n {
		err = badTensor(in.Name, "%d elements, the shape %v has %d", found, in.Shape, n)
	}
	return t, binaryPart, err
}

func (t *tensor) readBinary(b []byte) error {
	if t.datatype != typeBytes {
		size := sizes[t.datatype]
		if len(b)%size != 0 {
			return badTensor(t.name, "%d bytes, expected a multiple of %d", len(b), size)
		}
		for ; len(b) > 0; b = b[size:] {
			t.ints = append(t.ints, wholeNumber(t.datatype, b))
		}
		return nil
	}
	for len(b) > 0 {
		if len(b) < 4 {
			return badTensor(t.name, "it ends within the length of element %d", len(t.texts))
		}
		n := binary.LittleEndian.Uint32(b)
		b = b[4:]
		if uint64(n) > uint64(len(b)) {
			return badTensor(t.name, "element %d has %d bytes, %d are left", len(t.texts), n, len(b))
		}
		t.texts = append(t.texts, string(b[:n]))
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
func (t *tensor) readJSON(data json.RawMessage) error {
	if len(data) == 0 {
		return badTensor(t.name, "it has no data")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			return badTensor(t.name, "%v", err)
		}
		bad := false
		switch v := token.(type) {
		case json.Delim:
			switch v {
			case '[':
				depth++
			case ']':
				depth--
			default:
				bad = true
			}
		case string:
			bad = t.datatype != typeBytes
			t.texts = append(t.texts, v)
		case json.Number:
			n, err := strconv.ParseInt(v.String(), 10, 64)
			bad = err != nil || t.datatype == typeBytes
			t.ints = append(t.ints, n)
		case bool:
			bad = t.datatype != "BOOL"
			n := int64(0)
			if v {
				n = 1
			}
			t.ints = append(t.ints, n)
		default:
			bad = true
		}
		if bad {
			return badTensor(t.name, "%v in the data, expected %s", token, t.datatype)
		}
		if depth == 0 {
			return nil
		}
	}
}

// appendBinary appends the data as the binary part of a body has it.
func (t *tensor) appendBinary(b []byte) []byte {
	for _, s := range t.texts {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	for _, v := range t.ints {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	for _, v := range t.floats {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// appendJSON appends the data as a flat list.
func (t *tensor) appendJSON(b []byte) ([]byte, error) {
	switch t.datatype {
	case typeFP32:
		return appendFloats(b, t.floats), nil
	case typeInt64:
		b = append(b, '[')
		for i, v := range t.ints {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, v, 10)
		}
		return append(b, ']'), nil
	}
	list, err := marshal(t.texts)
	return append(b, list...), err
}
