// Package autograd trains Transformer encoders on Gorgonia graphs whose operations are
// whole blocks of a layer. Gorgonia holds the graph and differentiates it; the
// operations compute in float32 with Skive's own kernels.
//
// A batch is the concatenation of its sequences, without padding. A matrix has one row
// for each token, [tokens, ·], or for each sequence, [sequences, ·]. The offsets
// [sequences+1] say where each sequence begins and where the last one ends. A graph is
// built and compiled once. Each step sets its inputs, so that one graph serves batches
// of every size.
//
//	g := autograd.New(autograd.Options{Threads: 2, Seed: 1})
//	defer g.Close()
//	ids := g.Ints("ids", autograd.Tokens)
//	...
//	logits := g.Linear(pooled, weight, bias, autograd.Identity)
//	loss := g.CrossEntropy(logits, labels, autograd.Mean)
//	s, err := autograd.NewSession(g, loss) // reports the first error of building, too
//	for ... {
//		g.SetInts(ids, batch.IDs)
//		...
//		if err := s.Run(); err != nil { ... }
//		for _, p := range g.Parameters() { update(p.Value, p.Gradient) }
//	}
//
// Results do not depend on the number of threads or on the sizes of earlier batches.
package autograd
