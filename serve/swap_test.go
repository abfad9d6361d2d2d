package serve

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
)

// replaceModel puts another model in the place of a file, as all that writes models does.
func replaceModel(t *testing.T, path string, seed uint64) {
	t.Helper()
	next := save(t, newModel(t, head.SingleLabel, []string{"bad", "good", "unclear"}, seed), filepath.Join(t.TempDir(), "next.skive"))
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// While a model is swapped under load, no request is lost, and each is answered by the one
// or the other alone.
func TestSwapUnderLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.skive")
	inputs := []infer.Input{{Text: someTexts[0]}, {Text: someTexts[1]}, {Text: someTexts[2]}}
	var want [2][][]scored
	for i := range want {
		replaceModel(t, path, uint64(i)+50)
		e, err := infer.Open(path, infer.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Predict(t.Context(), inputs)
		if err != nil {
			t.Fatal(err)
		}
		v := &version{task: classes, config: e.Config()}
		for j := range got {
			want[i] = append(want[i], v.answer(&got[j], false).([]scored))
		}
		e.Close()
	}
	replaceModel(t, path, 50)
	s := newServer(t, Options{Models: []Model{{Name: "m", Path: path}}, MaxConcurrent: 1 << 10})
	body, _ := json.Marshal(object{"inputs": [][]string{{someTexts[0]}, {someTexts[1]}, {someTexts[2]}}})
	var stop atomic.Bool
	var answers [2]atomic.Int64
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for !stop.Load() {
				got := ask(s, "POST", "/predict", string(body))
				var x [][]scored
				if err := json.Unmarshal([]byte(got.body), &x); err != nil || got.status != 200 {
					t.Errorf("%+v: %v", got, err)
					return
				}
				at := -1
				for i := range want {
					if len(x) == 3 && x[0][0] == want[i][0][0] && x[1][0] == want[i][1][0] && x[2][0] == want[i][2][0] {
						at = i
					}
				}
				if at < 0 {
					t.Errorf("%v is neither %v nor %v", x, want[0], want[1])
					return
				}
				answers[at].Add(1)
			}
		})
	}
	for i := range 4 {
		next := 1 - i%2
		replaceModel(t, path, 50+uint64(next))
		if err := s.Reload(); err != nil {
			t.Error(err)
		}
		before := answers[next].Load()
		for deadline := time.Now().Add(20 * time.Second); answers[next].Load() == before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the new model does not answer")
			}
		}
	}
	stop.Store(true)
	group.Wait()
	if got := ask(s, "GET", "/v2/models/m", ""); !strings.Contains(got.body, `"versions":["5"]`) {
		t.Errorf("%+v", got)
	}
	if got := ask(s, "GET", "/v2/models/m/versions/1", ""); got.status != 404 {
		t.Errorf("%+v", got)
	}
}

// A file that is no model leaves the served one where it is, and is not tried again until
// it changes.
func TestPollAndCorruptModels(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.skive")
	replaceModel(t, path, 1)
	s := newServer(t, Options{Models: []Model{{Name: "m", Path: path}}, Poll: Duration(2 * time.Millisecond)})
	wait := func(what, want string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			got := ask(s, "POST", "/v2/repository/index", "{}")
			if strings.Contains(got.body, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v, want %s", what, got, want)
			}
		}
	}
	corrupt := filepath.Join(filepath.Dir(path), "corrupt")
	if err := os.WriteFile(corrupt, []byte("no model"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(corrupt, path); err != nil {
		t.Fatal(err)
	}
	wait("corrupt", `"version":"1","state":"READY","reason":"model \"m\": `)
	post[any](t, s, "/predict", object{"inputs": "rude"})
	replaceModel(t, path, 2)
	wait("repaired", `"version":"2","state":"READY","reason":""`)
	metrics := ask(s, "GET", "/metrics", "")
	if !strings.Contains(metrics.body, `skive_model_loads_total{model="m",result="failed"} 1`) || !strings.Contains(metrics.body, `skive_model_loads_total{model="m",result="loaded"} 2`) {
		t.Error(metrics.body)
	}
}

func TestRepository(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{Repository: true})
	const load, unload = "/v2/repository/models/embedder/load", "/v2/repository/models/embedder/unload"
	if got := ask(s, "POST", unload, ""); got.status != 200 {
		t.Errorf("%+v", got)
	}
	if got := ask(s, "POST", "/v2/repository/index", `{"ready":true}`); strings.Contains(got.body, "embedder") || !strings.Contains(got.body, "ranker") {
		t.Errorf("%+v", got)
	}
	if got := ask(s, "POST", "/v2/repository/index", ""); !strings.Contains(got.body, `{"name":"embedder","state":"UNAVAILABLE","reason":"unloaded"}`) {
		t.Errorf("%+v", got)
	}
	if err := s.Reload(); err != nil {
		t.Error(err)
	}
	if got := ask(s, "POST", "/models/embedder/embed", `{"inputs":"rude"}`); got.status != http.StatusServiceUnavailable {
		t.Errorf("%+v", got)
	}
	if got := ask(s, "POST", load, "{}"); got.status != 200 || !strings.Contains(got.body, `"load":true`) {
		t.Errorf("%+v", got)
	}
	post[any](t, s, "/embed", object{"inputs": "rude"})
	if got := ask(s, "POST", "/v2/repository/models/nope/load", ""); got.status != 404 {
		t.Errorf("%+v", got)
	}
	closed := newServer(t, Options{Models: models(t)[:1]})
	if got := ask(closed, "POST", load, ""); got.status != 400 {
		t.Errorf("%+v", got)
	}
}

// A shadow is asked too, and how alike it is is counted; who asks does not notice.
func TestShadow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a.skive"), filepath.Join(dir, "b.skive")
	replaceModel(t, first, 1)
	replaceModel(t, second, 1)
	s := newServer(t, Options{Models: []Model{{Name: "a", Path: first, Shadow: "b"}, {Name: "b", Path: second}}})
	for range 5 {
		post[any](t, s, "/predict", object{"inputs": "rude"})
	}
	s.mirrors.Wait()
	got := ask(s, "GET", "/metrics", "")
	for _, want := range []string{
		`skive_shadow_total{model="a",result="same",shadow="b"} 5`, `skive_shadow_similarity_sum{model="a",shadow="b"} 5`,
		`skive_requests_total{code="200",model="a",protocol="tei"} 5`,
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("no %s in\n%s", want, got.body)
		}
	}
	if _, err := New(Options{Models: []Model{{Name: "a", Path: first, Shadow: "a"}}}); err == nil || !strings.Contains(err.Error(), "Models[0].Shadow") {
		t.Error(err)
	}
}

// What a request makes of its answer its shadow does not see.
func TestShadowOfItself(t *testing.T) {
	t.Parallel()
	list := withMasks(t)
	list = []Model{list[0], list[len(list)-1]}
	for i := range list {
		same := list[i]
		same.Name += "2"
		list[i].Shadow = same.Name
		list = append(list, same)
	}
	s := newServer(t, Options{Models: list})
	for range 5 {
		post[any](t, s, "/models/embedder/embed", object{"inputs": someTexts, "dimensions": 4})
		post[any](t, s, "/v1/embeddings", object{"input": someTexts, "dimensions": 4, "model": "embedder"})
		post[any](t, s, "/models/mlm/fill_mask", object{"inputs": [][]int{{2, 5, 4, 3}, {2, 4, 6, 4, 3}}, "parameters": object{"top_k": 20}})
	}
	s.mirrors.Wait()
	got := ask(s, "GET", "/metrics", "").body
	for _, want := range []string{`{model="embedder",result="same",shadow="embedder2"} 10`, `{model="mlm",result="same",shadow="mlm2"} 5`} {
		if !strings.Contains(got, "skive_shadow_total"+want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

func TestMetricsPageAndProfiles(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{Pprof: true})
	post[any](t, s, "/embed", object{"inputs": someTexts})
	post[any](t, s, "/predict", object{"inputs": someTexts[0]})
	post[any](t, s, "/v1/embeddings", object{"input": "rude", "model": "embedder"})
	ask(s, "POST", "/embed", `{"inputs":""}`)
	got := ask(s, "GET", "/metrics", "")
	for _, want := range []string{
		`te_request_count{method="batch"} 1`, `te_request_count{method="single"} 2`, `te_request_success{method="single"} 1`,
		`te_request_failure{err="validation"} 1`, `te_embed_success 5`, `te_predict_count 1`, `te_request_duration_count 2`, `te_batch_next_size_count`,
		`te_queue_size 0`, `skive_inputs_under_way 0`, `skive_inputs_total{model="embedder"} 6`,
		`skive_requests_total{code="200",model="embedder",protocol="openai"} 1`, `go_goroutines`,
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("no %s in\n%s", want, got.body)
		}
	}
	for path, want := range map[string]string{"/": "<title>Skive</title>", "/page.js": "fetch(", "/page.css": "body {", "/debug/pprof/heap?debug=1": "heap profile"} {
		if got := ask(s, "GET", path, ""); got.status != 200 || !strings.Contains(got.body, want) {
			t.Errorf("%s: %.200v", path, got)
		}
	}
	if got := ask(newServer(t, Options{Models: models(t)[:1]}), "GET", "/debug/pprof/heap", ""); got.status != 404 {
		t.Errorf("profiles that nobody asked for: %.200v", got)
	}
}
