package distill

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/train"
)

// ErrTokenizer is returned for a teacher and a student whose tokenizers differ.
var ErrTokenizer = errors.New("teacher and student have different tokenizers")

// Run trains a copy of student to do what teacher does on the examples of
// trainSet and returns the model that did best on devSet (the last one where
// devSet is nil). Labels of trainSet are read only where Losses.Hard weighs
// them, and may be missing there.
//
// The teacher's hidden states and relations are computed with each batch where a
// loss reads them; its logits alone are remembered for the epochs that follow.
// Files, resuming and errors are those of train.Run.
func Run(ctx context.Context, teacher, student *checkpoints.Model, trainSet, devSet *data.Dataset, o Options) (*checkpoints.Model, *train.Result, error) {
	if o.Stage == "" {
		o.Stage = "distill"
	}
	if err := o.Validate(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", o.Stage, err)
	}
	if o.MaxLength == 0 && teacher.Config.MaxTokens() < student.Config.MaxTokens() {
		o.MaxLength = teacher.Config.MaxTokens()
	}
	if err := o.fits(teacher, student); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", o.Stage, err)
	}
	settings := o.settings()
	settings["teacher-checksum"] = train.Checksum(teacher)
	return train.Fit(ctx, student, trainSet, devSet, o.Options, train.Problem{
		Settings:  settings,
		Unlabeled: o.Hard == 0 || o.Soft+o.Hidden+o.Relations > 0,
		Build: func(s train.Setup) (train.Objective, error) {
			return build(s, teacher, o.Losses)
		},
	})
}

// fits reports a teacher and a student that do not go together.
func (o *Options) fits(teacher, student *checkpoints.Model) error {
	if o.MaxLength > teacher.Config.MaxTokens() {
		return &train.OptionError{Option: "max-length", Value: o.MaxLength, Want: fmt.Sprintf("at most the teacher's %d positions", teacher.Config.MaxTokens())}
	}
	for _, c := range []checkpoints.Config{teacher.Config, student.Config} {
		if c.Head != checkpoints.SingleLabel && o.Soft+o.Hard > 0 {
			return fmt.Errorf("a head for %s: its losses are not distilled, those of one class are: %w", c.Head, checkpoints.ErrUnsupported)
		}
	}
	if !maps.EqualFunc(teacher.Tokenizer, student.Tokenizer, slices.Equal) {
		return ErrTokenizer
	}
	if t, s := teacher.Config.Labels, student.Config.Labels; o.Soft > 0 && !slices.Equal(t, s) {
		return fmt.Errorf("the teacher's labels are %s, the student's %s", list(t), list(s))
	}
	for name, t := range teacher.Tensors {
		if t.DType == checkpoints.I8 {
			return fmt.Errorf("teacher: tensor %s is int8: distill from the model before it was quantized", name)
		}
	}
	return nil
}

func list(labels []string) string {
	if len(labels) == 0 {
		return "none"
	}
	return strings.Join(labels, ", ")
}

// build makes the objective: the student's graph, the frozen teacher beside it
// where a loss reads more than its logits, and the losses.
func build(s train.Setup, teacher *checkpoints.Model, l Losses) (train.Objective, error) {
	g := autograd.New(autograd.Options{Team: s.Team, Seed: s.Options.Seed})
	b := &builder{g: g, in: layers.NewInputs(g), losses: l, seed: s.Options.Seed}
	terms, err := b.terms(s.Model, teacher)
	if err != nil {
		g.Close()
		return nil, err
	}
	var known *logits
	if b.targets != nil {
		if known, err = newLogits(teacher, s.Train, s.Options.Threads); err != nil {
			g.Close()
			return nil, fmt.Errorf("teacher: %w", err)
		}
	}
	objective, err := train.Compile(g, s.Model, terms, func(batch *data.Batch) error {
		if err := b.in.Set(batch.IDs, batch.TypeIDs, batch.Positions, batch.Offsets); err != nil {
			return err
		}
		if b.labels != nil {
			if err := g.SetInts(b.labels, batch.Labels); err != nil {
				return err
			}
		}
		if b.targets == nil {
			return nil
		}
		targets, err := known.of(batch.Index)
		if err != nil {
			return fmt.Errorf("teacher: %w", err)
		}
		return g.Set(b.targets, targets)
	})
	if known == nil {
		return objective, err
	}
	if err != nil {
		known.engine.Close()
		return nil, err
	}
	return &withTeacher{objective, known}, nil
}

// withTeacher is an objective that asks an engine for the teacher's logits.
type withTeacher struct {
	train.Objective
	teacher *logits
}

func (o *withTeacher) Close() error {
	return errors.Join(o.Objective.Close(), o.teacher.engine.Close())
}

// logits are a teacher's, of the examples of a set: each is computed when it
// first comes up, and kept for the epochs that follow.
type logits struct {
	engine  *infer.Engine
	set     *data.Encoded
	classes int
	all     []float32 // [examples × classes]
	known   []bool

	missing         []int32
	batch           data.Batch
	fresh, selected []float32
}

func newLogits(teacher *checkpoints.Model, set *data.Encoded, threads int) (*logits, error) {
	engine, err := infer.New(teacher, infer.Options{Threads: threads, DType: infer.F32})
	if err != nil {
		return nil, err
	}
	classes := teacher.Config.NumLabels()
	return &logits{
		engine: engine, set: set, classes: classes,
		all: make([]float32, set.Len()*classes), known: make([]bool, set.Len()),
	}, nil
}

// of returns the logits of examples of the set, until the next call.
func (l *logits) of(examples []int32) ([]float32, error) {
	l.missing = l.missing[:0]
	for _, example := range examples {
		if !l.known[example] {
			l.missing, l.known[example] = append(l.missing, example), true
		}
	}
	if len(l.missing) > 0 {
		l.set.Fill(&l.batch, l.missing)
		var err error
		if l.fresh, err = l.engine.PredictTokens(l.fresh, l.batch.IDs, l.batch.TypeIDs, l.batch.Offsets); err != nil {
			return nil, err
		}
		for i, example := range l.missing {
			copy(l.all[int(example)*l.classes:], l.fresh[i*l.classes:(i+1)*l.classes])
		}
	}
	l.selected = l.selected[:0]
	for _, example := range examples {
		at := int(example) * l.classes
		l.selected = append(l.selected, l.all[at:at+l.classes]...)
	}
	return l.selected, nil
}

// builder adds the losses to a graph.
type builder struct {
	g      *autograd.Graph
	in     *layers.Inputs
	losses Losses
	seed   uint64
	// labels is the input of the hard loss and targets that of the soft loss
	// whose teacher is not in the graph; nil where there is none.
	labels, targets *autograd.Node
}

func (b *builder) terms(model, teacher *checkpoints.Model) ([]train.Term, error) {
	l, g := &b.losses, b.g
	inner := l.Hidden > 0 || l.Relations > 0
	student, err := layers.NewClassifier(g, b.in, model, layers.Options{Dropout: true, AllTokens: inner})
	if err != nil {
		return nil, err
	}
	// A teacher whose inner states count is part of the graph, logits included.
	var frozen *layers.Encoder
	var targets *autograd.Node
	o := layers.Options{Frozen: true, AllTokens: true}
	switch {
	case inner && l.Soft > 0:
		var c *layers.Classifier
		if c, err = layers.NewClassifier(g, b.in, teacher, o); err == nil {
			frozen, targets = &c.Encoder, c.Logits
		}
	case inner:
		frozen, err = layers.NewEncoder(g, b.in, teacher, o)
	case l.Soft > 0:
		b.targets = g.Input("teacher logits", autograd.Sequences, teacher.Config.NumLabels())
		targets = b.targets
	}
	if err != nil {
		return nil, fmt.Errorf("teacher: %w", err)
	}
	var terms []train.Term
	if l.Soft > 0 {
		terms = append(terms, train.Term{Name: "soft", Weight: l.Soft,
			Loss: g.SoftCrossEntropy(student.Logits, targets, float32(l.Temperature), autograd.Mean)})
	}
	if l.Hard > 0 {
		b.labels = g.Ints("labels", autograd.Sequences)
		terms = append(terms, train.Term{Name: "hard", Weight: l.Hard,
			Loss: g.CrossEntropy(student.Logits, b.labels, autograd.Mean)})
	}
	if l.Hidden > 0 {
		loss, err := b.hidden(&student.Encoder, frozen, model.Config, teacher.Config)
		if err != nil {
			return nil, err
		}
		terms = append(terms, train.Term{Name: "hidden", Weight: l.Hidden, Loss: loss})
	}
	if l.Relations > 0 {
		loss, err := b.relations(&student.Encoder, frozen, model.Config, teacher.Config)
		if err != nil {
			return nil, err
		}
		terms = append(terms, train.Term{Name: "relations", Weight: l.Relations, Loss: loss})
	}
	return terms, nil
}

// hidden is the mean distance of the embeddings' outputs and of the mapped
// layers' hidden states. Between widths stand two projections, one for the
// embeddings and one shared by the layers (TinyBERT, equations 8 and 9).
func (b *builder) hidden(student, teacher *layers.Encoder, s, t checkpoints.Config) (*autograd.Node, error) {
	pairs, err := b.losses.HiddenMap.resolve(len(s.Layers), len(t.Layers))
	if err != nil {
		return nil, err
	}
	embeddings, states := b.projection("embeddings", s, t), b.projection("hidden", s, t)
	losses := []*autograd.Node{b.distance(student.Embeddings, teacher.Embeddings, embeddings)}
	for _, p := range pairs {
		losses = append(losses, b.distance(student.Layers[p[0]].Hidden, teacher.Layers[p[1]].Hidden, states))
	}
	return b.mean(losses), nil
}

// projection returns a trainable [teacher width, student width] matrix, nil
// where the widths are equal.
func (b *builder) projection(name string, s, t checkpoints.Config) *autograd.Node {
	if s.HiddenSize == t.HiddenSize {
		return nil
	}
	w := make([]float32, t.HiddenSize*s.HiddenSize)
	r := rand.New(rand.NewPCG(b.seed, uint64(len(name))))
	for i := range w {
		w[i] = float32(r.NormFloat64() / math.Sqrt(float64(s.HiddenSize)))
	}
	return b.g.Parameter("projection."+name+".weight", w, t.HiddenSize, s.HiddenSize)
}

func (b *builder) distance(student, teacher, projection *autograd.Node) *autograd.Node {
	if projection != nil {
		student = b.g.Linear(student, projection, nil, autograd.Identity)
	}
	if b.losses.HiddenDistance == Cosine {
		return b.g.CosineLoss(student, teacher)
	}
	return b.g.MSE(student, teacher)
}

// relations is the mean divergence of the mapped layers' self-attention
// relations.
func (b *builder) relations(student, teacher *layers.Encoder, s, t checkpoints.Config) (*autograd.Node, error) {
	pairs, err := b.losses.RelationMap.resolve(len(s.Layers), len(t.Layers))
	if err != nil {
		return nil, err
	}
	var losses []*autograd.Node
	for _, p := range pairs {
		heads, ws, wt := b.losses.RelationHeads, s.AttentionSize(p[0]), t.AttentionSize(p[1])
		if heads == 0 {
			// One head divides every width, so that this ends.
			for heads = s.NumHeads(p[0]); ws%heads != 0 || wt%heads != 0; heads-- {
			}
		}
		if ws%heads != 0 || wt%heads != 0 {
			return nil, &train.OptionError{Option: "relation-heads", Value: heads, Want: fmt.Sprintf(
				"a divisor of the attention widths %d (student layer %d) and %d (teacher layer %d)", ws, p[0], wt, p[1])}
		}
		losses = append(losses, b.g.RelationKL(student.Layers[p[0]].QKV, teacher.Layers[p[1]].QKV, b.in.Offsets, heads))
	}
	return b.mean(losses), nil
}

func (b *builder) mean(losses []*autograd.Node) *autograd.Node {
	terms := make([]autograd.Term, len(losses))
	for i, l := range losses {
		terms[i] = autograd.Term{Loss: l, Weight: autograd.NewWeight(1 / float32(len(losses)))}
	}
	return b.g.WeightedSum(terms...)
}
