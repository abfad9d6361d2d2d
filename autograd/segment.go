package autograd

// segment is a run of operations whose values are not kept for the backward pass, but
// computed again in it (Chen et al., arXiv 1604.06174). Segments use two pools of
// memory in turn: each overwrites the values of the segment before the previous one,
// forward and backward.
type segment struct {
	pool *pool
	ops  []*op
	kept *op // its value is the segment's result, and stays
}

// pool is the memory of one segment at a time, with a place for each operation.
type pool struct {
	resident *segment // whose values it holds
	memory   []memory
}

// memory is one operation's place in a pool.
type memory struct {
	result []float32
	grads  [][]float32
	stash  [][]float32
}

// stasher is a block that keeps numbers of its own between forward and backward.
type stasher interface {
	// stash returns pointers to them.
	stash() []*[]float32
	// stashed returns their largest possible number.
	stashed(in []array, out array, longest int) int
}

func (l *linear) stash() []*[]float32          { return []*[]float32{&l.pre} }
func (l *quantizedLinear) stash() []*[]float32 { return []*[]float32{&l.pre} }
func (l *layerNorm) stash() []*[]float32       { return []*[]float32{&l.sum} }
func (a *attention) stash() []*[]float32       { return []*[]float32{&a.probs} }

// Segment adds the operations that build adds, up to the node that it returns, as one
// segment whose values are not kept between forward and backward. Each run computes
// them twice, with the same bits. All segments together take the memory of two. Only
// the returned node may be used outside of build.
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

// borrow lends the operation the memory of its place. giveBack returns it, perhaps
// grown.
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

// resizeResult gives the result the shape of a, in the operation's own memory or in its
// place.
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

// recompute computes the segment's values again.
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
