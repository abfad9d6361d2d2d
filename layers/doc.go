// Package layers builds Transformer encoders as autograd graphs from models.
//
//	g := autograd.New(autograd.Options{Seed: 1})
//	defer g.Close()
//	in := layers.NewInputs(g)
//	c, err := layers.NewClassifier(g, in, model, layers.Options{Dropout: true})
//	labels := g.Ints("labels", autograd.Sequences)
//	loss := g.CrossEntropy(c.Logits, labels, autograd.Mean)
//	s, err := autograd.NewSession(g, loss)
//	...
//	err = in.Set(ids, typeIDs, positions, offsets)
//	err = s.Run()
//	...
//	err = layers.Store(g, model) // the trained weights, under their names
package layers
