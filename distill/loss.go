package distill

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
)

// Part names a place in a model whose values a loss reads.
type Part string

// The parts of models. A teacher's values, except for Logits, are rounded to half precision,
// whether they are stored in a cache or not.
const (
	// Logits are the head's outputs [sequences, outputs]. A model that answers for words or masks
	// has one row for each of them [selected, outputs]. For an ensemble they are the weighted
	// mean.
	Logits Part = "logits"
	// Pooled is the output of the dense layer between the first token and the
	// classifier [sequences, hidden].
	Pooled Part = "pooled"
	// Embeddings are the embedding layer's output [tokens, hidden].
	Embeddings Part = "embeddings"
	// Hidden is a layer's output [tokens, hidden]. First is its first row in each sequence
	// [sequences, hidden].
	Hidden Part = "hidden"
	First  Part = "cls"
	// QKV are a layer's queries, keys and values side by side [tokens, 3 * heads * head
	// dimension]. Scores, maps and relations are computed from them, see
	// autograd.Graph.AttentionLoss, ValueRelationKL and RelationKL.
	QKV Part = "qkv"
)

// perLayer tells whether every layer has this part.
func (p Part) perLayer() bool { return p == Hidden || p == First || p == QKV }

// inner tells whether the part is inside the encoder.
func (p Part) inner() bool { return p.perLayer() || p == Embeddings }

func (p Part) known() bool { return p.inner() || p == Logits || p == Pooled }

// Loss is a term of the objective that the calling program supplies. Logs, results and a model's
// provenance show it beside the terms of Losses.
type Loss struct {
	// Name is the name of the term. The terms of Losses are named like their flags.
	Name string
	// Weight is the weight of the term. It is finite and not negative; 0 leaves the term out.
	Weight float64
	// Reads lists the parts that the loss compares between student and teacher. The loss must be
	// a mean over the rows of the first of them.
	Reads []Part
	// Build adds the loss, a scalar, to the student's graph.
	Build func(c *Comparison) (*autograd.Node, error)
}

// Comparison is what a Loss is built from.
type Comparison struct {
	// Graph is the student's graph. It contains the values of both models, on which its own
	// operations and those added with Graph.Apply can work.
	Graph *autograd.Graph
	// Student and Teacher are the models' architectures.
	Student, Teacher checkpoints.Config
	// Offsets are the boundaries of a batch's sequences [sequences+1].
	Offsets *autograd.Node

	loss    *Loss
	builder *builder
	student *student
}

// OfStudent returns the student's values of a part that the loss reads. Layers count from 0. The
// layer is ignored for a part that is not per layer.
func (c *Comparison) OfStudent(p Part, layer int) (*autograd.Node, error) {
	if err := c.check("student", c.Student, p, layer); err != nil {
		return nil, err
	}
	switch p {
	case Logits:
		return c.student.logits, nil
	case Pooled:
		return c.student.pooled, nil
	case Embeddings:
		return c.student.Embeddings, nil
	case Hidden:
		return c.student.Layers[layer].Hidden, nil
	case First:
		return c.Graph.SelectFirst(c.student.Layers[layer].Hidden, c.Offsets), nil
	}
	return c.student.Layers[layer].QKV, nil
}

// OfTeacher returns the first teacher's values of a part that the loss reads. For Logits it
// returns the mean over all teachers. No gradient flows into them.
func (c *Comparison) OfTeacher(p Part, layer int) (*autograd.Node, error) {
	if err := c.check("teacher", c.Teacher, p, layer); err != nil {
		return nil, err
	}
	if !p.perLayer() {
		layer = 0
	}
	switch p {
	case Logits:
		return c.builder.logits, nil
	case QKV:
		return c.builder.readQKV(layer), nil
	}
	return c.builder.read(p, layer, c.Teacher.HiddenSize), nil
}

func (c *Comparison) check(whose string, cfg checkpoints.Config, p Part, layer int) error {
	switch {
	case !slices.Contains(c.loss.Reads, p):
		return fmt.Errorf("it asks for the %s's %q, expected one of the parts that it reads: %q", whose, p, c.loss.Reads)
	case p.perLayer() && (layer < 0 || layer >= len(cfg.Layers)):
		return fmt.Errorf("it asks for layer %d of the %s, expected 0 to %d", layer, whose, len(cfg.Layers)-1)
	}
	return nil
}

// builtIn holds the names of the terms of Losses.
var builtIn = []string{"soft", "logits-mse", "hard", "embeddings", "hidden", "attention", "minilm", "relations"}

// checkOwn reports the first loss of the program's own that cannot be built.
func (o *Options) checkOwn() error {
	weighed := o.TeacherWeight > 0 || slices.ContainsFunc(o.Ensemble, func(t Teacher) bool { return t.Weight > 0 })
	seen := slices.Clone(builtIn)
	for i, l := range o.Own {
		fail := func(format string, args ...any) error {
			return fmt.Errorf("own loss %d, %q: %s", i+1, l.Name, fmt.Sprintf(format, args...))
		}
		switch {
		case l.Name == "" || slices.Contains(seen, l.Name):
			return fail("expected a name that no other loss has")
		case !(l.Weight >= 0) || math.IsInf(l.Weight, 1):
			return fail("the weight is %v, expected a finite weight that is not negative", l.Weight)
		case l.Build == nil:
			return fail("there is no Build")
		case len(l.Reads) == 0:
			return fail("it reads nothing, expected one part at least")
		case l.Weight > 0 && slices.Contains(l.Reads, Logits) && !weighed:
			return fail("it reads logits, expected a positive weight of at least one teacher")
		}
		for _, p := range l.Reads {
			if !p.known() {
				return fail("it reads %q, which is no part of a model", p)
			}
		}
		seen = append(seen, l.Name)
	}
	return nil
}

// reads tells whether one of the program's own losses with a weight reads such a part.
func (l *Losses) reads(is func(Part) bool) bool {
	return slices.ContainsFunc(l.Own, func(own Loss) bool { return own.Weight > 0 && slices.ContainsFunc(own.Reads, is) })
}

// ofLogits tells whether a loss compares the logits with the teachers'.
func (l *Losses) ofLogits() bool {
	return l.Soft+l.LogitsMSE > 0 || l.reads(func(p Part) bool { return p == Logits })
}

// ofQKV tells whether a loss reads queries, keys and values.
func (l *Losses) ofQKV() bool {
	return l.Attention+l.MiniLM+l.Relations > 0 || l.reads(func(p Part) bool { return p == QKV })
}

// own builds one of the program's own losses.
func (b *builder) own(l *Loss, s *student) (*autograd.Node, error) {
	if slices.Contains(l.Reads, Pooled) {
		switch _, t := b.configs(); {
		case s.pooled == nil:
			return nil, fmt.Errorf("own loss %q: it reads the pooled vectors, which the student's head has none of", l.Name)
		case t.Head.PerToken() || len(t.Labels) == 0:
			return nil, fmt.Errorf("own loss %q: it reads the pooled vectors, which the teacher's head has none of", l.Name)
		}
	}
	c := &Comparison{Graph: b.g, Offsets: b.in.Offsets, loss: l, builder: b, student: s}
	c.Student, c.Teacher = b.configs()
	n, err := l.Build(c)
	if err == nil {
		if err = b.g.Err(); err == nil && n == nil {
			err = errors.New("there is no loss in what Build returned")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("own loss %q: %w", l.Name, err)
	}
	return n, nil
}

// countOf returns the number by which the mean of an own loss divides.
func (b *builder) countOf(l *Loss) func(*data.Batch) float64 {
	switch p := l.Reads[0]; {
	case p == Logits && b.Model.Config.Head.Subject() != head.Choices:
		return b.answered
	case p == Hidden || p == QKV || p == Embeddings:
		return func(batch *data.Batch) float64 { return float64(batch.Tokens()) }
	}
	return func(batch *data.Batch) float64 { return float64(batch.Sequences()) }
}
