package serve

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"

	"github.com/skive-ml/skive/infer"
)

// embeddingsRoute is OpenAI's.
func (x *exchange) embeddingsRoute() error {
	var q struct {
		Input      json.RawMessage `json:"input"`
		Model      string          `json:"model"`
		Format     string          `json:"encoding_format"`
		Dimensions *int            `json:"dimensions"`
	}
	if err := x.decode(&q); err != nil {
		return err
	}
	if f := q.Format; f != "" && f != "float" && f != "base64" {
		return invalid("`encoding_format` is %q, expected float or base64", short(f))
	}
	t, err := parseTexts("input", q.Input)
	if err == nil {
		err = new(reading).apply(x)
	}
	if err != nil {
		return err
	}
	v, err := x.pick(q.Model, embeds, anEmbedder)
	if err != nil {
		return err
	}
	embeddings, err := x.embedShaped(t.list, shape{Dimensions: q.Dimensions})
	if err != nil {
		return err
	}
	b := []byte(`{"object":"list","data":[`)
	for i, e := range embeddings {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"object":"embedding","index":`...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, `,"embedding":`...)
		if q.Format == "base64" {
			b = append(b, '"')
			b = base64.StdEncoding.AppendEncode(b, littleEndian(e))
			b = append(b, '"', '}')
		} else {
			b = append(appendFloats(b, e), '}')
		}
	}
	name, err := json.Marshal(v.model.options.Name)
	if err != nil {
		return err
	}
	b = append(append(b, `],"model":`...), name...)
	n := strconv.Itoa(x.call.Tokens)
	return x.reply(append(b, `,"usage":{"prompt_tokens":`+n+`,"total_tokens":`+n+`}}`...))
}

func littleEndian(x []float32) []byte {
	b := make([]byte, 0, 4*len(x))
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func (s *Server) listModels(w http.ResponseWriter, r *http.Request) {
	type entry struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int64  `json:"created"`
		OwnedBy string `json:"owned_by"`
		Task    task   `json:"task"` // which OpenAI's models lack
	}
	list := make([]entry, len(s.models))
	for i, m := range s.models {
		t, _ := m.task()
		list[i] = entry{m.options.Name, "model", s.started.Unix(), "skive", t}
	}
	writeJSON(w, http.StatusOK, struct {
		Object string  `json:"object"`
		Data   []entry `json:"data"`
	}{"list", list})
}

// document is a text to rank: a string, or an object with one.
type document string

func (d *document) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var object struct {
			Text *string `json:"text"`
		}
		if err := json.Unmarshal(b, &object); err != nil || object.Text == nil {
			return invalid("a document is an object without a `text`")
		}
		*d = document(*object.Text)
		return nil
	}
	return json.Unmarshal(b, (*string)(d))
}

// rerankRoute is TEI's where the request has texts, and Cohere's and Jina's where it
// has documents.
func (x *exchange) rerankRoute() error {
	var q struct {
		reading
		Query           string     `json:"query"`
		Texts           []string   `json:"texts"`
		RawScores       bool       `json:"raw_scores"`
		ReturnText      bool       `json:"return_text"`
		Documents       []document `json:"documents"`
		Model           string     `json:"model"`
		TopN            *int       `json:"top_n"`
		ReturnDocuments bool       `json:"return_documents"`
	}
	if err := x.decode(&q); err != nil {
		return err
	}
	list, name := q.Texts, "texts"
	if q.Documents != nil {
		list, name = nil, "documents"
		for _, d := range q.Documents {
			list = append(list, string(d))
		}
	}
	switch {
	case q.Texts != nil && q.Documents != nil:
		return invalid("`texts` beside `documents`, expected one of them")
	case q.Query == "":
		return emptyInputs("query")
	case len(list) == 0:
		return emptyInputs(name)
	case q.TopN != nil && *q.TopN < 1:
		return invalid("`top_n` is %d, expected a positive number", *q.TopN)
	}
	if err := q.apply(x); err != nil {
		return err
	}
	v, err := x.pick(q.Model, scores, aReranker)
	if err != nil {
		return err
	}
	inputs := make([]infer.Input, len(list))
	for i, text := range list {
		inputs[i] = infer.Input{Text: q.Query, Pair: text, HasPair: true}
	}
	predictions, err := x.predict(inputs)
	if err != nil {
		return err
	}
	type rank struct {
		Index int     `json:"index"`
		Score float32 `json:"score"`
		Text  *string `json:"text,omitempty"`
	}
	ranks := make([]rank, len(list))
	for i, p := range predictions {
		ranks[i] = rank{Index: i, Score: p.Logits[0]}
		if !q.RawScores {
			ranks[i].Score = sigmoid(p.Logits[0])
		}
		if q.ReturnText || q.ReturnDocuments {
			ranks[i].Text = &list[i]
		}
	}
	// By the logits, which are apart where sigmoids are alike.
	slices.SortStableFunc(ranks, func(a, b rank) int {
		return cmp.Compare(predictions[b.Index].Logits[0], predictions[a.Index].Logits[0])
	})
	if q.TopN != nil {
		ranks = ranks[:min(*q.TopN, len(ranks))]
	}
	if q.Documents == nil {
		return x.replyJSON(ranks)
	}
	type text struct {
		Text string `json:"text"`
	}
	type result struct {
		Index    int     `json:"index"`
		Score    float32 `json:"relevance_score"`
		Document *text   `json:"document,omitempty"`
	}
	results := make([]result, len(ranks))
	for i, k := range ranks {
		results[i] = result{Index: k.Index, Score: k.Score}
		if q.ReturnDocuments {
			results[i].Document = &text{*k.Text}
		}
	}
	return x.replyJSON(map[string]any{
		"object": "rerank", "model": v.model.options.Name, "results": results, "usage": map[string]int{"prompt_tokens": x.call.Tokens, "total_tokens": x.call.Tokens},
	})
}
