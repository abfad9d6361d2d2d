package onnx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

// trained is a small model of a family with uneven layers that has learned its
// task: which opinions are in the majority.
func trained(t *testing.T, family string) *checkpoints.Model {
	t.Helper()
	set := opinions(2000, 1)
	vocab := tokenize.BuildVocab(func(yield func(string) bool) {
		for _, e := range set.Examples {
			if !yield(e.Text) {
				return
			}
		}
	}, 200)
	tokenizer, err := tokenize.NewWordPiece(vocab, true)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]int{"bert": 2, "roberta": 1, "xlm-roberta": 1, "mpnet": 0, "distilbert": 0, "electra": 2, "albert": 2}[family]
	c := ofFamily(family, config(52, 26, types, "gelu", size(2, 80), size(1, 37)))
	c.PadTokenID = 0 // the tokenizer's, in RoBERTa too
	c.VocabSize, c.InitializerRange, c.Labels = tokenizer.VocabSize(), 0.1, set.Task.Labels
	m := checkpoints.InitBERT(c, 1)
	m.Tokenizer = tokenizer.Files()
	o := train.Defaults()
	o.Epochs, o.BatchSize, o.LearningRate, o.Dropout = 6, 32, 3e-3, new(0.0)
	if m, _, err = train.Run(t.Context(), m, set, opinions(200, 2), o); err != nil {
		t.Fatal(err)
	}
	return m
}

func opinions(n int, seed uint64) *data.Dataset {
	words := [2][]string{
		strings.Fields("dirty rude bland slow awful noisy dull shabby"),
		strings.Fields("clean kind tasty quick lovely quiet charming elegant"),
	}
	r := rand.New(rand.NewPCG(seed, 9))
	set := &data.Dataset{Task: data.Task{Name: "opinions", Labels: []string{"negative", "positive"}, Metric: "accuracy"}}
	for range n {
		var text []string
		sum := 0
		for range 1 + 2*r.IntN(3) {
			side := r.IntN(2)
			sum += 2*side - 1
			text = append(text, words[side][r.IntN(len(words[side]))])
		}
		label := 0
		if sum > 0 {
			label = 1
		}
		set.Examples = append(set.Examples, data.Example{Text: strings.Join(text, " "), Label: label})
	}
	return set
}

// On trained models of each family the labels of an exported graph are those of
// the engine in float32.
func TestLabelsOfTrainedModels(t *testing.T) {
	t.Parallel()
	python(t)
	for _, family := range []string{"bert", "roberta", "mpnet", "distilbert", "electra", "albert"} {
		t.Run(family, func(t *testing.T) {
			labelsAgree(t, trained(t, family), opinions(500, 4), opinions(1000, 3), 0.97)
		})
	}
}

// The same of the models that skive compress makes of the embedded task, whose
// output directory SKIVE_REPORT names.
func TestLabelsOfTheEmbeddedTask(t *testing.T) {
	t.Parallel()
	python(t)
	dir := os.Getenv("SKIVE_REPORT")
	if dir == "" {
		t.Skip("SKIVE_REPORT is not set")
	}
	calibration, set := reviews.Generate(reviews.Options{Train: 500, Dev: 500, Seed: 7})
	paths, err := filepath.Glob(filepath.Join(dir, "*", "config.json"))
	if err != nil || len(paths) < 4 {
		t.Fatalf("%s holds the models %v (%v)", dir, paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			m, err := checkpoints.Open(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			labelsAgree(t, m, calibration, set, 0.97)
		})
	}
}

// labelsAgree exports a model of two labels in every format, static int8 after
// calibration among them, and compares the labels that ONNX Runtime finds with
// those of the engine in float32, which has to be right on a share of them.
func labelsAgree(t *testing.T, m *checkpoints.Model, calibration, set *data.Dataset, right float64) {
	t.Helper()
	logits := func(m *checkpoints.Model, set *data.Dataset, o infer.Options) []float32 {
		t.Helper()
		enc, err := evaluate.Encode(m, set, 0)
		if err != nil {
			t.Fatal(err)
		}
		y, err := evaluate.Logits(context.Background(), m, enc, o)
		if err != nil {
			t.Fatal(err)
		}
		return y
	}
	want := logits(m, set, infer.Options{DType: infer.F32})
	correct := 0
	for i, e := range set.Examples {
		if argmax(want[2*i:2*i+2]) == e.Label {
			correct++
		}
	}
	if float64(correct) < right*float64(len(set.Examples)) {
		t.Fatalf("%d of %d right: the model has not learned its task", correct, len(set.Examples))
	}
	var c quantize.Calibration
	logits(m, calibration, infer.Options{DType: infer.F32, Observe: c.Observe})
	dynamic, err := quantize.Int8Weights(m, append(quantize.LinearWeights(m.Config), quantize.Embeddings()...))
	if err != nil {
		t.Fatal(err)
	}
	static, err := c.Static(dynamic, quantize.MinMax)
	if err != nil {
		t.Fatal(err)
	}
	formats := []struct {
		name, dtype string
		model       *checkpoints.Model
		share       float64
	}{
		{"f32", infer.F32, m, 1}, {"fp16", infer.FP16, m, 0.995}, {"int8 of float", infer.Int8, m, 0.99},
		{"int8", infer.Int8, dynamic, 0.99}, {"static int8", infer.Int8, static, 0.99},
	}
	tokenizer, err := tokenize.Load(m.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	var k runCase
	for chunk := range slices.Chunk(set.Examples, 50) {
		b := tokens{offsets: []int32{0}}
		for _, e := range chunk {
			var encoding tokenize.Encoding
			if err := tokenizer.Encode(&encoding, e.Text, tokenize.Options{}); err != nil {
				t.Fatal(err)
			}
			b.ids, b.types = append(b.ids, encoding.IDs...), append(b.types, encoding.TypeIDs...)
			b.offsets = append(b.offsets, int32(len(b.ids)))
		}
		k.Batches = append(k.Batches, b.input(&m.Config))
	}
	var cases []runCase
	for _, f := range formats {
		k.Model = filepath.Join(t.TempDir(), "m.onnx")
		if _, err := Export(f.model, Options{DType: f.dtype}, k.Model); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		cases = append(cases, k)
	}
	for i, r := range runPython(t, cases) {
		f := formats[i]
		own := logits(f.model, set, infer.Options{DType: f.dtype})
		same, sameAsOwn, at, farthest := 0, 0, 0, 0.0
		for _, o := range r.Outputs {
			for y := range slices.Chunk(o.Values, 2) {
				if argmax(y) == argmax(want[2*at:2*at+2]) {
					same++
				}
				if argmax(y) == argmax(own[2*at:2*at+2]) {
					sameAsOwn++
				}
				d, _ := differenceOf(y, want[2*at:2*at+2])
				farthest = math.Max(farthest, d)
				at++
			}
		}
		t.Logf("%s: %d of %d labels are those of the engine in f32, %d those of the engine in this format; logits within %.2g of f32", f.name, same, at, sameAsOwn, farthest)
		if least := f.share * float64(at); float64(same) < least || float64(sameAsOwn) < least {
			t.Errorf("%s: %d and %d of %d labels are the engine's, want %g", f.name, same, sameAsOwn, at, least)
		}
		if f.dtype == infer.F32 && !(farthest < 1e-4) {
			t.Errorf("f32: logits %g from the engine's", farthest)
		}
	}
}

func argmax(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

// The tokenizer.json that is made of a vocab.txt, or of vocab.json and merges.txt,
// gives the same ids in Hugging Face's library.
func TestTokenizerGoesAlong(t *testing.T) {
	t.Parallel()
	python(t)
	vocab := []byte(strings.Join(strings.Fields("[PAD] [UNK] [CLS] [SEP] [MASK] the room was n ##ever clean é e ##tre ! , 中 <b> don ' t T The"), "\n") + "\n")
	texts := [][]string{
		{"the room was never clean!"}, {"The room , THE\troom"}, {"étre é être <b>"}, {"中the中"}, {"don't [MASK] [SEP] x"}, {""},
		{"the room", "was clean"}, {"", "clean"}, {"n\u200bever\u00a0clean\x00"}, {"  two  <mask> spaces </s>", " <pad>it's 12"},
	}
	pairs := bytePairs(t)
	pairs["tokenizer_config.json"] = []byte(`{"add_prefix_space": true}`)
	variants := []struct {
		name  string
		files map[string][]byte
	}{
		{"uncased", map[string][]byte{"vocab.txt": vocab, "tokenizer_config.json": []byte(`{"do_lower_case": true}`)}},
		{"cased", map[string][]byte{"vocab.txt": vocab, "tokenizer_config.json": []byte(`{"do_lower_case": false}`)}},
		{"no settings", map[string][]byte{"vocab.txt": vocab}},
		{"accents kept", map[string][]byte{"vocab.txt": vocab, "tokenizer_config.json": []byte(`{"do_lower_case": true, "strip_accents": false, "tokenize_chinese_chars": false}`)}},
		{"byte pairs", bytePairs(t)},
		{"byte pairs after a space", pairs},
	}
	m := randomModel(configs["stock"])
	var cases []runCase
	var loaded []*tokenize.Tokenizer
	for _, v := range variants {
		m.Tokenizer = v.files
		dir := t.TempDir()
		r, err := Export(m, Options{}, dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Files) != len(v.files)+2 || r.Model != filepath.Join(dir, "model.onnx") {
			t.Errorf("%s: wrote %s and %v", v.name, r.Model, r.Files)
		}
		tokenizer, err := tokenize.Load(m.Tokenizer)
		if err != nil {
			t.Fatal(err)
		}
		loaded = append(loaded, tokenizer)
		cases = append(cases, runCase{Tokenizer: filepath.Join(dir, "tokenizer.json"), Texts: texts})
	}
	for i, r := range runPython(t, cases) {
		for j, text := range texts {
			var e tokenize.Encoding
			var err error
			if len(text) == 2 {
				err = loaded[i].EncodePair(&e, text[0], text[1], tokenize.Options{})
			} else {
				err = loaded[i].Encode(&e, text[0], tokenize.Options{})
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(e.IDs, r.IDs[j]) || !slices.Equal(e.TypeIDs, r.TypeIDs[j]) {
				t.Errorf("%s: %q: ids %v, Hugging Face %v", variants[i].name, text, e.IDs, r.IDs[j])
			}
		}
	}
}

// bytePairs are the vocab.json and merges.txt of a small RoBERTa tokenizer.
func bytePairs(t *testing.T) map[string][]byte {
	t.Helper()
	ids := map[string]int{}
	add := func(token string) { ids[token] = len(ids) }
	for _, token := range strings.Fields("<s> <pad> </s> <unk> <mask>") {
		add(token)
	}
	hidden := rune(0x100) // stands for the next byte that does not print
	for c := range rune(0x100) {
		if c < '!' || c > '~' && c < '¡' || c == 0xad {
			c, hidden = hidden, hidden+1
		}
		add(string(c))
	}
	merges := "#version: 0.2\nt h\nth e\nĠ the\nr o\no m\nro om\nĠ c\nĠ Ġ\nà ©\nÃ ©\n' s\n1 2\n"
	for line := range strings.Lines(merges) {
		if a, b, ok := strings.Cut(strings.TrimSpace(line), " "); ok && a != "#version:" {
			add(a + b)
		}
	}
	vocab, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"vocab.json": vocab, "merges.txt": []byte(merges)}
}

// Every architecture and format passes the self-check, also with its tensors in
// a file of their own.
func TestSelfCheck(t *testing.T) {
	t.Parallel()
	for name, c := range configs {
		m := randomModel(c)
		for format, m := range map[string]*checkpoints.Model{infer.F32: m, infer.FP16: m, infer.Int8: m, "static": static(t, m)} {
			o := Options{DType: format}
			if format == "static" {
				o.DType = ""
			}
			r, err := Export(m, o, filepath.Join(t.TempDir(), "m.onnx"))
			if err != nil {
				t.Errorf("%s %s: %v", name, format, err)
			} else if !(r.Difference > 0) {
				t.Errorf("%s %s: not one bit of difference from the engine", name, format)
			}
		}
	}
}

// A graph that computes something else is not written.
func TestSelfCheckFindsWrongGraphs(t *testing.T) {
	t.Parallel()
	m := randomModel(configs["head 26, uneven"])
	q, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	swap := func(g *graph, a, b string) {
		for i := range g.nodes {
			for j, in := range g.nodes[i].inputs {
				if in == a {
					g.nodes[i].inputs[j] = b
				}
			}
		}
	}
	find := func(g *graph, name string) *tensor {
		return &g.initializers[slices.IndexFunc(g.initializers, func(x tensor) bool { return x.name == name })]
	}
	const value = "bert.encoder.layer.1.attention.self.value"
	for name, spoil := range map[string]func(g *graph){
		"another layer's norm": func(g *graph) {
			swap(g, "bert.encoder.layer.1.output.LayerNorm.weight", "bert.encoder.layer.0.output.LayerNorm.weight")
		},
		"no mask": func(g *graph) {
			for i := range g.initializers {
				if strings.HasPrefix(g.initializers[i].name, "constant_-") {
					clear(g.initializers[i].data)
				}
			}
		},
		"a missing input": func(g *graph) { swap(g, "input_ids", "output_ids") },
		"a changed weight": func(g *graph) {
			d := find(g, value+".weight").data
			slices.Reverse(d[:len(d)/2])
		},
		"another scale": func(g *graph) {
			for l := range 3 { // a sixteenth: most inputs are cut off
				find(g, fmt.Sprintf("bert.encoder.layer.%d.attention.self.query.input_scale", l)).data[3] -= 2
			}
		},
		"another operator": func(g *graph) {
			g.nodes[slices.IndexFunc(g.nodes, func(n node) bool { return n.op == "Erf" })].op = "Tanh"
		},
	} {
		for format, m := range map[string]*checkpoints.Model{infer.F32: m, infer.FP16: m, infer.Int8: q, "static": calibrated(t, q)} {
			o := Options{DType: format}
			if format == "static" {
				o.DType = infer.Int8
			}
			graph, err := build(m, o)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case name == "another operator" && format == infer.FP16:
				continue // which half precision hides
			case name == "another scale" && format != "static":
				continue // there is none
			}
			spoil(&graph.graph)
			if _, err := selfCheck(m, o, graph.marshal(), nil); !errors.Is(err, ErrSelfCheck) {
				t.Errorf("%s in %s: error %v", name, format, err)
			}
		}
	}
}

func TestExternalData(t *testing.T) {
	old := inlineLimit
	defer func() { inlineLimit = old }()
	m := randomModel(configs["head 26, uneven"])
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	inline := filepath.Join(dir, "inline.onnx")
	if _, err := Export(m, Options{}, inline); err != nil {
		t.Fatal(err)
	}
	inlineLimit = 1 << 12
	r, err := Export(m, Options{}, path)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Files) != 2 || r.Files[1] != configName {
		t.Fatalf("files %v, want one of tensors and config.json", r.Files)
	}
	b := randomBatch(&m.Config, 1, 4, 9)
	in := b.padded(&m.Config)
	if d, err := differenceOf(interpret(t, path, in), interpret(t, inline, in)); err != nil || d != 0 {
		t.Errorf("with its tensors in a file of their own the graph differs by %g (%v)", d, err)
	}
	// The next export replaces the file of tensors.
	next := randomModel(m.Config)
	clear(next.Tensors["classifier.bias"].Data)
	clear(next.Tensors["bert.pooler.dense.weight"].Data)
	r2, err := Export(next, Options{}, path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, r.Files[0])); !os.IsNotExist(err) || r2.Files[0] == r.Files[0] {
		t.Errorf("%s of the earlier export is still there", r.Files[0])
	}
	if os.Getenv("SKIVE_ONNX_PYTHON") == "" {
		return
	}
	results := runPython(t, []runCase{{Model: path, Batches: []map[string][][]int{b.input(&m.Config)}}})
	want, err := engineOutputs(next, infer.F32, "", b)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := differenceOf(results[0].Outputs[0].Values, want); err != nil || !(d < 1e-4) {
		t.Errorf("ONNX Runtime is %g from the engine (%v)", d, err)
	}
}

// A model of 2.2 GB, more than a protobuf can hold, under ONNX Runtime. It takes
// minutes and some 10 GB of memory, so that SKIVE_LARGE has to ask for it.
func TestMoreThanTwoGigabytes(t *testing.T) {
	t.Parallel()
	python(t)
	if os.Getenv("SKIVE_LARGE") == "" {
		t.Skip("SKIVE_LARGE is not set")
	}
	c := config(1024, 64, 2, "gelu", slices.Repeat([]checkpoints.LayerSize{size(16, 4096)}, 42)...)
	c.VocabSize, c.MaxPositions = 30522, 512
	m := checkpoints.InitBERT(c, 1)
	path := filepath.Join(t.TempDir(), "m.onnx")
	r, err := Export(m, Options{}, path)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Files) != 2 || r.Bytes <= 1<<31 {
		t.Errorf("files %v of %d bytes", r.Files, r.Bytes)
	}
	b := randomBatch(&c, 1, 4, 9)
	results := runPython(t, []runCase{{Model: path, Batches: []map[string][][]int{b.input(&c)}}})
	want, err := engineOutputs(m, infer.F32, "", b)
	if err != nil {
		t.Fatal(err)
	}
	d, err := differenceOf(results[0].Outputs[0].Values, want)
	if err != nil || !(d < 1e-3) {
		t.Errorf("ONNX Runtime is %g from the engine (%v)", d, err)
	}
	t.Logf("%d bytes, self-check within %.2g, ONNX Runtime within %.2g", r.Bytes, r.Difference, d)
}

func TestExportErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := randomModel(configs["stock"])
	m.Tokenizer = map[string][]byte{"vocab.txt": []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")}
	foreign := []byte("{}")
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), foreign, 0o666); err != nil {
		t.Fatal(err)
	}
	large := m.Clone()
	large.Tensors["classifier.weight"].Float32s()[0] = 1e6
	for _, c := range []struct {
		name string
		m    *checkpoints.Model
		o    Options
		path string
		want string
	}{
		{"number format", m, Options{DType: infer.BF16}, "a", "bf16"},
		{"embedding", m, Options{Embedding: "max"}, "a", "max"},
		{"foreign tokenizer", m, Options{}, "m.onnx", "tokenizer.json"},
		{"too large for half precision", large, Options{DType: infer.FP16}, "b", "classifier.weight"},
		{"a file in the way", m, Options{}, "tokenizer.json/m.onnx", "tokenizer.json"},
	} {
		path := filepath.Join(dir, c.path)
		_, err := Export(c.m, c.o, path)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want a line that names %s", c.name, err, c.want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the failures left %v (%v)", entries, err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "tokenizer.json")); !bytes.Equal(b, foreign) {
		t.Error("a foreign tokenizer.json was written over")
	}
}

// The same model gives the same bytes.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	for _, dtype := range []string{infer.F32, infer.FP16, infer.Int8} {
		var files [2][]byte
		for i := range files {
			path := filepath.Join(t.TempDir(), "m.onnx")
			if _, err := Export(randomModel(configs["tanh"]), Options{DType: dtype}, path); err != nil {
				t.Fatal(err)
			}
			files[i], _ = os.ReadFile(path)
		}
		if len(files[0]) == 0 || !bytes.Equal(files[0], files[1]) {
			t.Errorf("%s: two exports differ", dtype)
		}
	}
}

// A calibrated model is a graph of QuantizeLinear and DequantizeLinear: inputs
// with one scale, weights with one for each output, and nothing that is found
// at run time. Its values in float are those of the model without calibration.
func TestStaticModelIsAQDQGraph(t *testing.T) {
	t.Parallel()
	c := configs["head 26, uneven"]
	dynamic, err := quantize.Int8(randomModel(c))
	if err != nil {
		t.Fatal(err)
	}
	static := calibrated(t, dynamic)
	g, err := build(static, Options{DType: infer.Int8})
	if err != nil {
		t.Fatal(err)
	}
	g, err = parse(g.marshal())
	if err != nil {
		t.Fatal(err)
	}
	tensors := map[string]*tensor{}
	for i := range g.graph.initializers {
		tensors[g.graph.initializers[i].name] = &g.graph.initializers[i]
	}
	count := map[string]int{}
	weights := 0
	for _, n := range g.graph.nodes {
		count[n.op]++
		w := tensors[n.inputs[0]]
		if n.op != "DequantizeLinear" || w == nil {
			continue
		}
		weights++
		scale, zero := tensors[n.inputs[1]], tensors[n.inputs[2]]
		out := w.shape[1]
		if n.attribute("axis", 0) != 1 || w.typ != uint8Type || zero.typ != uint8Type || !slices.Equal(scale.shape, []int{out}) || !slices.Equal(zero.shape, []int{out}) {
			t.Errorf("%s: scales of shape %v and zero points of shape %v along axis %d for weights of shape %v", n.name, scale.shape, zero.shape, n.attribute("axis", 0), w.shape)
		}
	}
	layers := len(c.Layers)
	if count["QuantizeLinear"] != 4*layers || count["DequantizeLinear"] != 10*layers || weights != 6*layers || count["DynamicQuantizeLinear"]+count["MatMulInteger"] > 0 {
		t.Errorf("%d layers have the nodes %v, %d weights among them", layers, count, weights)
	}
	var files [2][]byte
	for i, m := range []*checkpoints.Model{dynamic, static} {
		path := filepath.Join(t.TempDir(), "m.onnx")
		if _, err := Export(m, Options{DType: infer.F32}, path); err != nil {
			t.Fatal(err)
		}
		files[i], _ = os.ReadFile(path)
	}
	if len(files[0]) == 0 || !bytes.Equal(files[0], files[1]) {
		t.Error("the float graphs differ")
	}
}

func TestRoundHalf(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	for range 20000 {
		x := float32(math.Ldexp(r.NormFloat64(), r.IntN(42)-27))
		want, err := checkpoints.NewTensor([]int{1}, []float32{x}).Convert(checkpoints.F16)
		if err != nil {
			continue
		}
		if got := roundHalf(float64(x)); float32(got) != want.Float32s()[0] {
			t.Fatalf("%g: %g, want %g", x, got, want.Float32s()[0])
		}
	}
	if !math.IsInf(roundHalf(65520), 1) || roundHalf(65519) != 65504 || roundHalf(0) != 0 || !math.IsNaN(roundHalf(math.NaN())) {
		t.Error("the ends of the range are wrong")
	}
}

// FuzzGraph reads and runs files that may hold anything: no panic, and no more
// memory than the limit.
func FuzzGraph(f *testing.F) {
	c := config(8, 4, 2, "gelu", size(1, 4))
	c.VocabSize, c.MaxPositions = 16, 8
	m := randomModel(c)
	q, err := quantize.Int8(m)
	if err != nil {
		f.Fatal(err)
	}
	s := *q
	s.Tensors = maps.Clone(q.Tensors)
	for _, w := range quantize.LinearWeights(c) {
		s.Tensors[checkpoints.InputScaleOf(w)] = checkpoints.NewTensor([]int{1}, []float32{0.01})
	}
	for _, k := range []struct {
		m     *checkpoints.Model
		dtype string
	}{{m, infer.F32}, {m, infer.FP16}, {q, infer.Int8}, {&s, infer.Int8}} {
		g, err := build(k.m, Options{DType: k.dtype})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(g.marshal())
	}
	b := randomBatch(&c, 1, 3, 2)
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := parse(text)
		if err != nil {
			return
		}
		in := &interpreter{m: g, limit: 1 << 12, external: func(*tensor) ([]byte, error) { return nil, errors.New("none") }}
		in.run(b.padded(&c))
	})
}

// What transformers saved goes out, and is compared with the engine there: every head, with the first token's and the
// mean's pooling.
func TestModelsOfTransformersAreExported(t *testing.T) {
	t.Parallel()
	var dirs []string
	for _, family := range []string{"modernbert*", "nomic_bert*", "gte*", "deberta-v2*"} {
		of, err := filepath.Glob(filepath.Join("..", "infer", "testdata", "families", family))
		if err != nil || len(of) == 0 {
			t.Fatal(of, err)
		}
		dirs = append(dirs, of...)
	}
	for _, dir := range dirs {
		m, err := checkpoints.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for _, dtype := range []string{infer.F32, infer.FP16} {
			if _, err := Export(m, Options{DType: dtype}, filepath.Join(t.TempDir(), ModelName)); err != nil {
				t.Errorf("%s in %s: %v", dir, dtype, err)
			}
		}
	}
}
