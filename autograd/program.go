package autograd

import (
	"fmt"
	"slices"

	G "gorgonia.org/gorgonia"
)

// program is a graph in the order in which a run computes it. Gorgonia's own machine
// does the same, but its compilation time grows with the square of the number of nodes.
type program struct {
	sources      []source
	instructions []instruction
	values       []G.Value // of sources and instructions
	arguments    []G.Value // of the current instruction
}

type source struct {
	node *Node
	to   int // in values
}

type instruction struct {
	op    G.Op
	reads []int // in values
	to    int
	// overwrite is the operation if its result may take the memory of its first
	// operand, which nothing reads any more.
	overwrite G.UnsafeDoer
}

// newProgram orders the nodes. Sums of gradients are Gorgonia's operations; they use
// the memory of the first gradient if it is not read afterwards.
func newProgram(g *G.ExprGraph) (*program, error) {
	nodes, err := G.Sort(g)
	if err != nil {
		return nil, fmt.Errorf("autograd: ordering the graph: %w", err)
	}
	slices.Reverse(nodes)
	p := &program{values: make([]G.Value, len(nodes))}
	at := make(map[int64]int, len(nodes))
	last := make([]int, len(nodes)) // the last instruction that reads each value
	for i, n := range nodes {
		at[n.ID()] = i
		if n.Op() == nil {
			p.sources = append(p.sources, source{n, i})
			last[i] = len(nodes)
			continue
		}
		in := instruction{op: n.Op(), to: i}
		for children := g.From(n.ID()); children.Next(); {
			child := at[children.Node().ID()]
			in.reads = append(in.reads, child)
			last[child] = max(last[child], i)
		}
		p.instructions = append(p.instructions, in)
	}
	for i := range p.instructions {
		in := &p.instructions[i]
		if in.op.OverwritesInput() == 0 && last[in.reads[0]] == in.to {
			in.overwrite, _ = in.op.(G.UnsafeDoer)
		}
	}
	return p, nil
}

func (p *program) run() (err error) {
	for _, s := range p.sources {
		p.values[s.to] = s.node.Value()
	}
	for i := range p.instructions {
		in := &p.instructions[i]
		p.arguments = p.arguments[:0]
		for _, from := range in.reads {
			p.arguments = append(p.arguments, p.values[from])
		}
		if in.overwrite != nil {
			p.values[in.to], err = in.overwrite.UnsafeDo(p.arguments...)
		} else {
			p.values[in.to], err = in.op.Do(p.arguments...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
