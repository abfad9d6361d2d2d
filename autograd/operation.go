package autograd

import (
	"fmt"
	"math"
)

// Array is a value as an Operation sees it: a scalar, a vector of Rows elements, or a
// matrix with Rows and Columns. Unused dimensions are 1.
type Array struct {
	// Dims is the number of dimensions: 0, 1 or 2.
	Dims          int
	Rows, Columns int
	// Integer says that the elements are Ints, one for each row, instead of Values, row
	// after row. While a graph is built, both are empty.
	Integer bool
	Values  []float32
	Ints    []int32
}

// Row returns row i of a matrix.
func (a Array) Row(i int) []float32 { return a.Values[i*a.Columns:][:a.Columns] }

// String formats the shape. Numbers of rows that depend on the batch appear by name.
func (a Array) String() string { return array{dims: a.Dims, rows: a.Rows, columns: a.Columns}.String() }

// Scalar, Vector and Matrix are shapes for the output of an Operation.
func Scalar() Array                  { return Array{Rows: 1, Columns: 1} }
func Vector(rows int) Array          { return Array{Dims: 1, Rows: rows, Columns: 1} }
func Matrix(rows, columns int) Array { return Array{Dims: 2, Rows: rows, Columns: columns} }

// Operation is an operation that your program defines. Each instance is one node of one
// graph. It may keep what Backward needs from Forward.
//
// If a method returns an error or panics, building the graph or the run fails with an
// error that names the operation.
type Operation interface {
	// Name names the operation in errors and profiles.
	Name() string
	// Shape checks the inputs and returns the output's shape; its elements are floats.
	// Shape is also called while the graph is built. Then numbers of rows that depend
	// on the batch (tokens, sequences, ...) are stand-ins: compare them and pass them
	// on, but do not compute with them.
	Shape(in []Array) (Array, error)
	// Forward sets all of out.Values, whose previous contents are arbitrary. It must
	// not write to the inputs or keep them.
	Forward(in []Array, out Array) error
	// Backward follows a Forward with the same inputs. It sets all elements of
	// gradients[i].Values, the derivative of the loss with respect to input i, unless
	// they are nil. gradient is the derivative with respect to out. It must not write
	// to anything else.
	Backward(in []Array, out, gradient Array, gradients []Array) error
}

// Apply adds an operation of your own to the graph. differentiable says for each input
// whether the operation has a derivative with respect to it. Integers and a teacher's
// answers have none.
//
// The operation can be used like the graph's own ones: in a loss, as the loss itself if
// it is a scalar, and in a Segment, which computes it again before Backward. Memory
// does not count what the operation itself keeps. Results depend on the number of
// threads only if the operation does; see Rows.
func (g *Graph) Apply(o Operation, differentiable []bool, inputs ...*Node) *Node {
	if o == nil {
		return g.fail("Apply: the operation is nil")
	}
	if len(differentiable) != len(inputs) || len(inputs) == 0 {
		return g.fail("%s: %d inputs, and whether it is differentiable of %d; want one of each for each input", o.Name(), len(inputs), len(differentiable))
	}
	return g.apply(&custom{o: o}, differentiable, inputs...)
}

// Rows calls f for the rows [0, n) in parts [lo, hi), on all threads of the graph. It
// is for Forward and Backward. An operation gives the same bits with any number of
// threads if each part writes to its own rows, and common sums are made afterwards.
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
