package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
)

const tinyVocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad\nfilm\nparis\nin\n.\n"

// modelOf saves a model of random weights for the vocabulary.
func modelOf(t *testing.T, kind head.Kind, labels []string, change func(*checkpoints.Config)) string {
	t.Helper()
	c := checkpoints.Config{
		ModelType: "bert", VocabSize: 11, MaxPositions: 32, TypeVocabSize: 2, HiddenSize: 16, HeadDim: 8,
		Layers: []checkpoints.LayerSize{{Heads: 2, Intermediate: 16}}, Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.3,
		Head: kind, Labels: labels,
	}
	change(&c)
	m := checkpoints.InitBERT(c, 1)
	m.Tokenizer = map[string][]byte{"vocab.txt": []byte(tinyVocabulary)}
	dir := filepath.Join(t.TempDir(), "model")
	if err := m.SaveHF(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A model that was trained on pairs is not asked about one text, and one that may
// have been says so.
func TestSecondTextMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := writer(t, dir)
	one, pair := "good film\n", `{"text": "good", "text_pair": "film"}`+"\n"
	none := func(*checkpoints.Config) {}
	score := []string{"LABEL_0"}
	key := func(model, text string) string { // adds a key to config.json
		path := filepath.Join(model, "config.json")
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(strings.Replace(string(b), "{", "{"+text+",", 1)), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		return model
	}
	const (
		refused = "infer: input 0: infer: invalid option: the model was trained on pairs of texts, found one text"
		unsure  = "a reranker or another model of pairs expects"
	)
	for _, c := range []struct {
		name, model, input string
		args               []string
		want               string // on standard error
		code               int
	}{
		{"pairs", modelOf(t, "", []string{"a", "b"}, func(c *checkpoints.Config) { c.Pairs = true }), one, nil, refused, 1},
		{"pairs, given one", modelOf(t, "", []string{"a", "b"}, func(c *checkpoints.Config) { c.Pairs = true }), pair, nil, "", 0},
		{"pairs, with an empty second text", modelOf(t, "", []string{"a", "b"}, func(c *checkpoints.Config) { c.Pairs = true }), `{"text": "good", "text_pair": ""}`, nil, "", 0},
		{"pairs, embedded", modelOf(t, "", []string{"a", "b"}, func(c *checkpoints.Config) { c.Pairs = true }), one, []string{"--embedding", "mean"}, "", 0},
		{"single texts", modelOf(t, "", []string{"a", "b"}, none), one, nil, "", 0},
		{"a cross-encoder of before", key(modelOf(t, head.Regression, score, none), `"sbert_ce_default_activation_function":"torch.nn.modules.linear.Identity"`), one, nil, refused, 1},
		{"a cross-encoder", key(modelOf(t, head.Regression, score, none), `"sentence_transformers":{"activation_fn":"torch.nn.modules.activation.Sigmoid","version":"5.1.0"}`), one, nil, refused, 1},
		{"one number without a name", modelOf(t, head.Regression, score, none), one + one, nil, unsure, 0},
		{"one number of a pair", modelOf(t, head.Regression, score, none), pair, nil, "", 0},
		{"one number, quietly", modelOf(t, head.Regression, score, none), one, []string{"-q"}, "", 0},
		{"one number with a name", modelOf(t, head.Regression, []string{"stars"}, none), one, nil, "", 0},
		{"a pair's task", modelOf(t, "", []string{"a", "b"}, func(c *checkpoints.Config) { c.Task = "mrpc" }), one, nil, unsure, 0},
		{"a text's task", modelOf(t, "", []string{"a", "b"}, func(c *checkpoints.Config) { c.Task = "sst2" }), one, nil, "", 0},
	} {
		code, _, stderr := predictWith(t, c.input, append([]string{"--model", c.model}, c.args...)...)
		if code != c.code || c.want == "" && stderr != "" || strings.Count(stderr, "\n") > 1 || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: code %d, %q, want %d, %q", c.name, code, stderr, c.code, c.want)
		}
	}

	// What training saw is remembered, and goes into every format.
	single := write("single.csv", "text,label\ngood,a\nbad,b\nfilm,a\n")
	pairs := write("pairs.csv", "text,text_pair,label\ngood,film,a\nbad,film,b\nfilm,in,a\n")
	lines := write("lines.txt", one+one)
	encoder := modelOf(t, "", nil, none)
	for file, code := range map[string]int{single: 0, pairs: 1} {
		out := filepath.Join(t.TempDir(), "out")
		if code, _, stderr := execute(t, "train", "--model", encoder, "--task", "text", "--train", file, "--dev", file, "--steps", "1", "-o", out, "-q"); code != 0 {
			t.Fatal(stderr)
		}
		skive := filepath.Join(t.TempDir(), "m.skive")
		if code, _, stderr := execute(t, "quantize", "--model", out, "-o", skive, "-q"); code != 0 {
			t.Fatal(stderr)
		}
		for _, model := range []string{out, skive} {
			if got, _, stderr := predictWith(t, one, "--model", model, "-q"); got != code || strings.Contains(stderr, refused) != (code == 1) {
				t.Errorf("%s of %s: code %d, %s", model, file, got, stderr)
			}
			if got, _, stderr := execute(t, "eval", "--model", model, "--task", "text", "--data", single, "-q"); got != code || strings.Contains(stderr, "evaluation set: example 1 is a single text, but the model was trained on pairs") != (code == 1) {
				t.Errorf("%s of %s on single texts: code %d, %s", model, file, got, stderr)
			}
		}
		for _, args := range [][]string{
			{"quantize", "--max-drop", "100", "--data", single},
			{"prune", "--heads", "1", "--train", single},
			{"distill", "--teacher", out, "--layers", "1", "--train", single, "--dev", single, "--steps", "1"},
			{"distill", "--teacher", encoder, "--teacher", out, "--layers", "1", "--train", single, "--dev", single, "--steps", "1", "--soft", "0", "--hidden-loss", "1"},
			{"train", "--train", pairs, "--dev", single, "--steps", "1"},
		} {
			to := filepath.Join(t.TempDir(), "to.skive")
			want := code
			if args[0] == "train" {
				want = 1 // by what it is trained on now
			}
			if args[0] != "distill" {
				args = append(args, "--model", out)
			}
			got, _, stderr := execute(t, append(args, "--task", "text", "-o", to, "-q")...)
			if got != want || strings.Contains(stderr, "single text, but the model was trained on pairs") != (want == 1) {
				t.Errorf("%s of a model of %s on single texts: code %d, %s", args[0], file, got, stderr)
			}
		}
		for _, args := range [][]string{
			{"quantize", "--calibrate", lines, "-o", filepath.Join(t.TempDir(), "to.skive")},
			{"bench", "--data", lines, "--duration", "1ms"},
		} {
			got, _, stderr := execute(t, append(args, "--model", out, "-q")...)
			if got != code || strings.Contains(stderr, lines+":1: infer: invalid option: the model was trained on pairs of texts, found one text") != (code == 1) {
				t.Errorf("%s of a model of %s on lines of one text: code %d, %s", args[0], file, got, stderr)
			}
		}
		distill := []string{"distill", "--teacher", out, "--layers", "1", "--task", "text", "--train", file, "--dev", file, "--unlabeled", lines, "--steps", "1", "-o", filepath.Join(t.TempDir(), "to"), "-q"}
		if got, _, stderr := execute(t, distill...); got != code || strings.Contains(stderr, "--unlabeled: "+lines+": example 1 has only one text, expected a second text") != (code == 1) {
			t.Errorf("a distillation from a model of %s with lines of one text: code %d, %s", file, got, stderr)
		}
		to := filepath.Join(t.TempDir(), "to")
		if code, _, stderr := execute(t, "train", "--model", out, "--task", "text", "--train", single, "--dev", single, "--steps", "1", "-o", to, "-q"); code != 0 {
			t.Errorf("a model of %s is not trained on single texts: %s", file, stderr)
		}
	}
}

// A model that may want pairs says so wherever it is given lines of one text.
func TestLinesForAModelThatMayWantPairs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lines := filepath.Join(dir, "lines.txt")
	if err := os.WriteFile(lines, []byte("good film\nbad\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	model := modelOf(t, head.Regression, []string{"LABEL_0"}, func(*checkpoints.Config) {})
	for _, args := range [][]string{
		{"quantize", "--calibrate", lines, "-o", filepath.Join(dir, "to.skive")},
		{"bench", "--data", lines, "--duration", "1ms"},
	} {
		code, _, stderr := execute(t, append(args, "--model", model)...)
		if code != 0 || strings.Count(stderr, lines+": one text, not a pair; a reranker or another model of pairs expects") != 1 {
			t.Errorf("%s: code %d, %s", args[0], code, stderr)
		}
	}
}

// A vocabulary beyond the model's embeddings is refused before the first step.
func TestVocabularyBeyondTheModel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.csv")
	if err := os.WriteFile(file, []byte("text,label\ngood,a\nbad,b\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	grow := func(model string, tokens string) string {
		if err := os.WriteFile(filepath.Join(model, "vocab.txt"), []byte(tinyVocabulary+tokens), 0o666); err != nil {
			t.Fatal(err)
		}
		return model
	}
	none := func(*checkpoints.Config) {}
	large := func() string { return grow(modelOf(t, "", []string{"a", "b"}, none), "paris2\nparis3\n") }
	small := modelOf(t, "", []string{"a", "b"}, func(c *checkpoints.Config) { c.VocabSize = 16 })
	const want = "the tokenizer has 13 tokens, but the model has embeddings for only 11 (vocab_size)"
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"train":         {[]string{"train", "--model", large(), "--task", "text", "--train", file, "--dev", file}, want},
		"train mlm":     {[]string{"train", "--model", grow(modelOf(t, "", nil, none), "paris2\nparis3\n"), "--task", "mlm", "--train", file}, want},
		"distill":       {[]string{"distill", "--teacher", large(), "--task", "text", "--train", file, "--dev", file, "--layers", "1"}, want},
		"a smaller one": {[]string{"train", "--model", small, "--task", "text", "--train", file, "--dev", file, "--steps", "1"}, ""},
	} {
		out := filepath.Join(t.TempDir(), "out")
		code, _, stderr := execute(t, append(c.args, "-o", out, "-q")...)
		if (code != 0) != (c.want != "") || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") > 1 {
			t.Errorf("%s: code %d, %s", name, code, stderr)
		}
		if _, err := os.Stat(out); c.want != "" && err == nil {
			t.Errorf("%s: the output is there", name)
		}
	}
}

// Embeddings of a sentence-transformers directory, as its files say and as flags do.
func TestEmbeddingsOfModules(t *testing.T) {
	t.Parallel()
	model := modelOf(t, "", nil, func(c *checkpoints.Config) {
		c.Sentence = &checkpoints.Sentence{Pooling: checkpoints.MaxPooling, MaxLength: 4, Prompts: map[string]string{"query": "bad film"}}
	})
	const text = "good film in paris .\n"
	answer := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := predictWith(t, text, append([]string{"--model", model}, args...)...)
		var v []float32
		if code != 0 || json.Unmarshal([]byte(stdout), &v) != nil || len(v) != 16 {
			t.Fatalf("%v: %d, %s, %s", args, code, stdout, stderr)
		}
		return stdout + stderr
	}
	own := answer("--embedding", "model")
	if got := answer("--embedding", "model", "--max-length", "4"); got != own {
		t.Errorf("the model's own length: %s, want %s", got, own)
	}
	for _, args := range [][]string{{"--max-length", "5"}, {"--prompt", "query"}} {
		if got := answer(append(args, "--embedding", "model")...); got == own {
			t.Errorf("%v changes nothing", args)
		}
	}
	if got := answer("--embedding", "model", "--prompt", "none"); got != own {
		t.Errorf("no prompt: %s, want %s", got, own)
	}
	if got := answer("--embedding", "mean"); !strings.Contains(got, `the embedding "mean" is not the model's own, which is "max"`) {
		t.Errorf("another kind: %s", got)
	}
	skive, hf := filepath.Join(t.TempDir(), "m.skive"), filepath.Join(t.TempDir(), "hf")
	for _, args := range [][]string{{"--format", "skive", "-o", skive}, {"--format", "hf", "-o", hf}} {
		if code, _, stderr := execute(t, append([]string{"export", "--model", model, "-q"}, args...)...); code != 0 {
			t.Fatal(stderr)
		}
	}
	for _, path := range []string{skive, hf} {
		if _, stdout, _ := predictWith(t, text, "--model", path, "--embedding", "model"); stdout != own {
			t.Errorf("%s: %s, want %s", path, stdout, own)
		}
	}
	onnx := t.TempDir()
	if code, _, stderr := execute(t, "export", "--model", skive, "--format", "onnx", "--embedding", "model", "-o", onnx, "-q"); code != 0 {
		t.Fatal(stderr)
	}
	for _, name := range []string{"config.json", "sentence_bert_config.json", "config_sentence_transformers.json"} {
		if _, err := os.Stat(filepath.Join(onnx, name)); err != nil {
			t.Error(err)
		}
	}
	bare := modelOf(t, "", []string{"a", "b"}, func(*checkpoints.Config) {})
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--model", bare, "--embedding", "model"}, `--embedding: no such embedding: "model", but the model has no modules.json, expected "mean" or "cls"`},
		{[]string{"--model", model, "--embedding", "model", "--prompt", "passage"}, `--prompt: no such prompt: "passage", expected one of the model's prompts: ["query"]`},
		{[]string{"--model", model, "--embedding", "max"}, `--embedding: "max", expected mean, cls or model`},
		{[]string{"--model", bare, "--prompt", "query"}, "--prompt goes with --embedding"},
		{[]string{"--model", model, "--embedding", "model", "--max-length", "99"}, "--max-length: "},
	} {
		if code, _, stderr := predictWith(t, text, c.args...); code != exitUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: %d, %s, want %s", c.args, code, stderr, c.want)
		}
	}
}
