package infer

import (
	"context"
	"encoding/json"

	"github.com/skive-ml/skive/checkpoints"
)

// A Predictor answers texts: an Engine or a Pool.
type Predictor interface {
	Config() checkpoints.Config
	Notes() []string
	Predict(context.Context, []Input) ([]Prediction, error)
	Embed(context.Context, []Input) ([][]float32, error)
	Close() error
}

// Line returns the answer to one input as a line: a JSON document, or plain text.
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

// EmbeddingLine returns the embedding of one input as a line with a JSON array.
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
