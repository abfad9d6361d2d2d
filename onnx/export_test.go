package onnx

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

// trained is a small model with uneven layers that has learned its task: which
// opinions are in the majority.
var trained = sync.OnceValues(func() (*checkpoints.Model, error) {
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
		return nil, err
	}
	c := config(52, 26, 2, "gelu", size(2, 80), size(1, 37))
	c.VocabSize, c.InitializerRange, c.Labels = tokenizer.VocabSize(), 0.1, set.Task.Labels
	m := checkpoints.InitBERT(c, 1)
	m.Tokenizer = tokenizer.Files()
	o := train.Defaults()
	o.Epochs, o.BatchSize, o.LearningRate, o.Dropout = 6, 32, 3e-3, 0
	m, _, err = train.Run(context.Background(), m, set, opinions(200, 2), o)
	return m, err
})

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

// On a trained model the labels of an exported graph are those of the engine in
// float32.
func TestLabelsOfATrainedModel(t *testing.T) {
	python(t)
	m, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	set := opinions(1000, 3)
	enc, err := train.Encode(m, set, 0)
	if err != nil {
		t.Fatal(err)
	}
	want, err := train.Logits(context.Background(), m, enc, infer.Options{DType: infer.F32})
	if err != nil {
		t.Fatal(err)
	}
	correct := 0
	for i, e := range set.Examples {
		if argmax(want[2*i:2*i+2]) == e.Label {
			correct++
		}
	}
	if correct < 970 {
		t.Fatalf("%d of 1000 right: the model has not learned its task", correct)
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
	formats := []struct {
		dtype string
		share float64
	}{{infer.F32, 1}, {infer.FP16, 0.995}, {infer.Int8, 0.99}}
	var cases []runCase
	for _, f := range formats {
		k.Model = filepath.Join(t.TempDir(), "m.onnx")
		if _, err := Export(m, Options{DType: f.dtype}, k.Model); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, k)
	}
	for i, r := range runPython(t, cases) {
		same, at, farthest := 0, 0, 0.0
		for _, o := range r.Outputs {
			for j := 0; j < len(o.Values); j += 2 {
				if argmax(o.Values[j:j+2]) == argmax(want[2*at:2*at+2]) {
					same++
				}
				d, _ := differenceOf(o.Values[j:j+2], want[2*at:2*at+2])
				farthest = math.Max(farthest, d)
				at++
			}
		}
		t.Logf("%s: %d of %d labels, logits within %.2g", formats[i].dtype, same, at, farthest)
		if float64(same) < formats[i].share*float64(at) {
			t.Errorf("%s: %d of %d labels are the engine's, want %g", formats[i].dtype, same, at, formats[i].share)
		}
		if formats[i].dtype == infer.F32 && !(farthest < 1e-4) {
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

// The tokenizer.json that is made of a vocab.txt gives the same ids in Hugging
// Face's library.
func TestTokenizerGoesAlong(t *testing.T) {
	python(t)
	vocab := strings.Fields("[PAD] [UNK] [CLS] [SEP] [MASK] the room was n ##ever clean é e ##tre ! , 中 <b> don ' t T The")
	texts := [][]string{
		{"the room was never clean!"}, {"The room , THE\troom"}, {"étre é être <b>"}, {"中the中"}, {"don't [MASK] [SEP] x"}, {""},
		{"the room", "was clean"}, {"", "clean"}, {"n\u200bever\u00a0clean\x00"},
	}
	type variant struct {
		name   string
		config string
	}
	variants := []variant{
		{"uncased", `{"do_lower_case": true}`}, {"cased", `{"do_lower_case": false}`}, {"no settings", ""},
		{"accents kept", `{"do_lower_case": true, "strip_accents": false, "tokenize_chinese_chars": false}`},
	}
	m := randomModel(configs["stock"])
	var cases []runCase
	var loaded []*tokenize.Tokenizer
	for _, v := range variants {
		m.Tokenizer = map[string][]byte{"vocab.txt": []byte(strings.Join(vocab, "\n") + "\n")}
		if v.config != "" {
			m.Tokenizer["tokenizer_config.json"] = []byte(v.config)
		}
		dir := t.TempDir()
		r, err := Export(m, Options{}, dir)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(r.Files, "vocab.txt") || r.Model != filepath.Join(dir, "model.onnx") {
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

// Every architecture and format passes the self-check, also with its tensors in
// a file of their own.
func TestSelfCheck(t *testing.T) {
	for name, c := range configs {
		for _, dtype := range []string{infer.F32, infer.FP16, infer.Int8} {
			r, err := Export(randomModel(c), Options{DType: dtype}, filepath.Join(t.TempDir(), "m.onnx"))
			if err != nil {
				t.Errorf("%s %s: %v", name, dtype, err)
			} else if !(r.Difference > 0) {
				t.Errorf("%s %s: not one bit of difference from the engine", name, dtype)
			}
		}
	}
}

// A graph that computes something else is not written.
func TestSelfCheckFindsWrongGraphs(t *testing.T) {
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
		"no mask":         func(g *graph) { clear(find(g, "constant_-10000").data) },
		"a missing input": func(g *graph) { swap(g, "input_ids", "output_ids") },
		"a changed weight": func(g *graph) {
			d := find(g, value+".weight").data
			slices.Reverse(d[:len(d)/2])
		},
		"another operator": func(g *graph) {
			g.nodes[slices.IndexFunc(g.nodes, func(n node) bool { return n.op == "Erf" })].op = "Tanh"
		},
	} {
		for dtype, m := range map[string]*checkpoints.Model{infer.F32: m, infer.FP16: m, infer.Int8: q} {
			graph, err := build(m, Options{DType: dtype})
			if err != nil {
				t.Fatal(err)
			}
			if dtype == infer.FP16 && name == "another operator" {
				continue // which half precision hides
			}
			spoil(&graph.graph)
			if _, err := selfCheck(m, Options{DType: dtype}, graph.marshal(), nil); !errors.Is(err, ErrSelfCheck) {
				t.Errorf("%s in %s: error %v", name, dtype, err)
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
	if len(r.Files) != 1 {
		t.Fatalf("files %v, want one of tensors", r.Files)
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

func TestExportErrors(t *testing.T) {
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

// Calibrated scales are the engine's alone: with or without them the graph is the
// same.
func TestStaticModelIsADynamicGraph(t *testing.T) {
	m := randomModel(configs["tanh"])
	var c quantize.Calibration
	for _, weight := range quantize.LinearWeights(m.Config) {
		c.Observe(weight, []float32{-4, 1, 4})
	}
	dynamic, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	static, err := c.Static(dynamic, quantize.MinMax)
	if err != nil {
		t.Fatal(err)
	}
	for _, dtype := range []string{infer.F32, infer.Int8} {
		var files [2][]byte
		for i, m := range []*checkpoints.Model{dynamic, static} {
			path := filepath.Join(t.TempDir(), "m.onnx")
			if _, err := Export(m, Options{DType: dtype}, path); err != nil {
				t.Fatalf("%s: %v", dtype, err)
			}
			files[i], _ = os.ReadFile(path)
		}
		if len(files[0]) == 0 || !bytes.Equal(files[0], files[1]) {
			t.Errorf("%s: the graphs differ", dtype)
		}
	}
}

func TestRoundHalf(t *testing.T) {
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
	for _, dtype := range []string{infer.F32, infer.FP16, infer.Int8} {
		o, m := Options{DType: dtype}, m
		if dtype == infer.Int8 {
			var err error
			if m, err = quantize.Int8(m); err != nil {
				f.Fatal(err)
			}
		}
		g, err := build(m, o)
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
