package autograd

import (
	"errors"
	"fmt"
	"sync"

	G "gorgonia.org/gorgonia"
)

// Session is a compiled graph.
type Session struct {
	graph   *Graph
	loss    *Node
	program *program
	step    uint64
}

// Gorgonia keeps the node of the constant 1 in a package variable.
var differentiate sync.Mutex

// NewSession compiles a graph. With a loss, a scalar node, a run computes the loss and
// its gradients with respect to all trainable parameters and inputs that it depends on.
// If loss is nil, a run is a forward pass. A graph has one session and cannot grow
// afterwards.
func NewSession(g *Graph, loss *Node) (*Session, error) {
	if g.err != nil {
		return nil, g.err
	}
	if g.session != nil {
		return nil, errors.New("autograd: the graph has a session already")
	}
	if loss != nil {
		if err := g.differentiate(loss); err != nil {
			return nil, err
		}
	}
	program, err := newProgram(g.graph)
	if err != nil {
		return nil, err
	}
	g.session = &Session{graph: g, loss: loss, program: program}
	return g.session, nil
}

func (g *Graph) differentiate(loss *Node) (err error) {
	info := g.nodes[loss]
	if info == nil {
		return fmt.Errorf("autograd: the loss %s", g.foreign(loss))
	}
	if len(loss.Shape()) != 0 {
		return fmt.Errorf("autograd: the loss, %s, has the shape %v, expected a scalar", info.name, arrayOfShape(loss.Shape()))
	}
	if !info.gradient {
		return errors.New("autograd: the loss depends on no trainable parameter")
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("autograd: differentiating the graph: %v", p)
		}
	}()
	var sources G.Nodes
	seen := map[*Node]bool{}
	var visit func(n *Node)
	visit = func(n *Node) {
		info := g.nodes[n]
		if seen[n] || info == nil || !info.gradient {
			return
		}
		seen[n] = true
		if info.source {
			sources = append(sources, n)
		}
		if info.op == nil {
			return
		}
		for i, child := range info.op.inputs {
			if info.op.diff[i] {
				visit(child)
			}
		}
	}
	visit(loss)
	differentiate.Lock()
	grads, err := G.Grad(loss, sources...)
	differentiate.Unlock()
	if err != nil {
		return fmt.Errorf("autograd: differentiating the graph: %w", err)
	}
	for i, n := range sources {
		if gradientBuffer(grads[i]) == nil {
			// If a value is used more than once, Gorgonia sums its gradients into the
			// buffer of one of them.
			if grads[i] = g.collect(grads[i]); grads[i] == nil {
				return g.err
			}
		}
		g.nodes[n].grad = grads[i]
	}
	for _, p := range g.parameters {
		if grad := g.nodes[p.node].grad; grad != nil {
			d := gradientBuffer(grad).resize(arrayOfShape(p.node.Shape()))
			p.Gradient = d.f[p.at : p.at+len(p.Value) : p.at+len(p.Value)]
		}
	}
	return nil
}

// gradientBuffer returns the buffer of a gradient node's value, nil for a sum of
// gradients.
func gradientBuffer(n *Node) *buffer {
	switch o := n.Op().(type) {
	case *backwardOp:
		return &o.grads[o.first]
	case *gradientOp:
		return &o.grads[o.index]
	case *op:
		return &o.result
	}
	return nil
}

// sum copies the sum of a value's gradients to a buffer of its own.
type sum struct{}

func (*sum) name() string                    { return "gradient sum" }
func (*sum) shape(in []array) (array, error) { return in[0], nil }
func (*sum) forward(_ *Graph, in []array, out array, _ bool) error {
	copy(out.f, in[0].f)
	return nil
}
func (*sum) backward(*Graph, []array, array, array, []array) error {
	return errors.New("no second derivative")
}

func (g *Graph) collect(n *Node) *Node {
	g.nodes[n] = &nodeInfo{name: "gradients"}
	return g.apply(&sum{}, []bool{false}, n)
}

// Run computes the graph with the current inputs. After a run without error the step is
// incremented.
func (s *Session) Run() error {
	g := s.graph
	for _, info := range g.nodes {
		if info.source && !info.set && info.uses > 0 {
			return fmt.Errorf("autograd: input %s is not set", info.name)
		}
	}
	g.step, g.runErr = s.step, nil
	if err := s.program.run(); err != nil {
		if g.runErr != nil {
			return g.runErr
		}
		return fmt.Errorf("autograd: %w", err)
	}
	if g.profile != nil {
		g.collectWorkers()
	}
	s.step++
	return nil
}

// Step returns the number of the next run. Dropout masks depend on it.
func (s *Session) Step() uint64 { return s.step }

// SetStep sets the number of the next run. To resume training with the same dropout
// masks, set it to the number of the interrupted run.
func (s *Session) SetStep(step uint64) { s.step = step }

// Value returns the value of a node after a run, row after row. It is
// overwritten by the next run.
func (s *Session) Value(n *Node) []float32 {
	info := s.graph.nodes[n]
	if info == nil {
		return nil
	}
	if info.op != nil {
		return info.op.result.data
	}
	return info.value.data
}

// Loss returns the value of the loss after a run.
func (s *Session) Loss() float32 {
	if v := s.Value(s.loss); len(v) == 1 {
		return v[0]
	}
	return 0
}

// Gradient returns the gradient with respect to a parameter, or an input made by
// InputWithGradient, after a run, row after row. It is nil if the loss does not depend
// on it. The next run overwrites it.
func (s *Session) Gradient(n *Node) []float32 {
	info := s.graph.nodes[n]
	if info == nil || info.grad == nil {
		return nil
	}
	return gradientBuffer(info.grad).data
}
