package serve

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/exact"
	"github.com/skive-ml/skive/tokenize"
)

// routes are what the server answers. A computing route stands under the path of a
// model, too.
func (s *Server) routes() {
	both := func(route string, d *dialect, handle func(*exchange) error) {
		s.computing("POST "+route, d, handle)
		s.computing("POST /models/{model}"+strings.TrimSuffix(route, "/{$}"), d, handle)
	}
	both("/{$}", tei, (*exchange).ownTask)
	both("/embed", tei, (*exchange).embedRoute)
	both("/predict", tei, (*exchange).predictRoute)
	both("/rerank", tei, (*exchange).rerankRoute)
	both("/similarity", tei, (*exchange).similarityRoute)
	both("/tokenize", tei, (*exchange).tokenizeRoute)
	both("/embed_all", tei, (*exchange).embedAllRoute)
	both("/embed_sparse", tei, (*exchange).embedSparseRoute)
	both("/decode", tei, (*exchange).decodeRoute)
	both("/fill_mask", tei, (*exchange).fillMaskRoute)
	both("/vertex", tei, (*exchange).vertexRoute)
	s.computing("POST /invocations", tei, (*exchange).ownTask)
	for _, prefix := range []string{"", "/v1"} {
		s.computing("POST "+prefix+"/embeddings", openAI, (*exchange).embeddingsRoute)
		s.guarded("GET "+prefix+"/models", s.listModels)
	}
	for _, prefix := range []string{"/v1", "/v2"} {
		s.computing("POST "+prefix+"/rerank", reranking, (*exchange).rerankRoute)
	}
	s.guarded("GET /info", s.info)
	s.guarded("GET /models/{model}/info", s.info)
	s.open("GET /health", s.health)
	s.open("GET /ping", s.health)
	s.open("GET /{$}", s.home)
	s.open("GET /page.js", s.asset)
	s.open("GET /page.css", s.asset)
	s.open("GET /metrics", s.metrics.handler().ServeHTTP)
	s.open("GET /openapi.json", s.describe)
	s.open("GET /api-doc/openapi.json", s.describe)
	s.routesV2()
	s.routesRepository()
	if s.options.Pprof {
		s.guarded("GET /debug/pprof/{name}", profile)
	}
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if s.Ready() {
		w.WriteHeader(http.StatusOK)
		return
	}
	tei.write(w, &problem{http.StatusServiceUnavailable, unhealthy, "unhealthy"})
}

// reading is what requests say of how their texts are read.
type reading struct {
	Truncate       *bool  `json:"truncate"`
	TruncationSide string `json:"truncation_direction"`
	Stride         *int   `json:"stride"`
	PromptName     string `json:"prompt_name"`
}

// apply makes the call read its texts so.
func (o *reading) apply(x *exchange) error {
	x.call.Whole = x.server.options.RefuseLong
	if o.Truncate != nil {
		x.call.Whole, x.ownLength = !*o.Truncate, true
	}
	if o.Stride != nil {
		x.call.Windows, x.call.Stride, x.call.Whole, x.ownLength = true, *o.Stride, false, true
	}
	x.call.Prompt = o.PromptName
	switch o.TruncationSide {
	case "":
	case "left", "Left":
		x.call.Cut = tokenize.Left
	case "right", "Right":
		x.call.Cut = tokenize.Right
	default:
		return invalid("`truncation_direction` is %q, expected left or right", short(o.TruncationSide))
	}
	return nil
}

// shape is what requests say of embeddings.
type shape struct {
	Normalize  *bool `json:"normalize"`
	Dimensions *int  `json:"dimensions"`
}

// embedShaped computes embeddings of a shape.
func (x *exchange) embedShaped(inputs []infer.Input, o shape) ([][]float32, error) {
	sentence, err := infer.SentenceOf(x.version.config, x.version.pool.Options().Embedding)
	if err != nil {
		return nil, err
	}
	normalize, width := o.Normalize == nil || *o.Normalize, x.version.width
	cut := width
	if o.Dimensions != nil {
		if cut = *o.Dimensions; cut < 1 || cut > width {
			return nil, invalid("`dimensions` is %d, expected 1 to %d", cut, width)
		}
	}
	if x.call.Prompt != "" {
		if _, err := promptOf(x.version.config.Sentence, x.call.Prompt); err != nil {
			return nil, err
		}
	}
	x.call.Unscaled = !normalize
	embeddings, err := x.embed(inputs)
	if err != nil {
		return nil, err
	}
	shaped := make([][]float32, len(embeddings)) // a shadow reads the others
	for i, e := range embeddings {
		e = e[:cut]
		if normalize && (cut < width || !sentence.Normalize) {
			e = slices.Clone(e)
			toUnit(e)
		}
		shaped[i] = e
	}
	return shaped, nil
}

// toUnit scales a vector to unit length.
func toUnit(x []float32) {
	var squares float64
	for _, v := range x {
		squares += float64(float64(v) * float64(v))
	}
	scale := float32(1 / max(math.Sqrt(squares), 1e-12))
	for i := range x {
		x[i] *= scale
	}
}

const (
	anEmbedder   = "an embedding model"
	aClassifier  = "a classifier model"
	aReranker    = "a re-ranker model"
	aTextToToken = "one that has a tokenizer"
	aSparse      = "an embedding model with SPLADE pooling, expected a masked language model"
	aMaskFiller  = "a masked language model"
)

func (x *exchange) embedRoute() error {
	var q struct {
		reading
		shape
		Inputs json.RawMessage `json:"inputs"`
	}
	if err := x.decode(&q); err != nil {
		return err
	}
	t, err := parseTexts("inputs", q.Inputs)
	if err == nil {
		err = q.apply(x)
	}
	if err != nil {
		return err
	}
	if _, err := x.pick("", embeds, anEmbedder); err != nil {
		return err
	}
	embeddings, err := x.embedShaped(t.list, q.shape)
	if err != nil {
		return err
	}
	b := []byte{'['}
	for i, e := range embeddings {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFloats(b, e)
	}
	return x.reply(append(b, ']'))
}

func (x *exchange) similarityRoute() error {
	var q struct {
		Inputs struct {
			Source    string   `json:"source_sentence"`
			Sentences []string `json:"sentences"`
		} `json:"inputs"`
		Parameters reading `json:"parameters"`
	}
	if err := x.decode(&q); err != nil {
		return err
	}
	switch {
	case q.Inputs.Source == "":
		return emptyInputs("source_sentence")
	case len(q.Inputs.Sentences) == 0:
		return emptyInputs("sentences")
	}
	if err := q.Parameters.apply(x); err != nil {
		return err
	}
	if _, err := x.pick("", embeds, anEmbedder); err != nil {
		return err
	}
	inputs := []infer.Input{{Text: q.Inputs.Source}}
	for _, s := range q.Inputs.Sentences {
		inputs = append(inputs, infer.Input{Text: s})
	}
	embeddings, err := x.embedShaped(inputs, shape{})
	if err != nil {
		return err
	}
	var cosines []float32
	for _, e := range embeddings[1:] {
		var sum float64
		for i, v := range embeddings[0] {
			sum += float64(float64(v) * float64(e[i]))
		}
		cosines = append(cosines, float32(sum))
	}
	return x.reply(appendFloats(nil, cosines))
}

// scored is a label of a text.
type scored struct {
	Score float32 `json:"score"`
	Label string  `json:"label"`
}

// labeled is a word of a text, as transformers' pipelines have it.
type labeled struct {
	Entity string  `json:"entity"`
	Score  float32 `json:"score"`
	Word   string  `json:"word"`
	Start  int     `json:"start"`
	End    int     `json:"end"`
}

func sigmoid(x float32) float32 { return float32(1 / (1 + exact.Exp(-float64(x)))) }

// answer is a prediction as a document: all labels, best first, the words that have one, or
// what may stand in the place of each mask.
func (v *version) answer(p *infer.Prediction, raw bool) any {
	if v.task == words {
		list := []labeled{}
		for _, w := range p.Words {
			if w.Index >= 0 {
				list = append(list, labeled{w.Label, w.Probability, w.Text, w.Start, w.End})
			}
		}
		return list
	}
	if v.task == masks {
		list := [][]filled{}
		for _, fills := range p.Masks {
			list = append(list, filledOf(fills))
		}
		return list
	}
	list := make([]scored, len(p.Logits))
	for i, logit := range p.Logits {
		list[i] = scored{logit, v.config.Labels[i]}
		switch {
		case raw:
		case v.task == scores:
			list[i].Score = sigmoid(logit)
		default:
			list[i].Score = p.Probabilities[i]
		}
	}
	slices.SortStableFunc(list, func(a, b scored) int { return cmp.Compare(b.Score, a.Score) })
	return list
}

// parsePairs reads the inputs of a classifier: a text, a pair, or a list of lists of one
// or two texts.
func parsePairs(b json.RawMessage) (texts, error) {
	wrong := invalid("`inputs` is neither a text, nor a pair of texts, nor a list of lists of one or two texts")
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return texts{}, invalid("missing field `inputs`")
	}
	if b[0] == '"' {
		in, err := parseText("inputs", b)
		return texts{[]infer.Input{in}, true}, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return texts{}, wrong
	}
	if len(list) == 0 {
		return texts{}, emptyInputs("inputs")
	}
	t := texts{single: list[0][0] == '"'}
	if t.single {
		list = []json.RawMessage{b}
	}
	for _, element := range list {
		var pair []string
		if err := json.Unmarshal(element, &pair); err != nil || len(pair) < 1 || len(pair) > 2 {
			return texts{}, wrong
		}
		if pair[0] == "" {
			return texts{}, emptyInputs("inputs")
		}
		in := infer.Input{Text: pair[0]}
		if len(pair) == 2 {
			in.Pair, in.HasPair = pair[1], true
		}
		t.list = append(t.list, in)
	}
	return t, nil
}

func (x *exchange) predictRoute() error {
	var q struct {
		reading
		Inputs     json.RawMessage `json:"inputs"`
		RawScores  bool            `json:"raw_scores"`
		Parameters *struct {
			TopK     *int   `json:"top_k"`
			Function string `json:"function_to_apply"`
		} `json:"parameters"`
	}
	if err := x.decode(&q); err != nil {
		return err
	}
	t, err := parsePairs(q.Inputs)
	if err == nil {
		err = q.apply(x)
	}
	if err != nil {
		return err
	}
	v, err := x.pick("", classes, aClassifier)
	if err != nil {
		return err
	}
	raw := q.RawScores || q.Parameters != nil && q.Parameters.Function == "none"
	predictions, err := x.predict(t.list)
	if err != nil {
		return err
	}
	answers := make([]any, len(predictions))
	for i := range predictions {
		answers[i] = v.answer(&predictions[i], raw)
		if list, ok := answers[i].([]scored); ok && q.Parameters != nil && q.Parameters.TopK != nil {
			answers[i] = list[:min(max(*q.Parameters.TopK, 0), len(list))]
		}
	}
	// Clients that send parameters read the first element of the answer.
	if t.single && (q.Parameters == nil || v.task == words) {
		return x.replyJSON(answers[0])
	}
	return x.replyJSON(answers)
}

// ownTask is what the model does: what its request looks like tells similarities from
// embeddings.
func (x *exchange) ownTask() error {
	body, err := x.peek()
	if err != nil {
		return err
	}
	var q struct {
		Inputs json.RawMessage `json:"inputs"`
		Texts  json.RawMessage `json:"texts"`
	}
	json.Unmarshal(body, &q) // what is wrong with it the route says
	inputs := bytes.TrimSpace(q.Inputs)
	m := x.server.models[0]
	if name := x.r.PathValue("model"); name != "" {
		if m = x.server.named(name); m == nil {
			return x.server.unknown(name)
		}
	}
	t, ok := m.task()
	switch {
	case !ok:
		return unavailable("model \"" + m.options.Name + "\" is not loaded")
	case len(inputs) > 0 && inputs[0] == '{':
		return x.similarityRoute()
	case q.Texts != nil:
		return x.rerankRoute()
	case t == embeds:
		return x.embedRoute()
	case t == masks:
		return x.fillMaskRoute()
	}
	return x.predictRoute()
}

func (x *exchange) tokenizeRoute() error {
	var q struct {
		Inputs     json.RawMessage `json:"inputs"`
		Special    *bool           `json:"add_special_tokens"`
		PromptName string          `json:"prompt_name"`
	}
	if err := x.decode(&q); err != nil {
		return err
	}
	t, tokenizer, err := x.takeForTokenizer("inputs", q.Inputs)
	if err != nil {
		return err
	}
	prompt := ""
	if q.PromptName != "" {
		if prompt, err = promptOf(x.version.config.Sentence, q.PromptName); err != nil {
			return err
		}
	}
	type token struct {
		ID      int32  `json:"id"`
		Text    string `json:"text"`
		Special bool   `json:"special"`
		Start   *int   `json:"start"`
		Stop    *int   `json:"stop"`
	}
	began := time.Now()
	answers := make([][]token, len(t.list))
	var e tokenize.Encoding
	for i, in := range t.list {
		if in.IDs != nil {
			return invalid("`inputs`: token ids, expected texts")
		}
		text := prompt + in.Text
		if err := tokenizer.Encode(&e, text, tokenize.Options{Offsets: true}); err != nil {
			return err
		}
		bytesAt := runeBytes(text)
		answers[i] = []token{}
		for j, id := range e.IDs {
			span := e.Offsets[j]
			if span[0] == span[1] {
				if q.Special == nil || *q.Special {
					answers[i] = append(answers[i], token{ID: id, Text: tokenizer.Token(id), Special: true})
				}
				continue
			}
			start, stop := bytesAt[span[0]], bytesAt[span[1]]
			answers[i] = append(answers[i], token{id, text[start:stop], false, &start, &stop})
		}
		x.call.Tokens += len(e.IDs)
	}
	x.call.Tokenize = time.Since(began)
	return x.replyJSON(answers)
}

// runeBytes is where each rune of a text begins, and where the text ends.
func runeBytes(text string) []int {
	at := make([]int, 0, len(text)+1)
	for i := range text {
		at = append(at, i)
	}
	return append(at, len(text))
}

// promptOf is the text of a model's prompt.
func promptOf(s *checkpoints.Sentence, name string) (string, error) {
	var prompts map[string]string
	if s != nil {
		prompts = s.Prompts
	}
	prompt, ok := prompts[name]
	if !ok && name != infer.NoPrompt {
		return "", invalid("`prompt_name` %q not found. Available prompts: %s", short(name), promptNames(prompts))
	}
	return prompt, nil
}

// promptNames is a list that clients read out of the error.
func promptNames(prompts map[string]string) string {
	b, err := marshal(append([]string{}, slices.Sorted(maps.Keys(prompts))...))
	if err != nil { // strings are
		panic(err)
	}
	return string(b)
}

// reply answers with a document, and in TEI's headers with what it took.
func (x *exchange) reply(document []byte) error {
	h := x.w.Header()
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	h.Set("X-Compute-Type", "cpu")
	h.Set("X-Compute-Time", ms(x.call.Tokenize+x.call.Queue+x.call.Compute))
	h.Set("X-Total-Time", ms(time.Since(x.began)))
	h.Set("X-Tokenization-Time", ms(x.call.Tokenize))
	h.Set("X-Queue-Time", ms(x.call.Queue))
	h.Set("X-Inference-Time", ms(x.call.Compute))
	h.Set("X-Compute-Characters", strconv.Itoa(x.characters))
	h.Set("X-Compute-Tokens", strconv.Itoa(x.call.Tokens))
	writeBytes(x.w, http.StatusOK, document)
	return nil
}

func (x *exchange) replyJSON(document any) error {
	b, err := marshal(document)
	if err != nil {
		return err
	}
	return x.reply(b)
}

func (s *Server) info(w http.ResponseWriter, r *http.Request) {
	m := s.models[0]
	if name := r.PathValue("model"); name != "" {
		if m = s.named(name); m == nil {
			tei.write(w, problemOf(s.unknown(name)))
			return
		}
	}
	v, ok := m.acquire()
	if !ok {
		tei.write(w, problemOf(unavailable("model \""+m.options.Name+"\" is not loaded")))
		return
	}
	defer v.release()
	pool := v.pool.Options()
	kind := map[string]any{}
	switch v.task {
	case embeds:
		sentence, err := infer.SentenceOf(v.config, pool.Embedding)
		if err != nil { // it made the pool
			panic(err)
		}
		kind[string(embeds)] = map[string]any{"pooling": sentence.Pooling}
	case masks: // as TEI calls one whose embeddings are sparse
		kind[string(embeds)] = map[string]any{"pooling": "splade"}
	default:
		id2label, label2id := map[string]string{}, map[string]int{}
		for i, label := range v.config.Labels {
			id2label[strconv.Itoa(i)], label2id[label] = label, i
		}
		name := classes
		if v.task == scores {
			name = scores
		}
		kind[string(name)] = map[string]any{"id2label": id2label, "label2id": label2id}
	}
	var batch *int // TEI's bound on sequences, which there is none of
	writeJSON(w, http.StatusOK, map[string]any{
		"model_id": m.options.Name, "model_sha": nil, "model_dtype": dtypes[pool.DType], "served_model_name": m.options.Name,
		"model_type": kind, "max_concurrent_requests": s.options.MaxConcurrent, "max_input_length": pool.MaxLength,
		"max_batch_tokens": pool.MaxBatch, "max_batch_requests": batch, "max_client_batch_size": s.options.MaxClientBatch,
		"auto_truncate": !s.options.RefuseLong, "tokenization_workers": pool.Instances, "version": checkpoints.Version, "sha": nil, "docker_label": nil,
	})
}

// dtypes are TEI's names of number formats.
var dtypes = map[string]string{infer.F32: "float32", infer.FP16: "float16", infer.BF16: "bfloat16", infer.Int8: "int8"}
