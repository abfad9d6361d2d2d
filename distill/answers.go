package distill

import (
	"fmt"
	"slices"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/train"
)

// answers returns the number of a model's outputs per row.
func answers(c checkpoints.Config) int {
	return c.Head.Width(c.NumLabels(), c.VocabSize)
}

// columns returns, for each of the student's classes, the number of the teacher's logit for it,
// or nil if both have the same order. Classes are matched by name, as those of data are. If a
// teacher's labels are just numbers, they stand for the task's labels. A teacher that does not
// answer what the student answers is an error.
func columns(teacher, student checkpoints.Config, task []string) ([]int, error) {
	if teacher.Head != student.Head {
		return nil, fmt.Errorf("the teacher's head does %s, the student's %s", teacher.Head, student.Head)
	}
	switch student.Head.Outputs() {
	case head.Score:
		return nil, nil // whatever its name
	case head.Tokens:
		if t, s := teacher.VocabSize, student.VocabSize; t != s {
			return nil, fmt.Errorf("the teacher's vocabulary has %d tokens, the student's %d", t, s)
		}
		return nil, nil
	}
	names := teacher.Labels
	if data.StandFor(names, task) {
		names = task
	}
	order, err := data.MatchLabels(names, student.Labels)
	from := slices.Repeat([]int{-1}, len(student.Labels))
	for column, class := range order {
		from[class] = column
	}
	switch {
	case err != nil || len(order) != len(from) || slices.Contains(from, -1):
		return nil, fmt.Errorf("the teacher's labels are %s, the student's %s: expected the same ones", data.ListLabels(teacher.Labels), data.ListLabels(student.Labels))
	case slices.IsSorted(from):
		return nil, nil
	}
	return from, nil
}

// checkNumbers reports data whose labels are class numbers if the teacher numbers its classes in
// another order than the student. The numbers would then mean different classes for the two.
func (b *builder) checkNumbers(teacher checkpoints.Config) error {
	for _, ds := range []*data.Dataset{b.examples, b.dev} {
		if ds != nil && ds.Numbers(teacher.Labels) && ds.Numbers(b.Model.Config.Labels) {
			return fmt.Errorf("the teacher's labels are %s, the student's %s, and the data's are numbers: %s",
				data.ListLabels(teacher.Labels), data.ListLabels(b.Model.Config.Labels), data.OneOrder)
		}
	}
	return nil
}

// permute puts the columns of rows into the order from.
func permute(rows []float32, from []int) {
	row := make([]float32, len(from))
	for ; len(rows) > 0; rows = rows[len(from):] {
		copy(row, rows)
		for i, column := range from {
			rows[i] = row[column]
		}
	}
}

// student is the student in the graph.
type student struct {
	*layers.Encoder
	// outputs are the head's [rows, labels]. logits are those to compare with a teacher's: the
	// same, or in a model that labels words the rows of their first tokens.
	outputs, logits *autograd.Node
	// pooled is [sequences, hidden], or nil if the head has no pooler.
	pooled *autograd.Node
}

// student builds the student, and the input for the teachers' logits if a loss reads them.
func (b *builder) student() (*student, error) {
	g, l, cfg := b.g, &b.o.Losses, b.Model.Config
	options := b.Options.Layers()
	options.AllTokens, options.KeepQKV = some(l.inner()) != "", l.ofQKV()
	b.answered = func(batch *data.Batch) float64 { return float64(batch.Examples()) }
	if b.general {
		e, err := layers.NewEncoder(g, b.in, b.Model, options)
		return &student{Encoder: e}, err
	}
	compared := l.ofLogits()
	for _, m := range b.members {
		from, err := columns(m.Model.Config, cfg, b.labels)
		if err == nil && from != nil {
			err = b.checkNumbers(m.Model.Config)
		} else if !compared {
			err = nil // the logits are not read
		}
		if err != nil {
			return nil, err
		}
		b.columns = append(b.columns, from)
	}
	var s student
	rows := autograd.Sequences
	if cfg.Head.Outputs() == head.Tokens {
		var err error
		if b.masker, err = evaluate.NewMasker(b.Model); err != nil {
			return nil, err
		}
		b.rows, rows = g.Ints("masked tokens", autograd.Selected), autograd.Selected
		lm, err := layers.NewMaskedLM(g, b.in, b.Model, b.rows, options)
		if err != nil {
			return nil, err
		}
		s = student{&lm.Encoder, lm.Logits, lm.Logits, nil}
		b.answered = func(*data.Batch) float64 { return float64(len(b.masker.Rows)) }
	} else {
		c, err := layers.NewClassifier(g, b.in, b.Model, options)
		if err != nil {
			return nil, err
		}
		s = student{&c.Encoder, c.Logits, c.Logits, c.Pooled}
		if cfg.Head.Subject() == head.Words && compared {
			b.rows, rows = g.Ints("first tokens of words", autograd.Selected), autograd.Selected
			s.logits = g.SelectRows(c.Logits, b.rows)
			b.answered = func(batch *data.Batch) float64 { return float64(len(batch.Words)) }
		}
	}
	if compared {
		b.logits = g.Input("teacher logits", rows, answers(cfg))
	}
	return &s, nil
}

// firstTokens returns the rows of a batch in which answers about words are compared: the first
// token of each word. A graph needs at least one row; the row for a batch without words counts
// for nothing (see mean).
func firstTokens(batch *data.Batch) []int32 {
	if len(batch.Words) == 0 {
		return []int32{0}
	}
	return batch.Words
}

// lesson says what a student learns for a kind of head.
type lesson struct {
	// soft makes the loss of the student's answers against the teachers'.
	soft func(b *builder, logits *autograd.Node) *autograd.Node
	// gaps says that the loss against the labels skips examples without a label. Numbers, and
	// labels of which several may hold, do not tell whether they are known.
	gaps bool
}

var lessons = map[head.Kind]lesson{
	head.SingleLabel: {softClasses, true},
	head.MultiLabel: {func(b *builder, logits *autograd.Node) *autograd.Node {
		return b.g.SoftBinaryCrossEntropy(logits, b.logits, b.temperature)
	}, false},
	head.Regression: {func(b *builder, logits *autograd.Node) *autograd.Node {
		// The divergence of two normal distributions of equal variance; T cancels out.
		return b.g.MSE(logits, b.logits)
	}, false},
	head.MultipleChoice: {func(b *builder, logits *autograd.Node) *autograd.Node {
		questions := b.g.Ints("questions", autograd.Sequences)
		b.set = append(b.set, func(batch *data.Batch) error { return b.g.SetInts(questions, batch.Index) })
		return b.g.ChoiceSoftCrossEntropy(logits, b.logits, questions, b.temperature)
	}, true},
	head.TokenClassification: {softClasses, true},
	head.MaskedLM:            {softClasses, true},
}

func softClasses(b *builder, logits *autograd.Node) *autograd.Node {
	return b.g.SoftCrossEntropy(logits, b.logits, b.temperature, autograd.Mean)
}

// soft makes the loss of the student's answers against the teachers'.
func (b *builder) soft(logits *autograd.Node) *autograd.Node {
	b.temperature = autograd.NewWeight(float32(b.o.Temperature))
	return lessons[b.Model.Config.Head].soft(b, logits)
}

// hard makes the loss of the student's answers against the labels.
func (b *builder) hard(s *student) (*autograd.Node, error) {
	g := b.g
	if b.masker != nil {
		labels := g.Ints("labels", autograd.Selected)
		b.set = append(b.set, func(*data.Batch) error { return g.SetInts(labels, b.masker.Labels) })
		b.labelled = b.answered
		return g.CrossEntropy(s.outputs, labels, autograd.Mean), nil
	}
	t, err := train.NewTarget(g, s.outputs, b.Train.Task.Kind, &b.Options)
	if err != nil {
		return nil, err
	}
	b.set = append(b.set, t.Set)
	b.labelled = t.Count
	return t.Loss, nil
}
