package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/exact"
)

// value is a tensor while a graph runs. Integers are float64, too: all that occur are far below
// 2^53.
type value struct {
	typ   elementType
	shape []int
	v     []float64
}

// interpreter runs graphs exactly as ONNX defines the operators: one loop for each operator, sums
// in float64, and each result rounded to its type. It shares no code with the engine.
type interpreter struct {
	m *model
	// external returns the data of a tensor that are not in the graph.
	external func(t *tensor) ([]byte, error)
	// unrounded leaves out the rounding and the limits of activations in DynamicQuantizeLinear
	// and QuantizeLinear. Without that noise an int8 graph can be compared closely.
	unrounded bool
	// limit is the largest number of elements of a result.
	limit int

	values map[string]*value
}

// run computes the outputs of the graph and returns them by name.
func (in *interpreter) run(inputs map[string]*value) (outputs map[string]*value, err error) {
	at := "inputs"
	// A graph may contain anything. What does not fit panics, and becomes an error here.
	defer func() {
		if r := recover(); r != nil {
			outputs, err = nil, fmt.Errorf("%s: %v", at, r)
		}
	}()
	in.values = map[string]*value{}
	tensors := map[string]*tensor{}
	for i := range in.m.graph.initializers {
		tensors[in.m.graph.initializers[i].name] = &in.m.graph.initializers[i]
	}
	for _, v := range in.m.graph.inputs {
		x, ok := inputs[v.name]
		if !ok || x.typ != v.typ || len(x.shape) != len(v.shape) {
			return nil, fmt.Errorf("input %s: not given, or of another type or rank than declared", v.name)
		}
		in.values[v.name] = x
	}
	// uses counts the uses of a value that are still to come.
	uses := map[string]int{}
	for _, n := range in.m.graph.nodes {
		for _, name := range n.inputs {
			uses[name]++
		}
	}
	for _, v := range in.m.graph.outputs {
		uses[v.name]++
	}
	for i := range in.m.graph.nodes {
		n := &in.m.graph.nodes[i]
		at = "node " + n.name
		args := make([]*value, len(n.inputs))
		for j, name := range n.inputs {
			if v, ok := in.values[name]; ok {
				args[j] = v
			} else if t, ok := tensors[name]; ok {
				if args[j], err = in.decode(t); err != nil {
					return nil, fmt.Errorf("%s: %w", at, err)
				}
			} else {
				return nil, fmt.Errorf("%s: its input %q comes from nowhere", at, name)
			}
		}
		results, err := in.apply(n, args)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		if len(n.outputs) > len(results) {
			return nil, fmt.Errorf("%s: %d outputs, %s has %d", at, len(n.outputs), n.op, len(results))
		}
		for j, name := range n.outputs {
			in.values[name] = results[j]
		}
		for _, name := range n.inputs {
			if uses[name]--; uses[name] == 0 {
				delete(in.values, name)
			}
		}
	}
	outputs = map[string]*value{}
	for _, v := range in.m.graph.outputs {
		x, ok := in.values[v.name]
		if !ok || x.typ != v.typ || len(x.shape) != len(v.shape) {
			return nil, fmt.Errorf("output %s: not computed, or of another type or rank than declared", v.name)
		}
		outputs[v.name] = x
	}
	return outputs, nil
}

func (in *interpreter) decode(t *tensor) (*value, error) {
	data := t.data
	if t.location != "" {
		var err error
		if data, err = in.external(t); err != nil {
			return nil, err
		}
	}
	if len(data) != t.elements()*t.typ.size() {
		return nil, fmt.Errorf("tensor %s: %d bytes of data", t.name, len(data))
	}
	r := in.make(t.typ, t.shape)
	switch t.typ {
	case float32Type:
		for i := range r.v {
			r.v[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])))
		}
	case float16Type:
		for i, v := range (checkpoints.Tensor{DType: checkpoints.F16, Data: data}).Float32s() {
			r.v[i] = float64(v)
		}
	case int8Type:
		for i := range r.v {
			r.v[i] = float64(int8(data[i]))
		}
	case uint8Type:
		for i := range r.v {
			r.v[i] = float64(data[i])
		}
	case int32Type:
		for i := range r.v {
			r.v[i] = float64(int32(binary.LittleEndian.Uint32(data[4*i:])))
		}
	case int64Type:
		for i := range r.v {
			r.v[i] = float64(int64(binary.LittleEndian.Uint64(data[8*i:])))
		}
	}
	return r, nil
}

// make returns zeros. It panics if there are too many, which run turns into an error.
func (in *interpreter) make(typ elementType, shape []int) *value {
	n := 1
	for _, d := range shape {
		need(d >= 0 && (d == 0 || n <= in.limit/d), "a result of shape %v is too large", shape)
		n *= d
	}
	return &value{typ, slices.Clone(shape), make([]float64, n)}
}

// need panics where a graph does not fit. run turns that into an error.
func need(ok bool, format string, args ...any) {
	if !ok {
		panic(fmt.Sprintf(format, args...))
	}
}

// round rounds to a number of the type.
func (t elementType) round(x float64) float64 {
	switch t {
	case float32Type:
		return float64(float32(x))
	case float16Type:
		return roundHalf(x)
	}
	return x
}

// roundHalf rounds to half precision, to nearest even.
func roundHalf(x float64) float64 {
	a := math.Abs(x)
	switch {
	case a >= 65520:
		return math.Copysign(math.Inf(1), x)
	case !(a > 0): // 0 and NaN
		return x
	}
	_, e := math.Frexp(a) // a is below 2^e
	ulp := math.Ldexp(1, max(e, -13)-11)
	return math.RoundToEven(x/ulp) * ulp
}

var errOperator = errors.New("the operator is not known")

// apply runs a node. It is long because it is a table: a line or two for each
// operator.
func (in *interpreter) apply(n *node, x []*value) ([]*value, error) {
	least := map[string]int{
		"LayerNormalization": 3, "MatMulInteger": 4, "Slice": 5, "Gather": 2, "GatherElements": 2, "Unsqueeze": 2, "Reshape": 2, "MatMul": 2,
		"ReduceSum": 2, "Add": 2, "Sub": 2, "Mul": 2, "Div": 2, "Max": 2, "Pow": 2,
		"Equal": 2, "CumSum": 2, "QuantizeLinear": 3, "DequantizeLinear": 3,
	}
	need(len(x) == max(least[n.op], 1), "%d inputs", len(x))
	one := func(v *value) ([]*value, error) { return []*value{v}, nil }
	switch n.op {
	case "Add":
		return one(in.broadcast(x[0], x[1], func(a, b float64) float64 { return a + b }))
	case "Sub":
		return one(in.broadcast(x[0], x[1], func(a, b float64) float64 { return a - b }))
	case "Mul":
		return one(in.broadcast(x[0], x[1], func(a, b float64) float64 { return a * b }))
	case "Div":
		return one(in.broadcast(x[0], x[1], func(a, b float64) float64 { return a / b }))
	case "Max":
		return one(in.broadcast(x[0], x[1], math.Max))
	case "Pow":
		return one(in.broadcast(x[0], x[1], math.Pow))
	case "Erf":
		return one(in.each(x[0], math.Erf))
	case "Tanh":
		return one(in.each(x[0], math.Tanh))
	case "Sigmoid":
		return one(in.each(x[0], func(a float64) float64 { return 1 / (1 + exact.Exp(-a)) }))
	case "Sqrt":
		return one(in.each(x[0], math.Sqrt))
	case "Relu":
		return one(in.each(x[0], func(a float64) float64 { return math.Max(a, 0) }))
	case "Equal":
		y := in.broadcast(x[0], x[1], func(a, b float64) float64 { return truth(a == b) })
		y.typ = boolType
		return one(y)
	case "Not":
		need(x[0].typ == boolType, "of another type than bool")
		return one(in.each(x[0], func(a float64) float64 { return truth(a == 0) }))
	case "CumSum":
		return one(in.cumsum(x[0], x[1]))
	case "Cast":
		to := elementType(n.attribute("to", 0))
		need(to.float() || !x[0].typ.float() && to == int64Type, "a cast from type %d to %d", x[0].typ, to)
		y := &value{to, x[0].shape, x[0].v}
		return one(in.each(y, func(a float64) float64 { return a }))
	case "Shape":
		y := in.make(int64Type, []int{len(x[0].shape)})
		for i, d := range x[0].shape {
			y.v[i] = float64(d)
		}
		return one(y)
	case "Gather":
		return one(in.gather(x[0], x[1], n.attribute("axis", 0)))
	case "GatherElements":
		return one(in.gatherElements(x[0], x[1], n.attribute("axis", 0)))
	case "Slice":
		return one(in.slice(x[0], x[1], x[2], x[3], x[4]))
	case "Unsqueeze":
		return one(unsqueeze(x[0], x[1]))
	case "Reshape":
		return one(reshape(x[0], x[1]))
	case "Transpose":
		return one(in.transpose(x[0], n.ints["perm"]))
	case "MatMul":
		return one(in.matmul(x[0], x[1], x[0].typ, 0, 0))
	case "MatMulInteger":
		need(len(x[2].v) == 1 && len(x[3].v) == 1, "zero points of more than one element")
		return one(in.matmul(x[0], x[1], int32Type, x[2].v[0], x[3].v[0]))
	case "Softmax":
		need(n.attribute("axis", -1) == -1, "another axis than the last")
		return one(in.rows(x[0], softmax))
	case "LayerNormalization":
		need(n.attribute("axis", -1) == -1, "another axis than the last")
		return one(in.layerNorm(x[0], x[1], x[2], float64(n.floats["epsilon"])))
	case "ReduceSum":
		need(len(x[1].v) == 1, "more than one axis")
		return one(in.reduce(x[0], int(x[1].v[0]), n.attribute("keepdims", 1) != 0, 0, func(a, b float64) float64 { return a + b }))
	case "ReduceMax":
		need(len(n.ints["axes"]) == 1, "not one axis")
		return one(in.reduce(x[0], int(n.ints["axes"][0]), n.attribute("keepdims", 1) != 0, math.Inf(-1), math.Max))
	case "DynamicQuantizeLinear":
		return in.quantize(x[0]), nil
	case "QuantizeLinear":
		need(x[0].typ == float32Type && len(x[1].v) == 1 && len(x[2].v) == 1 && x[2].typ == uint8Type, "not of float32 to uint8 with one scale")
		y := &value{uint8Type, x[0].shape, x[0].v}
		return one(in.each(y, func(v float64) float64 { return in.step(v, x[1].v[0], x[2].v[0]) }))
	case "DequantizeLinear":
		return one(in.dequantize(x[0], x[1], x[2], n.attribute("axis", 1)))
	}
	return nil, fmt.Errorf("%w: %s", errOperator, n.op)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (n *node) attribute(name string, otherwise int) int {
	if v, ok := n.ints[name]; ok && len(v) == 1 {
		return int(v[0])
	}
	return otherwise
}

func (in *interpreter) each(x *value, f func(float64) float64) *value {
	y := in.make(x.typ, x.shape)
	for i, v := range x.v {
		y.v[i] = x.typ.round(f(v))
	}
	return y
}

// rows applies f to each row of the last dimension.
func (in *interpreter) rows(x *value, f func(y, x []float64)) *value {
	y := in.make(x.typ, x.shape)
	need(len(x.shape) > 0, "a scalar")
	width := x.shape[len(x.shape)-1]
	for i := 0; i < len(x.v); i += width {
		f(y.v[i:i+width], x.v[i:i+width])
		for j := i; j < i+width; j++ {
			y.v[j] = x.typ.round(y.v[j])
		}
	}
	return y
}

func softmax(y, x []float64) {
	top := slices.Max(x)
	var sum float64
	for i, v := range x {
		y[i] = exact.Exp(v - top)
		sum += y[i]
	}
	for i := range y {
		y[i] /= sum
	}
}

func (in *interpreter) layerNorm(x, gamma, beta *value, epsilon float64) *value {
	width := len(gamma.v)
	need(len(x.shape) > 0 && x.shape[len(x.shape)-1] == width && len(beta.v) == width, "scale and bias do not fit the input")
	return in.rows(x, func(y, x []float64) {
		var mean, variance float64
		for _, v := range x {
			mean += v / float64(width)
		}
		for _, v := range x {
			variance += (v - mean) * (v - mean) / float64(width)
		}
		for i, v := range x {
			y[i] = float64((v-mean)/math.Sqrt(variance+epsilon)*gamma.v[i]) + beta.v[i]
		}
	})
}

// broadcast applies f element by element, with NumPy's broadcasting.
func (in *interpreter) broadcast(a, b *value, f func(a, b float64) float64) *value {
	need(a.typ == b.typ, "operands of types %d and %d", a.typ, b.typ)
	rank := max(len(a.shape), len(b.shape))
	shape := make([]int, rank)
	strideA, strideB := make([]int, rank), make([]int, rank)
	stepA, stepB := 1, 1
	for i := rank - 1; i >= 0; i-- {
		da, db := 1, 1
		if j := i - rank + len(a.shape); j >= 0 {
			da = a.shape[j]
		}
		if j := i - rank + len(b.shape); j >= 0 {
			db = b.shape[j]
		}
		need(da == db || da == 1 || db == 1, "shapes %v and %v do not fit", a.shape, b.shape)
		shape[i] = da
		if da == 1 {
			shape[i] = db
		} else {
			strideA[i] = stepA
		}
		if db != 1 {
			strideB[i] = stepB
		}
		stepA, stepB = stepA*da, stepB*db
	}
	y := in.make(a.typ, shape)
	index := make([]int, rank)
	ia, ib := 0, 0
	for i := range y.v {
		y.v[i] = y.typ.round(f(a.v[ia], b.v[ib]))
		for d := rank - 1; d >= 0; d-- {
			ia, ib = ia+strideA[d], ib+strideB[d]
			if index[d]++; index[d] < shape[d] {
				break
			}
			ia, ib = ia-shape[d]*strideA[d], ib-shape[d]*strideB[d]
			index[d] = 0
		}
	}
	return y
}

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

func (in *interpreter) gather(x, ids *value, axis int) *value {
	need(axis >= 0 && axis < len(x.shape) && ids.typ == int64Type, "axis %d of shape %v", axis, x.shape)
	outer, rows, width := product(x.shape[:axis]), x.shape[axis], product(x.shape[axis+1:])
	y := in.make(x.typ, slices.Concat(x.shape[:axis], ids.shape, x.shape[axis+1:]))
	at := 0
	for o := range outer {
		for _, id := range ids.v {
			i := int(id)
			if i < 0 {
				i += rows
			}
			need(i >= 0 && i < rows, "index %d of %d", int(id), rows)
			at += copy(y.v[at:], x.v[(o*rows+i)*width:][:width])
		}
	}
	return y
}

// gatherElements computes GatherElements along the last axis.
func (in *interpreter) gatherElements(x, ids *value, axis int) *value {
	last := len(x.shape) - 1
	need(last >= 0 && axis == last && len(ids.shape) == last+1 && slices.Equal(x.shape[:last], ids.shape[:last]) && ids.typ == int64Type, "axis %d of shapes %v and %v", axis, x.shape, ids.shape)
	from, to := x.shape[last], ids.shape[last]
	y := in.make(x.typ, ids.shape)
	for i, id := range ids.v {
		need(id >= 0 && int(id) < from, "index %g of %d", id, from)
		y.v[i] = x.v[i/to*from+int(id)]
	}
	return y
}

// slice computes Slice along one axis with step 1.
func (in *interpreter) slice(x, starts, ends, axes, steps *value) *value {
	for _, p := range []*value{starts, ends, axes, steps} {
		need(len(p.v) == 1 && p.typ == int64Type, "more than one axis")
	}
	axis := int(axes.v[0])
	need(axis >= 0 && axis < len(x.shape) && steps.v[0] == 1 && starts.v[0] == 0 && ends.v[0] >= 0, "axis %d, start %g, end %g, step %g", axis, starts.v[0], ends.v[0], steps.v[0])
	n := int(min(ends.v[0], float64(x.shape[axis])))
	shape := slices.Clone(x.shape)
	shape[axis] = n
	y := in.make(x.typ, shape)
	width := product(x.shape[axis+1:])
	for o := range product(x.shape[:axis]) {
		copy(y.v[o*n*width:(o+1)*n*width], x.v[o*x.shape[axis]*width:])
	}
	return y
}

func unsqueeze(x, axes *value) *value {
	shape := slices.Clone(x.shape)
	need(len(axes.v) == 1 && axes.v[0] >= 0 && int(axes.v[0]) <= len(shape) && len(shape) < 8, "axes %v of shape %v", axes.v, shape)
	return &value{x.typ, slices.Insert(shape, int(axes.v[0]), 1), x.v}
}

// reshape computes Reshape. The size 0 keeps that of the input.
func reshape(x, to *value) *value {
	shape := make([]int, len(to.v))
	n := 1
	for i, d := range to.v {
		if shape[i] = int(d); d == 0 {
			need(i < len(x.shape), "shape %v to %v", x.shape, to.v)
			shape[i] = x.shape[i]
		}
		need(shape[i] >= 0 && (shape[i] == 0 || n <= maxElements/shape[i]), "shape %v to %v", x.shape, to.v)
		n *= shape[i]
	}
	need(n == len(x.v), "shape %v to %v", x.shape, to.v)
	return &value{x.typ, shape, x.v}
}

func (in *interpreter) transpose(x *value, perm []int64) *value {
	rank := len(x.shape)
	need(len(perm) == rank, "perm %v of shape %v", perm, x.shape)
	shape, strides := make([]int, rank), make([]int, rank)
	seen := make([]bool, rank)
	for i, p := range perm {
		need(p >= 0 && int(p) < rank && !seen[p], "perm %v", perm)
		seen[p] = true
		shape[i], strides[i] = x.shape[p], product(x.shape[p+1:])
	}
	y := in.make(x.typ, shape)
	index := make([]int, rank)
	for i := range y.v {
		at := 0
		for d, v := range index {
			at += v * strides[d]
		}
		y.v[i] = x.v[at]
		for d := rank - 1; d >= 0; d-- {
			if index[d]++; index[d] < shape[d] {
				break
			}
			index[d] = 0
		}
	}
	return y
}

// matmul returns the product of a [..., m, k] with b [..., k, n], which may lack some of a's
// first dimensions, after subtracting their zero points.
func (in *interpreter) matmul(a, b *value, typ elementType, zeroA, zeroB float64) *value {
	ra, rb := len(a.shape), len(b.shape)
	need(ra >= 2 && rb >= 2, "shapes %v and %v", a.shape, b.shape)
	m, k, n := a.shape[ra-2], a.shape[ra-1], b.shape[rb-1]
	need(b.shape[rb-2] == k && rb <= ra && slices.Equal(a.shape[ra-rb:ra-2], b.shape[:rb-2]), "shapes %v and %v do not fit", a.shape, b.shape)
	y := in.make(typ, append(slices.Clone(a.shape[:ra-1]), n))
	for s := range product(a.shape[:ra-2]) {
		w := b.v[s%product(b.shape[:rb-2])*k*n:][:k*n]
		for i := s * m; i < (s+1)*m; i++ {
			row := y.v[i*n:][:n]
			for p, v := range a.v[i*k:][:k] {
				v -= zeroA
				for j, u := range w[p*n:][:n] {
					row[j] += float64(v * (u - zeroB))
				}
			}
			for j, v := range row {
				row[j] = typ.round(v)
			}
		}
	}
	return y
}

// reduce combines the values along an axis. It starts from none.
func (in *interpreter) reduce(x *value, axis int, keep bool, none float64, combine func(a, b float64) float64) *value {
	if axis < 0 {
		axis += len(x.shape)
	}
	need(axis >= 0 && axis < len(x.shape), "axis %d of shape %v", axis, x.shape)
	outer, n, width := product(x.shape[:axis]), x.shape[axis], product(x.shape[axis+1:])
	shape := slices.Delete(slices.Clone(x.shape), axis, axis+1)
	if keep {
		shape = slices.Insert(shape, axis, 1)
	}
	y := in.make(x.typ, shape)
	for o := range outer {
		for j := range width {
			all := none
			for i := range n {
				all = combine(all, x.v[(o*n+i)*width+j])
			}
			y.v[o*width+j] = x.typ.round(all)
		}
	}
	return y
}

// cumsum computes CumSum along the last axis.
func (in *interpreter) cumsum(x, axis *value) *value {
	need(len(axis.v) == 1 && int(axis.v[0]) == len(x.shape)-1, "axis %v of shape %v", axis.v, x.shape)
	return in.rows(x, func(y, x []float64) {
		var sum float64
		for i, v := range x {
			sum += v
			y[i] = sum
		}
	})
}

// quantize computes DynamicQuantizeLinear: it maps the range of x, with 0 added to it, to 0 to
// 255.
func (in *interpreter) quantize(x *value) []*value {
	var low, high float64
	for _, v := range x.v {
		low, high = min(low, v), max(high, v)
	}
	scale := float64(float32((high - low) / 255))
	y, s, zero := in.make(uint8Type, x.shape), in.make(float32Type, nil), in.make(uint8Type, nil)
	s.v[0] = scale
	if scale > 0 {
		zero.v[0] = min(max(math.RoundToEven(-low/scale), 0), 255)
		for i, v := range x.v {
			y.v[i] = in.step(v, scale, zero.v[0])
		}
	}
	return []*value{y, s, zero}
}

// step returns the number of the quantization step of v.
func (in *interpreter) step(v, scale, zero float64) float64 {
	if in.unrounded {
		return v/scale + zero
	}
	return min(max(math.RoundToEven(v/scale)+zero, 0), 255)
}

// dequantize computes DequantizeLinear with one scale and zero point, or with one for each place
// along an axis.
func (in *interpreter) dequantize(x, scale, zero *value, axis int) *value {
	need(scale.typ == float32Type && zero.typ == x.typ && slices.Equal(scale.shape, zero.shape), "scale and zero point do not fit")
	n, width := 1, 1
	if len(scale.shape) > 0 {
		need(len(scale.shape) == 1 && axis >= 0 && axis < len(x.shape) && x.shape[axis] == len(scale.v), "scales of shape %v along axis %d of %v", scale.shape, axis, x.shape)
		n, width = len(scale.v), product(x.shape[axis+1:])
	}
	y := in.make(float32Type, x.shape)
	for i, v := range x.v {
		c := i / width % n
		y.v[i] = float32Type.round((v - zero.v[c]) * scale.v[c])
	}
	return y
}
