package pruning_test

import (
	"context"
	"fmt"
	"log"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/tokenize"
)

// A model loses half of its heads and units and learns from its former self.
func Example() {
	ctx := context.Background()
	trainSet, devSet := reviews.Generate(reviews.Options{Train: 128, Dev: 32, Seed: 1})
	teacher, err := freshModel(reviewTexts(trainSet.Examples[0].Text))
	if err != nil {
		log.Fatal(err)
	}

	scores, err := pruning.Importance(ctx, teacher, trainSet, pruning.ImportanceOptions{Method: pruning.Exact})
	if err != nil {
		log.Fatal(err)
	}
	masks, err := pruning.Select(scores, teacher.Config, 2, 32)
	if err != nil {
		log.Fatal(err)
	}
	student, err := pruning.Rewire(teacher, masks)
	if err != nil {
		log.Fatal(err)
	}

	o := distill.Defaults()
	o.Epochs, o.LearningRate = 1, 1e-3
	o.Hidden = 0.1
	recovered, _, err := distill.Run(ctx, teacher, student, trainSet, devSet, o)
	if err != nil {
		log.Fatal(err)
	}
	defer recovered.Close()
	for _, stage := range recovered.Provenance {
		fmt.Println(stage.Name)
	}
	fmt.Println(recovered.Config.Layers, "of", teacher.Config.Layers)
	// Output:
	// prune
	// distill
	// [{2 32} {2 32}] of [{4 64} {4 64}]
}

func reviewTexts(texts ...string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, t := range texts {
			if !yield(t) {
				return
			}
		}
	}
}

// freshModel is an untrained model with a vocabulary of the texts' words.
func freshModel(texts func(yield func(string) bool)) (*checkpoints.Model, error) {
	tokenizer, err := tokenize.NewWordPiece(tokenize.BuildVocab(texts, 400), true)
	if err != nil {
		return nil, err
	}
	layer := checkpoints.LayerSize{Heads: 4, Intermediate: 64}
	m := checkpoints.InitBERT(checkpoints.Config{
		ModelType: "bert", VocabSize: tokenizer.VocabSize(), MaxPositions: 64, TypeVocabSize: 2,
		HiddenSize: 32, HeadDim: 8, Layers: []checkpoints.LayerSize{layer, layer},
		Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.1, Labels: reviews.Labels,
	}, 1)
	m.Tokenizer = tokenizer.Files()
	return m, nil
}
