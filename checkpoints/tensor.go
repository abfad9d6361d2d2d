package checkpoints

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/skive-ml/skive/internal/machine"
)

// String returns the type's name in flags and reports: "f32", "fp16", "bf16" or "int8".
func (d DType) String() string {
	switch d {
	case F32:
		return "f32"
	case F16:
		return "fp16"
	case BF16:
		return "bf16"
	case I8:
		return "int8"
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// code returns the type's name in a container: "f32", "f16", "bf16" or "i8".
func (d DType) code() string {
	switch d {
	case F16:
		return "f16"
	case I8:
		return "i8"
	}
	return d.String()
}

// dtypeOf is the inverse of code.
func dtypeOf(code string) (DType, bool) {
	for d := F32; d.Size() > 0; d++ {
		if d.code() == code {
			return d, true
		}
	}
	return 0, false
}

// Size returns the size of one element in bytes, 0 for an unknown type.
func (d DType) Size() int {
	switch d {
	case F32:
		return 4
	case F16, BF16:
		return 2
	case I8:
		return 1
	}
	return 0
}

// ParseDType is the inverse of DType.String. It also takes the names "f16",
// "i8", "float32", "float16" and "bfloat16".
func ParseDType(s string) (DType, error) {
	switch s {
	case "f32", "fp32", "float32":
		return F32, nil
	case "f16", "fp16", "float16":
		return F16, nil
	case "bf16", "bfloat16":
		return BF16, nil
	case "i8", "int8":
		return I8, nil
	}
	return 0, fmt.Errorf("element type %q: %w", s, ErrUnsupported)
}

// littleEndian says whether numbers have the same byte order in memory as in files.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// NewTensor returns an F32 tensor of the given shape. It shares memory with data, which
// must have as many elements.
func NewTensor(shape []int, data []float32) Tensor {
	return Tensor{DType: F32, Shape: slices.Clone(shape), Data: float32Bytes(data)}
}

// Elements returns the number of elements: the product of the shape.
func (t Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Float32s returns the elements as float32 numbers in row-major order. For an F32
// tensor whose Data is aligned to 4 bytes, the result is a view of Data and must not be
// written to if Data must not. In all other cases it is a copy. F16 and BF16 are
// widened exactly. I8 gives the quantized values; Model.Float32s applies the scales.
func (t Tensor) Float32s() []float32 {
	switch t.DType {
	case F32:
		if v, ok := float32View(t.Data); ok {
			return v
		}
		out := make([]float32, len(t.Data)/4)
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		}
		return out
	case F16:
		out := make([]float32, len(t.Data)/2)
		for i := range out {
			out[i] = halfToFloat(binary.LittleEndian.Uint16(t.Data[2*i:]))
		}
		return out
	case BF16:
		out := make([]float32, len(t.Data)/2)
		for i := range out {
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(t.Data[2*i:])) << 16)
		}
		return out
	case I8:
		out := make([]float32, len(t.Data))
		for i, b := range t.Data {
			out[i] = float32(int8(b))
		}
		return out
	}
	return nil
}

// Int8s returns the elements of an I8 tensor as a view of Data, and nil for other
// types.
func (t Tensor) Int8s() []int8 {
	if t.DType != I8 || len(t.Data) == 0 {
		return nil
	}
	return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(t.Data))), len(t.Data))
}

// Convert returns the tensor in another float type, rounded to nearest even. A value
// too large for F16 is an error. So is conversion to or from I8, which needs scales. If
// the tensor already has the type, it is returned as it is.
func (t Tensor) Convert(to DType) (Tensor, error) {
	if t.DType == to {
		return t, nil
	}
	if t.DType == I8 || to == I8 || to.Size() == 0 {
		return Tensor{}, fmt.Errorf("conversion from %v to %v: %w", t.DType, to, ErrUnsupported)
	}
	values := t.Float32s()
	out := Tensor{DType: to, Shape: slices.Clone(t.Shape), Data: alignedBytes(len(values) * to.Size())}
	switch to {
	case F32:
		copy(out.Data, float32Bytes(values))
	case F16:
		for i, v := range values {
			h := floatToHalf(v)
			if h&0x7fff == 0x7c00 && !math.IsInf(float64(v), 0) {
				return Tensor{}, fmt.Errorf("value %g is too large for f16", v)
			}
			binary.LittleEndian.PutUint16(out.Data[2*i:], h)
		}
	case BF16:
		for i, v := range values {
			binary.LittleEndian.PutUint16(out.Data[2*i:], floatToBFloat(v))
		}
	}
	return out, nil
}

// check reports a tensor whose data do not match its shape and type.
func (t Tensor) check() error {
	size := int64(t.DType.Size())
	if size == 0 {
		return fmt.Errorf("unknown element type %d", uint8(t.DType))
	}
	want, err := byteSize(t.DType, t.Shape)
	if err != nil {
		return err
	}
	if want != int64(len(t.Data)) {
		return fmt.Errorf("%d bytes of data, %v of shape %v has %d", len(t.Data), t.DType, t.Shape, want)
	}
	return nil
}

// byteSize returns the size of a tensor's data. A shape with negative dimensions, or
// one that does not fit the address space, is an error.
func byteSize(d DType, shape []int) (int64, error) {
	n := int64(d.Size())
	for _, s := range shape {
		if s < 0 || s > 0 && n > math.MaxInt/int64(s) {
			return 0, fmt.Errorf("impossible shape %v", shape)
		}
		n *= int64(s)
	}
	return n, nil
}

// finite reports whether all elements are finite.
func (t Tensor) finite() bool {
	d := t.Data
	switch t.DType {
	case F32:
		return finite(d, 0x7f800000_7f800000, 0x00800000_00800000, 0x80000000_80000000)
	case F16:
		return finite(d, 0x7c007c00_7c007c00, 0x04000400_04000400, 0x80008000_80008000)
	case BF16:
		return finite(d, 0x7f807f80_7f807f80, 0x00800080_00800080, 0x80008000_80008000)
	}
	return true
}

// finite looks at eight bytes at once. Infinity and NaN have an exponent of all ones.
// If everything but the exponent is cleared, this is the only exponent whose increment
// carries into the sign bit.
func finite(d []byte, exponent, one, sign uint64) bool {
	var bad uint64
	for ; len(d) >= 32; d = d[32:] {
		bad |= binary.LittleEndian.Uint64(d)&exponent + one
		bad |= binary.LittleEndian.Uint64(d[8:])&exponent + one
		bad |= binary.LittleEndian.Uint64(d[16:])&exponent + one
		bad |= binary.LittleEndian.Uint64(d[24:])&exponent + one
	}
	var tail [32]byte
	copy(tail[:], d)
	for i := 0; i < len(tail); i += 8 {
		bad |= binary.LittleEndian.Uint64(tail[i:])&exponent + one
	}
	return bad&sign == 0
}

// alignedBytes returns n zero bytes that start on a 64-byte boundary.
func alignedBytes(n int) []byte {
	b := make([]byte, n+63)
	machine.HugePages(b)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & 63)
	return b[skip : skip+n : skip+n]
}

// alignedFloat32s returns n zeros that start on a 64-byte boundary.
func alignedFloat32s(n int) []float32 {
	f := make([]float32, n+15)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(f)))&63) / 4
	return f[skip : skip+n : skip+n]
}

// float32View reinterprets little-endian bytes, if this machine can read them in place.
func float32View(b []byte) ([]float32, bool) {
	if len(b) == 0 {
		return nil, true
	}
	p := unsafe.Pointer(unsafe.SliceData(b))
	if !littleEndian || uintptr(p)%4 != 0 {
		return nil, false
	}
	return unsafe.Slice((*float32)(p), len(b)/4), true
}

// float32Bytes returns v as little-endian bytes, in place on a little-endian machine.
func float32Bytes(v []float32) []byte {
	if len(v) == 0 {
		return nil
	}
	if littleEndian {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
	}
	b := alignedBytes(4 * len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
	}
	return b
}

func halfToFloat(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h>>10) & 0x1f
	frac := uint32(h & 0x3ff)
	switch exp {
	case 0:
		f := float32(frac) * 0x1p-24
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

func floatToHalf(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b>>16) & 0x8000
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000: // NaN stays NaN
		return sign | 0x7e00
	case b >= 0x477ff000: // rounds beyond 65504
		return sign | 0x7c00
	case b < 0x38800000: // subnormal: adding 1/2 aligns and rounds
		sum := math.Float32bits(math.Float32frombits(b) + 0.5)
		return sign | uint16(sum-0x3f000000)
	}
	b += 0xfff + b>>13&1
	return sign | uint16((b-0x38000000)>>13)
}

func floatToBFloat(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
