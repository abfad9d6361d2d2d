package serve

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skive-ml/skive/infer"
)

var someTexts = []string{"the room was clean", "rude", "The staff was never rude, but not kind!", "dirty and dirty", "kindly"}

// What any protocol answers is what the engine computes for each row alone, to the bit.
func TestRowsAreThoseOfTheEngine(t *testing.T) {
	t.Parallel()
	list := models(t)
	s := newServer(t, Options{Models: list})
	embedder := engineOf(t, list, "embedder", infer.Options{Embedding: infer.OfModel})
	classifier := engineOf(t, list, "org/classes", infer.Options{})
	ranker := engineOf(t, list, "ranker", infer.Options{})

	embedded := post[[][]float32](t, s, "/embed", object{"inputs": someTexts})
	encoded := post[struct{ Data []struct{ Embedding string } }](t, s, "/v1/embeddings", object{"input": someTexts, "model": "embedder", "encoding_format": "base64"})
	floats := post[struct {
		Data []struct{ Embedding []float32 }
	}](t, s, "/v1/embeddings", object{"input": someTexts, "model": "embedder"})
	predicted := post[[][]scored](t, s, "/predict", object{"inputs": [][]string{{someTexts[0]}, {someTexts[1], "kind"}, {someTexts[2]}, {someTexts[3]}, {someTexts[4]}}})
	type rank struct {
		Index int
		Score float32
	}
	ranked := post[[]rank](t, s, "/rerank", object{"query": "clean", "texts": someTexts, "raw_scores": true})
	for i, text := range someTexts {
		want, err := embedder.Embed(t.Context(), []infer.Input{{Text: text}})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := base64.StdEncoding.DecodeString(encoded.Data[i].Embedding)
		if err != nil {
			t.Fatal(err)
		}
		decoded := make([]float32, len(raw)/4)
		if _, err := binary.Decode(raw, binary.LittleEndian, decoded); err != nil {
			t.Fatal(err)
		}
		for name, got := range map[string][]float32{"/embed": embedded[i], "base64": decoded, "float": floats.Data[i].Embedding} {
			if !sameBits(got, want[0]) {
				t.Errorf("%s: %q is %v, want %v", name, text, got, want[0])
			}
		}
		in := infer.Input{Text: text}
		if i == 1 {
			in.Pair = "kind"
		}
		p, err := classifier.Predict(t.Context(), []infer.Input{in})
		if err != nil {
			t.Fatal(err)
		}
		if best := predicted[i][0]; len(predicted[i]) != 3 || best.Label != p[0].Label || best.Score != p[0].Probabilities[p[0].Index] {
			t.Errorf("/predict: %q is %v, want %v", text, predicted[i], p[0])
		}
		p, err = ranker.Predict(t.Context(), []infer.Input{{Text: "clean", Pair: text}})
		if err != nil {
			t.Fatal(err)
		}
		for place, r := range ranked {
			if r.Index == i && r.Score != p[0].Logits[0] {
				t.Errorf("/rerank: %q has %v, want %v", text, r.Score, p[0].Logits[0])
			}
			if place > 0 && r.Score > ranked[place-1].Score {
				t.Errorf("/rerank is not sorted: %v", ranked)
			}
		}
	}
}

func TestTEIRoutes(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{})
	one := post[[]scored](t, s, "/predict", object{"inputs": someTexts[0]})
	if len(one) != 3 || one[0].Score < one[1].Score || one[1].Score < one[2].Score {
		t.Errorf("one text: %v", one)
	}
	if pair := post[[]scored](t, s, "/predict", object{"inputs": []string{"the room", "was clean"}}); len(pair) != 3 {
		t.Errorf("one pair: %v", pair)
	}
	if topics := post[[]scored](t, s, "/models/topics/predict", object{"inputs": someTexts[0]}); len(topics) != 2 {
		t.Errorf("labels: %v", topics)
	}
	if named := post[[]scored](t, s, "/models/org%2Fclasses/predict", object{"inputs": someTexts[0]}); named[0] != one[0] {
		t.Errorf("a model by name: %v, want %v", named, one)
	}
	if found := post[[]labeled](t, s, "/models/words/predict", object{"inputs": "The staff"}); len(found) != 2 || found[1].Word != "staff" || found[1].Start != 4 || found[1].End != 9 {
		t.Errorf("words: %v", found)
	}
	nested := post[[][]scored](t, s, "/models/org%2Fclasses", object{"inputs": someTexts[0], "parameters": object{"top_k": 1}})
	if len(nested) != 1 || len(nested[0]) != 1 || nested[0][0] != one[0] {
		t.Errorf("with parameters: %v", nested)
	}
	if got := ask(s, "POST", "/embed", "{ \"inputs\" : [ \"rude\" ,\n [ 2, 12, 3 ] ] }"); got.status != 200 || strings.Count(got.body, "[") != 3 {
		t.Errorf("texts and token ids with white space: %+v", got)
	}
	own := post[[][]float32](t, s, "/", object{"inputs": someTexts[0]})
	if len(own) != 1 || len(own[0]) != 32 {
		t.Errorf("POST /: %v", own)
	}
	similar := post[[]float32](t, s, "/", object{"inputs": object{"source_sentence": someTexts[0], "sentences": someTexts}})
	if len(similar) != len(someTexts) || math.Abs(float64(similar[0])-1) > 1e-6 {
		t.Errorf("similarities: %v", similar)
	}
	if sorted := post[[]struct{ Text string }](t, s, "/rerank", object{"query": "q", "texts": someTexts, "return_text": true}); sorted[0].Text == "" {
		t.Errorf("no text: %v", sorted)
	}
	cut := post[[][]float32](t, s, "/embed", object{"inputs": someTexts[0], "dimensions": 8})
	var squares float64
	for _, v := range cut[0] {
		squares += float64(v) * float64(v)
	}
	if len(cut[0]) != 8 || math.Abs(squares-1) > 1e-6 {
		t.Errorf("cut: %v", cut)
	}
	long := post[[][]float32](t, s, "/embed", object{"inputs": someTexts[0], "normalize": false})
	if ratio := long[0][0] / own[0][0]; math.Abs(float64(ratio)-1) < 0.01 || math.Abs(float64(long[0][1]/own[0][1]/ratio)-1) > 1e-4 {
		t.Errorf("not normalized: %v of %v", long, own)
	}
	prompted := post[[][]float32](t, s, "/embed", object{"inputs": []string{"rude"}, "prompt_name": "query"})
	if written := post[[][]float32](t, s, "/embed", object{"inputs": []string{"query: rude"}}); !sameBits(prompted[0], written[0]) {
		t.Errorf("a prompt: %v, want %v", prompted, written)
	}
	tokens := ask(s, "POST", "/tokenize", `{"inputs":"héllo !"}`)
	const want = `[[{"id":2,"text":"[CLS]","special":true,"start":null,"stop":null},` +
		`{"id":24,"text":"h","special":false,"start":0,"stop":1},{"id":25,"text":"é","special":false,"start":1,"stop":3},` +
		`{"id":26,"text":"llo","special":false,"start":3,"stop":6},{"id":20,"text":"!","special":false,"start":7,"stop":8},` +
		`{"id":3,"text":"[SEP]","special":true,"start":null,"stop":null}]]`
	if tokens.body != want {
		t.Errorf("tokens\n%s, want\n%s", tokens.body, want)
	}
	for name := range map[string]bool{"X-Compute-Type": true, "X-Total-Time": true, "X-Queue-Time": true, "X-Compute-Tokens": true} {
		if tokens.header.Get(name) == "" {
			t.Errorf("no header %s", name)
		}
	}
	var info struct {
		ModelID   string `json:"model_id"`
		DType     string `json:"model_dtype"`
		MaxLength int    `json:"max_input_length"`
		Type      object `json:"model_type"`
	}
	if got := ask(s, "GET", "/info", ""); json.Unmarshal([]byte(got.body), &info) != nil || info.ModelID != "embedder" || info.DType != "float32" || info.MaxLength != 48 || info.Type["embedding"] == nil {
		t.Errorf("info: %+v", got)
	}
}

func TestRerankOfCohereAndJina(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{})
	for _, path := range []string{"/rerank", "/v1/rerank", "/v2/rerank"} {
		got := post[struct {
			Results []struct {
				Index    int
				Score    float32 `json:"relevance_score"`
				Document *struct{ Text string }
			}
		}](t, s, path, object{"model": "ranker", "query": "clean", "documents": []any{"rude", object{"text": "kind"}, "dirty"}, "top_n": 2, "return_documents": true})
		if r := got.Results; len(r) != 2 || r[0].Score < r[1].Score || r[0].Score <= 0 || r[0].Document == nil {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

// What is wrong with a request is told with the codes and forms of its protocol.
func TestErrors(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("rude ", 60)
	many := `["a"` + strings.Repeat(`,"a"`, 32) + `]`
	s := newServer(t, Options{MaxBody: 2000})
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/embed", `{"inputs":""}`, 400, "{\"error\":\"Input validation error: `inputs` cannot be empty\",\"error_type\":\"Empty\"}"},
		{"/embed", `{"inputs":[]}`, 400, `"error_type":"Empty"`},
		{"/embed", `{}`, 422, "missing field `inputs`"},
		{"/embed", `{"inputs":3}`, 422, "`inputs` is neither a text"},
		{"/embed", `{"inputs":["a",null]}`, 422, "`inputs` is neither a text"},
		{"/embed", `{"inputs":[1,"a"]}`, 422, "holds something else"},
		{"/embed", `{"inputs":[2,999,3]}`, 422, "the vocabulary has 27"},
		{"/embed", `{"inputs":[[2,5,3],[]]}`, 400, "Empty"},
		{"/embed", `{"inputs":"a","truncate":"yes"}`, 422, "`truncate` is a string, expected true or false"},
		{"/embed", `{"inputs":"a","truncation_direction":"up"}`, 422, "expected left or right"},
		{"/embed", `{"inputs":"a","prompt_name":"nope"}`, 422, `not found. Available prompts: [\"query\"]`},
		{"/embed", `{"inputs":"a","dimensions":33}`, 422, "`dimensions` is 33, expected 1 to 32"},
		{"/embed", `{"inputs":"a"`, 400, "not JSON"},
		{"/embed", `["a"]`, 422, "expected an object"},
		{"/embed", `{"inputs":"` + long + `","truncate":false}`, 422, "`inputs` must have less than 48 tokens. Given: 62"},
		{"/embed", `{"inputs":` + many + `}`, 422, "batch size 33 > maximum allowed batch size 32"},
		{"/embed", `{"inputs":"` + strings.Repeat(long, 10) + `"}`, 413, "larger than 2000 bytes"},
		{"/predict", `{"inputs":["a","b","c"]}`, 422, "nor a pair of texts"},
		{"/models/embedder/predict", `{"inputs":"a"}`, 424, "{\"error\":\"Backend error: Model is not a classifier model\",\"error_type\":\"Backend\"}"},
		{"/models/embedder/rerank", `{"query":"a","texts":["b"]}`, 424, "Model is not a re-ranker model"},
		{"/models/nope/embed", `{"inputs":"a"}`, 404, `model \"nope\" is not served`},
		{"/rerank", `{"query":"","texts":["b"]}`, 400, "`query` cannot be empty"},
		{"/rerank", `{"query":"a","texts":[]}`, 400, "`texts` cannot be empty"},
		{"/rerank", `{"query":"a","texts":["b"],"documents":["b"]}`, 422, "expected one of them"},
		{"/v1/embeddings", `{"input":"a","model":"nope"}`, 404, `{"error":{"message":"model \"nope\" is not served`},
		{"/v1/embeddings", `{"input":"a","encoding_format":"hex","model":"embedder"}`, 422, "expected float or base64"},
		{"/v1/rerank", `{"query":"a","documents":[{"title":"b"}]}`, 422, `"message":"Input validation error: a document is an object without`},
	} {
		got := ask(s, "POST", c.path, c.body)
		if got.status != c.status || !strings.Contains(got.body, c.want) {
			t.Errorf("%s %.60s: %d %s, want %d with %s", c.path, c.body, got.status, got.body, c.status, c.want)
		}
	}
	if got := ask(s, "POST", "/embed", `{"inputs":"a"}`, "Content-Type: text/plain"); got.status != 415 {
		t.Errorf("text: %+v", got)
	}
	if got := ask(s, "GET", "/embed", ""); got.status != 405 {
		t.Errorf("GET: %+v", got)
	}
	refusing := newServer(t, Options{RefuseLong: true})
	if got := ask(refusing, "POST", "/embed", `{"inputs":"`+long+`"}`); got.status != 422 {
		t.Errorf("long: %+v", got)
	}
	if got := ask(refusing, "POST", "/embed", `{"inputs":"`+long+`","truncate":true}`); got.status != 200 {
		t.Errorf("long, to be cut: %+v", got)
	}
}

// A server alone with its model answers for any name, as many clients have one built in.
func TestOneModelAnswersForAnyName(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{Models: models(t)[:1]})
	post[object](t, s, "/v1/embeddings", object{"input": "rude", "model": "text-embedding-3-small"})
	got := ask(s, "GET", "/v1/models", "")
	if got.status != 200 || !strings.Contains(got.body, `"id":"embedder"`) {
		t.Errorf("%+v", got)
	}
}

func TestKeysAndOrigins(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{Models: models(t)[:1], APIKeys: List{"first", "second"}, CORS: List{"https://example.org"}})
	for header, want := range map[string]int{
		"Authorization: Bearer first": 200, "Authorization: bearer second": 200, "Authorization: Bearer third": 401,
		"Authorization: first": 401, "Authorization: Basic first": 401, "X-None: 1": 401,
	} {
		got := ask(s, "POST", "/embed", `{"inputs":"rude"}`, header)
		if got.status != want || want == 401 && got.body != "" {
			t.Errorf("%s: %+v", header, got)
		}
	}
	for _, path := range []string{"/health", "/ping", "/"} {
		if got := ask(s, "GET", path, ""); got.status != 200 {
			t.Errorf("%s: %+v", path, got)
		}
	}
	got := ask(s, "OPTIONS", "/embed", "", "Origin: https://example.org", "Access-Control-Request-Method: POST")
	if got.status != 204 || got.header.Get("Access-Control-Allow-Origin") != "https://example.org" {
		t.Errorf("preflight: %+v", got)
	}
	if got := ask(s, "GET", "/health", "", "Origin: https://evil.example"); got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin: %+v", got)
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	s, err := New(Options{Models: models(t)[:1], Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(when string, health, embed int) {
		t.Helper()
		if got := ask(s, "GET", "/health", ""); got.status != health {
			t.Errorf("%s: health %+v", when, got)
		}
		if got := ask(s, "POST", "/embed", `{"inputs":"rude"}`); got.status != embed {
			t.Errorf("%s: embed %+v", when, got)
		}
	}
	expect("before Load", 503, 503)
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("after Load", 200, 200)
	s.Drain()
	expect("drained", 503, 200)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	expect("after Close", 503, 503)
}

// Under many times the load that is let in, what is refused is refused at once with
// 429, and every answer is right.
func TestOverload(t *testing.T) {
	list := models(t)[:1]
	var log bytes.Buffer
	s := newServer(t, Options{Models: list, MaxConcurrent: 4, MaxClientBatch: 4, Log: slog.New(slog.NewTextHandler(&log, nil))})
	e := engineOf(t, list, "embedder", infer.Options{Embedding: infer.OfModel})
	want, err := e.Embed(t.Context(), []infer.Input{{Text: someTexts[0]}, {Text: someTexts[2]}})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := json.Marshal(object{"inputs": []string{someTexts[0], someTexts[2]}})
	var answered, refused atomic.Int64
	var group sync.WaitGroup
	for range 24 {
		group.Go(func() {
			for range 25 {
				got := ask(s, "POST", "/embed", string(body))
				switch {
				case got.status == 429 && got.header.Get("Retry-After") == "1" && strings.Contains(got.body, `"error_type":"Overloaded"`):
					refused.Add(1)
					continue
				case got.status != 200:
					t.Errorf("%+v", got)
					continue
				}
				var x [][]float32
				if err := json.Unmarshal([]byte(got.body), &x); err != nil || len(x) != 2 || !sameBits(x[0], want[0]) || !sameBits(x[1], want[1]) {
					t.Errorf("answer %s, %v", got.body, err)
				}
				answered.Add(1)
			}
		})
	}
	group.Wait()
	if answered.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d answered, %d refused", answered.Load(), refused.Load())
	}
	if n := s.bodies.Load(); n != 0 {
		t.Errorf("%d requests are under way for nobody", n)
	}
	if n := s.waiting.Load(); n != 0 {
		t.Errorf("%d inputs are under way for nobody", n)
	}
	if !strings.Contains(log.String(), "status=429") || strings.Contains(log.String(), someTexts[0]) {
		t.Error("the log lacks the refusals, or has texts")
	}
}

// Requests whose bodies do not end take no more memory than that of a bounded number.
func TestUnfinishedBodiesAreBounded(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{Models: models(t)[:1], MaxConcurrent: 1, MaxClientBatch: 1})
	var group sync.WaitGroup
	var sends []*io.PipeWriter
	for range 2 {
		body, send := io.Pipe()
		sends = append(sends, send)
		group.Go(func() {
			r := httptest.NewRequest("POST", "/embed", body)
			r.Header.Set("Content-Type", "application/json")
			s.ServeHTTP(httptest.NewRecorder(), r)
		})
		io.WriteString(send, `{"inputs":`) // returns once it is read
	}
	if got := ask(s, "POST", "/embed", `{"inputs":"rude"}`); got.status != 429 {
		t.Errorf("%+v", got)
	}
	for _, send := range sends {
		send.Close()
	}
	group.Wait()
	post[any](t, s, "/embed", object{"inputs": "rude"})
}

// A request whose time is over, or whose client has gone, is let go.
func TestDeadlinesAndCancellation(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{Models: models(t)[:1], Timeout: Duration(time.Nanosecond)})
	if got := ask(s, "POST", "/embed", `{"inputs":"rude"}`); got.status != http.StatusGatewayTimeout {
		t.Errorf("%+v", got)
	}
	s = newServer(t, Options{Models: models(t)[:1]})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", "/embed", strings.NewReader(`{"inputs":"rude"}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != canceled || s.waiting.Load() != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	good := Model{Name: "m", Path: "p"}
	for want, o := range map[string]Options{
		"Models: there are none":                    {},
		`Models[1].Name: "m" is the name of two`:    {Models: []Model{good, good}},
		"Models[0].Name":                            {Models: []Model{{Path: "p"}}},
		"MaxConcurrent: 2, expected at least":       {Models: []Model{good}, MaxConcurrent: 2},
		"Timeout: -1ns, expected a positive number": {Models: []Model{good}, Timeout: -1},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(want, " number")) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	s, err := New(Options{Models: []Model{{Name: "m", Path: "no/such"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context()); err == nil || !strings.Contains(err.Error(), `model "m"`) {
		t.Errorf("a missing model: %v", err)
	}
	if got := fmt.Sprint(Defaults().Timeout); got != "30s" {
		t.Error(got)
	}
}
