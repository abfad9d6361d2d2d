package evaluate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/tokenize"
)

// batchTokens is the largest number of tokens in a batch of an evaluation.
const batchTokens = 4096

// Encode encodes a data set with the model's own tokenizer, cut to maxLength tokens (0: the
// model's positions). If the model has one token type, the second text of a pair has it, too, as
// in the engine. A length that the model does not have is a *settings.Error. A data set that
// remembers encodings (data.Dataset.Remember) is encoded once for each tokenizer and length.
func Encode(model *checkpoints.Model, ds *data.Dataset, maxLength int) (*data.Encoded, error) {
	maxLength, err := longest(model.Config, maxLength)
	if err != nil {
		return nil, err
	}
	oneType := model.Config.TypeVocabSize < 2
	return ds.Encoded(encoding{checksum(model.Tokenizer), maxLength, oneType}, func() (*data.Encoded, error) {
		tok, err := tokenize.Load(model.Tokenizer)
		if err != nil {
			return nil, fmt.Errorf("the model's tokenizer: %w", err)
		}
		enc, err := data.Encode(ds, tok, maxLength)
		if err == nil && oneType {
			enc.OneType()
		}
		return enc, err
	})
}

// longest returns the number of tokens to which inputs are cut.
func longest(cfg checkpoints.Config, maxLength int) (int, error) {
	most := cfg.MaxTokens()
	if maxLength < 0 || maxLength > most {
		return 0, settings.Wrong("MaxLength", maxLength, "1 to the model's %d positions", most)
	}
	return cmp.Or(maxLength, most), nil
}

// encoding is everything that determines how a data set is encoded.
type encoding struct {
	tokenizer [sha256.Size]byte
	maxLength int
	oneType   bool
}

// checksum returns a checksum of a tokenizer's files.
func checksum(files map[string][]byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%q %d\n", name, len(files[name]))
		h.Write(files[name])
	}
	h.Sum(sum[:0])
	return sum
}

// Logits computes the logits of every example with the inference engine, in the order of the data
// set: [sequences × labels], or [tokens × labels] if the model labels tokens.
func Logits(ctx context.Context, model *checkpoints.Model, enc *data.Encoded, o infer.Options) ([]float32, error) {
	engine, err := infer.New(model, o)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	classes := model.Config.NumLabels()
	_, rows := enc.Rows(enc.Len() - 1)
	all := make([]float32, rows*classes)
	var batch data.Batch
	var some []float32
	// Batches of similar lengths keep the engine's buffers small and equal in size.
	for _, examples := range data.Batches(enc, data.BatchOptions{Tokens: batchTokens, Bucket: true}, 0) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		enc.Fill(&batch, examples)
		if some, err = engine.PredictTokens(some, batch.IDs, batch.TypeIDs, batch.Offsets); err != nil {
			return nil, ofExample(err, &batch)
		}
		at := 0
		for _, example := range examples {
			lo, hi := enc.Rows(int(example))
			at += copy(all[lo*classes:hi*classes], some[at:])
		}
	}
	return all, nil
}

// ofExample changes an error about NaN or infinity in a sequence of a batch so that it names the
// example of the data set.
func ofExample(err error, b *data.Batch) error {
	var number *infer.NotFiniteError
	if errors.As(err, &number) {
		return &infer.NotFiniteError{Model: number.Model, Input: int(b.Index[number.Input]), Value: number.Value}
	}
	return err
}
