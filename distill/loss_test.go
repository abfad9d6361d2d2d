package distill

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/golden"
)

// between is an own loss on one part of layers of both models.
func between(p Part, studentLayer, teacherLayer int, build func(c *Comparison, student, teacher *autograd.Node) *autograd.Node) Loss {
	return Loss{Name: "own", Weight: 1, Reads: []Part{p}, Build: func(c *Comparison) (*autograd.Node, error) {
		s, errS := c.OfStudent(p, studentLayer)
		t, errT := c.OfTeacher(p, teacherLayer)
		if err := errors.Join(errS, errT); err != nil {
			return nil, err
		}
		return build(c, s, t), nil
	}}
}

func mse(c *Comparison, s, t *autograd.Node) *autograd.Node { return c.Graph.MSE(s, t) }

// A program's own loss is what a built-in one of the same operation is, to the bits of the
// student, with and without a cache, and in batches that are accumulated.
func TestOwnLossesAreWhatBuiltInOnesAre(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	last := len(teacher.Config.Layers) - 1
	student, err := StudentFromLayers(teacher, []int{last})
	if err != nil {
		t.Fatal(err)
	}
	for i := range student.Tensors["classifier.weight"].Float32s() {
		student.Tensors["classifier.weight"].Float32s()[i] *= 0.5
	}
	lastLayer := LayerMap{}
	if err := lastLayer.UnmarshalText([]byte("last")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		set func(*Losses)
		own Loss
	}{
		"logits-mse": {func(l *Losses) { l.LogitsMSE = 1 }, between(Logits, 0, 0, mse)},
		"embeddings": {func(l *Losses) { l.Embeddings = 1 }, between(Embeddings, 0, 0, mse)},
		"hidden":     {func(l *Losses) { l.Hidden, l.HiddenMap = 1, lastLayer }, between(Hidden, 0, last, mse)},
		"pkd": {func(l *Losses) { l.Hidden, l.HiddenMap, l.HiddenDistance = 1, lastLayer, PKD },
			between(First, 0, last, func(c *Comparison, s, t *autograd.Node) *autograd.Node { return c.Graph.NormalizedMSE(s, t) })},
		"relations": {func(l *Losses) { l.Relations, l.RelationMap = 1, lastLayer },
			between(QKV, 0, last, func(c *Comparison, s, t *autograd.Node) *autograd.Node {
				return c.Graph.RelationKL(s, t, c.Offsets, c.Student.NumHeads(0))
			})},
	} {
		for _, accumulate := range []int{1, 2} {
			o := Defaults()
			o.Soft, o.Steps, o.BatchSize, o.Accumulate, o.LearningRate = 0, 3, 4, accumulate, 1e-3
			built, own, cached := o, o, o
			c.set(&built.Losses)
			own.Own = []Loss{c.own}
			cached.Own, cached.Cache = own.Own, t.TempDir()
			want, r, err := Run(context.Background(), teacher, student, ds, nil, built)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for _, o := range []Options{own, cached, cached} {
				got, r2, err := Run(context.Background(), teacher, student, ds, nil, o)
				if err != nil {
					t.Fatalf("own %s: %v", name, err)
				}
				if !sameTensors(got, want) {
					t.Errorf("%s, accumulated %d times: another student", name, accumulate)
				}
				if a, b := r.History[1].Loss, r2.History[1].Losses["own"]; a != b {
					t.Errorf("%s: the loss is %g, the own one %g", name, a, b)
				}
				if s := got.Provenance[len(got.Provenance)-1].Settings["own"]; s != "1" {
					t.Errorf("%s: the provenance has %q", name, s)
				}
			}
		}
	}
}

// The pooled vectors are those before the classifier, of classes that the teacher's and
// the student's heads share.
func TestOwnLossOnPooledVectors(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	o := Defaults()
	o.Soft, o.Steps, o.LearningRate = 0, 1, 0
	o.Own = []Loss{between(Pooled, 0, 0, mse)}
	_, r, err := Run(context.Background(), teacher, teacher, ds, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	if loss := r.History[0].Loss; !(loss < 1e-6) {
		t.Errorf("a teacher's pooled vectors are %g from its own", loss)
	}
	words := teacher.Clone()
	if err := words.SetHead(head.TokenClassification, []string{"a", "b"}, 1); err != nil {
		t.Fatal(err)
	}
	set := &data.Dataset{Task: data.Task{Name: "w", Kind: head.TokenClassification, Labels: []string{"a", "b"}}, Examples: []data.Example{
		{Text: "x", Words: []string{"x"}, Labels: []int32{0}},
	}}
	if _, _, err := Run(context.Background(), words, words, set, nil, o); err == nil || !strings.Contains(err.Error(), `own loss "own": it reads the pooled vectors, which the student's head has none of`) {
		t.Errorf("pooled vectors of a head for words: %v", err)
	}
}

// What is wrong with an own loss is said, and nothing is trained.
func TestOwnLossErrors(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	good := between(Logits, 0, 0, mse)
	with := func(change func(*Loss)) []Loss {
		l := good
		change(&l)
		return []Loss{l}
	}
	for want, own := range map[string][]Loss{
		`own loss 1, "": expected a name`:                              with(func(l *Loss) { l.Name = "" }),
		`own loss 1, "hidden": expected a name that no other loss`:     with(func(l *Loss) { l.Name = "hidden" }),
		`own loss 2, "own": expected a name that no other loss`:        {good, good},
		"a finite weight that is not negative":                         with(func(l *Loss) { l.Weight = math.Inf(1) }),
		`own loss 1, "own": there is no Build`:                         with(func(l *Loss) { l.Build = nil }),
		`own loss 1, "own": it reads nothing`:                          with(func(l *Loss) { l.Reads = nil }),
		`own loss 1, "own": it reads "labels", which is no part`:       with(func(l *Loss) { l.Reads = []Part{"labels"} }),
		`own loss "own": there is no loss in what Build returned`:      with(func(l *Loss) { l.Build = func(*Comparison) (*autograd.Node, error) { return nil, nil } }),
		`own loss "own": it asks for layer 9 of the student, expected`: {between(Hidden, 9, 0, mse)},
		`own loss "own": it asks for layer -1 of the teacher`:          {between(Hidden, 0, -1, mse)},
		`own loss "own": it asks for the student's "qkv", expected one of the parts that it reads`: with(func(l *Loss) {
			l.Build = func(c *Comparison) (*autograd.Node, error) { return c.OfStudent(QKV, 0) }
		}),
		`own loss "own": autograd: MSE: input is`: {between(Logits, 0, 0, func(c *Comparison, s, _ *autograd.Node) *autograd.Node {
			return c.Graph.MSE(s, c.Graph.Input("other", autograd.Sequences, 7))
		})},
	} {
		o := Defaults()
		o.Steps, o.Own = 1, own
		if _, _, err := Run(context.Background(), teacher, teacher, ds, nil, o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	o := Defaults()
	o.Soft, o.Own = 0, []Loss{between(Hidden, 0, 0, mse)}
	text := &data.Dataset{Task: ds.Task, Examples: slices.Clone(ds.Examples)}
	for i := range text.Examples {
		text.Examples[i].Label = -1
	}
	o.Steps = 1
	if _, _, err := General(context.Background(), teacher, teacher, text, o); err != nil {
		t.Errorf("a general distillation by an own loss on hidden states: %v", err)
	}
	o.Own = []Loss{good}
	if _, _, err := General(context.Background(), teacher, teacher, text, o); err == nil {
		t.Error("a general distillation takes an own loss on logits")
	}
}
