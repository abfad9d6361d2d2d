package checkpoints_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/exact"
	"github.com/skive-ml/skive/onnx"
	"github.com/skive-ml/skive/quantize"
)

// matrixModel is a small model that TestMatrix saves as it is in stock.
type matrixModel struct {
	name         string
	model, stock *checkpoints.Model
	formats      []string
}

// matrixModels are models of each family, in each number format, with each kind
// of head, and pruned. The same names and values each time.
func matrixModels(t *testing.T) []matrixModel {
	t.Helper()
	var all []matrixModel
	add := func(name string, m *checkpoints.Model, formats ...string) *checkpoints.Model {
		stock, err := m.Pad()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, matrixModel{name, m, stock, formats})
		return m
	}
	for _, family := range []string{"bert", "roberta", "xlm-roberta", "mpnet", "distilbert", "electra", "albert", "modernbert", "nomic_bert", "gte"} {
		c := checkpoints.Config{
			ModelType: family, VocabSize: 20, MaxPositions: 12, TypeVocabSize: 2,
			HiddenSize: 8, HeadDim: 4, Layers: []checkpoints.LayerSize{{Heads: 2, Intermediate: 12}, {Heads: 2, Intermediate: 12}},
			Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.5,
			HiddenDropout: 0.1, AttentionDropout: 0.1, ClassifierDropout: 0.1, Labels: []string{"no", "maybe", "yes"},
		}
		switch family {
		case "roberta", "xlm-roberta":
			c.TypeVocabSize, c.PadTokenID, c.MaxPositions = 1, 1, 14
		case "mpnet":
			c.TypeVocabSize, c.PadTokenID, c.MaxPositions = 0, 1, 14
		case "distilbert":
			c.TypeVocabSize = 0
		case "electra", "albert":
			c.EmbeddingSize = 6
		case "modernbert":
			c.TypeVocabSize, c.LayerNormEps, c.EmbeddingDropout = 0, 1e-5, 0.1
			c.Local, c.LocalAttention, c.RotaryBase, c.LocalRotaryBase = []bool{false, true}, 4, 900, 30
			c.ClassifierActivation, c.ClassifierPooling = "gelu", checkpoints.MeanPooling
		case "nomic_bert":
			c.Activation, c.RotaryBase = "silu", 30
		case "gte": // without token types, and with linear scaling
			c.TypeVocabSize, c.RotaryBase, c.RotaryScale = 0, 240, 2.5
		}
		f32 := add(family+"-f32", matrixRandom(c), "safetensors", "sharded", "zip", "legacy")
		for name, dtype := range map[string]checkpoints.DType{"f16": checkpoints.F16, "bf16": checkpoints.BF16} {
			m, err := f32.Convert(dtype)
			if err != nil {
				t.Fatal(err)
			}
			add(family+"-"+name, m, "safetensors", "sharded", "zip", "legacy")
		}
		pruned := c.Clone()
		pruned.Layers = []checkpoints.LayerSize{{Heads: 1, Intermediate: 7}, {Heads: 2, Intermediate: 12}}
		add(family+"-pruned", matrixRandom(pruned), "safetensors")
		token := c.Clone()
		token.Head = head.TokenClassification
		add(family+"-token", matrixRandom(token), "safetensors")
		masked := c.Clone()
		masked.Head, masked.Labels = head.MaskedLM, nil
		add(family+"-masked_lm", matrixRandom(masked), "safetensors")
		if family == "nomic_bert" || family == "gte" {
			continue // transformers has no class of theirs for choices
		}
		choice := c.Clone()
		choice.Head, choice.Labels = head.MultipleChoice, []string{"score"}
		add(family+"-choice", matrixRandom(choice), "safetensors")
	}
	return all
}

// matrixRandom is a fresh model whose biases and LayerNorms are random too, and whose
// matrices are normally distributed, whatever those of fresh models are.
func matrixRandom(c checkpoints.Config) *checkpoints.Model {
	m := checkpoints.InitBERT(c, 1)
	for _, name := range m.Names() {
		if t := m.Tensors[name]; c.ModelType == "modernbert" && len(t.Shape) == 2 {
			h := fnv.New64a()
			h.Write([]byte(name))
			r := rand.New(rand.NewPCG(1, h.Sum64()))
			values := t.Float32s()
			for i := range values {
				values[i] = float32(exact.Normal(r)) * c.InitializerRange
			}
			if name == checkpoints.WordEmbeddings.Part().Weight() {
				clear(values[:c.HiddenSize]) // padding
			}
		}
		if t := m.Tensors[name]; len(t.Shape) == 1 {
			h := fnv.New64a()
			h.Write([]byte(name))
			r := rand.New(rand.NewPCG(2, h.Sum64()))
			for i, v := range t.Float32s() {
				t.Float32s()[i] = v + 0.2*float32(r.NormFloat64())
			}
		}
	}
	return m
}

// matrixGolden is what transformers made of an exported directory.
type matrixGolden struct {
	// SHA256 is that of config.json and model.safetensors as transformers read them.
	SHA256 [2]string
	// Logits of the tokens in float32.
	Logits []float32
}

var matrixIDs = []int32{2, 5, 7, 19, 11, 3}

// Every family, number format and head goes out to stock transformers and comes
// back, in every file format, with the same bits: testdata/matrix.py let
// transformers load the directories that this test writes, and committed what it
// saved. Pruned models go out padded, and give the same logits there. All
// that is made of a model that came back is the same.
func TestMatrix(t *testing.T) {
	t.Parallel()
	models := matrixModels(t)
	if dir := os.Getenv("SKIVE_MATRIX"); dir != "" { // for matrix.py
		for _, k := range models {
			if err := k.stock.SaveHF(filepath.Join(dir, k.name)); err != nil {
				t.Fatal(err)
			}
		}
		t.Skip("written to SKIVE_MATRIX")
	}
	var goldens struct {
		IDs    []int32
		Models map[string]matrixGolden
	}
	text, err := os.ReadFile("testdata/matrix.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &goldens); err != nil {
		t.Fatal(err)
	}
	if len(goldens.Models) != len(models) || !reflect.DeepEqual(goldens.IDs, matrixIDs) {
		t.Fatalf("%d goldens for tokens %v, want %d", len(goldens.Models), goldens.IDs, len(models))
	}
	for _, k := range models {
		t.Run(k.name, func(t *testing.T) {
			want := goldens.Models[k.name]
			dir := t.TempDir()
			hf := filepath.Join(dir, "hf")
			if err := k.stock.SaveHF(hf); err != nil {
				t.Fatal(err)
			}
			for i, file := range []string{"config.json", "model.safetensors"} {
				b := readFile(t, hf, file)
				if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want.SHA256[i] {
					t.Errorf("%s is not what transformers has read", file)
				}
			}
			if k.model.DType() == checkpoints.F32 {
				got := matrixLogits(t, k.model)
				if len(got) != len(want.Logits) {
					t.Fatalf("%d logits, transformers gives %d", len(got), len(want.Logits))
				}
				for i, v := range want.Logits {
					if d := math.Abs(float64(got[i] - v)); !(d < 1e-4) {
						t.Errorf("logit %d is %g, of transformers %g", i, got[i], v)
					}
				}
			}
			made := descendants(t, k.stock, dir)
			for _, format := range k.formats {
				back, err := checkpoints.Open(filepath.Join("testdata", "matrix", k.name, format))
				if err != nil {
					t.Fatal(err)
				}
				defer back.Close()
				sameModel(t, format, back, k.stock)
				if len(back.Notes) > 0 {
					t.Errorf("%s: notes %q", format, back.Notes)
				}
				if format != "legacy" { // the one that has least in common with ours
					continue
				}
				for name, b := range descendants(t, back, dir) {
					if !bytes.Equal(b, made[name]) {
						t.Errorf("%s from %s differs", name, format)
					}
				}
			}
		})
	}
}

func matrixLogits(t *testing.T, m *checkpoints.Model) []float32 {
	t.Helper()
	e, err := infer.New(m, infer.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	logits, err := e.PredictTokens(nil, matrixIDs, nil, []int32{0, int32(len(matrixIDs))})
	if err != nil {
		t.Fatal(err)
	}
	return logits
}

func readFile(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || len(b) == 0 {
		t.Fatal(name, err)
	}
	return b
}

func sameModel(t *testing.T, from string, got, want *checkpoints.Model) {
	t.Helper()
	if !reflect.DeepEqual(got.Config, want.Config) {
		t.Errorf("%s: configuration\n%+v, want\n%+v", from, got.Config, want.Config)
	}
	if !reflect.DeepEqual(got.Names(), want.Names()) {
		t.Errorf("%s: tensors %v, want %v", from, got.Names(), want.Names())
	}
	for _, name := range want.Names() {
		g, w := got.Tensors[name], want.Tensors[name]
		if g.DType != w.DType || !reflect.DeepEqual(g.Shape, w.Shape) || !bytes.Equal(g.Data, w.Data) {
			t.Errorf("%s: tensor %s differs", from, name)
		}
	}
}

// descendants writes what a model can be exported to, and returns the files by
// their names. Files for Skive and directories are read back and compared, graphs
// are run by the export itself.
func descendants(t *testing.T, m *checkpoints.Model, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	int8, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*checkpoints.Model{"as it is": m, "int8": int8} {
		path := filepath.Join(dir, name+checkpoints.Extension)
		if err := m.SaveSkive(path); err != nil {
			t.Fatal(err)
		}
		back, err := checkpoints.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		sameModel(t, path, back, m)
		if name == "as it is" { // the other one holds the time
			files["the .skive file"] = readFile(t, dir, name+checkpoints.Extension)
			hf := filepath.Join(dir, "again")
			if err := back.SaveHF(hf); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"config.json", "model.safetensors"} {
				files[file] = readFile(t, hf, file)
			}
		}
		back.Close()
	}
	for _, dtype := range []string{"", infer.F32, infer.FP16, infer.Int8} {
		r, err := onnx.Export(m, onnx.Options{DType: dtype}, filepath.Join(dir, dtype+"graph.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		files["the graph in "+r.DType] = readFile(t, dir, filepath.Base(r.Model))
	}
	return files
}
