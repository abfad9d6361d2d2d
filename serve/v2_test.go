package serve

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/skive-ml/skive/infer"
)

type v2Output struct {
	Name, Datatype string
	Shape          []int
	Data           json.RawMessage
	Parameters     struct {
		Size int `json:"binary_data_size"`
	}
}

type v2Answer struct {
	Model   string `json:"model_name"`
	Version string `json:"model_version"`
	ID      string
	Outputs []v2Output
}

func (a *v2Answer) floats(t *testing.T, name string) []float32 {
	t.Helper()
	for _, o := range a.Outputs {
		if o.Name != name {
			continue
		}
		var x []float32
		if err := json.Unmarshal(o.Data, &x); err != nil {
			t.Fatal(err)
		}
		n := 1
		for _, d := range o.Shape {
			n *= d
		}
		if o.Datatype != "FP32" || n != len(x) {
			t.Errorf("%s: %s of shape %v with %d elements", name, o.Datatype, o.Shape, len(x))
		}
		return x
	}
	t.Fatalf("no output %s: %+v", name, a.Outputs)
	return nil
}

func tensorOf(name, datatype string, shape []int, data any) object {
	return object{"name": name, "datatype": datatype, "shape": shape, "data": data}
}

// Texts and tokens, as JSON and in binary form, have the logits of each row alone.
func TestV2Rows(t *testing.T) {
	t.Parallel()
	list := models(t)
	s := newServer(t, Options{Models: list})
	classifier := engineOf(t, list, "org/classes", infer.Options{})
	const path = "/v2/models/org%2Fclasses/infer"

	texts := post[v2Answer](t, s, path, object{"id": "a\"b", "inputs": []object{tensorOf("input-0", "BYTES", []int{len(someTexts)}, someTexts)}})
	if texts.Model != "org/classes" || texts.Version != "1" || texts.ID != "a\"b" || len(texts.Outputs) != 4 || texts.Outputs[0].Name != "output-0" {
		t.Errorf("%+v", texts)
	}
	logits := texts.floats(t, "logits")
	for i, text := range someTexts {
		p, err := classifier.Predict(t.Context(), []infer.Input{{Text: text}})
		if err != nil {
			t.Fatal(err)
		}
		if !sameBits(logits[3*i:3*i+3], p[0].Logits) {
			t.Errorf("%q: %v, want %v", text, logits[3*i:3*i+3], p[0].Logits)
		}
		if got := texts.floats(t, "probabilities")[3*i : 3*i+3]; !sameBits(got, p[0].Probabilities) {
			t.Errorf("%q: %v, want %v", text, got, p[0].Probabilities)
		}
	}

	// [CLS] the [SEP] room [SEP], and a shorter row that is padded.
	rows := [][]int64{{2, 5, 3, 6, 3}, {2, 12, 3, 0, 0}}
	mask, types := [][]int64{{1, 1, 1, 1, 1}, {1, 1, 1, 0, 0}}, [][]int64{{0, 0, 0, 1, 1}, {0, 0, 0, 0, 0}}
	inputs := []object{tensorOf("input_ids", "INT64", []int{2, 5}, rows), tensorOf("attention_mask", "INT64", []int{2, 5}, mask), tensorOf("token_type_ids", "INT64", []int{2, 5}, types)}
	tokens := post[v2Answer](t, s, path, object{"inputs": inputs, "outputs": []object{{"name": "logits"}}})
	want, err := classifier.Predict(t.Context(), []infer.Input{{Text: "the", Pair: "room"}, {Text: "rude"}})
	if err != nil {
		t.Fatal(err)
	}
	wanted := append(want[0].Logits, want[1].Logits...)
	if got := tokens.floats(t, "logits"); !sameBits(got, wanted) {
		t.Errorf("tokens: %v, want %v", got, wanted)
	}
	paired := post[v2Answer](t, s, path, object{"inputs": []object{tensorOf("text", "BYTES", []int{1, 2}, [][]string{{"the", "room"}})}})
	if got := paired.floats(t, "logits"); !sameBits(got, want[0].Logits) {
		t.Errorf("a pair: %v", got)
	}
	both := post[v2Answer](t, s, path, object{"inputs": []object{tensorOf("text", "BYTES", []int{1}, []string{"the"}), tensorOf("text_pair", "BYTES", []int{1}, []string{"room"})}})
	if got := both.floats(t, "logits"); !sameBits(got, want[0].Logits) {
		t.Errorf("two tensors: %v", got)
	}

	// As tritonclient sends it.
	var raw []byte
	for i := range rows {
		for _, id := range rows[i] {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(id))
		}
	}
	n := len(raw)
	for i := range rows {
		for _, m := range mask[i] {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(m))
		}
	}
	for i := range rows {
		for _, m := range types[i] {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(m))
		}
	}
	size := object{"binary_data_size": n}
	head, _ := json.Marshal(object{"parameters": object{"binary_data_output": true}, "inputs": []object{
		{"name": "input_ids", "datatype": "INT64", "shape": []int{2, 5}, "parameters": size},
		{"name": "attention_mask", "datatype": "INT64", "shape": []int{2, 5}, "parameters": size},
		{"name": "token_type_ids", "datatype": "INT64", "shape": []int{2, 5}, "parameters": size},
	}, "outputs": []object{{"name": "logits"}, {"name": "label", "parameters": object{"binary_data": false}}}})
	for _, compressed := range []bool{false, true} {
		body := string(head) + string(raw)
		headers := []string{"Inference-Header-Content-Length: " + strconv.Itoa(len(head)), "Content-Type: application/octet-stream"}
		if compressed {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			w.Write([]byte(body))
			w.Close()
			body = b.String()
			headers = append(headers, "Content-Encoding: gzip")
		}
		got := ask(s, "POST", path, body, headers...)
		if got.status != 200 || got.header.Get("Content-Type") != "application/octet-stream" {
			t.Fatalf("binary: %+v", got)
		}
		at, err := strconv.Atoi(got.header.Get("Inference-Header-Content-Length"))
		if err != nil {
			t.Fatal(err)
		}
		var answer v2Answer
		if err := json.Unmarshal([]byte(got.body[:at]), &answer); err != nil {
			t.Fatal(err)
		}
		floats := make([]float32, 6)
		if _, err := binary.Decode([]byte(got.body[at:]), binary.LittleEndian, floats); err != nil || len(got.body) != at+24 || answer.Outputs[0].Parameters.Size != 24 {
			t.Fatalf("%v: %+v", err, answer)
		}
		if !sameBits(floats, wanted) {
			t.Errorf("binary: %v, want %v", floats, wanted)
		}
		if labels := fmt.Sprintf(`[%q,%q]`, want[0].Label, want[1].Label); string(answer.Outputs[1].Data) != labels {
			t.Errorf("labels %s, want %s", answer.Outputs[1].Data, labels)
		}
	}
}

func TestV2OfEachTask(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{})
	text := []object{tensorOf("x", "BYTES", []int{2}, []string{"the staff", "rude"})}
	embedding := post[v2Answer](t, s, "/v2/models/embedder/infer", object{"inputs": text})
	direct := post[[][]float32](t, s, "/embed", object{"inputs": []string{"the staff", "rude"}})
	if got := embedding.floats(t, "output-0"); len(embedding.Outputs) != 1 || !sameBits(got, append(direct[0], direct[1]...)) {
		t.Errorf("embeddings: %+v", embedding)
	}
	found := post[v2Answer](t, s, "/v2/models/words/versions/1/infer", object{"inputs": text})
	if len(found.Outputs) != 1 || found.Outputs[0].Datatype != "BYTES" || !strings.Contains(string(found.Outputs[0].Data), `staff`) {
		t.Errorf("words: %+v", found)
	}
	ids := []object{tensorOf("input_ids", "INT32", []int{2, 3}, []int{2, 5, 3, 2, 5, 3})}
	logits := post[v2Answer](t, s, "/v2/models/words/infer", object{"inputs": ids})
	if got := logits.floats(t, "logits"); len(got) != 12 || !sameBits(got[:6], got[6:]) {
		t.Errorf("words of tokens: %+v", logits)
	}
	score := post[v2Answer](t, s, "/v2/models/ranker/infer", object{"inputs": []object{tensorOf("x", "BYTES", []int{1, 2}, []string{"a", "b"})}})
	if got := score.floats(t, "score"); len(got) != 1 || got[0] <= 0 || got[0] >= 1 {
		t.Errorf("score: %+v", score)
	}
	for path, want := range map[string]string{
		"/v2":                        `"extensions":["binary_tensor_data"`,
		"/v2/health/live":            `{"live":true}`,
		"/v2/health/ready":           `{"ready":true}`,
		"/v2/models":                 `"org/classes"`,
		"/v2/models/embedder":        `"outputs":[{"name":"output-0","datatype":"FP32","shape":[-1,32]}`,
		"/v2/models/embedder/ready":  `{"name":"embedder","ready":true}`,
		"/v2/models/embedder/config": `"max_batch_size":32`,
		"/v2/models/words/stats":     `"inference_count":4`,
		"/v2/models/stats":           `"name":"topics"`,
	} {
		if got := ask(s, "GET", path, ""); got.status != 200 || !strings.Contains(got.body, want) || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %+v, want %s", path, got, want)
		}
	}
}

func TestV2Errors(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{})
	input := func(text string) string { return `{"inputs":[` + text + `]}` }
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"nope/infer", input(``), 404, `{"error":"Request for unknown model: 'nope' is not found"}`},
		{"embedder/versions/7/infer", input(``), 404, "version 7 is not found"},
		{"embedder/infer", `{`, 400, "not JSON"},
		{"embedder/infer", input(``), 400, "no tensor"},
		{"embedder/infer", input(`{"name":"x","datatype":"BYTES","shape":[2],"data":["a"]}`), 400, "1 elements, the shape [2] has 2"},
		{"embedder/infer", input(`{"name":"x","datatype":"BYTES","shape":[-1],"data":["a"]}`), 400, "shape [-1]"},
		{"embedder/infer", input(`{"name":"x","datatype":"BYTES","shape":[1000000,1000000,1000000,1000000],"data":["a"]}`), 400, "shape"},
		{"embedder/infer", input(`{"name":"x","datatype":"BYTES","shape":[0],"data":[]}`), 400, "empty"},
		{"embedder/infer", input(`{"name":"x","datatype":"BYTES","shape":[1],"data":[3]}`), 400, "element 0 of the data is a number, expected BYTES"},
		{"embedder/infer", input(`{"name":"x","datatype":"BYTES","shape":[2],"data":["a",{"b":1}]}`), 400, "element 1 of the data is an object, expected BYTES"},
		{"embedder/infer", input(`{"name":"x","datatype":"BYTES","shape":[1],"data":[null]}`), 400, "element 0 of the data is null, expected BYTES"},
		{"embedder/infer", input(`{"name":"x","datatype":"BYTES","shape":[1],"data":[true]}`), 400, "element 0 of the data is true or false, expected BYTES"},
		{"embedder/infer", input(`{"name":"x","datatype":"INT64","shape":[1,2],"data":[2,1.5]}`), 400, "element 1 of the data is a number that is not a whole one of 64 bits"},
		{"embedder/infer", `{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["a"]}],"outputs":[{"name":"output-0"},{"name":"output-0"}]}`, 400, "'output-0' is asked for twice"},
		{"embedder/infer", input(`{"name":"x","datatype":"FP16","shape":[1],"data":[3]}`), 400, "datatype"},
		{"embedder/infer", input(`{"name":"x","datatype":"BYTES","shape":[1]}`), 400, "no data"},
		{"embedder/infer", input(`{"name":"x","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":9}}`), 400, "binary_data_size 9"},
		{"embedder/infer", input(`{"name":"x","datatype":"BYTES","shape":[1],"parameters":{"shared_memory_region":"r"}}`), 400, "shared memory"},
		{"embedder/infer", input(`{"name":"input_ids","datatype":"INT64","shape":[1,2],"data":[2,99]}`), 400, "the vocabulary has"},
		{"embedder/infer", input(`{"name":"input_ids","datatype":"INT64","shape":[1,1],"data":[9999999999]}`), 400, "no token id"},
		{"embedder/infer", input(`{"name":"input_ids","datatype":"INT64","shape":[2],"data":[2,3]}`), 400, "expected INT64 of shape [n, s]"},
		{"embedder/infer", input(`{"name":"other","datatype":"INT64","shape":[1,2],"data":[2,3]}`), 400, "unexpected inference input"},
		{"embedder/infer", input(`{"name":"input_ids","datatype":"INT64","shape":[1,2],"data":[2,3]},{"name":"attention_mask","datatype":"INT64","shape":[1,2],"data":[0,1]}`), 400, "padding before tokens"},
		{"embedder/infer", input(`{"name":"input_ids","datatype":"INT64","shape":[1,2],"data":[2,3]},{"name":"attention_mask","datatype":"INT64","shape":[2,1],"data":[1,1]}`), 400, "shape [2 1]"},
		{"embedder/infer", `{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["a"]}],"outputs":[{"name":"logits"}]}`, 400, "unexpected inference output 'logits'"},
		{"org%2Fclasses/infer", `{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["a"]}],"outputs":[{"name":"logits","parameters":{"classification":1}}]}`, 400, "classification is not supported"},
		{"org%2Fclasses/infer", `{"parameters":{"timeout":1},"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["a"]}]}`, 504, "longer than it may"},
	} {
		got := ask(s, "POST", "/v2/models/"+c.path, c.body)
		if got.status != c.status || !strings.Contains(got.body, c.want) || !strings.HasPrefix(got.body, `{"error":"`) || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %.100s: %d %s, want %d with %s", c.path, c.body, got.status, got.body, c.status, c.want)
		}
	}
	if got := ask(s, "GET", "/v2/models/nope", ""); got.status != 404 {
		t.Errorf("%+v", got)
	}
	if got := ask(s, "GET", "/v2/models/nope/ready", ""); got.status != 400 {
		t.Errorf("%+v", got)
	}
	starting, err := New(Options{Models: models(t)[:1]})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/v2/health/live": 200, "/v2/health/ready": 503, "/v2/models/embedder/ready": 503} {
		if got := ask(starting, "GET", path, ""); got.status != want {
			t.Errorf("starting: %s: %+v", path, got)
		}
	}
	if got := ask(s, "POST", "/v2/models/embedder/infer", "rude", "Inference-Header-Content-Length: 0"); got.status != http.StatusOK {
		t.Errorf("a raw body: %+v", got)
	}
}

// No body makes a server panic or answer 500.
func FuzzV2(f *testing.F) {
	s := newServer(f, Options{Models: models(f)[1:2]})
	f.Add(`{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["a"]}]}`, 0)
	f.Add(`{"inputs":[{"name":"input_ids","datatype":"INT64","shape":[1,2],"parameters":{"binary_data_size":16}}]}0123456789abcdef`, 97)
	f.Fuzz(func(t *testing.T, body string, header int) {
		var headers []string
		if header > 0 {
			headers = append(headers, "Inference-Header-Content-Length: "+strconv.Itoa(header))
		}
		if got := ask(s, "POST", "/v2/models/org%2Fclasses/infer", body, headers...); got.status >= 500 {
			t.Errorf("%+v", got)
		}
	})
}

func TestLargeAnswersAreCompressed(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{})
	for _, c := range []struct {
		accepted, want string
		id             int
	}{
		{"gzip, deflate", "gzip", 70000},
		{"deflate", "deflate", 70000},
		{"", "", 70000},
		{"gzip, deflate", "", 10},
	} {
		request, _ := json.Marshal(object{"id": strings.Repeat("i", c.id), "inputs": []object{tensorOf("text", "BYTES", []int{1, 2}, []string{"a", "b"})}})
		plain := ask(s, "POST", "/v2/models/ranker/infer", string(request))
		got := ask(s, "POST", "/v2/models/ranker/infer", string(request), "Accept-Encoding: "+c.accepted)
		if got.status != 200 || got.header.Get("Content-Encoding") != c.want {
			t.Errorf("%+v: status %d, encoding %q", c, got.status, got.header.Get("Content-Encoding"))
			continue
		}
		r := io.Reader(strings.NewReader(got.body))
		var err error
		switch c.want {
		case "gzip":
			r, err = gzip.NewReader(r)
		case "deflate":
			r, err = zlib.NewReader(r)
		}
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if b, err := io.ReadAll(r); err != nil || string(b) != plain.body {
			t.Errorf("%+v: %v, %d bytes for %d", c, err, len(b), len(plain.body))
		}
	}
}
