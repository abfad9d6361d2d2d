package train

import (
	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/layers"
)

// Term is a named, weighted loss of an objective. It is a scalar node of the graph.
type Term struct {
	Name   string
	Weight float64
	Loss   *autograd.Node
}

// graphObjective is an objective that an autograd graph computes.
type graphObjective struct {
	graph      *autograd.Graph
	session    *autograd.Session
	terms      []Term
	bind       func(*data.Batch) error
	parameters []Parameter
	// count returns what the mean in the loss divides by. nil means the number of sequences.
	count func(*data.Batch) float64
}

// Compile makes an objective that is the weighted sum of the terms, which are nodes of graph g.
// The model's weights and the graph's share memory (layers.Store): what a run changes in one
// changes in the other. bind sets the inputs of the graph for a batch. Parameters on which no
// term depends are not trained. The objective closes the graph when it is closed; Compile closes
// it when it fails.
func Compile(g *autograd.Graph, model *checkpoints.Model, terms []Term, bind func(*data.Batch) error) (Objective, error) {
	o, err := compile(g, model, terms, bind)
	if err != nil {
		return nil, err
	}
	return o, nil
}

func compile(g *autograd.Graph, model *checkpoints.Model, terms []Term, bind func(*data.Batch) error) (*graphObjective, error) {
	o := &graphObjective{graph: g, terms: terms, bind: bind}
	if err := o.compile(model); err != nil {
		g.Close()
		return nil, err
	}
	return o, nil
}

func (o *graphObjective) compile(model *checkpoints.Model) error {
	weighted := make([]autograd.Term, len(o.terms))
	for i, t := range o.terms {
		weighted[i] = autograd.Term{Loss: t.Loss, Weight: autograd.NewWeight(float32(t.Weight))}
	}
	loss := o.graph.WeightedSum(weighted...)
	session, err := autograd.NewSession(o.graph, loss)
	if err != nil {
		return err
	}
	o.session = session
	for _, p := range o.graph.Parameters() {
		if p.Gradient != nil {
			o.parameters = append(o.parameters, Parameter{Name: p.Name, Weights: p.Value, Gradient: p.Gradient})
		}
	}
	return layers.Store(o.graph, model)
}

func (o *graphObjective) Parameters() []Parameter { return o.parameters }

func (o *graphObjective) Step(number int, b *data.Batch) (float64, map[string]float64, error) {
	if err := o.bind(b); err != nil {
		return 0, nil, err
	}
	o.session.SetStep(uint64(number))
	if err := o.session.Run(); err != nil {
		return 0, nil, err
	}
	parts := make(map[string]float64, len(o.terms))
	for _, t := range o.terms {
		parts[t.Name] = float64(o.session.Value(t.Loss)[0])
	}
	return float64(o.session.Loss()), parts, nil
}

func (o *graphObjective) Weights(_ int, batches []data.Batch) []float64 {
	weights := make([]float64, len(batches))
	for i := range batches {
		if o.count == nil {
			weights[i] = float64(batches[i].Sequences())
		} else {
			weights[i] = o.count(&batches[i])
		}
	}
	return weights
}

// SetProfile makes the next steps add their times to p.
func (o *graphObjective) SetProfile(p *autograd.Profile) { o.session.SetProfile(p) }

// Memory estimates the bytes that a step takes for values and gradients.
func (o *graphObjective) Memory(e autograd.Extents) int64 { return o.graph.Memory(e) }

func (o *graphObjective) Close() error {
	o.graph.Close()
	return nil
}
