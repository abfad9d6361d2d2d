package autograd

import (
	"errors"
	"fmt"
	"time"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/machine"
	"github.com/skive-ml/skive/internal/team"
)

// Node is a value of the graph. Gorgonia's own operations must not be applied
// to it: several of them overwrite their inputs, so that a graph takes none of
// their results. Graph.Apply adds an operation of a program's own.
type Node = G.Node

// Activation is the function that Linear applies to its result.
type Activation uint8

// The activations of Linear. GELU is the exact one, by the error function;
// GELUTanh its approximation by tanh ("gelu_new"), SiLU x*σ(x).
const (
	Identity = Activation(kernels.Identity)
	GELU     = Activation(kernels.GELU)
	GELUTanh = Activation(kernels.GELUTanh)
	ReLU     = Activation(kernels.ReLU)
	Tanh     = Activation(kernels.Tanh)
	SiLU     = Activation(kernels.SiLU)
)

// Extent is the number of rows of an input.
type Extent int

// The extents that an input can have. They are known when the batch is.
const (
	Tokens     Extent = iota // one row a token
	Sequences                // one row a sequence
	Boundaries               // one more than the number of sequences: offsets
	Selected                 // any number of rows that SelectRows takes
)

// The graph is differentiated with these numbers of rows in the place of those
// that come with the batch. No other dimension equals them, so that an
// operation which confuses tokens and sequences is refused when it is built.
const (
	nominalTokens     = 1<<30 + 1
	nominalSequences  = 1<<30 + 2
	nominalBoundaries = 1<<30 + 3
	nominalSelected   = 1<<30 + 4
)

func (e Extent) nominal() int {
	switch e {
	case Sequences:
		return nominalSequences
	case Boundaries:
		return nominalBoundaries
	case Selected:
		return nominalSelected
	}
	return nominalTokens
}

// Options configures a graph.
type Options struct {
	// Threads is the number of workers; 0 stands for one on each CPU. Results
	// do not depend on it.
	Threads int
	// Workers, when not nil, are used in place of own ones. Graphs that share them
	// must not run at the same time.
	Workers *Workers
	// Seed decides the dropout masks, together with the step.
	Seed uint64
}

// Workers are threads that graphs work with, for several graphs to share.
type Workers struct{ team *team.Team }

// NewWorkers starts so many workers; 0 stands for one on each CPU.
func NewWorkers(threads int) *Workers {
	if threads <= 0 {
		threads = machine.CPUs()
	}
	return &Workers{team.New(threads)}
}

// Run calls f once for each of the parts 0 to n-1. All workers take part; worker is
// the number of the one that runs the call.
func (w *Workers) Run(n int, f func(worker, part int)) { w.team.Run(n, f) }

// Workers is how many there are.
func (w *Workers) Workers() int { return w.team.Workers() }

// Close ends the workers.
func (w *Workers) Close() { w.team.Close() }

// Graph is a computation under construction, with its inputs and parameters.
// Its methods that build nodes return nil after the first error, which Err and
// NewSession report. A graph is used by one goroutine at a time.
type Graph struct {
	graph   *G.ExprGraph
	team    *team.Team
	owned   bool
	workers []worker
	scratch []kernels.Scratch
	panels  panels // of the product under way
	// Of the quantized product under way: its input, and the input or the weight
	// as floats again.
	quantized   kernels.RowsI8
	dequantized []float32

	seed, step uint64
	err        error
	runErr     error
	ids        int
	hashes     map[uint32]bool // of the first hashed nodes
	hashed     int
	dropouts   uint64

	nodes      map[*Node]*nodeInfo
	parameters []*Parameter
	trainable  map[string]bool // their names
	session    *Session
	profile    *Profile

	segment  *segment // under construction
	segments int
	pools    [2]pool
}

// worker is the memory of one worker of the team.
type worker struct {
	kernels [1]kernels.Scratch
	panels  panels
	int8    kernels.PanelsI8
	q       []int8
	a, b    []float32
	c, d    []float32
	// Of the terms of Relative: gradients of the products of queries and of keys, and
	// what is added to a gradient.
	ofQueries, ofKeys, added []float32

	measured          bool // the rest is for Profile
	products, packing time.Duration
	flops             int64
}

// nodeInfo is what the graph knows of a node.
type nodeInfo struct {
	name    string
	value   buffer
	integer bool
	// gradient says whether the loss is to be differentiated with respect to
	// the node; source whether it is a parameter or an input.
	gradient, source, constant bool
	set                        bool
	uses                       int
	op                         *op
	grad                       *Node
}

// Parameter is a named tensor of weights. Value is the memory that the graph
// computes with: an optimizer writes to it between runs.
type Parameter struct {
	Name  string
	Shape []int
	Value []float32
	// Gradient is overwritten by each run. It is nil when the loss does not
	// depend on the parameter. It must not be written to.
	Gradient []float32

	node *Node
	at   int
}

// Part is one of the tensors that are stacked into one parameter.
type Part struct {
	Name  string
	Shape []int
	Value []float32
}

// New returns an empty graph.
func New(o Options) *Graph {
	g := &Graph{graph: G.NewGraph(), seed: o.Seed, hashes: map[uint32]bool{}, nodes: map[*Node]*nodeInfo{}, trainable: map[string]bool{}}
	if o.Workers == nil {
		o.Workers, g.owned = NewWorkers(o.Threads), true
	}
	g.team = o.Workers.team
	g.workers = make([]worker, g.team.Workers())
	g.scratch = make([]kernels.Scratch, g.team.Workers())
	return g
}

// Close ends the graph's workers and its session.
func (g *Graph) Close() {
	g.session = nil
	if g.owned {
		g.team.Close()
	}
}

// Err returns the first error of building the graph.
func (g *Graph) Err() error { return g.err }

func (g *Graph) fail(format string, args ...any) *Node {
	if g.err == nil {
		g.err = fmt.Errorf("autograd: "+format, args...)
	}
	return nil
}

// Parameters returns the parameters of the graph in the order in which they
// were made, stacked ones as their parts.
func (g *Graph) Parameters() []*Parameter { return g.parameters }

// Ints adds an input of int32 numbers, one a row: token ids, labels, offsets.
func (g *Graph) Ints(name string, rows Extent) *Node {
	info := &nodeInfo{name: name, integer: true, source: true}
	return g.source(info, rows.nominal(), 0)
}

// Input adds an input matrix of the given number of columns. The loss is not
// differentiated with respect to it.
func (g *Graph) Input(name string, rows Extent, columns int) *Node {
	if columns < 1 {
		return g.fail("input %s: %d columns, want at least 1", name, columns)
	}
	return g.source(&nodeInfo{name: name, source: true}, rows.nominal(), columns)
}

// InputWithGradient adds an input matrix whose gradient [Session.Gradient]
// gives: a mask whose importance is wanted.
func (g *Graph) InputWithGradient(name string, rows Extent, columns int) *Node {
	if columns < 1 {
		return g.fail("input %s: %d columns, want at least 1", name, columns)
	}
	return g.source(&nodeInfo{name: name, source: true, gradient: true}, rows.nominal(), columns)
}

// Parameter adds a trainable tensor, a vector or a matrix. It is bound to
// value, which is not copied.
func (g *Graph) Parameter(name string, value []float32, shape ...int) *Node {
	return g.parameter(Part{name, shape, value}, true)
}

// Constant adds weights that are not trained. They are bound to value, which
// must not change after the first run.
func (g *Graph) Constant(name string, value []float32, shape ...int) *Node {
	return g.parameter(Part{name, shape, value}, false)
}

// Stacked adds one trainable tensor made of the given ones, one below the other.
// They are copied, and listed by Parameters under their own names. Values and
// gradients of the parts are views of the whole.
func (g *Graph) Stacked(parts ...Part) *Node { return g.stacked(parts, true) }

// StackedConstant is Stacked for weights that are not trained.
func (g *Graph) StackedConstant(parts ...Part) *Node { return g.stacked(parts, false) }

func (g *Graph) stacked(parts []Part, trainable bool) *Node {
	if g.err != nil {
		return nil
	}
	if len(parts) == 0 {
		return g.fail("a stack of no tensors")
	}
	whole := Part{Name: parts[0].Name}
	for i, p := range parts {
		if err := p.check(); err != nil {
			return g.fail("%w", err)
		}
		if i > 0 {
			whole.Name += "+" + p.Name
		} else {
			whole.Shape = append([]int{0}, p.Shape[1:]...)
		}
		if len(p.Shape) != len(whole.Shape) || len(p.Shape) == 2 && p.Shape[1] != whole.Shape[1] {
			return g.fail("parameter %s: shape is %v, which does not stack on %s of shape %v", p.Name, p.Shape, parts[0].Name, parts[0].Shape)
		}
		whole.Shape[0] += p.Shape[0]
		whole.Value = append(whole.Value, p.Value...)
	}
	n := g.parameter(whole, trainable)
	if n == nil || !trainable {
		return n
	}
	g.parameters = g.parameters[:len(g.parameters)-1]
	delete(g.trainable, whole.Name)
	at := 0
	for _, p := range parts {
		end := at + len(p.Value)
		g.parameters = append(g.parameters, &Parameter{Name: p.Name, Shape: p.Shape, Value: whole.Value[at:end:end], node: n, at: at})
		g.trainable[p.Name] = true
		at = end
	}
	return n
}

func (p Part) check() error {
	if len(p.Shape) != 1 && len(p.Shape) != 2 {
		return fmt.Errorf("parameter %s: shape is %v, want one or two dimensions", p.Name, p.Shape)
	}
	size := 1
	for _, d := range p.Shape {
		size *= d
	}
	if size < 1 || size != len(p.Value) {
		return fmt.Errorf("parameter %s: %d values for shape %v", p.Name, len(p.Value), p.Shape)
	}
	return nil
}

func (g *Graph) parameter(p Part, trainable bool) *Node {
	if g.err != nil {
		return nil
	}
	if err := p.check(); err != nil {
		return g.fail("%w", err)
	}
	if trainable && g.trainable[p.Name] {
		return g.fail("parameter %s is there already", p.Name)
	}
	columns := 0
	if len(p.Shape) == 2 {
		columns = p.Shape[1]
	}
	info := &nodeInfo{name: p.Name, source: true, gradient: trainable, constant: !trainable, set: true}
	info.value.bind(p.Value, p.Shape[0], columns)
	n := g.source(info, p.Shape[0], columns)
	if n != nil && trainable {
		g.parameters = append(g.parameters, &Parameter{Name: p.Name, Shape: p.Shape, Value: p.Value, node: n})
		g.trainable[p.Name] = true
	}
	return n
}

// source adds a node without children. Columns is 0 for a vector.
func (g *Graph) source(info *nodeInfo, rows, columns int) *Node {
	if g.err != nil {
		return nil
	}
	shape, dtype := tensor.Shape{rows}, tensor.Float32
	if columns > 0 {
		shape = tensor.Shape{rows, columns}
	}
	if info.integer {
		dtype = tensor.Int32
		info.value.bindInts(make([]int32, 1))
	} else if !info.set {
		info.value.bind(make([]float32, max(columns, 1)), 1, columns)
	}
	g.ids++
	n := G.NewTensor(g.graph, dtype, len(shape), G.WithShape(shape...),
		G.WithName(fmt.Sprintf("%s#%d", info.name, g.ids)), G.WithValue(info.value.dense))
	g.nodes[n] = info
	return n
}

// ErrNotInput is the error of setting a node that is not an input.
var ErrNotInput = errors.New("not an input of this graph")

// SetInts sets an input of Ints for the next runs. The data is not copied and
// must stay as it is until they are over.
func (g *Graph) SetInts(n *Node, data []int32) error {
	info := g.nodes[n]
	if info == nil || !info.integer {
		return fmt.Errorf("autograd: setting integers: %w", ErrNotInput)
	}
	if len(data) == 0 {
		return fmt.Errorf("autograd: input %s: no values", info.name)
	}
	info.value.bindInts(data)
	info.set = true
	return nil
}

// Set sets an input matrix for the next runs, row after row. The data is not
// copied and must stay as it is until they are over.
func (g *Graph) Set(n *Node, data []float32) error {
	info := g.nodes[n]
	if info == nil || info.integer || !info.source || info.constant || g.isParameter(n) {
		return fmt.Errorf("autograd: setting a matrix: %w", ErrNotInput)
	}
	columns := info.value.columns
	if len(data) == 0 || len(data)%columns != 0 {
		return fmt.Errorf("autograd: input %s: %d values, want a multiple of its %d columns", info.name, len(data), columns)
	}
	info.value.bind(data, len(data)/columns, columns)
	info.set = true
	return nil
}

func (g *Graph) isParameter(n *Node) bool {
	for _, p := range g.parameters {
		if p.node == n {
			return true
		}
	}
	return false
}
