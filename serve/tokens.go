package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/tokenize"
)

// noStride refuses windows where there is no mean to take.
func (x *exchange) noStride(o *reading) error {
	if o.Stride != nil {
		return invalid("`stride` goes with embeddings of texts and with labels")
	}
	return nil
}

// embedAllRoute gives the embedding of each token.
func (x *exchange) embedAllRoute() error {
	t, err := x.takeTexts(embeds, anEmbedder)
	if err != nil {
		return err
	}
	all, err := x.version.pool.EmbedTokens(x.ctx, &x.call, t.list)
	return replyLists(x, all, err, appendFloats)
}

// embedSparseRoute gives the entries of the vocabulary that stand for each text.
func (x *exchange) embedSparseRoute() error {
	t, err := x.takeTexts(masks, aSparse)
	if err != nil {
		return err
	}
	all, err := x.version.pool.EmbedSparse(x.ctx, &x.call, t.list)
	return replyLists(x, all, err, func(b []byte, s infer.Strength) []byte {
		b = strconv.AppendInt(append(b, `{"index":`...), int64(s.ID), 10)
		return append(appendFloat(append(b, `,"value":`...), s.Value), '}')
	})
}

// replyLists answers with a list for each text, unless computing them failed.
func replyLists[T any](x *exchange, all [][]T, err error, element func([]byte, T) []byte) error {
	if err != nil {
		return err
	}
	x.version.recent.note(x.lengths, nil)
	b := []byte{'['}
	for i, list := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		for j, e := range list {
			if j > 0 {
				b = append(b, ',')
			}
			b = element(b, e)
		}
		b = append(b, ']')
	}
	return x.reply(append(b, ']'))
}

// takeTexts reads a request of texts that are answered token by token, picks the model and
// admits them.
func (x *exchange) takeTexts(asked task, what string) (texts, error) {
	var q struct {
		reading
		Inputs json.RawMessage `json:"inputs"`
	}
	if err := x.decode(&q); err != nil {
		return texts{}, err
	}
	t, err := parseTexts("inputs", q.Inputs)
	if err == nil {
		err = q.apply(x)
	}
	if err == nil {
		err = x.noStride(&q.reading)
	}
	if err != nil {
		return texts{}, err
	}
	v, err := x.pick("", asked, what)
	if err == nil && x.call.Prompt != "" {
		_, err = promptOf(v.config.Sentence, x.call.Prompt)
	}
	if err != nil {
		return texts{}, err
	}
	x.ownLength = true // cut, or refused
	return t, x.take(t.list)
}

// decodeRoute makes texts of token ids.
func (x *exchange) decodeRoute() error {
	var q struct {
		IDs  json.RawMessage `json:"ids"`
		Skip *bool           `json:"skip_special_tokens"`
	}
	if err := x.decode(&q); err != nil {
		return err
	}
	t, tokenizer, err := x.takeForTokenizer("ids", q.IDs)
	if err != nil {
		return err
	}
	began := time.Now()
	answers := make([]string, len(t.list))
	for i, in := range t.list {
		if in.IDs == nil {
			return invalid("`ids`: a text, expected token ids")
		}
		if answers[i], err = tokenizer.Decode(in.IDs, q.Skip == nil || *q.Skip); err != nil {
			return err
		}
		x.call.Tokens += len(in.IDs)
	}
	x.call.Tokenize = time.Since(began)
	return x.replyJSON(answers)
}

// takeForTokenizer reads the texts, or ids, of a request that asks a tokenizer alone, picks
// the model and admits them.
func (x *exchange) takeForTokenizer(field string, inputs json.RawMessage) (texts, *tokenize.Tokenizer, error) {
	t, err := parseTexts(field, inputs)
	if err != nil {
		return texts{}, nil, err
	}
	v, err := x.pick("", anything, aTextToToken)
	if err != nil {
		return texts{}, nil, err
	}
	if err := x.take(t.list); err != nil {
		return texts{}, nil, err
	}
	tokenizer, err := v.pool.Tokenizer()
	return t, tokenizer, err
}

// filled is a token in the place of a mask, as transformers' pipelines have it.
type filled struct {
	Score    float32 `json:"score"`
	Token    int32   `json:"token"`
	Text     string  `json:"token_str"`
	Sequence string  `json:"sequence,omitempty"`
}

func filledOf(fills []infer.Fill) []filled {
	list := make([]filled, len(fills))
	for i, f := range fills {
		list[i] = filled{Score: f.Probability, Token: f.ID, Text: f.Token}
	}
	return list
}

const (
	maxFills   = 100  // tokens that are named for a mask
	maxTargets = 1000 // tokens that they are chosen from
)

// fillMaskRoute says what may stand in the place of masks. Each mask counts as an input.
func (x *exchange) fillMaskRoute() error {
	var q struct {
		reading
		Inputs     json.RawMessage `json:"inputs"`
		Parameters struct {
			TopK    *int     `json:"top_k"`
			Targets []string `json:"targets"`
		} `json:"parameters"`
	}
	if err := x.decode(&q); err != nil {
		return err
	}
	t, err := parseTexts("inputs", q.Inputs)
	if err == nil {
		err = q.apply(x)
	}
	if err == nil {
		err = x.noStride(&q.reading)
	}
	if err != nil {
		return err
	}
	v, err := x.pick("", masks, aMaskFiller)
	if err != nil {
		return err
	}
	tokenizer, err := v.pool.Tokenizer()
	if err != nil {
		return err
	}
	if k := q.Parameters.TopK; k != nil {
		if most := min(maxFills, v.config.VocabSize); *k < 1 || *k > most {
			return invalid("`top_k` is %d, expected 1 to %d", *k, most)
		}
		x.call.Fills = *k
	}
	if n := len(q.Parameters.Targets); n > maxTargets {
		return invalid("`targets` has %d tokens, expected at most %d", n, maxTargets)
	}
	x.ownLength = true
	if err := x.take(t.list); err != nil {
		return err
	}
	for i, target := range q.Parameters.Targets {
		id, ok := tokenizer.ID(target)
		if !ok || int(id) >= v.config.VocabSize {
			return invalid("`targets`: element %d is no token of the model", i)
		}
		x.call.Targets = append(x.call.Targets, id)
	}
	inputs, found, err := x.masked(t.list)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(found, func(at []int) bool { return len(at) == 0 }) {
		_, _, _, _, mask := tokenizer.Special()
		return invalid("no mask token (%s) in the text", tokenizer.Token(mask))
	}
	predictions, err := x.predictTaken(inputs)
	if err != nil {
		return err
	}
	answers := make([]any, len(predictions))
	for i, p := range predictions {
		if answers[i], err = x.fillings(tokenizer, inputs[i].IDs, found[i], p.Masks); err != nil {
			return err
		}
	}
	if t.single {
		return x.replyJSON(answers[0])
	}
	return x.replyJSON(answers)
}

// masked are inputs that were taken as tokens, and where their masks stand. It admits the
// masks: each has as many outputs as the vocabulary has entries, and counts as an input, the
// first of an input with that itself.
func (x *exchange) masked(list []infer.Input) (inputs []infer.Input, found [][]int, err error) {
	tokenizer, err := x.version.pool.Tokenizer()
	if err != nil {
		return nil, nil, err
	}
	began := time.Now()
	most := x.version.pool.Options().MaxLength
	_, _, _, _, mask := tokenizer.Special()
	total, more := 0, 0
	for _, in := range list {
		if err := x.ctx.Err(); err != nil {
			return nil, nil, err
		}
		if in.IDs == nil {
			var e tokenize.Encoding
			o := tokenize.Options{MaxLength: most, Cut: x.call.Cut}
			if in.HasPair {
				err = tokenizer.EncodePair(&e, in.Text, in.Pair, o)
			} else {
				err = tokenizer.Encode(&e, in.Text, o)
			}
			if err != nil {
				return nil, nil, err
			}
			if (x.call.Whole || x.call.Windows) && e.Whole > len(e.IDs) { // windows are not for masks
				return nil, nil, &infer.LengthError{Tokens: e.Whole, Most: most}
			}
			in = infer.Input{IDs: e.IDs, TypeIDs: e.TypeIDs}
		}
		var at []int
		for i, id := range in.IDs {
			if id == mask {
				at = append(at, i)
			}
		}
		inputs, found = append(inputs, in), append(found, at)
		total, more = total+len(at), more+max(0, len(at)-1)
	}
	x.call.Tokenize = time.Since(began)
	if most := x.server.options.MaxClientBatch; total > most {
		return nil, nil, invalid("%d masks, expected at most %d", total, most)
	}
	return inputs, found, x.admit(more)
}

// fillings are what may stand in the place of a text's masks: a list for one mask, and a list
// of these for several.
func (x *exchange) fillings(tokenizer *tokenize.Tokenizer, ids []int32, at []int, masks [][]infer.Fill) (any, error) {
	all := make([][]filled, len(masks))
	ids = slices.Clone(ids) // a shadow reads the others
	for m, fills := range masks {
		list := filledOf(fills)
		before := ids[at[m]]
		for i, f := range fills {
			err := x.ctx.Err()
			if err != nil {
				return nil, err
			}
			ids[at[m]] = f.ID
			if list[i].Sequence, err = tokenizer.Decode(ids, len(masks) == 1); err != nil {
				return nil, err
			}
			if list[i].Text, err = tokenizer.Decode([]int32{f.ID}, false); err != nil {
				return nil, err
			}
		}
		ids[at[m]] = before
		all[m] = list
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

// vertexRoute answers several requests of the model's own task in one, as Google's Vertex AI
// asks.
func (x *exchange) vertexRoute() error {
	var q struct {
		Instances []json.RawMessage `json:"instances"`
	}
	if err := x.decode(&q); err != nil {
		return err
	}
	switch n, most := len(q.Instances), x.server.options.MaxClientBatch; {
	case n == 0:
		return emptyInputs("instances")
	case n > most:
		return x.server.tooMany(n)
	}
	var total atomic.Int64 // inputs of all instances
	parts := make([]*exchange, len(q.Instances))
	answers := make([]buffered, len(parts))
	problems := make([]*problem, len(parts))
	var group sync.WaitGroup
	for i, instance := range q.Instances {
		r := x.r.Clone(x.ctx)
		r.Body = io.NopCloser(bytes.NewReader(instance))
		parts[i] = &exchange{
			server: x.server, ctx: x.ctx, began: x.began, named: x.named, told: slices.Clip(x.told), whole: &total, w: &recorder{ResponseWriter: &answers[i]}, r: r,
		}
		group.Go(func() { problems[i] = parts[i].answer((*exchange).ownTask) })
	}
	group.Wait()
	for _, p := range parts {
		x.adopt(p)
	}
	if n := int(total.Load()); n > x.server.options.MaxClientBatch {
		return x.server.tooMany(n)
	}
	for i, p := range problems {
		if p != nil {
			return &problem{p.status, p.kind, fmt.Sprintf("instance %d: %s", i, p.text)}
		}
	}
	var b bytes.Buffer
	b.WriteString(`{"predictions":[`)
	for i := range answers {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(answers[i].Bytes())
	}
	b.WriteString("]}")
	return x.reply(b.Bytes())
}

// buffered is an answer that becomes a part of another.
type buffered struct {
	bytes.Buffer
	header http.Header
}

func (w *buffered) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

func (w *buffered) WriteHeader(int) {}

// adopt makes what a part of the exchange holds and took its own.
func (x *exchange) adopt(part *exchange) {
	x.admitted += part.admitted
	x.characters += part.characters
	x.call.Tokens += part.call.Tokens
	x.call.Tokenize += part.call.Tokenize
	x.call.Queue += part.call.Queue
	x.call.Compute += part.call.Compute
	switch {
	case part.version == nil:
	case x.version == nil:
		x.version, x.asked = part.version, part.asked
	default:
		part.version.release()
	}
}
