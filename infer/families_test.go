package infer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/quantize"
)

// families lists the directories of small models of every family beside BERT.
func families(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob("testdata/families/*")
	if err != nil || len(dirs) == 0 {
		t.Fatal(dirs, err)
	}
	return dirs
}

func familyCases(t *testing.T, dir string) []goldenCase {
	return casesOf(t, filepath.Join(dir, "golden.json"))
}

func casesOf(t *testing.T, file string) []goldenCase {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Cases []goldenCase }
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	return golden.Cases
}

// The logits and embeddings of every family and head are those of transformers,
// padded or not, and those of the model saved and opened again.
func TestFamiliesEqualTransformers(t *testing.T) {
	t.Parallel()
	for _, dir := range families(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			m, err := checkpoints.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			var notes []string
			switch filepath.Base(dir) {
			case "albert_single_label":
				notes = []string{"6 layers have the weights of 4; here each has its own"}
			case "albert_wide_single_label":
				notes = []string{"2 layers have the weights of 1; here each has its own"}
			case "albert_token", "albert_multiple_choice", "albert_masked_lm", "albert_encoder":
				notes = []string{"3 layers have the weights of 1; here each has its own"}
			}
			if !slices.Equal(m.Notes, notes) {
				t.Errorf("notes %q, want %q", m.Notes, notes)
			}
			out := filepath.Join(t.TempDir(), "hf")
			file := filepath.Join(t.TempDir(), "m"+checkpoints.Extension)
			if err := m.SaveHF(out); err != nil {
				t.Fatal(err)
			}
			if err := m.SaveSkive(file); err != nil {
				t.Fatal(err)
			}
			cases := familyCases(t, dir)
			options := []Options{{Threads: 1}, {Threads: 2}, {Threads: 1, PadTo: 20}}
			if !m.HasHead() {
				options = []Options{{Threads: 2, Embedding: CLS}, {Threads: 1, Embedding: Mean}, {Threads: 1, Embedding: Mean, PadTo: 20}}
			}
			for _, path := range []string{dir, out, file} {
				compareCases(t, path, options, cases)
			}
		})
	}
}

// compareCases compares a model, opened with each of the options, with what transformers gives.
func compareCases(t *testing.T, path string, options []Options, cases []goldenCase) {
	t.Helper()
	for _, o := range options {
		e, err := Open(path, o)
		if err != nil {
			t.Fatal(err)
		}
		want := slices.Clone(cases)
		for i, c := range want {
			switch o.Embedding {
			case CLS:
				want[i].Logits = c.CLS
			case Mean:
				want[i].Logits = c.Mean
			}
		}
		compareGolden(t, e, want)
		e.Close()
	}
}

// Texts that are many windows long have the logits and embeddings of transformers.
func TestLongTextsEqualTransformers(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/families/*/long.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		cases := casesOf(t, file)
		options := []Options{{Threads: 1}, {Threads: 2}, {Threads: 1, PadTo: 401}}
		if cases[0].Logits == nil {
			options = []Options{{Threads: 2, Embedding: CLS}, {Threads: 1, Embedding: Mean}}
		}
		compareCases(t, filepath.Dir(file), options, cases)
	}
}

// The longest texts take memory in proportion to their length, and of layers with
// windows no more time than that: all scores of a head would be 256 MB here.
func TestLongTextsTakeLittleMemory(t *testing.T) {
	m, err := checkpoints.Open("testdata/families/modernbert_single_label")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const n = 8192
	long := *m
	long.Config = m.Config.Clone()
	long.Config.MaxPositions = n
	long.Config.Local = []bool{true, true, true, true}
	e := newEngine(t, &long, Options{Threads: 1})
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i*i) % 40
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := e.PredictTokens(nil, ids, nil, []int32{0, n}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 32 {
		t.Errorf("%d tokens took %d MB", n, took)
	}
	// What is out of reach of the first token's window in four layers does not count.
	for i := range ids[100:] {
		ids[100+i] = 7
	}
	first := predict(t, e, batch{ids, nil, []int32{0, n}})
	if !sameBits(first, predict(t, e, batch{ids[:100], nil, []int32{0, 100}})) {
		t.Error("tokens out of reach change the logits")
	}
}

// int8 with calibrated scales has one scale for both factors of gated units, and the
// same bits at every level.
func TestCalibratedGatedUnits(t *testing.T) {
	for _, name := range []string{"modernbert_single_label", "nomic_bert_single_label", "gte_types_single_label", "gte_own_single_label"} {
		t.Run(name, func(t *testing.T) {
			m, err := checkpoints.Open("testdata/families/" + name)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			var c quantize.Calibration
			watched := newEngine(t, m, Options{Threads: 1, Observe: c.Observe})
			cases := familyCases(t, "testdata/families/"+name)
			for _, k := range cases {
				predict(t, watched, batch{k.IDs, k.Types, []int32{0, int32(len(k.IDs))}})
			}
			static, err := quantize.Int8(m)
			if err != nil {
				t.Fatal(err)
			}
			if static, err = c.Static(static, quantize.MinMax); err != nil {
				t.Fatal(err)
			}
			one, two := newEngine(t, static, Options{Threads: 1}), newEngine(t, static, Options{Threads: 2})
			for _, k := range cases {
				b := batch{k.IDs, k.Types, []int32{0, int32(len(k.IDs))}}
				got := predict(t, one, b)
				if d := largestDifference(got, k.Logits); !(d < 0.6) {
					t.Errorf("%d tokens: %g from f32", len(k.IDs), d)
				}
				for _, level := range kernels.Available() {
					restore := kernels.Use(level)
					if !sameBits(got, predict(t, two, b)) {
						t.Errorf("%d tokens, %v: other bits with two threads", len(k.IDs), level)
					}
					restore()
				}
			}
		})
	}
}

// A stock model of any family is saved as it came: the same tensors under the
// same names, and the same settings under the names that the family gives them.
func TestFamiliesAreSavedAsTransformersDoes(t *testing.T) {
	t.Parallel()
	for _, dir := range families(t) {
		if filepath.Base(dir) == "albert_single_label" {
			continue // its groups of two layers are written as two groups
		}
		if strings.Contains(dir, "_own_") || strings.Contains(dir, "_legacy_") {
			continue // which have names and words that are read alone
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			m, err := checkpoints.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			out := t.TempDir()
			if err := m.SaveHF(out); err != nil {
				t.Fatal(err)
			}
			read := func(dir, file string) []byte {
				b, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			tensors := func(dir string) map[string]string {
				b := read(dir, "model.safetensors")
				n := int(b[0]) + int(b[1])<<8
				var header map[string]struct {
					DType   string
					Shape   []int
					Offsets [2]int `json:"data_offsets"`
				}
				if err := json.Unmarshal(b[8:8+n], &header); err != nil {
					t.Fatal(err)
				}
				delete(header, "__metadata__")
				data := make(map[string]string)
				for name, h := range header {
					data[name] = string(b[8+n:][h.Offsets[0]:h.Offsets[1]])
				}
				return data
			}
			was, is := tensors(dir), tensors(out)
			for name, data := range was {
				if is[name] != data {
					t.Errorf("tensor %s is not written, or has other values", name)
				}
			}
			if len(is) != len(was) {
				t.Errorf("%d tensors, want %d", len(is), len(was))
			}
			var before, after map[string]any
			if err := json.Unmarshal(read(dir, "config.json"), &before); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(read(out, "config.json"), &after); err != nil {
				t.Fatal(err)
			}
			for key, value := range after {
				was, ok := before[key]
				if _, own := after["n_embd"]; own && !ok {
					continue // words of Nomic's own code, see TestNomicConfigs
				}
				switch key {
				case "global_attn_every_n_layers", "global_rope_theta", "local_rope_theta": // for older versions
				case "classifier_dropout", "torch_dtype", "position_embedding_type", "id2label", "label2id":
				default:
					if a, b := toJSON(t, was), toJSON(t, value); !ok || a != b {
						t.Errorf("%s is %s, was %s", key, b, a)
					}
				}
			}
		})
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	if f, ok := v.(float64); ok {
		v = float32(f)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// int8 and fp16 give the same bits at every level and with any number of threads,
// bf16 those that are defined for the level, and answers close to those of f32.
func TestFamiliesInEveryFormat(t *testing.T) {
	for _, dir := range families(t) {
		if !strings.HasSuffix(dir, "_single_label") {
			continue
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			m, err := checkpoints.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			for dtype, within := range map[string]float32{FP16: 0.02, BF16: 0.2, Int8: 0.6} {
				one, two := newEngine(t, m, Options{DType: dtype, Threads: 1}), newEngine(t, m, Options{DType: dtype, Threads: 2})
				for _, c := range familyCases(t, dir) {
					b := batch{c.IDs, c.Types, []int32{0, int32(len(c.IDs))}}
					got := predict(t, one, b)
					if d := largestDifference(got, c.Logits); !(d < float64(within)) {
						t.Errorf("%s, %d tokens: %g from f32", dtype, len(c.IDs), d)
					}
					for _, level := range kernels.Available() {
						if dtype == BF16 {
							restore := kernels.UseDefinition(level)
							got = predict(t, one, b)
							restore()
						}
						restore := kernels.Use(level)
						if !sameBits(got, predict(t, two, b)) {
							t.Errorf("%s, %d tokens, %v, two threads: other bits", dtype, len(c.IDs), level)
						}
						restore()
					}
				}
			}
		})
	}
}

// RoBERTa has fewer positions for tokens than rows of position embeddings, and
// DistilBERT no types.
func TestLimitsOfFamilies(t *testing.T) {
	t.Parallel()
	e, err := Open("testdata/families/roberta_single_label", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if n := e.Options().MaxLength; n != 20 {
		t.Errorf("at most %d tokens, want 20", n)
	}
	if _, err := e.PredictTokens(nil, make([]int32, 21), nil, []int32{0, 21}); err == nil || !strings.Contains(err.Error(), "at most 20") {
		t.Errorf("21 tokens: %v", err)
	}
	d, err := Open("testdata/families/distilbert_single_label", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	with, err := d.PredictTokens(nil, []int32{1, 2}, []int32{0, 1}, []int32{0, 2})
	if err != nil {
		t.Fatal(err)
	}
	without, err := d.PredictTokens(nil, []int32{1, 2}, nil, []int32{0, 2})
	if err != nil || !sameBits(with, without) {
		t.Errorf("types change the logits of a model without any: %v and %v (%v)", with, without, err)
	}
}
