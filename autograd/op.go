package autograd

import (
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"time"

	"github.com/chewxy/hm"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// block is the arithmetic of one operation, which is a block of a layer.
type block interface {
	name() string
	// shape checks the shapes of the inputs and returns the output's. While the graph
	// is built, numbers of rows are stand-ins.
	shape(in []array) (array, error)
	// forward computes the output. If keep is set, backward follows in the same run and
	// may use what forward left.
	forward(g *Graph, in []array, out array, keep bool) error
	// backward overwrites d[i].f, the gradient with respect to in[i], if it is not nil.
	// It must not write to dout.
	backward(g *Graph, in []array, out, dout array, d []array) error
}

// op is a block in a graph, as Gorgonia sees it. It owns the buffers of the output and
// the gradients, so that a step allocates none.
type op struct {
	block
	graph  *Graph
	id     int
	inputs []*Node
	types  []hm.Type
	out    hm.Type
	diff   []bool
	keep   bool
	result buffer
	grads  []buffer
	in     []array
	d      []array
	output array

	segment *segment
	place   int // in the segment
}

// apply adds the block to the graph. differentiable says for which inputs it has
// gradients.
func (g *Graph) apply(b block, differentiable []bool, inputs ...*Node) *Node {
	if g.err != nil {
		return nil
	}
	if g.session != nil {
		return g.fail("%s: the graph has a session already", b.name())
	}
	o := &op{block: b, graph: g, inputs: inputs, diff: make([]bool, len(inputs)), grads: make([]buffer, len(inputs)),
		in: make([]array, len(inputs)), d: make([]array, len(inputs))}
	for i, n := range inputs {
		info := g.nodes[n]
		if info == nil {
			return g.fail("%s: input %d %s", b.name(), i, g.foreign(n))
		}
		if p := info.op; p != nil && p.segment != nil && p.segment != g.segment && p.segment.kept != p {
			return g.fail("%s: input %d is recomputed, and is not there outside of its segment", b.name(), i)
		}
		info.uses++
		o.types = append(o.types, n.Type())
		o.in[i] = arrayOfShape(n.Shape())
		if info.integer {
			o.in[i].i = []int32{}
		}
		o.diff[i] = differentiable[i] && info.gradient
		o.keep = o.keep || o.diff[i]
	}
	a, err := b.shape(o.in)
	if err != nil {
		return g.fail("%s: %w", b.name(), err)
	}
	o.out = tensor.Float32
	if a.dims > 0 {
		o.out = G.TensorType{Dims: a.dims, Of: tensor.Float32}
	}
	n, err := g.insert(func(id int) G.Op { o.id = id; return o }, inputs...)
	if err != nil {
		return g.fail("%s: %w", b.name(), err)
	}
	g.nodes[n] = &nodeInfo{name: b.name(), gradient: o.keep, op: o}
	if g.segment != nil {
		g.segment.join(o)
	}
	return n
}

// foreign says why the graph cannot take a node.
func (g *Graph) foreign(n *Node) string {
	switch {
	case n == nil:
		return "is nil"
	case n.Graph() != g.graph:
		return "is a node of another graph"
	case n.Op() == nil:
		return "was added to the Gorgonia graph itself: expected an input or a parameter that a method of Graph made"
	}
	return fmt.Sprintf("is the result of Gorgonia's own operation %v, several of which overwrite their inputs: expected one of the methods of Graph, of which Apply takes an operation of your own", n.Op())
}

// insert applies a Gorgonia operation under a number of its own. When Gorgonia
// compiles, it takes nodes with equal 32-bit hashes for the same one. So numbers that
// would give an existing hash are skipped.
func (g *Graph) insert(make func(id int) G.Op, inputs ...*Node) (*Node, error) {
	for {
		g.ids++
		for nodes := g.graph.AllNodes(); g.hashed < len(nodes); g.hashed++ {
			g.hashes[nodes[g.hashed].Hashcode()] = true
		}
		n, err := G.ApplyOp(make(g.ids), inputs...)
		if err != nil {
			return nil, err
		}
		if !g.hashes[n.Hashcode()] {
			return n, nil
		}
		g.graph.RemoveNode(n)
	}
}

func (o *op) Arity() int             { return len(o.types) }
func (o *op) ReturnsPtr() bool       { return true }
func (o *op) CallsExtern() bool      { return false }
func (o *op) OverwritesInput() int   { return -1 }
func (o *op) String() string         { return o.name() }
func (o *op) DiffWRT(int) []bool     { return o.diff }
func (o *op) WriteHash(h hash.Hash)  { fmt.Fprintf(h, "%s#%d", o.name(), o.id) }
func (o *op) Hashcode() uint32       { return hashcode(o) }
func (o *op) Type() hm.Type          { return fnType(o.types, o.out) }
func (o *op) shapes() (array, error) { return o.shape(o.in) }
func hashcode(o G.Op) uint32         { h := fnv.New32a(); o.WriteHash(h); return h.Sum32() }
func fnType(in []hm.Type, out hm.Type) hm.Type {
	return hm.NewFnType(append(append([]hm.Type{}, in...), out)...)
}

func (o *op) InferShape(sizes ...G.DimSizer) (tensor.Shape, error) {
	shapes, err := G.DimSizersToShapes(sizes)
	if err != nil {
		return nil, err
	}
	in := make([]array, len(shapes))
	for i, s := range shapes {
		in[i] = arrayOfShape(s)
		in[i].i = o.in[i].i
	}
	a, err := o.shape(in)
	if err != nil {
		return nil, err
	}
	switch a.dims {
	case 0:
		return tensor.ScalarShape(), nil
	case 1:
		return tensor.Shape{a.rows}, nil
	}
	return tensor.Shape{a.rows, a.columns}, nil
}

// guard turns an error or a panic of a run into an error that names the operation, and
// keeps it for the session.
func (o *op) guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%v", p)
	}
	if *err != nil {
		*err = fmt.Errorf("autograd: %s: %w", o.name(), *err)
		o.graph.runErr = *err
	}
}

func (o *op) Do(values ...G.Value) (v G.Value, err error) {
	defer o.guard(&err)
	if o.graph.profile != nil {
		defer o.graph.operation(o.name(), time.Now())
	}
	for i := range o.in {
		if o.in[i], err = arrayOf(values[i]); err != nil {
			return nil, err
		}
	}
	if o.segment != nil {
		o.segment.pool.resident = o.segment
	}
	err = o.compute()
	return o.result.value(), err
}

// compute runs the forward pass on the current inputs.
func (o *op) compute() error {
	a, err := o.shapes()
	if err != nil {
		return err
	}
	o.output = o.resizeResult(a)
	s := o.graph.session
	o.borrow()
	defer o.giveBack()
	return o.forward(o.graph, o.in, o.output, o.keep && s != nil && s.loss != nil)
}

// twin is a block in which some inputs share one gradient, such as the terms of a sum.
type twin interface{ twinOf(input int) int }

// shared returns the first input that has the same gradient as input i, which may be i.
func (o *op) shared(i int) int {
	if t, ok := o.block.(twin); ok {
		return t.twinOf(i)
	}
	return i
}

// SymDiff adds one node that computes all gradients. For each gradient after the first,
// it adds a node that hands out its buffer.
func (o *op) SymDiff(inputs G.Nodes, output, grad *Node) (G.Nodes, error) {
	grads := make(G.Nodes, len(inputs))
	var all *Node
	for i, wanted := range o.diff {
		if !wanted {
			continue
		}
		var err error
		if first := o.shared(i); first < i && grads[first] != nil {
			grads[i] = grads[first]
			continue
		}
		if all == nil {
			children := append(append(G.Nodes{}, inputs...), output, grad)
			all, err = o.graph.insert(func(id int) G.Op { return &backwardOp{o, id, i} }, children...)
			grads[i] = all
		} else {
			grads[i], err = o.graph.insert(func(id int) G.Op { return &gradientOp{o, id, i, all.Type()} }, all, inputs[i])
		}
		if err != nil {
			return nil, err
		}
	}
	return grads, nil
}

// backwardOp computes all wanted gradients of an op. Its own value is the first of
// them.
type backwardOp struct {
	*op
	id, first int
}

func (b *backwardOp) Arity() int     { return len(b.types) + 2 }
func (b *backwardOp) String() string { return b.name() + " backward" }
func (b *backwardOp) Type() hm.Type {
	return fnType(append(append([]hm.Type{}, b.types...), b.out, b.out), b.types[b.first])
}
func (b *backwardOp) InferShape(sizes ...G.DimSizer) (tensor.Shape, error) {
	return sizes[b.first].(tensor.Shape).Clone(), nil
}
func (b *backwardOp) WriteHash(h hash.Hash) { fmt.Fprintf(h, "%s backward#%d", b.name(), b.id) }
func (b *backwardOp) Hashcode() uint32      { return hashcode(b) }
func (b *backwardOp) SymDiff(G.Nodes, *Node, *Node) (G.Nodes, error) {
	return nil, errors.New("autograd: second derivatives are not there")
}

func (b *backwardOp) Do(values ...G.Value) (v G.Value, err error) {
	defer b.guard(&err)
	o := b.op
	if o.graph.profile != nil {
		defer o.graph.operation(b.String(), time.Now())
	}
	if o.segment != nil {
		if err := o.segment.recompute(o.graph); err != nil {
			return nil, err
		}
	}
	dout, err := arrayOf(values[len(values)-1])
	if err != nil {
		return nil, err
	}
	if len(dout.f) != len(o.output.f) {
		return nil, fmt.Errorf("gradient is %v, output is %v", dout, o.output)
	}
	for i, wanted := range o.diff {
		o.d[i] = array{}
		if j := o.shared(i); wanted && (j == i || !o.diff[j]) {
			o.d[i] = o.resizeGradient(i)
		}
	}
	return o.grads[b.first].value(), o.backward(o.graph, o.in, o.output, dout, o.d)
}

// gradientOp hands out a gradient that its first child has computed.
type gradientOp struct {
	*op
	id, index int
	first     hm.Type
}

func (b *gradientOp) Arity() int     { return 2 }
func (b *gradientOp) String() string { return fmt.Sprintf("%s gradient %d", b.name(), b.index) }
func (b *gradientOp) Type() hm.Type {
	return hm.NewFnType(b.first, b.types[b.index], b.types[b.index])
}
func (b *gradientOp) InferShape(sizes ...G.DimSizer) (tensor.Shape, error) {
	return sizes[1].(tensor.Shape).Clone(), nil
}
func (b *gradientOp) WriteHash(h hash.Hash) { fmt.Fprintf(h, "%s gradient#%d", b.name(), b.id) }
func (b *gradientOp) Hashcode() uint32      { return hashcode(b) }
func (b *gradientOp) Do(...G.Value) (G.Value, error) {
	return b.grads[b.index].value(), nil
}

var _ G.SDOp = (*op)(nil)
