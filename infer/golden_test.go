package infer

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
)

type goldenCase struct {
	IDs    []int32   `json:"ids"`
	Types  []int32   `json:"types"`
	Logits []float32 `json:"logits"`
	Mean   []float32 `json:"mean"`
	CLS    []float32 `json:"cls"`
}

func goldenCases(t *testing.T, path string) []goldenCase {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []goldenCase
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

func compareGolden(t *testing.T, e *Engine, cases []goldenCase) {
	t.Helper()
	compareGoldenWithin(t, e, cases, 1e-4)
}

func compareGoldenWithin(t *testing.T, e *Engine, cases []goldenCase, tolerance float64) {
	t.Helper()
	all, b := []float32(nil), batch{offsets: []int32{0}}
	for i, c := range cases {
		got := predict(t, e, batch{c.IDs, c.Types, []int32{0, int32(len(c.IDs))}})
		if d := largestDifference(got, c.Logits); !(d < tolerance) {
			t.Errorf("case %d, %d tokens: %g from the golden logits", i, len(c.IDs), d)
		}
		all = append(all, got...)
		b.ids, b.typeIDs = append(b.ids, c.IDs...), append(b.typeIDs, c.Types...)
		b.offsets = append(b.offsets, int32(len(b.ids)))
	}
	if !sameBits(predict(t, e, b), all) {
		t.Error("the logits of a batch differ from those of its sequences")
	}
}

// Products in bf16 keep the labels of these models, whose largest logits are
// about 2.5, and their logits within 0.05.
func TestBF16LogitsAreCloseToTransformers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"gelu", "gelu_new", "relu"} {
		dir := filepath.Join("testdata", name)
		e, err := Open(dir, Options{DType: BF16})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		cases := goldenCases(t, filepath.Join(dir, "golden.json"))
		for i, c := range cases {
			got := predict(t, e, batch{c.IDs, c.Types, []int32{0, int32(len(c.IDs))}})
			if argmax(got) != argmax(c.Logits) {
				t.Errorf("%s, case %d: logits %v, in f32 %v", name, i, got, c.Logits)
			}
		}
		compareGoldenWithin(t, e, cases, 0.05)
	}
}

func TestLogitsEqualTransformers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"gelu", "gelu_new", "relu"} {
		for _, threads := range []int{1, 2} {
			dir := filepath.Join("testdata", name)
			e, err := Open(dir, Options{Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, e, goldenCases(t, filepath.Join(dir, "golden.json")))
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestEmbeddingsEqualTransformers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"gelu", "gelu_new", "relu"} {
		dir := filepath.Join("testdata", name)
		m, err := checkpoints.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		// Embeddings need no classifier.
		delete(m.Tensors, "classifier.weight")
		delete(m.Tensors, "classifier.bias")
		m.Config.Labels = nil
		for _, o := range []Options{
			{Embedding: Mean, Threads: 1}, {Embedding: Mean, Threads: 2}, {Embedding: Mean, Threads: 1, PadTo: 48},
			{Embedding: CLS, Threads: 1}, {Embedding: CLS, Threads: 2},
		} {
			e := newEngine(t, m, o)
			var cases []goldenCase
			for _, c := range goldenCases(t, filepath.Join(dir, "golden.json")) {
				c.Logits = c.Mean
				if o.Embedding == CLS {
					c.Logits = c.CLS
				}
				cases = append(cases, c)
			}
			compareGolden(t, e, cases)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The environment variable SKIVE_MINILM names the directory of the real
// all-MiniLM-L6-v2, which is too large to lie here.
func TestMiniLMEqualsTransformers(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("SKIVE_MINILM")
	if dir == "" {
		t.Skip("SKIVE_MINILM is not set")
	}
	m, err := checkpoints.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cases := goldenCases(t, "testdata/minilm.json")
	embeddings := make([]goldenCase, len(cases))
	for i, c := range cases {
		embeddings[i] = goldenCase{IDs: c.IDs, Types: c.Types, Logits: c.Mean}
	}
	compareGolden(t, newEngine(t, m, Options{Embedding: Mean}), embeddings)

	// With the identity as classifier the logits are the pooled output.
	h := m.Config.HiddenSize
	labels, identity := make([]string, h), make([]float32, h*h)
	for i := range labels {
		labels[i] = fmt.Sprint(i)
		identity[i*h+i] = 1
	}
	if err := m.AddHead(labels, 1); err != nil {
		t.Fatal(err)
	}
	m.Tensors["classifier.weight"] = checkpoints.NewTensor([]int{h, h}, identity)
	compareGolden(t, newEngine(t, m, Options{DType: F32}), cases)

	for dtype, least := range map[string]float64{BF16: 0.9995, Int8: 0.98} {
		e := newEngine(t, m, Options{DType: dtype})
		for _, c := range cases {
			got := predict(t, e, batch{c.IDs, c.Types, []int32{0, int32(len(c.IDs))}})
			var dot, a, b float64
			for i, v := range got {
				dot += float64(v) * float64(c.Logits[i])
				a += float64(v) * float64(v)
				b += float64(c.Logits[i]) * float64(c.Logits[i])
			}
			cosine := dot / math.Sqrt(a*b)
			t.Logf("%s, %d tokens: cosine %.5f", dtype, len(c.IDs), cosine)
			if !(cosine > least) {
				t.Errorf("%s, %d tokens: cosine %g with the golden output", dtype, len(c.IDs), cosine)
			}
		}
	}
}
