package autograd

import "time"

// Profile says how the time of runs was spent. Times of work shared by the team are
// means over its workers.
type Profile struct {
	// Products is the time in matrix products, without those that a kernel fuses with
	// other work. Packing is the time spent laying out their right-hand sides. FLOPs
	// counts the multiplications and additions of all products.
	Products, Packing time.Duration
	FLOPs             int64
	// Operations is the time for each kind of operation, its products included.
	Operations map[string]time.Duration
}

// SetProfile makes later runs add to p; nil stops that.
func (s *Session) SetProfile(p *Profile) {
	s.graph.profile = p
	for i := range s.graph.workers {
		w := &s.graph.workers[i]
		w.measured, w.products, w.packing, w.flops = p != nil, 0, 0, 0
	}
	if p != nil && p.Operations == nil {
		p.Operations = map[string]time.Duration{}
	}
}

// operation adds the time since start to the named kind of operation.
func (g *Graph) operation(name string, start time.Time) {
	g.profile.Operations[name] += time.Since(start)
}

// collectWorkers adds the workers' own measurements.
func (g *Graph) collectWorkers() {
	var products, packing time.Duration
	for i := range g.workers {
		w := &g.workers[i]
		products += w.products
		packing += w.packing
		g.profile.FLOPs += w.flops
		w.products, w.packing, w.flops = 0, 0, 0
	}
	n := time.Duration(len(g.workers))
	g.profile.Products += products / n
	g.profile.Packing += packing / n
}
