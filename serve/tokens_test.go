package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/tokenize"
)

// withMasks are the models of all tasks and a masked language model.
func withMasks(t testing.TB) []Model {
	m := newModel(t, head.MaskedLM, nil, 6)
	return append(models(t), Model{Name: "mlm", Path: save(t, m, filepath.Join(t.TempDir(), "mlm.skive"))})
}

// The embedding of a text is what pooling makes of those of its tokens.
func TestEmbedAll(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{})
	all := post[[][][]float64](t, s, "/embed_all", object{"inputs": someTexts})
	pooled := post[[][]float64](t, s, "/embed", object{"inputs": someTexts, "normalize": false})
	for i, tokens := range all {
		for j := range pooled[i] {
			sum := 0.0
			for _, x := range tokens {
				sum += x[j]
			}
			if mean := sum / float64(len(tokens)); math.Abs(mean-pooled[i][j]) > 1e-5 {
				t.Fatalf("%q: dimension %d is %v, want %v", someTexts[i], j, mean, pooled[i][j])
			}
		}
	}
	if len(all[1]) != 3 { // [CLS] rude [SEP]
		t.Errorf("%d tokens", len(all[1]))
	}
	if got := ask(s, "POST", "/models/ranker/embed_all", `{"inputs":"a"}`); got.status != 424 {
		t.Errorf("%+v", got)
	}
}

func TestEmbedSparse(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{Models: withMasks(t)})
	type entry struct {
		Index int
		Value float32
	}
	all := post[[][]entry](t, s, "/embed_sparse", object{"inputs": someTexts})
	for i, text := range someTexts {
		alone := post[[][]entry](t, s, "/models/mlm/embed_sparse", object{"inputs": text})
		if !slices.Equal(all[i], alone[0]) || len(alone[0]) == 0 {
			t.Errorf("%q: %v, alone %v", text, all[i], alone)
		}
		if !slices.IsSortedFunc(alone[0], func(a, b entry) int { return a.Index - b.Index }) || slices.ContainsFunc(alone[0], func(e entry) bool { return e.Value <= 0 }) {
			t.Errorf("%q: %v", text, alone)
		}
	}
	if got := ask(s, "GET", "/models/mlm/info", ""); !strings.Contains(got.body, `"embedding":{"pooling":"splade"}`) {
		t.Errorf("%+v", got)
	}
	if got := ask(s, "POST", "/models/embedder/embed_sparse", `{"inputs":"a"}`); got.status != 424 || !strings.Contains(got.body, "SPLADE") {
		t.Errorf("%+v", got)
	}
}

func TestFillMask(t *testing.T) {
	t.Parallel()
	list := withMasks(t)
	s := newServer(t, Options{Models: list})
	one := post[[]filled](t, s, "/models/mlm", object{"inputs": "the [MASK] was clean"})
	e := engineOf(t, list, "mlm", infer.Options{})
	want, err := e.Predict(t.Context(), []infer.Input{{Text: "the [MASK] was clean"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range want[0].Masks[0] {
		if one[i].Token != f.ID || one[i].Score != f.Probability || one[i].Text != f.Token && one[i].Text != strings.TrimPrefix(f.Token, "##") {
			t.Errorf("%+v, want %+v", one[i], f)
		}
	}
	if got := one[0].Sequence; !strings.HasPrefix(got, "the") || !strings.HasSuffix(got, " was clean") || strings.Contains(got, "[") && !strings.Contains(one[0].Text, "[") {
		t.Errorf("%q", got)
	}
	two := post[[][]filled](t, s, "/fill_mask", object{"inputs": "the [MASK] was [MASK]", "parameters": object{"top_k": 2, "targets": []string{"room", "kind", "dirty"}}})
	if len(two) != 2 || len(two[1]) != 2 || !slices.Contains([]string{"room", "kind", "dirty"}, two[0][0].Text) || two[0][0].Score < two[0][1].Score ||
		two[1][0].Sequence != "[CLS] the [MASK] was "+two[1][0].Text+" [SEP]" {
		t.Errorf("%+v", two)
	}
	several := post[[][]filled](t, s, "/fill_mask", object{"inputs": []string{"the [MASK] was clean", "rude [MASK]"}})
	if len(several) != 2 || several[0][0] != one[0] {
		t.Errorf("%+v", several)
	}
	for body, want := range map[string]string{
		`{"inputs":"rude"}`: "no mask token ([MASK])",
		`{"inputs":"` + strings.Repeat("[MASK]", 33) + `"}`:                                            "33 masks, expected at most 32",
		`{"inputs":"[MASK]","parameters":{"targets":["nope"]}}`:                                        "element 0 is no token",
		`{"inputs":"[MASK]","parameters":{"top_k":0}}`:                                                 "expected 1 to 27",
		`{"inputs":"[MASK]","parameters":{"targets":["room"` + strings.Repeat(`,"room"`, 1000) + `]}}`: "has 1001 tokens, expected at most 1000",
		`{"inputs":"[MASK] ` + strings.Repeat("a ", 50) + `","truncate":false}`:                        "must have less than 48 tokens",
	} {
		if got := ask(s, "POST", "/fill_mask", body); got.status != 422 || !strings.Contains(got.body, want) {
			t.Errorf("%.60s: %+v, want %s", body, got, want)
		}
	}
	if n := s.waiting.Load(); n != 0 {
		t.Errorf("%d inputs are under way for nobody", n)
	}
}

// A vocabulary may have more tokens than an answer may name, and one that has come late ends.
func TestFillMaskBounds(t *testing.T) {
	t.Parallel()
	m := newModel(t, head.MaskedLM, nil, 6)
	wide := slices.Clone(vocabulary)
	for i := range 200 {
		wide = append(wide, fmt.Sprintf("w%d", i))
	}
	m.Config.VocabSize = len(wide)
	m = checkpoints.InitBERT(m.Config, 6)
	tok, err := tokenize.NewWordPiece(wide, true)
	if err != nil {
		t.Fatal(err)
	}
	m.Tokenizer = tok.Files()
	s := newServer(t, Options{Models: []Model{{Name: "wide", Path: save(t, m, filepath.Join(t.TempDir(), "wide.skive"))}}})
	if got := post[[]filled](t, s, "/fill_mask", object{"inputs": "[MASK]", "parameters": object{"top_k": 100}}); len(got) != 100 {
		t.Errorf("%d tokens", len(got))
	}
	if got := ask(s, "POST", "/fill_mask", `{"inputs":"[MASK]","parameters":{"top_k":101}}`); got.status != 422 || !strings.Contains(got.body, "`top_k` is 101, expected 1 to 100") {
		t.Errorf("%+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ids := []int32{2, 4, 3}
	if _, err := (&exchange{ctx: ctx}).fillings(tok, ids, []int{1}, [][]infer.Fill{{{ID: 5}}}); !errors.Is(err, context.Canceled) || ids[1] != 4 {
		t.Errorf("%v, %v", err, ids)
	}
}

// Masks are bounded on every route, and count as inputs.
func TestMasksOfV2(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{Models: withMasks(t)})
	of := func(masks int) *InferRequest {
		text := strings.Repeat("[MASK] ", masks)
		return &InferRequest{Model: "mlm", Inputs: []Tensor{{Name: "text", Datatype: typeBytes, Shape: []int{3}, Texts: []string{text, "no mask", text}}}}
	}
	front := &Front{Protocol: "test", Method: "test", Code: func(*Error) string { return "" }}
	answer, err := s.Infer(t.Context(), front, of(16))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{16, 0, 16} {
		var list [][]filled
		if err := json.Unmarshal([]byte(answer.Outputs[0].Texts[i]), &list); err != nil || len(list) != want {
			t.Errorf("text %d: %d masks, %v, want %d", i, len(list), err, want)
		}
	}
	if _, err := s.Infer(t.Context(), front, of(17)); err == nil || !strings.Contains(err.Error(), "34 masks, expected at most 32") {
		t.Error(err)
	}
	body, _ := marshal(object{"inputs": []object{tensorOf("input_ids", "INT64", []int{1, 33}, slices.Repeat([]int{4}, 33))}})
	if got := ask(s, "POST", "/v2/models/mlm/infer", string(body)); got.status != 400 || !strings.Contains(got.body, "33 masks") {
		t.Errorf("%+v", got)
	}
	pair := post[v2Answer](t, s, "/v2/models/mlm/infer", object{"inputs": []object{tensorOf("x", "BYTES", []int{1, 2}, []string{"the [MASK]", "rude"})}})
	want, err := engineOf(t, withMasks(t), "mlm", infer.Options{}).Predict(t.Context(), []infer.Input{{Text: "the [MASK]", Pair: "rude"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(pair.Outputs[0].Data); !strings.Contains(got, fmt.Sprintf(`\"token\":%d,`, want[0].Masks[0][0].ID)) || !strings.Contains(got, fmt.Sprintf(`\"score\":%v,`, want[0].Masks[0][0].Probability)) {
		t.Errorf("%s, want %+v", got, want[0].Masks[0])
	}
	if n := s.waiting.Load(); n != 0 {
		t.Errorf("%d inputs are under way for nobody", n)
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{Models: models(t)[:1]})
	for body, want := range map[string]string{
		`{"ids":[2,12,13,20,3]}`:                               `["rudely!"]`,
		`{"ids":[[2,12,3],[5,6]],"skip_special_tokens":false}`: `["[CLS] rude [SEP]","the room"]`,
	} {
		if got := ask(s, "POST", "/decode", body); got.status != 200 || got.body != want {
			t.Errorf("%s: %+v, want %s", body, got, want)
		}
	}
	for _, body := range []string{`{"ids":"a"}`, `{"ids":[["a"]]}`, `{}`} {
		if got := ask(s, "POST", "/decode", body); got.status != 422 {
			t.Errorf("%s: %+v", body, got)
		}
	}
}

func TestVertex(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{})
	instances := []object{{"inputs": someTexts[0]}, {"inputs": someTexts[1]}}
	got := post[struct{ Predictions [][][]float32 }](t, s, "/vertex", object{"instances": instances}).Predictions
	for i, instance := range instances {
		if want := post[[][]float32](t, s, "/embed", instance); len(got) != 2 || !sameBits(got[i][0], want[0]) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	labels := post[struct{ Predictions [][]scored }](t, s, "/models/org%2Fclasses/vertex", object{"instances": instances}).Predictions
	if want := post[[]scored](t, s, "/predict", instances[1]); len(labels) != 2 || !slices.Equal(labels[1], want) {
		t.Errorf("%v, want %v", labels, want)
	}
	lists := `{"inputs":["a"` + strings.Repeat(`,"a"`, 16) + `]}`
	if got := ask(s, "POST", "/vertex", `{"instances":[`+lists+`,`+lists+`]}`); got.status != 422 || !strings.Contains(got.body, "batch size 34 > maximum allowed batch size 32") {
		t.Errorf("%+v", got)
	}
	for body, status := range map[string]int{`{"instances":[]}`: 400, `{"instances":[{"inputs":"a"},{"inputs":3}]}`: 422, `{"instances":[` + strings.Repeat(`{},`, 32) + `{}]}`: 422} {
		if got := ask(s, "POST", "/vertex", body); got.status != status {
			t.Errorf("%.60s: %+v, want %d", body, got, status)
		}
	}
	if s.waiting.Load() != 0 {
		t.Error("inputs are under way for nobody")
	}
	if v, _ := s.models[0].acquire(); v != nil {
		v.release()
	}
}

// Long texts are computed in windows: what fits is what it is without them, and what does not
// is the mean of its windows, or has the labels of the windows where words stand in the middle.
func TestWindows(t *testing.T) {
	t.Parallel()
	list := models(t)
	s := newServer(t, Options{Models: list})
	long := strings.TrimSpace(strings.Repeat("the room was clean but the staff was rude ! ", 12)) // 120 tokens
	short := post[[][]float32](t, s, "/embed", object{"inputs": someTexts[0]})
	both := post[[][]float32](t, s, "/embed", object{"inputs": []string{long, someTexts[0]}, "stride": 10})
	if !sameBits(both[1], short[0]) {
		t.Error("a text that fits is another in windows")
	}
	var sum float64
	for _, v := range both[0] {
		sum += float64(v) * float64(v)
	}
	if math.Abs(sum-1) > 1e-5 {
		t.Errorf("length %v", sum)
	}
	// By hand: 46 tokens a window, 36 further each time.
	words := strings.Fields(long)
	var means []float64
	tokens := 0.0
	for first := 0; ; first += 36 {
		last := min(first+46, len(words))
		e := post[[][]float32](t, s, "/embed", object{"inputs": strings.Join(words[first:last], " "), "normalize": false})[0]
		if means == nil {
			means = make([]float64, len(e))
		}
		for i, v := range e {
			means[i] += float64(last-first) * float64(v)
		}
		tokens += float64(last - first)
		if last == len(words) {
			break
		}
	}
	raw := post[[][]float32](t, s, "/embed", object{"inputs": long, "stride": 10, "normalize": false})[0]
	for i := range means {
		if math.Abs(means[i]/tokens-float64(raw[i])) > 1e-5 {
			t.Fatalf("dimension %d is %v, want %v", i, raw[i], means[i]/tokens)
		}
	}
	for side, kept := range map[string][]string{"left": words[len(words)-46:], "Left": words[len(words)-46:], "right": words[:46]} {
		got := post[[][]float32](t, s, "/embed", object{"inputs": long, "truncation_direction": side})
		if want := post[[][]float32](t, s, "/embed", object{"inputs": strings.Join(kept, " ")}); !sameBits(got[0], want[0]) {
			t.Errorf("cut at the %s end: %v, want %v", side, got, want)
		}
	}
	labels := post[[]scored](t, s, "/predict", object{"inputs": long, "stride": 0, "raw_scores": true})
	cut := post[[]scored](t, s, "/predict", object{"inputs": long, "raw_scores": true})
	if len(labels) != 3 || slices.Equal(labels, cut) {
		t.Errorf("%v, cut %v", labels, cut)
	}
	found := post[[]labeled](t, s, "/models/words/predict", object{"inputs": long, "stride": 20})
	if len(found) != len(words) {
		t.Errorf("%d words of %d", len(found), len(words))
	}
	// Word 40 stands farthest from an edge in the second window, which begins at 26.
	second := post[[]labeled](t, s, "/models/words/predict", object{"inputs": strings.Join(words[26:72], " ")})
	if found[40].Score != second[14].Score || found[40].Word != words[40] || long[found[40].Start:found[40].End] != words[40] {
		t.Errorf("%+v, want %+v", found[40], second[14])
	}
	for path, body := range map[string]object{
		"/embed":     {"inputs": long, "stride": 40},
		"/predict":   {"inputs": []string{long, "a pair"}, "stride": 4},
		"/embed_all": {"inputs": long, "stride": 4},
	} {
		b, _ := marshal(body)
		if got := ask(s, "POST", path, string(b)); got.status != 422 {
			t.Errorf("%s: %+v", path, got)
		}
	}
	list = slices.Clone(list[:1])
	list[0].Stride = 10
	own := newServer(t, Options{Models: list, RefuseLong: true})
	if got := post[[][]float32](t, own, "/embed", object{"inputs": long}); !sameBits(got[0], both[0]) {
		t.Error("the model's own windows differ")
	}
	if got := ask(own, "POST", "/embed", `{"inputs":"`+long+`","truncate":false}`); got.status != 422 {
		t.Errorf("%+v", got)
	}
	prompted := post[[][]float32](t, s, "/embed", object{"inputs": long, "stride": 0, "prompt_name": "query"})
	if sameBits(prompted[0], post[[][]float32](t, s, "/embed", object{"inputs": long, "stride": 0})[0]) {
		t.Error("no prompt")
	}
}

func lastToken(c *checkpoints.Config) {
	c.Sentence = &checkpoints.Sentence{Pooling: checkpoints.LastPooling}
}

// A model that pools by the last token gives that token's embedding.
func TestLastToken(t *testing.T) {
	t.Parallel()
	m := newModel(t, head.SingleLabel, []string{"x", "y"}, 7)
	lastToken(&m.Config)
	s := newServer(t, Options{Models: []Model{{Name: "m", Path: save(t, m, filepath.Join(t.TempDir(), "m.skive"))}}})
	tokens := post[[][][]float32](t, s, "/embed_all", object{"inputs": someTexts})
	for i, e := range post[[][]float32](t, s, "/embed", object{"inputs": someTexts, "normalize": false}) {
		if !sameBits(e, tokens[i][len(tokens[i])-1]) {
			t.Errorf("%q: %v", someTexts[i], e)
		}
	}
}
