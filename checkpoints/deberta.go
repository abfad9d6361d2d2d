package checkpoints

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/skive-ml/skive/internal/exact"
)

// RelativeScores are what disentangled attention adds to the scores (DeBERTa, He et
// al., arXiv 2006.03654). All layers share embeddings of the distances between tokens:
// the rows of a table, normalized. Each layer projects them to queries and keys with
// its own weights of Query and Key. The score of query i and key j is
//
//	(q[i]·k[j] + q[i]·K[r] + k[j]·Q[r]) / √(3·HeadDim)
//
// where Q and K are those queries and keys, and r is the row for the distance of i and
// j.
type RelativeScores struct {
	// Buckets is half the number of rows.
	Buckets int
	// Reach is the number of tokens of the longest sequence.
	Reach int
	// Dropout is the dropout of the distances' embeddings in training.
	Dropout float32
}

// Table is the part that holds the embeddings.
func (RelativeScores) Table() Part { return RelativeEmbeddings.Part() }

// Norm is the LayerNorm of the embeddings.
func (RelativeScores) Norm() Part { return RelativeNorm.Part() }

// Rows returns the row for each distance of a key to a query, from 1-Reach to Reach-1:
// 2*Reach-1 numbers, which never rise.
func (r RelativeScores) Rows() []int32 {
	rows := make([]int32, 2*r.Reach-1)
	for i := range rows {
		rows[i] = r.row(r.Reach - 1 - i)
	}
	return rows
}

// row returns the row for a query that stands distance tokens after the key. Distances
// up to half the buckets have rows of their own. Farther away, a row's share of the
// distances grows exponentially. This rounds to float32 where transformers does.
func (r RelativeScores) row(distance int) int32 {
	near, m := r.Buckets/2, distance
	if m < 0 {
		m = -m
	}
	if m > near {
		far := float32(exact.Log(float64(float32(m) / float32(near))))
		farthest := float32(exact.Log(float64(float32(r.Reach-1) / float32(near))))
		m = near + int(math.Ceil(float64(far/farthest*float32(near-1))))
	}
	if distance < 0 {
		m = -m
	}
	return int32(min(max(r.Buckets+m, 0), 2*r.Buckets-1))
}

// debertaV2 are keys of config.json that only DeBERTa has. Of most, one choice is
// implemented, that of DeBERTa-v3.
type debertaV2 struct {
	Relative      bool            `json:"relative_attention"`
	Buckets       *int            `json:"position_buckets"`
	MaxRelative   *int            `json:"max_relative_positions"`
	PositionInput *bool           `json:"position_biased_input"`
	Terms         json.RawMessage `json:"pos_att_type"`
	SharesKey     bool            `json:"share_att_key"`
	Norm          *string         `json:"norm_rel_ebd"`
	Convolution   *int            `json:"conv_kernel_size"`
	HeadSize      *int            `json:"attention_head_size"`

	PoolerSize       *int     `json:"pooler_hidden_size"`
	PoolerActivation *string  `json:"pooler_hidden_act"`
	PoolerDropout    *float32 `json:"pooler_dropout"`
	ClassifierDrop   *float32 `json:"cls_dropout"`
}

// readDeBERTa reads them, and sets the defaults of transformers' class.
func readDeBERTa(h *hfConfig, text []byte) (notes []string, err error) {
	var d debertaV2
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, jsonError(err)
	}
	terms, err := d.terms()
	if err != nil {
		return nil, err
	}
	positions, size := valueOr(h.MaxPositions, 0), valueOr(h.HiddenSize, 0)
	switch reach := valueOr(d.MaxRelative, -1); {
	case !d.Relative:
		return nil, unsupported("relative_attention false")
	case terms != "c2p|p2c":
		return nil, unsupported("pos_att_type %q other than both of c2p and p2c", terms)
	case !d.SharesKey:
		return nil, unsupported("share_att_key false")
	case valueOr(d.Buckets, -1) < 1:
		return nil, unsupported("position_buckets %d", valueOr(d.Buckets, -1))
	case reach >= 1 && reach != positions:
		return nil, unsupported("max_relative_positions %d other than max_position_embeddings %d", reach, positions)
	case valueOr(d.PositionInput, true):
		return nil, unsupported("position_biased_input true")
	case valueOr(d.Norm, "none") != "layer_norm":
		return nil, unsupported("norm_rel_ebd %q", valueOr(d.Norm, "none"))
	case valueOr(d.Convolution, 0) > 0:
		return nil, unsupported("conv_kernel_size %d", *d.Convolution)
	case valueOr(d.PoolerSize, size) != size:
		return nil, unsupported("pooler_hidden_size %d other than hidden_size %d", *d.PoolerSize, size)
	case activationOf(valueOr(d.PoolerActivation, "gelu")) != "gelu":
		return nil, unsupported("pooler_hidden_act %q", *d.PoolerActivation)
	}
	types, eps := 0, float32(1e-7)
	h.TypeVocabSize, h.LayerNormEps = first(h.TypeVocabSize, &types), first(h.LayerNormEps, &eps)
	h.HeadDim = first(h.HeadDim, d.HeadSize)
	h.buckets, h.poolerDropout = *d.Buckets, valueOr(d.PoolerDropout, 0)
	// A classifier of tokens has no dropout of its own.
	if len(h.Architectures) == 0 || !headOf(h.Architectures[0], "", 0).PerToken() {
		h.ClassifierDropout = d.ClassifierDrop
	}
	return nil, nil
}

// terms returns pos_att_type, a text or a list, as a text in alphabetical order.
func (d *debertaV2) terms() (string, error) {
	var list []string
	switch jsonKind(d.Terms) {
	case "null":
		return "", nil
	case "string":
		var text string
		if err := json.Unmarshal(d.Terms, &text); err != nil {
			return "", fmt.Errorf("pos_att_type: %w", err)
		}
		list = strings.Split(strings.ToLower(text), "|")
	default:
		if json.Unmarshal(d.Terms, &list) != nil {
			return "", fmt.Errorf("pos_att_type is a JSON %s, expected a text or a list of texts", jsonKind(d.Terms))
		}
	}
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	slices.Sort(list)
	return strings.Join(list, "|"), nil
}

// addDeBERTa writes what readDeBERTa reads. Only with legacy false does transformers
// read the head of a masked language model by the names that DeBERTa-v3's files have.
func (c Config) addDeBERTa(out *orderedJSON) {
	for _, f := range []struct {
		key   string
		value any
	}{
		{"relative_attention", true}, {"position_buckets", c.RelativeBuckets}, {"max_relative_positions", -1},
		{"position_biased_input", false}, {"pos_att_type", []string{"p2c", "c2p"}}, {"share_att_key", true},
		{"norm_rel_ebd", "layer_norm"}, {"pooler_hidden_size", c.HiddenSize}, {"pooler_hidden_act", "gelu"},
		{"pooler_dropout", c.PoolerDropout}, {"legacy", false},
	} {
		out.add(f.key, f.value)
	}
}

// maxDistances bounds the tokens of a sequence in a model with relative scores.
const maxDistances = 1 << 16

// validateRelative checks the settings of relative scores.
func (c Config) validateRelative() error {
	f := c.family()
	switch {
	case !f.relative && c.RelativeBuckets != 0:
		return fmt.Errorf("relative scores of %s: %w", f.class, ErrUnsupported)
	case f.relative && (c.RelativeBuckets < 2 || c.RelativeBuckets > maxDimension/2):
		return fmt.Errorf("position_buckets is %d, expected 2 to %d", c.RelativeBuckets, maxDimension/2)
	case f.relative && c.MaxPositions > maxDistances:
		return fmt.Errorf("max_position_embeddings is %d, expected at most %d", c.MaxPositions, maxDistances)
	case !f.dropsPoolerInput && c.PoolerDropout != 0:
		return fmt.Errorf("pooler_dropout of %s: %w", f.class, ErrUnsupported)
	case !(c.PoolerDropout >= 0 && c.PoolerDropout < 1):
		return fmt.Errorf("pooler_dropout is %g, expected 0 to below 1", c.PoolerDropout)
	}
	return nil
}
