package autograd

// segment is a run of operations whose values are not kept for the backward pass
// but computed again in it (Chen et al., arXiv 1604.06174). Segments take turns
// with two pools of memory: what one leaves is overwritten by the second after
// it, forward and backward alike.
type segment struct {
	pool *pool
	ops  []*op
	kept *op // its value is that of the whole segment, and stays
}

// pool is the memory of one segment at a time, operation by operation.
type pool struct {
	resident *segment // whose values it holds
	memory   []memory
}

// memory is what an operation of a segment works in.
type memory struct {
	result []float32
	grads  [][]float32
	stash  [][]float32
}

// stasher is a block that keeps numbers of its own between forward and backward.
type stasher interface {
	// stash returns where they are.
	stash() []*[]float32
	// stashed returns how many they are at most.
	stashed(in []array, out array, longest int) int
}

func (l *linear) stash() []*[]float32          { return []*[]float32{&l.pre} }
func (l *quantizedLinear) stash() []*[]float32 { return []*[]float32{&l.pre} }
func (l *layerNorm) stash() []*[]float32       { return []*[]float32{&l.sum} }
func (a *attention) stash() []*[]float32       { return []*[]float32{&a.probs} }

// Segment adds the operations that build adds, up to the node that it returns,
// as one whose values are not kept between forward and backward: each run
// computes them twice, with the same bits, and takes the memory of two segments
// whatever their number. No other of the nodes can be used outside of build.
func (g *Graph) Segment(build func() *Node) *Node {
	if g.segment != nil {
		return g.fail("a segment within a segment")
	}
	s := &segment{pool: &g.pools[g.segments%2]}
	g.segments++
	g.segment = s
	n := build()
	g.segment = nil
	if g.err != nil {
		return nil
	}
	info := g.nodes[n]
	if info == nil || info.op == nil || info.op.segment != s {
		return g.fail("a segment does not end in one of its operations")
	}
	s.kept = info.op
	for len(s.pool.memory) < len(s.ops) {
		s.pool.memory = append(s.pool.memory, memory{})
	}
	return n
}

// join makes o, which is being built, the segment's next operation.
func (s *segment) join(o *op) {
	o.segment, o.place = s, len(s.ops)
	s.ops = append(s.ops, o)
}

// borrow lends the operation the memory of its place, and giveBack takes it back
// after it has grown.
func (o *op) borrow() {
	if b, ok := o.block.(stasher); ok && o.segment != nil {
		m := &o.segment.pool.memory[o.place]
		for i, at := range b.stash() {
			if len(m.stash) <= i {
				m.stash = append(m.stash, nil)
			}
			*at = m.stash[i]
		}
	}
}

func (o *op) giveBack() {
	if b, ok := o.block.(stasher); ok && o.segment != nil {
		m := &o.segment.pool.memory[o.place]
		for i, at := range b.stash() {
			m.stash[i] = *at
		}
	}
}

// resizeResult gives the result the shape of a, in the operation's own memory or
// in that of its place.
func (o *op) resizeResult(a array) array {
	if s := o.segment; s != nil && s.kept != o {
		return o.result.resizeIn(&s.pool.memory[o.place].result, a)
	}
	return o.result.resize(a)
}

// resizeGradient does the same for the gradient with respect to input i.
func (o *op) resizeGradient(i int) array {
	if s := o.segment; s != nil && !o.graph.nodes[o.inputs[i]].source {
		m := &s.pool.memory[o.place]
		for len(m.grads) <= i {
			m.grads = append(m.grads, nil)
		}
		return o.grads[i].resizeIn(&m.grads[i], o.in[i])
	}
	return o.grads[i].resize(o.in[i])
}

// recompute brings the values of the segment back.
func (s *segment) recompute(g *Graph) error {
	if s.pool.resident == s {
		return nil
	}
	s.pool.resident = s
	for _, o := range s.ops {
		for i, n := range o.inputs {
			if p := g.nodes[n].op; p != nil && p.segment == s {
				o.in[i] = p.output
			}
		}
		if err := o.compute(); err != nil {
			return err
		}
	}
	return nil
}
