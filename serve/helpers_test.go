package serve

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/tokenize"
)

var vocabulary = append([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"},
	strings.Fields("the room was clean dirty staff kind rude ##ly never not and but . , ! query passage : h ##e ##llo")...)

// newModel is a small random model with a head of the kind.
func newModel(t testing.TB, kind head.Kind, labels []string, seed uint64) *checkpoints.Model {
	t.Helper()
	c := checkpoints.Config{
		ModelType: "bert", VocabSize: len(vocabulary), MaxPositions: 48, TypeVocabSize: 2,
		HiddenSize: 32, HeadDim: 16, Layers: []checkpoints.LayerSize{{Heads: 2, Intermediate: 64}, {Heads: 2, Intermediate: 64}},
		Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.2, Labels: labels, Head: kind,
	}
	m := checkpoints.InitBERT(c, seed)
	tok, err := tokenize.NewWordPiece(vocabulary, true)
	if err != nil {
		t.Fatal(err)
	}
	m.Tokenizer = tok.Files()
	return m
}

func save(t testing.TB, m *checkpoints.Model, path string) string {
	t.Helper()
	if err := m.SaveSkive(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// models are one of each task.
func models(t testing.TB) []Model {
	t.Helper()
	dir := t.TempDir()
	path := func(name string, m *checkpoints.Model) string { return save(t, m, filepath.Join(dir, name+".skive")) }
	embedder := newModel(t, head.SingleLabel, []string{"x", "y"}, 1)
	embedder.Config.Sentence = &checkpoints.Sentence{Pooling: checkpoints.MeanPooling, Normalize: true, Prompts: map[string]string{"query": "query: "}}
	return []Model{
		{Name: "embedder", Path: path("embedder", embedder)},
		{Name: "org/classes", Path: path("classes", newModel(t, head.SingleLabel, []string{"bad", "good", "unclear"}, 2))},
		{Name: "ranker", Path: path("ranker", newModel(t, head.Regression, []string{"LABEL_0"}, 3))},
		{Name: "words", Path: path("words", newModel(t, head.TokenClassification, []string{"O", "B-X"}, 4))},
		{Name: "topics", Path: path("topics", newModel(t, head.MultiLabel, []string{"a", "b"}, 5))},
	}
}

// newServer is a server whose models are loaded.
func newServer(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Models == nil {
		o.Models = models(t)
	}
	o.Threads = 2
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

type reply struct {
	status int
	header http.Header
	body   string
}

// ask sends a request with a body of JSON, and header lines "Name: value".
func ask(s http.Handler, method, path, body string, header ...string) reply {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	b, _ := io.ReadAll(w.Body)
	return reply{w.Code, w.Header(), string(b)}
}

// post asks for an answer of status 200 and reads it.
func post[T any](t testing.TB, s http.Handler, path string, request any) T {
	t.Helper()
	b, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	got := ask(s, "POST", path, string(b))
	var answer T
	if got.status != http.StatusOK {
		t.Fatalf("POST %s %s: %d %s", path, b, got.status, got.body)
	}
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil {
		t.Fatalf("POST %s: %s: %v", path, got.body, err)
	}
	return answer
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// engineOf opens a model of the list for comparison.
func engineOf(t testing.TB, list []Model, name string, o infer.Options) *infer.Engine {
	t.Helper()
	i := slices.IndexFunc(list, func(m Model) bool { return m.Name == name })
	o.Threads = 1
	e, err := infer.Open(list[i].Path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

type object = map[string]any
