package train_test

import (
	"context"
	"fmt"
	"log"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

// A small encoder is trained from scratch on generated reviews. With a model
// from checkpoints.Open and files from data.Read, fine-tuning is the same call.
func ExampleRun() {
	trainSet, devSet := reviews.Generate(reviews.Options{Train: 256, Dev: 64, Seed: 1})

	vocab := tokenize.BuildVocab(func(yield func(string) bool) {
		for _, e := range trainSet.Examples {
			if !yield(e.Text) {
				return
			}
		}
	}, 400)
	tokenizer, err := tokenize.NewWordPiece(vocab, true)
	if err != nil {
		log.Fatal(err)
	}
	model := checkpoints.InitBERT(checkpoints.Config{
		ModelType: "bert", VocabSize: tokenizer.VocabSize(), MaxPositions: 64, TypeVocabSize: 2,
		HiddenSize: 32, HeadDim: 8, Layers: []checkpoints.LayerSize{{Heads: 4, Intermediate: 64}},
		Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.1, Labels: trainSet.Task.Labels,
	}, 1)
	model.Tokenizer = tokenizer.Files()

	o := train.Defaults()
	o.Epochs, o.LearningRate, o.BatchSize = 2, 1e-3, 32
	o.OnEvaluation = func(e train.Evaluation) { fmt.Println("evaluated after step", e.Step) }
	best, result, err := train.Run(context.Background(), model, trainSet, devSet, o)
	if err != nil {
		log.Fatal(err)
	}
	defer best.Close()
	fmt.Println(result.Steps, "steps, by", result.Metric)
	// Output:
	// evaluated after step 8
	// evaluated after step 16
	// 16 steps, by accuracy
}
