// Command make trains the model that examples/embed brings along, which tells what a
// short request is about, and writes it as int8.
package main

import (
	"context"
	"log"
	"os"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

var (
	frames = []string{"%", "please %", "can you %", "i would like you to %", "% please", "could you % for me"}
	topics = map[string][]string{
		"alarm":   {"wake me at seven", "set an alarm", "remind me in an hour", "start a timer for ten minutes", "set a timer"},
		"music":   {"play a song", "play some jazz", "turn up the volume", "play the next song", "stop the music"},
		"weather": {"tell me the weather", "say whether it will rain", "tell me how cold it is", "look up the weather in paris", "say if i need an umbrella"},
	}
	labels = []string{"alarm", "music", "weather"}
)

func main() {
	set := &data.Dataset{Task: data.Task{Name: "text", Labels: labels, Metric: "accuracy"}}
	for label, name := range labels {
		for _, request := range topics[name] {
			for _, frame := range frames {
				set.Examples = append(set.Examples, data.Example{Text: strings.ReplaceAll(frame, "%", request), Label: label})
			}
		}
	}
	tokenizer := must(tokenize.NewWordPiece(tokenize.BuildVocab(func(yield func(string) bool) {
		for _, e := range set.Examples {
			if !yield(e.Text) {
				return
			}
		}
	}, 120), true))
	model := checkpoints.InitBERT(checkpoints.Config{
		ModelType: "bert", VocabSize: tokenizer.VocabSize(), MaxPositions: 32, TypeVocabSize: 1, HiddenSize: 32, HeadDim: 16,
		Layers: []checkpoints.LayerSize{{Heads: 2, Intermediate: 64}}, Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.1,
		Labels: labels,
	}, 1)
	model.Tokenizer = tokenizer.Files()
	o := train.Defaults()
	o.Epochs, o.BatchSize, o.LearningRate = 30, 16, 3e-3
	model, _, err := train.Run(context.Background(), model, set, nil, o)
	check(err)
	check(must(quantize.Int8(model)).SaveSkive(os.Args[1]))
}

func must[T any](v T, err error) T { check(err); return v }

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
