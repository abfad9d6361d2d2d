// Command distill trains a classifier of reviews from scratch, teaches a smaller
// one what it knows, prunes that, and lets it recover: a program of its own on
// Skive's packages.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

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
	d.Options, d.Stage, d.Temperature, d.Hidden, d.Relations = o, "distill", 2, 0.1, 0.1
	student := must(distill.Narrow(ctx, teacher, []int{1}, distill.Size{Hidden: 36}, trainSet, pruning.ImportanceOptions{Limit: 200}))
	student, _, err = distill.Run(ctx, teacher, student, trainSet, devSet, d)
	check(err)

	scores := must(pruning.Importance(ctx, student, trainSet, pruning.ImportanceOptions{Limit: 200}))
	pruned := must(pruning.Rewire(student, must(pruning.Select(scores, student.Config, 2, 48))))
	pruned, _, err = distill.Run(ctx, teacher, pruned, trainSet, devSet, d)
	check(err)
	fmt.Printf("parameters: teacher %d, student %d, pruned %d\n", teacher.Parameters(), student.Parameters(), pruned.Parameters())
}

func must[T any](v T, err error) T { check(err); return v }

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
