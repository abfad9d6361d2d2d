package evaluate

import (
	"context"
	"fmt"
	"math"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/tokenize"
)

// MaskShare is the share of tokens that a Masker selects (Devlin et al., arXiv 1810.04805,
// section 3.1).
const MaskShare = 0.15

// These shares of the selected tokens become [MASK] and a random token. The others stay.
const (
	hiddenShare = 0.8
	randomShare = 0.1
)

// Masker selects and replaces the tokens that a masked language model has to find.
type Masker struct {
	// IDs are the tokens of the batch that was masked last, after masking [T]. Rows are the
	// numbers of the selected tokens, and Labels their original ids [selected].
	IDs, Rows, Labels []int32

	mask, vocabulary int32
	special          map[int32]bool
}

// NewMasker returns a masker for the model's tokens. It fails if the tokenizer has no mask, or
// more tokens than the model has embeddings.
func NewMasker(model *checkpoints.Model) (*Masker, error) {
	tok, err := tokenize.Load(model.Tokenizer)
	if err != nil {
		return nil, fmt.Errorf("the model's tokenizer: %w", err)
	}
	pad, _, cls, sep, mask := tok.Special()
	if mask < 0 {
		return nil, fmt.Errorf("the model's tokenizer has no mask token")
	}
	if err := CheckVocabulary(model); err != nil {
		return nil, err
	}
	return &Masker{mask: mask, vocabulary: int32(tok.VocabSize()), special: map[int32]bool{pad: true, cls: true, sep: true, mask: true}}, nil
}

// Mask masks a batch. Seed, step and example alone decide which tokens are selected. So every
// pass has other masks, and a step can be repeated exactly. In a sequence with any text at least
// one token is selected. A batch without text is an error.
func (m *Masker) Mask(b *data.Batch, seed, step uint64) error {
	m.IDs, m.Rows, m.Labels = append(m.IDs[:0], b.IDs...), m.Rows[:0], m.Labels[:0]
	for s, example := range b.Index {
		key := mix(mix(mix(seed)+step) + uint64(example))
		before, least, lowest := len(m.Rows), int32(-1), 2.0
		for t := b.Offsets[s]; t < b.Offsets[s+1]; t++ {
			if m.special[b.IDs[t]] {
				continue
			}
			u := uniform(mix(key + uint64(t-b.Offsets[s])))
			if u < MaskShare {
				m.choose(t, u)
			} else if u < lowest {
				least, lowest = t, u
			}
		}
		if len(m.Rows) == before && least >= 0 {
			m.choose(least, lowest)
		}
	}
	if len(m.Rows) == 0 {
		return fmt.Errorf("the batch has no text, only special tokens")
	}
	return nil
}

// choose handles the selected token t. chance is its random number.
func (m *Masker) choose(t int32, chance float64) {
	m.Rows, m.Labels = append(m.Rows, t), append(m.Labels, m.IDs[t])
	draw := mix(math.Float64bits(chance))
	switch u := uniform(draw); {
	case u < hiddenShare:
		m.IDs[t] = m.mask
	case u < hiddenShare+randomShare:
		m.IDs[t] = int32(mix(draw) % uint64(m.vocabulary))
	}
}

// mix is one step of SplitMix64, a generator whose state is a counter.
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// uniform returns a number in [0, 1).
func uniform(z uint64) float64 { return float64(z>>11) / (1 << 53) }

// maskSeed is the seed for evaluations, so that they always mask the same tokens.
const maskSeed = 0x5eed

// maskedOutcome computes the answers of a masked language model to masked text.
func maskedOutcome(ctx context.Context, model *checkpoints.Model, enc *data.Encoded, o infer.Options) (*data.Outcome, error) {
	engine, err := infer.New(model, o)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	m, err := NewMasker(model)
	if err != nil {
		return nil, err
	}
	out := &data.Outcome{Task: enc.Task}
	var batch data.Batch
	var logits []float32
	vocabulary := model.Config.VocabSize
	for _, examples := range data.Batches(enc, data.BatchOptions{Tokens: batchTokens}, 0) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		enc.Fill(&batch, examples)
		if err := m.Mask(&batch, maskSeed, 0); err != nil {
			return nil, err
		}
		if logits, err = engine.PredictMasked(logits, m.IDs, batch.TypeIDs, batch.Offsets, m.Rows); err != nil {
			return nil, ofExample(err, &batch)
		}
		s := 0
		for i, want := range m.Labels {
			for m.Rows[i] >= batch.Offsets[s+1] {
				s++
			}
			row := logits[i*vocabulary : (i+1)*vocabulary]
			best := 0
			for c, v := range row {
				if v > row[best] {
					best = c
				}
			}
			loss := kernels.LogSumExp(row) - row[want]
			out.Predicted, out.Want = append(out.Predicted, int32(best)), append(out.Want, want)
			out.Values, out.Unit = append(out.Values, loss), append(out.Unit, batch.Index[s])
			out.Loss += float64(loss)
		}
	}
	out.Loss /= math.Max(1, float64(len(out.Want)))
	return out, nil
}
