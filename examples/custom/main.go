// Command custom distills with an operation and losses of its own: the Kullback-Leibler
// divergence of the teacher's answers from the student's (reverse KL), and the angle
// between the pooled vectors of the two. Both stand beside the built-in losses, in one
// graph and one step.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

// reverseKL is the mean over the rows of Σ q*log(q/p), where q is the softmax of the
// student's logits and p that of the teacher's, both [rows, classes].
type reverseKL struct {
	graph    *autograd.Graph
	gradient []float32 // with respect to the student's logits
	losses   []float64 // of the rows
}

func (*reverseKL) Name() string { return "ReverseKL" }

func (*reverseKL) Shape(in []autograd.Array) (autograd.Array, error) {
	student, teacher := in[0], in[1]
	if student.Dims != 2 || teacher.Dims != 2 || student.Rows != teacher.Rows || student.Columns != teacher.Columns {
		return autograd.Array{}, fmt.Errorf("the student's logits are %v and the teacher's %v, want matrices of one shape", student, teacher)
	}
	return autograd.Scalar(), nil
}

// Forward computes the loss with its gradient, q*(log(q/p) - Σ q*log(q/p)) for each row.
func (r *reverseKL) Forward(in []autograd.Array, out autograd.Array) error {
	student, teacher := in[0], in[1]
	r.gradient, r.losses = make([]float32, len(student.Values)), make([]float64, student.Rows)
	r.graph.Rows(student.Rows, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			q, p := logSoftmax(student.Row(i)), logSoftmax(teacher.Row(i))
			for c := range q {
				r.losses[i] += math.Exp(q[c]) * (q[c] - p[c])
			}
			for c := range q {
				r.gradient[i*student.Columns+c] = float32(math.Exp(q[c]) * (q[c] - p[c] - r.losses[i]) / float64(student.Rows))
			}
		}
	})
	total := 0.0
	for _, loss := range r.losses { // in one order, whatever the number of threads
		total += loss
	}
	out.Values[0] = float32(total / float64(student.Rows))
	return nil
}

func (r *reverseKL) Backward(_ []autograd.Array, _, gradient autograd.Array, gradients []autograd.Array) error {
	for i, d := range r.gradient {
		gradients[0].Values[i] = d * gradient.Values[0]
	}
	return nil
}

func logSoftmax(logits []float32) []float64 {
	top, sum, out := math.Inf(-1), 0.0, make([]float64, len(logits))
	for _, v := range logits {
		top = math.Max(top, float64(v))
	}
	for _, v := range logits {
		sum += math.Exp(float64(v) - top)
	}
	for i, v := range logits {
		out[i] = float64(v) - top - math.Log(sum)
	}
	return out
}

// losses are the terms that the distillation adds.
var losses = []distill.Loss{
	{
		Name: "reverse-kl", Weight: 1, Reads: []distill.Part{distill.Logits},
		Build: func(c *distill.Comparison) (*autograd.Node, error) {
			student, errStudent := c.OfStudent(distill.Logits, 0)
			teacher, errTeacher := c.OfTeacher(distill.Logits, 0)
			// The teacher's logits are constants: the loss has no derivative for them.
			return c.Graph.Apply(&reverseKL{graph: c.Graph}, []bool{true, false}, student, teacher), errors.Join(errStudent, errTeacher)
		},
	},
	{
		Name: "pooled-cosine", Weight: 0.5, Reads: []distill.Part{distill.Pooled},
		Build: func(c *distill.Comparison) (*autograd.Node, error) {
			student, errStudent := c.OfStudent(distill.Pooled, 0)
			teacher, errTeacher := c.OfTeacher(distill.Pooled, 0)
			return c.Graph.CosineLoss(student, teacher), errors.Join(errStudent, errTeacher)
		},
	},
}

func main() {
	ctx := context.Background()
	trainSet, devSet := reviews.Generate(reviews.Options{Train: 1000, Dev: 200, Seed: 1})
	tokenizer := must(tokenize.NewWordPiece(tokenize.BuildVocab(func(yield func(string) bool) {
		for i := range trainSet.Examples {
			if !yield(trainSet.Examples[i].Text) {
				return
			}
		}
	}, 400), true))
	teacher := checkpoints.InitBERT(checkpoints.Config{
		ModelType: "bert", VocabSize: tokenizer.VocabSize(), MaxPositions: 64, TypeVocabSize: 2, HiddenSize: 48, HeadDim: 12,
		Layers:     []checkpoints.LayerSize{{Heads: 4, Intermediate: 96}, {Heads: 4, Intermediate: 96}},
		Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.1, Labels: trainSet.Task.Labels,
	}, 1)
	teacher.Tokenizer = tokenizer.Files()
	o := train.Defaults()
	o.Steps, o.LearningRate = 40, 1e-3
	teacher, _, err := train.Run(ctx, teacher, trainSet, devSet, o)
	check(err)

	d := distill.Defaults()
	d.Options, d.Stage, d.Soft, d.Hidden, d.Own = o, "distill", 0, 0.1, losses
	student := must(distill.StudentFromLayers(teacher, []int{1}))
	student, result, err := distill.Run(ctx, teacher, student, trainSet, devSet, d)
	check(err)
	for _, name := range []string{"hidden", "reverse-kl", "pooled-cosine"} {
		first, last := result.History[0].Losses[name], result.History[len(result.History)-1].Losses[name]
		fmt.Printf("%s: learned %v, in the provenance %s\n", name, last < first, student.Provenance[len(student.Provenance)-1].Settings[name])
	}
}

func must[T any](v T, err error) T { check(err); return v }

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
