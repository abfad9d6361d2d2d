package autograd

import (
	"fmt"
	"math"
)

// Array is a value as the arithmetic of an Operation sees it: a scalar, a vector of
// Rows elements, or a matrix of Rows and Columns. What a value does not have of the two
// is 1.
type Array struct {
	// Dims is the number of dimensions: 0, 1 or 2.
	Dims          int
	Rows, Columns int
	// Integer says that the elements are Ints, one a row, and not Values, row after
	// row. While a graph is built there are neither.
	Integer bool
	Values  []float32
	Ints    []int32
}

// Row returns row i of a matrix.
func (a Array) Row(i int) []float32 { return a.Values[i*a.Columns:][:a.Columns] }

// String writes the shape. It calls the numbers of rows that come with a batch by
// their names.
func (a Array) String() string { return array{dims: a.Dims, rows: a.Rows, columns: a.Columns}.String() }

// Scalar, Vector and Matrix are shapes for the output of an Operation.
func Scalar() Array                  { return Array{Rows: 1, Columns: 1} }
func Vector(rows int) Array          { return Array{Dims: 1, Rows: rows, Columns: 1} }
func Matrix(rows, columns int) Array { return Array{Dims: 2, Rows: rows, Columns: columns} }

// Operation is the arithmetic of an operation that a program brings along. An
// instance is one node of one graph: it may keep from Forward what Backward needs.
//
// What its methods return as an error, or panic with, is the error of building the
// graph or of a run, under the operation's name.
type Operation interface {
	// Name is the operation's in errors and profiles.
	Name() string
	// Shape checks the inputs and returns the shape of the output, whose elements are
	// floats. It is also called while the graph is built, when numbers of rows that
	// come with a batch (tokens, sequences, ...) are stand-ins: they are to be compared
	// and passed on, not counted with.
	Shape(in []Array) (Array, error)
	// Forward sets all of out.Values, which hold anything before. Inputs must not be
	// written to, nor kept.
	Forward(in []Array, out Array) error
	// Backward follows a Forward with the same inputs. It sets all elements of
	// gradients[i].Values, the derivative of the loss with respect to input i, where
	// they are not nil. gradient is that with respect to out. None of the others may be
	// written to.
	Backward(in []Array, out, gradient Array, gradients []Array) error
}

// Apply adds an operation of the program's own to the graph. differentiable says for
// each of the inputs whether the operation has a derivative with respect to it:
// integers and the answers of a teacher are taken as constants.
//
// Memory does not count what the operation itself keeps.
//
// The operation may be used wherever those of the graph are: its output in a loss, in
// a Segment, where it is computed again before Backward, and as the loss itself if
// it is a scalar. A loss and its gradients depend on the number of threads no more than the
// operation does; see Rows.
func (g *Graph) Apply(o Operation, differentiable []bool, inputs ...*Node) *Node {
	if o == nil {
		return g.fail("Apply: the operation is nil")
	}
	if len(differentiable) != len(inputs) || len(inputs) == 0 {
		return g.fail("%s: %d inputs, and whether it is differentiable of %d; want one of each for each input", o.Name(), len(inputs), len(differentiable))
	}
	return g.apply(&custom{o: o}, differentiable, inputs...)
}

// Rows calls f for the rows [0, n) in parts [lo, hi), on all threads of the graph. An
// Operation whose parts write to rows of their own, and add up what they have in common
// afterwards, gives the same bits with any number of threads. It is for Forward and
// Backward.
func (g *Graph) Rows(n int, f func(lo, hi int)) {
	g.rows(n, func(_, _, lo, hi int) { f(lo, hi) })
}

// custom is an Operation as a block.
type custom struct {
	o             Operation
	in, gradients []Array
}

func (c *custom) name() string { return c.o.Name() }

func (c *custom) shape(in []array) (a array, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	out, err := c.o.Shape(c.inputs(in))
	if err != nil {
		return array{}, err
	}
	a = array{dims: out.Dims, rows: out.Rows, columns: out.Columns}
	ok := out.Dims >= 0 && out.Dims <= 2 && out.Rows >= 1 && out.Columns >= 1 && out.Columns <= math.MaxInt32 && !out.Integer
	if !ok || out.Dims < 2 && out.Columns != 1 || out.Dims < 1 && out.Rows != 1 {
		return array{}, fmt.Errorf("it gives a shape of %d dimensions, %d rows and %d columns, want a scalar, a vector or a matrix of floats", out.Dims, out.Rows, out.Columns)
	}
	return a, nil
}

func (c *custom) forward(_ *Graph, in []array, out array, _ bool) error {
	return c.o.Forward(c.inputs(in), exported(out))
}

func (c *custom) backward(_ *Graph, in []array, out, dout array, d []array) error {
	c.gradients = grow(c.gradients, len(d))
	for i := range d {
		c.gradients[i] = exported(d[i])
	}
	dout.dims, dout.rows, dout.columns = out.dims, out.rows, out.columns
	return c.o.Backward(c.inputs(in), exported(out), exported(dout), c.gradients)
}

func (c *custom) inputs(in []array) []Array {
	c.in = c.in[:0]
	for _, a := range in {
		c.in = append(c.in, exported(a))
	}
	return c.in
}

func exported(a array) Array {
	return Array{Dims: a.dims, Rows: a.rows, Columns: a.columns, Integer: a.i != nil, Values: a.f, Ints: a.i}
}
