package pruning

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// Method says how importance is computed. Imagine a mask of ones that multiplies a head's output
// or a unit's activation. In what follows, g is the gradient of one example's loss with respect
// to this mask.
type Method string

// Methods.
const (
	// Exact sums |g| over the examples (Michel et al., arXiv 1905.10650). The result does not
	// depend on the batch size.
	Exact Method = "exact"
	// Fisher sums g², which is the diagonal of the empirical Fisher information.
	Fisher Method = "fisher"
	// FastFormers sums as the program FastFormers does. The gradients of each batch's mean loss
	// are added up without zeroing, and the absolute value of the sum so far is added to the
	// score after each batch. So early batches weigh more, and the batch size matters. The score
	// of a unit is weight times gradient of the intermediate layer and its bias, before the
	// activation. For gated units this is the factor that is activated.
	FastFormers Method = "fastformers"
	// Magnitude is the L2 norm of the weights of a head or a unit. It needs no data.
	Magnitude Method = "magnitude"
)

var methods = []Method{Exact, Fisher, FastFormers, Magnitude}

// ParseMethod reads the name of a method.
func ParseMethod(name string) (Method, error) {
	names := make([]string, len(methods))
	for i, m := range methods {
		if string(m) == name {
			return m, nil
		}
		names[i] = string(m)
	}
	return "", settings.Wrong("Method", name, strings.Join(names, ", "))
}

// ImportanceOptions are the settings of Importance.
type ImportanceOptions struct {
	// Method is the method; "" means Exact.
	Method Method
	// BatchSize is the number of examples in a batch; 0 means 32. Examples are taken in the order
	// of the file. Only FastFormers depends on the batch size.
	BatchSize int
	// Limit is the number of examples that are used, from the first on; 0 means all.
	Limit int
	// Predictions uses the model's own predictions as labels, so the data need no labels.
	Predictions bool
	// MaxLength is the number of tokens to which inputs are truncated; 0 means the model's
	// maximum.
	MaxLength int
	// Threads is the number of worker threads; 0 means one for each CPU.
	Threads int
	// Progress, if not nil, is told how the work comes along.
	Progress progress.Reporter
}

func (o *ImportanceOptions) validate() error {
	if o.Method == "" {
		o.Method = Exact
	}
	if _, err := ParseMethod(string(o.Method)); err != nil {
		return err
	}
	switch {
	case o.BatchSize < 0 || o.BatchSize > train.MaxBatchSize:
		return settings.Wrong("BatchSize", o.BatchSize, "a positive number of examples, %d at most", train.MaxBatchSize)
	case o.Limit < 0:
		return settings.Wrong("Limit", o.Limit, "a positive number of examples, or 0 for all")
	case o.Threads < 0:
		return settings.Wrong("Threads", o.Threads, "a positive number, or 0 for one for each CPU")
	}
	if o.BatchSize == 0 {
		o.BatchSize = train.DefaultBatchSize
	}
	return nil
}

// Importance scores the attention heads and feed-forward units of a model with a head by their
// effect on its loss on ds. The loss is that of the task's kind: for a multiple choice that of a
// question, and for labelled words the sum over the words. A masked language model has no
// importance, since its loss depends on random masks. Magnitude takes no data, so ds may be nil.
func Importance(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o ImportanceOptions) (*Scores, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("importance: %w", err)
	}
	var s *Scores
	var err error
	if o.Method == Magnitude {
		s, err = MagnitudeScores(model)
	} else {
		s = newScores(model.Config)
		s.Examples, err = eachBatch(ctx, model, ds, o, func(p *probe) { p.score(s) })
		if err == nil {
			err = s.finite(model)
		}
	}
	switch {
	case errors.Is(err, errMasked):
		return nil, fmt.Errorf("importance: %w; %s does without", err, Magnitude)
	case err != nil:
		return nil, fmt.Errorf("importance: %w", err)
	}
	return s, nil
}

// Gradients holds the gradients of each example's loss with respect to masks of ones on heads and
// units. Exact and Fisher sum them up.
type Gradients struct {
	// Heads and FFN hold a matrix for each layer, [examples × heads] and [examples × units], row
	// after row.
	Heads, FFN [][]float32
	Examples   int
}

// MaskGradients computes the gradients of the examples of ds, for Scores and Rearrange. It keeps
// 4 bytes for each example and unit; a few thousand examples are enough. It ignores the method in
// o.
func MaskGradients(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o ImportanceOptions) (*Gradients, error) {
	o.Method = Exact
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("mask gradients: %w", err)
	}
	layers := len(model.Config.Layers)
	g := &Gradients{Heads: make([][]float32, layers), FFN: make([][]float32, layers)}
	var err error
	g.Examples, err = eachBatch(ctx, model, ds, o, func(p *probe) {
		for l, layer := range p.model.Layers {
			g.Heads[l] = append(g.Heads[l], p.gradient(layer.HeadMask)...)
			g.FFN[l] = append(g.FFN[l], p.gradient(layer.FFNMask)...)
		}
	})
	if err == nil {
		err = g.Scores(Exact).finite(model)
	}
	if err != nil {
		return nil, fmt.Errorf("mask gradients: %w", err)
	}
	return g, nil
}

// Scores sums up the gradients as Importance does with Exact or Fisher.
func (g *Gradients) Scores(m Method) *Scores {
	layers := len(g.Heads)
	s := &Scores{Heads: make([][]float64, layers), FFN: make([][]float64, layers), Examples: g.Examples}
	for l := range layers {
		s.Heads[l] = make([]float64, len(g.Heads[l])/g.Examples)
		s.FFN[l] = make([]float64, len(g.FFN[l])/g.Examples)
		add(s.Heads[l], g.Heads[l], m)
		add(s.FFN[l], g.FFN[l], m)
	}
	return s
}

// eachBatch computes the gradients of the data set batch by batch. It returns the number of
// examples.
func eachBatch(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o ImportanceOptions, visit func(*probe)) (int, error) {
	enc, err := labelled(ctx, model, ds, o)
	if err != nil {
		return 0, err
	}
	p, err := newProbe(model, enc.Task.Kind, o)
	if err != nil {
		return 0, err
	}
	defer p.graph.Close()
	bar := progress.Begin(o.Progress, "importance", 0, enc.Len())
	defer bar.Finish("")
	var batch data.Batch
	done := 0
	for _, examples := range data.Batches(enc, data.BatchOptions{Examples: o.BatchSize}, 0) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		enc.Fill(&batch, examples)
		if err := p.run(&batch); err != nil {
			return 0, err
		}
		visit(p)
		done += len(examples)
		bar.Set(done, "")
	}
	return done, nil
}

// errMasked says why a masked language model has no importance.
var errMasked = fmt.Errorf("the loss of a %s depends on the masks that are drawn: %w", head.MaskedLM, checkpoints.ErrUnsupported)

// labelled encodes the part of the data set that the options name. The labels are those of the
// data, or the model's predictions.
func labelled(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o ImportanceOptions) (*data.Encoded, error) {
	switch {
	case !model.HasHead():
		return nil, fmt.Errorf("the model has no head, whose loss importance is measured by")
	case model.Config.Head.Subject() == head.Masks:
		return nil, errMasked
	case o.Predictions && model.Config.Head.OneNumber():
		return nil, settings.Wrong("Predictions", o.Predictions, "false for a regression, whose distance from its own predictions is 0")
	case model.Quantized():
		return nil, fmt.Errorf("the model is int8, expected the one that it was quantized from")
	case ds == nil || len(ds.Examples) == 0:
		return nil, data.ErrEmpty
	}
	if err := evaluate.CheckHead(model.Config, ds.Task); err != nil {
		return nil, err
	}
	if o.Limit > 0 {
		ds = ds.First(o.Limit)
	}
	if o.Predictions {
		var err error
		if ds, err = evaluate.Answered(ctx, model, ds, evaluate.Options{MaxLength: o.MaxLength, Threads: o.Threads, DType: infer.F32}); err != nil {
			return nil, err
		}
	} else {
		var err error
		if ds, err = evaluate.Relabel("training", ds, model.Config, true); err != nil {
			return nil, err
		}
	}
	return evaluate.Encode(model, ds, o.MaxLength)
}

// probe is a model's graph with masks.
type probe struct {
	method  Method
	graph   *autograd.Graph
	session *autograd.Session
	in      *layers.Inputs
	target  train.Target
	// examples multiplies the target, which is a mean. By the number of examples it becomes the
	// sum.
	examples *autograd.Weight
	model    *layers.Classifier
	ones     []float32
	width    int     // columns of the widest mask
	index    []int32 // examples of the batch
	// weights and biases are those of the intermediate layers, for FastFormers. A bias is nil if
	// there is none.
	weights, biases []*autograd.Parameter
	// sums are FastFormers' summed gradients so far.
	sums *Scores
}

func newProbe(model *checkpoints.Model, kind head.Kind, o ImportanceOptions) (*probe, error) {
	g := autograd.New(autograd.Options{Threads: o.Threads})
	p := &probe{method: o.Method, graph: g, in: layers.NewInputs(g), examples: autograd.NewWeight(1), sums: newScores(model.Config)}
	fast := o.Method == FastFormers
	var err error
	p.model, err = layers.NewClassifier(g, p.in, model, layers.Options{Frozen: !fast, HeadMasks: true, FFNMasks: !fast})
	if err == nil {
		p.target, err = train.NewTarget(g, p.model.Logits, kind, &train.Options{})
	}
	if err == nil {
		p.session, err = autograd.NewSession(g, g.WeightedSum(autograd.Term{Loss: p.target.Loss, Weight: p.examples}))
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	for _, l := range model.Config.Layers {
		p.width = max(p.width, l.Heads, l.Intermediate)
	}
	if fast {
		byName := make(map[string]*autograd.Parameter)
		for _, parameter := range g.Parameters() {
			byName[parameter.Name] = parameter
		}
		for l := range model.Config.Layers {
			part := checkpoints.Up.In(l)
			if model.Config.Block(l).Gated {
				part = checkpoints.Gate.In(l)
			}
			p.weights = append(p.weights, byName[part.Weight()])
			p.biases = append(p.biases, byName[part.Bias()])
		}
	}
	return p, nil
}

// run computes the gradients of a batch.
func (p *probe) run(b *data.Batch) error {
	if err := p.in.Set(b.IDs, b.TypeIDs, b.Positions, b.Offsets); err != nil {
		return err
	}
	if err := p.target.Set(b); err != nil {
		return err
	}
	if p.method != FastFormers {
		p.examples.Set(float32(p.target.Count(b)))
	}
	p.index = b.Index
	sequences := b.Sequences()
	for len(p.ones) < sequences*p.width {
		p.ones = append(p.ones, 1)
	}
	for l, layer := range p.model.Layers {
		if err := p.graph.Set(layer.HeadMask, p.ones[:sequences*len(p.sums.Heads[l])]); err != nil {
			return err
		}
		if layer.FFNMask == nil {
			continue
		}
		if err := p.graph.Set(layer.FFNMask, p.ones[:sequences*len(p.sums.FFN[l])]); err != nil {
			return err
		}
	}
	return p.session.Run()
}

// gradient returns the gradients with respect to a mask for each example of the batch [examples ×
// columns]. For a question it is the sum over its choices.
func (p *probe) gradient(mask *autograd.Node) []float32 {
	all := p.session.Gradient(mask)
	columns := len(all) / len(p.index)
	examples := 0
	for s, example := range p.index {
		row := all[s*columns:][:columns]
		if s > 0 && example == p.index[s-1] {
			to := all[(examples-1)*columns:][:columns]
			kernels.Add(to, to, row)
			continue
		}
		copy(all[examples*columns:], row)
		examples++
	}
	return all[:examples*columns]
}

// score adds the batch's gradients to the scores.
func (p *probe) score(s *Scores) {
	for l, layer := range p.model.Layers {
		heads := p.gradient(layer.HeadMask)
		if p.method == FastFormers {
			accumulate(s.Heads[l], p.sums.Heads[l], func(sums []float64) {
				for i, g := range heads {
					sums[i%len(sums)] += float64(g)
				}
			})
			accumulate(s.FFN[l], p.sums.FFN[l], func(sums []float64) { p.units(sums, l) })
			continue
		}
		add(s.Heads[l], heads, p.method)
		add(s.FFN[l], p.gradient(layer.FFNMask), p.method)
	}
}

// add adds the gradients of each example, [sequences, masks], to the scores.
func add(scores []float64, gradients []float32, m Method) {
	for i, g := range gradients {
		v := math.Abs(float64(g))
		if m == Fisher {
			v *= v
		}
		scores[i%len(scores)] += v
	}
}

// accumulate adds the batch's gradients to the sums, and then the absolute values of the sums to
// the scores.
func accumulate(scores, sums []float64, batch func(sums []float64)) {
	batch(sums)
	for i, v := range sums {
		scores[i] += math.Abs(v)
	}
}

// units adds Σ weight·gradient + bias·gradient for each unit of layer l.
func (p *probe) units(sums []float64, l int) {
	w, b := p.weights[l], p.biases[l]
	width := len(w.Value) / len(sums)
	for i := range sums {
		sum := 0.0
		if b != nil {
			sum = float64(b.Value[i]) * float64(b.Gradient[i])
		}
		for j := i * width; j < (i+1)*width; j++ {
			sum += float64(float64(w.Value[j]) * float64(w.Gradient[j]))
		}
		sums[i] += sum
	}
}
