package infer

import (
	"context"
	"encoding/json"

	"github.com/skive-ml/skive/checkpoints"
)

// A Predictor answers for texts: an Engine or a Pool.
type Predictor interface {
	Config() checkpoints.Config
	Notes() []string
	Predict(context.Context, []Input) ([]Prediction, error)
	Embed(context.Context, []Input) ([][]float32, error)
	Close() error
}

// Line is the answer for one input as a line: a document of JSON, or the text for people.
func Line(ctx context.Context, p Predictor, input Input, document bool) ([]byte, error) {
	predictions, err := p.Predict(ctx, []Input{input})
	if err != nil {
		return nil, err
	}
	kind := p.Config().Head
	if document {
		return jsonLine(predictions[0].Document(kind))
	}
	return append([]byte(predictions[0].Text(kind)), '\n'), nil
}

// EmbeddingLine is the embedding of one input as a line with an array of JSON.
func EmbeddingLine(ctx context.Context, p Predictor, input Input) ([]byte, error) {
	embeddings, err := p.Embed(ctx, []Input{input})
	if err != nil {
		return nil, err
	}
	return jsonLine(embeddings[0])
}

func jsonLine(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(b, '\n'), err
}
