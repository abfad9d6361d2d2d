package autograd

import (
	"fmt"
	"unsafe"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/skive-ml/skive/internal/machine"
)

// array is a value for the arithmetic: a scalar (dims 0), a vector of rows elements, or
// a matrix.
type array struct {
	dims, rows, columns int
	f                   []float32
	i                   []int32
}

func (a array) String() string {
	name := func(n int) string {
		switch n {
		case nominalTokens:
			return "tokens"
		case nominalSequences:
			return "sequences"
		case nominalBoundaries:
			return "sequences+1"
		case nominalSelected:
			return "selected"
		}
		return fmt.Sprint(n)
	}
	switch a.dims {
	case 0:
		return "[]"
	case 1:
		return "[" + name(a.rows) + "]"
	}
	return "[" + name(a.rows) + " " + name(a.columns) + "]"
}

// row returns row i of a matrix.
func (a array) row(i int) []float32 { return a.f[i*a.columns:][:a.columns] }

// of returns the values of a matrix's rows [lo, hi).
func (a array) of(lo, hi int) []float32 { return a.f[lo*a.columns : hi*a.columns] }

// arrayOf returns a view of a value of a run.
func arrayOf(v G.Value) (array, error) {
	switch v := v.(type) {
	case *G.F32:
		return array{f: unsafe.Slice((*float32)(v), 1)}, nil
	case *tensor.Dense:
		a := arrayOfShape(v.Shape())
		switch v.Dtype() {
		case tensor.Float32:
			a.f = v.Float32s()
			return a, nil
		case tensor.Int32:
			a.i = v.Int32s()
			return a, nil
		}
	}
	return array{}, fmt.Errorf("unexpected value of type %T", v)
}

func arrayOfShape(s tensor.Shape) array {
	a := array{dims: len(s), rows: 1, columns: 1}
	if len(s) > 0 {
		a.rows = s[0]
	}
	if len(s) > 1 {
		a.columns = s[1]
	}
	return a
}

// buffer holds a value of a run. Its dense tensor keeps its address while its memory
// and shape are replaced.
type buffer struct {
	dense   *tensor.Dense
	scalar  *G.F32
	data    []float32
	dims    int
	rows    int
	columns int
}

func (b *buffer) value() G.Value {
	if b.scalar != nil {
		return b.scalar
	}
	return b.dense
}

// bind makes data the memory, as a matrix or, if columns is 0, a vector.
func (b *buffer) bind(data []float32, rows, columns int) {
	b.data, b.dims, b.rows, b.columns = data, 2, rows, columns
	shape := []int{rows, columns}
	if columns == 0 {
		b.dims, b.columns = 1, 1
		shape = shape[:1]
	}
	b.replace(tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data)))
}

func (b *buffer) bindInts(data []int32) {
	b.dims, b.rows, b.columns = 1, len(data), 1
	b.replace(tensor.New(tensor.WithShape(len(data)), tensor.WithBacking(data)))
}

func (b *buffer) replace(d *tensor.Dense) {
	if b.dense == nil {
		b.dense = d
		return
	}
	*b.dense = *d
}

// resize gives the buffer the shape of a and returns it. It reuses the memory if that
// is large enough. The contents are arbitrary.
func (b *buffer) resize(a array) array {
	if a.dims == 0 {
		if b.scalar == nil {
			b.scalar = G.NewF32(0)
			b.data = unsafe.Slice((*float32)(b.scalar), 1)
		}
		a.f = b.data
		return a
	}
	if b.dense == nil || b.dims != a.dims || b.rows != a.rows || b.columns != a.columns {
		columns := a.columns
		if a.dims == 1 {
			columns = 0
		}
		b.bind(grow(b.data, a.rows*a.columns), a.rows, columns)
	}
	a.f = b.data
	return a
}

// resizeIn is resize in memory that other buffers use at other times.
func (b *buffer) resizeIn(memory *[]float32, a array) array {
	if a.dims == 0 {
		return b.resize(a)
	}
	*memory = grow(*memory, a.rows*a.columns)
	if len(b.data) == 0 || &b.data[0] != &(*memory)[0] {
		b.data, b.rows = *memory, -1 // so far without a shape
	}
	return b.resize(a)
}

// grow returns s with length n. It reuses its memory if that is large enough, and
// leaves room for larger batches once batch sizes have varied.
func grow[E any](s []E, n int) []E {
	if cap(s) < n {
		room := 0
		if cap(s) > 0 {
			room = n / 4
		}
		s = make([]E, n, n+room)
		machine.HugePages(s[:n])
	}
	return s[:n]
}
