package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Versions that the graphs state. ONNX Runtime reads them since its version 1.13.
const (
	irVersion = 8
	opset     = 17
)

// elementType is TensorProto.DataType of onnx.proto.
type elementType int32

const (
	float32Type elementType = 1
	uint8Type   elementType = 2
	int8Type    elementType = 3
	int32Type   elementType = 6
	int64Type   elementType = 7
	boolType    elementType = 9 // only of results, never stored
	float16Type elementType = 10
)

// size returns the bytes of an element, or 0 for a type that this package does not use.
func (t elementType) size() int {
	switch t {
	case uint8Type, int8Type:
		return 1
	case float16Type:
		return 2
	case float32Type, int32Type:
		return 4
	case int64Type:
		return 8
	}
	return 0
}

func (t elementType) float() bool { return t == float32Type || t == float16Type }

// model is the part of a ModelProto that this package uses.
type model struct {
	ir       int64
	opset    int64
	producer [2]string // name and version
	doc      string
	metadata [][2]string
	graph    graph
}

type graph struct {
	name         string
	nodes        []node
	initializers []tensor
	inputs       []valueInfo
	outputs      []valueInfo
}

type node struct {
	op, name string
	inputs   []string
	outputs  []string
	ints     map[string][]int64 // attributes of type INT (one element) and INTS
	isList   map[string]bool    // which of them are INTS
	floats   map[string]float32
}

// tensor is a TensorProto with its data in raw_data or in another file.
type tensor struct {
	name  string
	typ   elementType
	shape []int
	data  []byte
	// Where the data are if not in data: length bytes from offset on, in the file location beside
	// the model.
	location       string
	offset, length int64
}

// elements returns the product of the shape. parse has checked that it does not overflow.
func (t *tensor) elements() int {
	n := 1
	for _, d := range t.shape {
		n *= d
	}
	return n
}

// valueInfo is an input or output. A dimension is a number or a name.
type valueInfo struct {
	name  string
	typ   elementType
	shape []any
}

// Field numbers and enumerators of onnx.proto.
const (
	attributeFloat = 1
	attributeInt   = 2
	attributeInts  = 7

	dataExternal = 1
)

func appendString(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendMessage(b []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), m)
}

func appendInt(b []byte, field protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v))
}

// marshal returns the bytes of the ModelProto.
func (m *model) marshal() []byte {
	var b []byte
	b = appendInt(b, 1, m.ir)
	b = appendString(b, 2, m.producer[0])
	b = appendString(b, 3, m.producer[1])
	b = appendString(b, 6, m.doc)
	b = protowire.AppendTag(b, 7, protowire.BytesType)
	size := m.graph.size()
	b = append(make([]byte, 0, len(b)+size+1<<14), b...)
	b = protowire.AppendVarint(b, uint64(size))
	b = m.graph.append(b)
	b = appendMessage(b, 8, appendInt(appendString(nil, 1, ""), 2, m.opset))
	for _, p := range m.metadata {
		b = appendMessage(b, 14, appendString(appendString(nil, 1, p[0]), 2, p[1]))
	}
	return b
}

// size returns the length of the message without building the tensors.
func (g *graph) size() int {
	bare := *g
	bare.initializers = nil
	n := len(bare.append(nil))
	for i := range g.initializers {
		t := &g.initializers[i]
		n += protowire.SizeTag(5) + protowire.SizeBytes(t.size())
	}
	return n
}

func (g *graph) append(b []byte) []byte {
	for _, n := range g.nodes {
		b = appendMessage(b, 1, n.marshal())
	}
	b = appendString(b, 2, g.name)
	for i := range g.initializers {
		t := &g.initializers[i]
		b = protowire.AppendTag(b, 5, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(t.size()))
		b = t.append(b)
	}
	for _, v := range g.inputs {
		b = appendMessage(b, 11, v.marshal())
	}
	for _, v := range g.outputs {
		b = appendMessage(b, 12, v.marshal())
	}
	return b
}

func (n *node) marshal() []byte {
	var b []byte
	for _, s := range n.inputs {
		b = appendString(b, 1, s)
	}
	for _, s := range n.outputs {
		b = appendString(b, 2, s)
	}
	b = appendString(b, 3, n.name)
	b = appendString(b, 4, n.op)
	for _, name := range sortedKeys(n.ints) {
		a := appendString(nil, 1, name)
		if n.isList[name] {
			for _, v := range n.ints[name] {
				a = appendInt(a, 8, v)
			}
			a = appendInt(a, 20, attributeInts)
		} else {
			a = appendInt(a, 3, n.ints[name][0])
			a = appendInt(a, 20, attributeInt)
		}
		b = appendMessage(b, 5, a)
	}
	for _, name := range sortedKeys(n.floats) {
		a := appendString(nil, 1, name)
		a = protowire.AppendFixed32(protowire.AppendTag(a, 2, protowire.Fixed32Type), math.Float32bits(n.floats[name]))
		b = appendMessage(b, 5, appendInt(a, 20, attributeFloat))
	}
	return b
}

// head returns the message up to the data.
func (t *tensor) head() []byte {
	var b []byte
	for _, d := range t.shape {
		b = appendInt(b, 1, int64(d))
	}
	b = appendInt(b, 2, int64(t.typ))
	b = appendString(b, 8, t.name)
	if t.location == "" {
		return b
	}
	for _, e := range [][2]string{
		{"location", t.location}, {"offset", fmt.Sprint(t.offset)}, {"length", fmt.Sprint(t.length)},
	} {
		b = appendMessage(b, 13, appendString(appendString(nil, 1, e[0]), 2, e[1]))
	}
	return appendInt(b, 14, dataExternal)
}

func (t *tensor) size() int {
	n := len(t.head())
	if t.location == "" {
		n += protowire.SizeTag(9) + protowire.SizeBytes(len(t.data))
	}
	return n
}

func (t *tensor) append(b []byte) []byte {
	b = append(b, t.head()...)
	if t.location == "" {
		b = appendMessage(b, 9, t.data)
	}
	return b
}

func (v *valueInfo) marshal() []byte {
	var shape []byte
	for _, d := range v.shape {
		var dim []byte
		switch d := d.(type) {
		case int:
			dim = appendInt(nil, 1, int64(d))
		case string:
			dim = appendString(nil, 2, d)
		}
		shape = appendMessage(shape, 1, dim)
	}
	t := appendMessage(appendInt(nil, 1, int64(v.typ)), 2, shape)
	return appendMessage(appendString(nil, 1, v.name), 2, appendMessage(nil, 1, t))
}

// Reading.

// errProto is returned for bytes that are not an ONNX model.
var errProto = errors.New("not an ONNX model")

// fields calls visit for each field of a message. value is the content of a length-delimited
// field, number the value of any other.
func fields(b []byte, visit func(field protowire.Number, typ protowire.Type, number uint64, value []byte) error) error {
	for len(b) > 0 {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %v", errProto, protowire.ParseError(n))
		}
		b = b[n:]
		var number uint64
		var value []byte
		switch typ {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			number = uint64(v)
		case protowire.Fixed64Type:
			number, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
		default:
			return fmt.Errorf("%w: wire type %d", errProto, typ)
		}
		if n < 0 {
			return fmt.Errorf("%w: field %d: %v", errProto, field, protowire.ParseError(n))
		}
		b = b[n:]
		if err := visit(field, typ, number, value); err != nil {
			return err
		}
	}
	return nil
}

// parse reads a ModelProto. The data of its tensors are views of b. Fields that this package does
// not use are skipped.
func parse(b []byte) (*model, error) {
	m := &model{}
	err := fields(b, func(field protowire.Number, _ protowire.Type, number uint64, value []byte) error {
		switch field {
		case 1:
			m.ir = int64(number)
		case 2:
			m.producer[0] = string(value)
		case 3:
			m.producer[1] = string(value)
		case 6:
			m.doc = string(value)
		case 7:
			return m.graph.parse(value)
		case 8:
			domain, version := "", int64(0)
			err := fields(value, func(field protowire.Number, _ protowire.Type, number uint64, value []byte) error {
				switch field {
				case 1:
					domain = string(value)
				case 2:
					version = int64(number)
				}
				return nil
			})
			if domain != "" {
				return fmt.Errorf("operators of the domain %q are not known", domain)
			}
			m.opset = version
			return err
		case 14:
			var p [2]string
			err := fields(value, func(field protowire.Number, _ protowire.Type, _ uint64, value []byte) error {
				if field == 1 || field == 2 {
					p[field-1] = string(value)
				}
				return nil
			})
			m.metadata = append(m.metadata, p)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if m.ir != irVersion || m.opset != opset {
		return nil, fmt.Errorf("IR version %d and opset %d, expected %d and %d", m.ir, m.opset, irVersion, opset)
	}
	return m, nil
}

func (g *graph) parse(b []byte) error {
	return fields(b, func(field protowire.Number, _ protowire.Type, _ uint64, value []byte) error {
		switch field {
		case 1:
			n, err := parseNode(value)
			g.nodes = append(g.nodes, n)
			return err
		case 2:
			g.name = string(value)
		case 5:
			t, err := parseTensor(value)
			g.initializers = append(g.initializers, t)
			return err
		case 11, 12:
			v, err := parseValueInfo(value)
			if field == 11 {
				g.inputs = append(g.inputs, v)
			} else {
				g.outputs = append(g.outputs, v)
			}
			return err
		}
		return nil
	})
}

func parseNode(b []byte) (node, error) {
	n := node{ints: map[string][]int64{}, isList: map[string]bool{}, floats: map[string]float32{}}
	err := fields(b, func(field protowire.Number, _ protowire.Type, _ uint64, value []byte) error {
		switch field {
		case 1:
			n.inputs = append(n.inputs, string(value))
		case 2:
			n.outputs = append(n.outputs, string(value))
		case 3:
			n.name = string(value)
		case 4:
			n.op = string(value)
		case 5:
			return n.parseAttribute(value)
		case 7:
			if len(value) > 0 {
				return fmt.Errorf("node %s: operators of the domain %q are not known", n.name, value)
			}
		}
		return nil
	})
	return n, err
}

func (n *node) parseAttribute(b []byte) error {
	var name string
	var typ uint64
	var ints []int64
	var f float32
	err := fields(b, func(field protowire.Number, wire protowire.Type, number uint64, value []byte) error {
		switch field {
		case 1:
			name = string(value)
		case 2:
			f = math.Float32frombits(uint32(number))
		case 3:
			ints = []int64{int64(number)}
		case 8:
			return eachInt(wire, number, value, func(v int64) { ints = append(ints, v) })
		case 20:
			typ = number
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case typ == attributeFloat:
		n.floats[name] = f
	case typ == attributeInt && len(ints) == 1, typ == attributeInts:
		n.ints[name], n.isList[name] = ints, typ == attributeInts
	default:
		return fmt.Errorf("node %s: attribute %s has an unknown type", n.name, name)
	}
	return nil
}

// eachInt visits the numbers of a repeated integer field, packed or not.
func eachInt(wire protowire.Type, number uint64, packed []byte, visit func(int64)) error {
	if wire != protowire.BytesType {
		visit(int64(number))
		return nil
	}
	for len(packed) > 0 {
		v, n := protowire.ConsumeVarint(packed)
		if n < 0 {
			return fmt.Errorf("%w: %v", errProto, protowire.ParseError(n))
		}
		visit(int64(v))
		packed = packed[n:]
	}
	return nil
}

// maxElements is the largest number of elements of a tensor, in a file or as a result.
const maxElements = 1 << 31

func parseTensor(b []byte) (tensor, error) {
	var t tensor
	external := false
	elements := int64(1)
	err := fields(b, func(field protowire.Number, wire protowire.Type, number uint64, value []byte) error {
		switch field {
		case 1:
			bad := false
			err := eachInt(wire, number, value, func(d int64) {
				if bad = bad || d < 0 || d > maxElements || len(t.shape) == 8; bad {
					return
				}
				if elements *= d; elements > maxElements {
					bad = true
				}
				t.shape = append(t.shape, int(d))
			})
			if bad {
				return fmt.Errorf("tensor %s: impossible shape", t.name)
			}
			return err
		case 2:
			t.typ = elementType(number)
		case 8:
			t.name = string(value)
		case 9:
			t.data = value
		case 13:
			return t.parseExternal(value)
		case 14:
			external = number == dataExternal
		}
		return nil
	})
	size := int64(t.typ.size()) * elements
	switch {
	case err != nil:
		return t, err
	case t.typ.size() == 0:
		return t, fmt.Errorf("tensor %s: element type %d is not known", t.name, t.typ)
	case external && (t.location == "" || t.offset < 0 || t.length != size):
		return t, fmt.Errorf("tensor %s: external data: %d bytes at %d of %q, expected %d", t.name, t.length, t.offset, t.location, size)
	case !external && (t.location != "" || int64(len(t.data)) != size):
		return t, fmt.Errorf("tensor %s: %d bytes of data, expected %d", t.name, len(t.data), size)
	}
	return t, nil
}

func (t *tensor) parseExternal(b []byte) error {
	var e [2]string
	err := fields(b, func(field protowire.Number, _ protowire.Type, _ uint64, value []byte) error {
		if field == 1 || field == 2 {
			e[field-1] = string(value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch e[0] {
	case "location":
		t.location = e[1]
	case "offset":
		_, err = fmt.Sscan(e[1], &t.offset)
	case "length":
		_, err = fmt.Sscan(e[1], &t.length)
	}
	if err != nil {
		return fmt.Errorf("tensor %s: external data: %s %q is not a number", t.name, e[0], e[1])
	}
	return nil
}

func parseValueInfo(b []byte) (valueInfo, error) {
	var v valueInfo
	err := fields(b, func(field protowire.Number, _ protowire.Type, _ uint64, value []byte) error {
		if field == 1 {
			v.name = string(value)
		}
		if field != 2 {
			return nil
		}
		return fields(value, func(field protowire.Number, _ protowire.Type, _ uint64, value []byte) error {
			if field != 1 {
				return nil
			}
			return fields(value, func(field protowire.Number, _ protowire.Type, number uint64, value []byte) error {
				switch field {
				case 1:
					v.typ = elementType(number)
				case 2:
					return fields(value, func(field protowire.Number, _ protowire.Type, _ uint64, value []byte) error {
						var d any
						err := fields(value, func(field protowire.Number, _ protowire.Type, number uint64, value []byte) error {
							switch field {
							case 1:
								d = int(number)
							case 2:
								d = string(value)
							}
							return nil
						})
						v.shape = append(v.shape, d)
						return err
					})
				}
				return nil
			})
		})
	})
	return v, err
}

// Elements of tensors, little-endian as in raw_data.

func int64Data(v ...int64) []byte {
	b := make([]byte, 0, 8*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, uint64(x))
	}
	return b
}
