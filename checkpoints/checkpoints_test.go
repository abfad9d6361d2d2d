package checkpoints

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skive-ml/skive/head"
)

func tinyConfig() Config {
	return Config{
		ModelType: "bert", VocabSize: 11, MaxPositions: 8, TypeVocabSize: 2, HiddenSize: 12, HeadDim: 3,
		Layers:     []LayerSize{{4, 10}, {4, 10}},
		Activation: "gelu", LayerNormEps: 1e-12, HiddenDropout: 0.1, AttentionDropout: 0.1, ClassifierDropout: 0.1,
		InitializerRange: 0.02, Labels: []string{"no", "yes & <no>"}, Task: "sst2",
	}
}

func tinyModel() *Model {
	m := InitBERT(tinyConfig(), 3)
	m.Tokenizer["vocab.txt"] = []byte("[PAD]\n[UNK]\n")
	m.Tokenizer["tokenizer_config.json"] = []byte("{}")
	m.Provenance = []Stage{{
		Name: "train", Version: "0.1", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Settings: map[string]string{"lr": "1e-4"}, Measured: map[string]float64{"accuracy": 0.5},
	}}
	return m
}

// uneven is a model as pruning leaves it.
func uneven() *Model {
	cfg := tinyConfig()
	cfg.Layers = []LayerSize{{2, 7}, {4, 3}}
	return InitBERT(cfg, 4)
}

// int8Model has its linear layers in int8.
func int8Model() *Model {
	m := tinyModel()
	for s := range m.Config.Tensors() {
		if !s.EncoderLinear() {
			continue
		}
		q := make([]byte, s.Shape[0]*s.Shape[1])
		for i := range q {
			q[i] = byte(i*7%255 - 127)
		}
		scale := make([]float32, s.Shape[0])
		for i := range scale {
			scale[i] = 0.01 * float32(i+1)
		}
		m.Tensors[s.Name] = Tensor{DType: I8, Shape: s.Shape, Data: q}
		m.Tensors[s.scale()] = NewTensor([]int{s.Shape[0]}, scale)
		if s.Layer == 1 {
			m.Tensors[s.inputScale()] = NewTensor([]int{1}, []float32{0.5})
		}
	}
	return m
}

func equalModels(t *testing.T, got, want *Model) {
	t.Helper()
	if !reflect.DeepEqual(got.Config, want.Config) {
		t.Errorf("config\n got %+v\nwant %+v", got.Config, want.Config)
	}
	if g, w := sortedNames(got.Tensors), sortedNames(want.Tensors); !slices.Equal(g, w) {
		t.Fatalf("tensors\n got %v\nwant %v", g, w)
	}
	for name, w := range want.Tensors {
		g := got.Tensors[name]
		if g.DType != w.DType || !slices.Equal(g.Shape, w.Shape) || string(g.Data) != string(w.Data) {
			t.Errorf("tensor %s differs", name)
		}
	}
	if len(got.Tokenizer) != len(want.Tokenizer) {
		t.Errorf("tokenizer files: got %v, want %v", sortedNames(got.Tokenizer), sortedNames(want.Tokenizer))
	}
	for name, w := range want.Tokenizer {
		if string(got.Tokenizer[name]) != string(w) {
			t.Errorf("tokenizer file %s differs", name)
		}
	}
	if len(got.Provenance)+len(want.Provenance) > 0 && !reflect.DeepEqual(got.Provenance, want.Provenance) {
		t.Errorf("provenance\n got %+v\nwant %+v", got.Provenance, want.Provenance)
	}
}

func open1(t *testing.T, path string) *Model {
	t.Helper()
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	half, err := tinyModel().Convert(F16)
	check(t, err)
	brain, err := tinyModel().Convert(BF16)
	check(t, err)
	headless := tinyConfig()
	headless.Labels = nil
	noPooler := InitBERT(headless, 1)
	delete(noPooler.Tensors, poolerWeight)
	delete(noPooler.Tensors, poolerBias)
	for name, m := range map[string]*Model{
		"even": tinyModel(), "uneven": uneven(), "f16": half, "bf16": brain,
		"headless": InitBERT(headless, 1), "no pooler": noPooler,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			hf, file, back := filepath.Join(dir, "a", "hf"), filepath.Join(dir, "m.skive"), filepath.Join(dir, "back")
			check(t, m.SaveHF(hf))
			first := open1(t, hf)
			equalModels(t, first, m)
			check(t, first.SaveSkive(file))
			second := open1(t, file)
			equalModels(t, second, m)
			check(t, second.SaveHF(back))
			equalModels(t, open1(t, back), m)
			for _, f := range []string{safetensorsName, configName, provenanceName} {
				a, _ := os.ReadFile(filepath.Join(hf, f))
				b, _ := os.ReadFile(filepath.Join(back, f))
				if len(a) == 0 || string(a) != string(b) {
					t.Errorf("%s: saving again gave other bytes", f)
				}
			}
		})
	}
}

func TestInt8(t *testing.T) {
	t.Parallel()
	m := int8Model()
	path := filepath.Join(t.TempDir(), "m.skive")
	check(t, m.SaveSkive(path))
	got := open1(t, path)
	equalModels(t, got, m)
	if got.DType() != I8 {
		t.Errorf("DType is %v", got.DType())
	}
	name := layerPrefix(1) + "output.dense.weight"
	v, err := got.Float32s(name)
	check(t, err)
	q := got.Tensors[name].Int8s()
	if want := float32(q[13]) * (0.01 * float32(2)); v[13] != want {
		t.Errorf("dequantized to %g, want %g", v[13], want)
	}
	if err := got.SaveHF(t.TempDir()); !errors.Is(err, ErrUnsupported) {
		t.Errorf("SaveHF of int8: %v", err)
	}
}

func TestSkiveAlignment(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "m.skive")
	check(t, tinyModel().SaveSkive(path))
	m := open1(t, path)
	b := m.files[0].Data
	for name, x := range m.Tensors {
		if off := cap(b) - cap(x.Data[:1:len(x.Data)]); len(x.Data) == 0 || off < 0 {
			t.Errorf("%s is not a view", name)
		}
		if v, ok := float32View(x.Data); !ok || &x.Float32s()[0] != &v[0] {
			t.Errorf("%s: Float32s copies", name)
		}
	}
}

// smallest is a whole model in few bytes.
func smallest() *Model {
	cfg := tinyConfig()
	cfg.HiddenSize, cfg.HeadDim, cfg.VocabSize, cfg.MaxPositions = 2, 1, 2, 2
	cfg.Layers = []LayerSize{{2, 2}}
	m := InitBERT(cfg, 1)
	m.Tokenizer["vocab.txt"] = []byte("a\nb\n")
	return m
}

// TestEverySingleByte flips each byte of a .skive file and of a training state.
func TestEverySingleByte(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	check(t, smallest().SaveSkive(filepath.Join(dir, "m")))
	check(t, WriteState(filepath.Join(dir, "s"), State{map[string]int{"step": 3}, []Section{{"w", []float32{1, 2, 3}}, {"empty", nil}}}))
	for name, parse := range map[string]func([]byte) error{
		"m": func(b []byte) error { _, err := parseSkive(b, &verification{finite: true}); return err },
		"s": func(b []byte) error { var h any; _, err := parseState(b, &h); return err },
	} {
		b, err := readAligned(filepath.Join(dir, name), 1<<20)
		check(t, err)
		check(t, parse(b))
		for i := range b {
			for _, x := range []byte{0x01, 0x80, 0xff} {
				b[i] ^= x
				if parse(b) == nil {
					t.Fatalf("%s: change of byte %d of %d by %#x is not noticed", name, i, len(b), x)
				}
				b[i] ^= x
			}
		}
		for i := range b {
			if parse(b[:i]) == nil {
				t.Fatalf("%s: truncation to %d bytes is not noticed", name, i)
			}
		}
		if parse(append(slices.Clone(b), 0)) == nil {
			t.Errorf("%s: an appended byte is not noticed", name)
		}
		b[12] = containerVersion + 6
		if err := parse(b); !errors.Is(err, ErrNewerVersion) || !strings.Contains(err.Error(), "version 7") {
			t.Errorf("%s: newer version: %v", name, err)
		}
	}
}

func TestKindsAreToldApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	check(t, tinyModel().SaveSkive(filepath.Join(dir, "m")))
	check(t, WriteState(filepath.Join(dir, "s"), State{}))
	if _, err := ReadState(filepath.Join(dir, "m"), nil); err == nil || !strings.Contains(err.Error(), "a model, expected a training state") {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(dir, "s")); err == nil || !strings.Contains(err.Error(), "a training state, expected a model") {
		t.Error(err)
	}
}

func TestState(t *testing.T) {
	t.Parallel()
	type header struct {
		Step  int
		Seeds []uint64
		Loss  map[string]float64
	}
	path := filepath.Join(t.TempDir(), "state", "last")
	want := header{17, []uint64{1, math.MaxUint64}, map[string]float64{"kd": 0.25}}
	sections := []Section{{"w", []float32{1, float32(math.Inf(1)), 3}}, {"m", make([]float32, 100)}, {"none", []float32{}}}
	check(t, WriteState(path, State{want, sections}))
	var got header
	read, err := ReadState(path, &got)
	check(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("header %+v, want %+v", got, want)
	}
	for i, s := range sections {
		if read[i].Name != s.Name || !slices.Equal(read[i].Data, s.Data) {
			t.Errorf("section %s: got %v", s.Name, read[i])
		}
	}
	read[0].Data[0] = 5 // writable
	var wrong struct{ Step string }
	if _, err := ReadState(path, &wrong); err == nil {
		t.Error("header of another type was accepted")
	}
}

// goldens are the checksums of the tensors that PyTorch wrote.
type goldens struct {
	Sums map[string]map[string]string `json:"sums"`
}

func readGoldens(t testing.TB) goldens {
	b, err := os.ReadFile("testdata/goldens.json")
	if err != nil {
		t.Fatal(err)
	}
	var g goldens
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// goldenNotes are what reading says of a directory, where it says something.
var goldenNotes = map[string][]string{
	"zip":           {"left out the head of another task: cls.predictions.bias"},
	"shared":        {"left out the head of another task: cls.predictions.decoder.weight"},
	"shared-legacy": {"left out the head of another task: cls.predictions.decoder.weight"},
	"sharded-bin": {
		"the head is missing and was initialized at random, to be trained: bert.pooler.dense.bias, bert.pooler.dense.weight, classifier.bias, classifier.weight",
		"left out tensors that the architecture does not have: base_model.bert.extra.weight",
	},
}

func TestGoldens(t *testing.T) {
	t.Parallel()
	for name, sums := range readGoldens(t).Sums {
		t.Run(name, func(t *testing.T) {
			m := open1(t, filepath.Join("testdata", name))
			if len(m.Tensors) < len(sums) {
				t.Errorf("%d tensors, the file has %d", len(m.Tensors), len(sums))
			}
			for original, want := range sums {
				n := families[0].fullName(original)
				values, err := m.Float32s(n)
				if err != nil {
					t.Error(err)
					continue
				}
				got := sha256.Sum256(float32Bytes(values))
				if hex.EncodeToString(got[:]) != want {
					t.Errorf("tensor %s differs", n)
				}
			}
			if string(m.Tokenizer["vocab.txt"]) == "" {
				t.Error("the tokenizer is missing")
			}
			switch has := m.HasHead(); name {
			case "encoder":
				if has {
					t.Error("it has a head")
				}
			case "pretraining":
				if !has || m.Config.Head != head.MaskedLM {
					t.Errorf("the head is %q", m.Config.Head)
				}
			default:
				if want := []string{"negative", "neutral", "positive"}; !slices.Equal(m.Config.Labels, want) {
					t.Errorf("labels %v", m.Config.Labels)
				}
			}
			if notes := goldenNotes[name]; len(m.Notes) != len(notes) {
				t.Errorf("notes %q", m.Notes)
			} else {
				for i, want := range notes {
					if !strings.Contains(m.Notes[i], want) {
						t.Errorf("note %q, want %q", m.Notes[i], want)
					}
				}
			}
			out := filepath.Join(t.TempDir(), "out")
			check(t, m.SaveHF(out))
			again := open1(t, out)
			again.Notes = m.Notes
			equalModels(t, again, m)
		})
	}
}

// safetensors' save_model writes a shared tensor once, under the name that comes
// first in the alphabet, which in RoBERTa is the decoder's.
func TestWordEmbeddingsByTheNameOfTheDecoder(t *testing.T) {
	t.Parallel()
	want := open1(t, filepath.Join("testdata", "matrix", "roberta-masked_lm", "safetensors"))
	dir := t.TempDir()
	check(t, want.SaveHF(dir))
	check(t, WriteFile(filepath.Join(dir, safetensorsName), func(w io.Writer) error {
		return writeSafetensors(w, want.Tensors, func(name string) string {
			if name == wordEmbeddings {
				name = lmDecoderWeight
			}
			return want.Config.ownName(name)
		})
	}))
	equalModels(t, open1(t, dir), want)
}

func TestSavesTheBytesOfTheOriginal(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"safetensors", "encoder", "f16"} {
		out := filepath.Join(t.TempDir(), "out")
		check(t, open1(t, filepath.Join("testdata", name)).SaveHF(out))
		a, _ := os.ReadFile(filepath.Join("testdata", name, safetensorsName))
		b, _ := os.ReadFile(filepath.Join(out, safetensorsName))
		ta, err := parseSafetensors(a)
		check(t, err)
		tb, err := parseSafetensors(b)
		check(t, err)
		if !reflect.DeepEqual(ta, tb) {
			t.Errorf("%s: tensors under other names, types or shapes", name)
		}
	}
}

func TestClone(t *testing.T) {
	t.Parallel()
	m, err := Open("testdata/safetensors")
	check(t, err)
	c := m.Clone()
	want := open1(t, "testdata/safetensors")
	check(t, m.Close())
	check(t, m.Close())
	equalModels(t, c, want)
	c.Tensors[classifierWeight].Float32s()[0] = 7
	c.Config.Labels[0] = "x"
	if want.Tensors[classifierWeight].Float32s()[0] == 7 {
		t.Error("the clone shares memory")
	}
}

func TestInitBERT(t *testing.T) {
	t.Parallel()
	cfg := tinyConfig()
	cfg.VocabSize = 5000
	a, b, c := InitBERT(cfg, 1), InitBERT(cfg, 1), InitBERT(cfg, 2)
	check(t, a.Validate())
	equalModels(t, a, b)
	w := a.Tensors[wordEmbeddings].Float32s()
	if w[0] != 0 || w[cfg.HiddenSize] == 0 {
		t.Error("padding row")
	}
	if slices.Equal(w, c.Tensors[wordEmbeddings].Float32s()) {
		t.Error("the seed changes nothing")
	}
	var mean, sq float64
	for _, x := range w {
		mean += float64(x)
		sq += float64(x) * float64(x)
	}
	n := float64(len(w))
	if std := math.Sqrt(sq / n); math.Abs(std-0.02) > 0.0005 || math.Abs(mean/n) > 0.0005 {
		t.Errorf("mean %g, standard deviation %g", mean/n, std)
	}
	if a.Parameters() != cfg.Parameters() {
		t.Errorf("parameters %d, the configuration says %d", a.Parameters(), cfg.Parameters())
	}
	cfg.HeadDim = 0
	if InitBERT(cfg, 1).Validate() == nil {
		t.Error("an impossible configuration passes")
	}
}

func TestBERTBaseParameters(t *testing.T) {
	t.Parallel()
	cfg := Config{VocabSize: 30522, MaxPositions: 512, TypeVocabSize: 2, HiddenSize: 768, HeadDim: 64, Labels: []string{"a", "b"}}
	for range 12 {
		cfg.Layers = append(cfg.Layers, LayerSize{12, 3072})
	}
	if got := cfg.Parameters(); got != 109483778 { // as model.num_parameters() says
		t.Errorf("bert-base has %d parameters", got)
	}
}

func TestAddHead(t *testing.T) {
	t.Parallel()
	m := open1(t, "testdata/encoder")
	old := m.Tensors[poolerWeight]
	check(t, m.AddHead([]string{"a", "b", "c", "d"}, 1))
	check(t, m.Validate())
	if &old.Data[0] != &m.Tensors[poolerWeight].Data[0] {
		t.Error("the pooler was replaced")
	}
	delete(m.Tensors, poolerWeight)
	delete(m.Tensors, poolerBias)
	check(t, m.AddHead([]string{"a"}, 1))
	check(t, m.Validate())
	if m.AddHead(nil, 1) == nil || m.AddHead([]string{"a", "a"}, 1) == nil {
		t.Error("impossible labels pass")
	}
}

func TestHalfConversions(t *testing.T) {
	t.Parallel()
	for h := range 1 << 16 {
		f := halfToFloat(uint16(h))
		if back := floatToHalf(f); back != uint16(h) && !(f != f && back&0x7c00 == 0x7c00 && back&0x3ff != 0) {
			t.Fatalf("%#04x -> %g -> %#04x", h, f, back)
		}
	}
	for _, c := range []struct {
		f float32
		h uint16
	}{
		{1 + 0x1p-11, 0x3c00}, {1 + 3*0x1p-11, 0x3c02}, {65519.996, 0x7bff}, {65520, 0x7c00},
		{0x1p-25, 0}, {0x1.000002p-25, 1}, {0x1.8p-24, 2}, {-0x1p-14 + 0x1p-26, 0x8400},
	} {
		if got := floatToHalf(c.f); got != c.h {
			t.Errorf("%g gives %#04x, want %#04x", c.f, got, c.h)
		}
	}
	for _, c := range []struct {
		f float32
		b uint16
	}{{1, 0x3f80}, {1 + 0x1p-8, 0x3f80}, {1 + 3*0x1p-8, 0x3f82}, {math.MaxFloat32, 0x7f80}} {
		if got := floatToBFloat(c.f); got != c.b {
			t.Errorf("%g gives %#04x, want %#04x", c.f, got, c.b)
		}
	}
	if _, err := NewTensor([]int{1}, []float32{1e6}).Convert(F16); err == nil {
		t.Error("overflow passes")
	}
}

func TestFinite(t *testing.T) {
	t.Parallel()
	for n := 1; n < 40; n++ {
		for _, d := range []DType{F32, F16, BF16} {
			values := make([]float32, n)
			for i := range values {
				values[i] = float32(1-2*(i%2)) * 6e4
			}
			ok, err := NewTensor([]int{n}, values).Convert(d)
			check(t, err)
			if !ok.finite() {
				t.Fatalf("%v: finite numbers refused", d)
			}
			for i := range values {
				for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
					v := slices.Clone(values)
					v[i] = float32(bad)
					x, err := NewTensor([]int{n}, v).Convert(d)
					check(t, err)
					if x.finite() {
						t.Fatalf("%v: %g at %d of %d passes", d, bad, i, n)
					}
				}
			}
		}
	}
	m := tinyModel()
	m.Tensors[classifierBias] = NewTensor([]int{2}, []float32{0, float32(math.NaN())})
	if err := m.SaveHF(t.TempDir()); !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), classifierBias) {
		t.Error(err)
	}
	// Another writer need not look.
	path := filepath.Join(t.TempDir(), "nan.skive")
	check(t, WriteFile(path, m.writeSkive))
	if _, err := Open(path); !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), classifierBias) {
		t.Errorf("a .skive file with NaN: %v", err)
	}
}

func TestPad(t *testing.T) {
	t.Parallel()
	m := uneven()
	p, err := m.Pad()
	check(t, err)
	check(t, p.Validate())
	if !p.Config.Stock() {
		t.Errorf("padded to %+v", p.Config.Layers)
	}
	name := layerPrefix(0) + "attention.output.dense.weight"
	a, b := m.Tensors[name].Float32s(), p.Tensors[name].Float32s()
	for i := range 12 {
		for j := range 12 {
			want := float32(0)
			if j < 6 {
				want = a[i*6+j]
			}
			if b[i*12+j] != want {
				t.Fatalf("%s [%d][%d] is %g, want %g", name, i, j, b[i*12+j], want)
			}
		}
	}
	if same, err := tinyModel().Pad(); err != nil || same.Config.Layers[0].Heads != 4 {
		t.Error(err)
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "m.skive")
	m := int8Model()
	check(t, m.SaveSkive(path))
	info, err := Inspect(path)
	check(t, err)
	stat, _ := os.Stat(path)
	if info.Format != "skive" || info.DType != "int8" || info.Checksums != "ok" || info.FileBytes != stat.Size() ||
		info.Parameters != m.Config.Parameters() || info.Bytes != m.Bytes() || len(info.Provenance) != 1 {
		t.Errorf("%+v", info)
	}
	if info.Layers[0].InputScales != nil || len(info.Layers[1].InputScales) != 6 || info.Layers[1].InputScales["attention.self.query"] != 0.5 {
		t.Errorf("input scales %v and %v", info.Layers[0].InputScales, info.Layers[1].InputScales)
	}
	if l := info.Layers[1]; l.Heads != 4 || l.Intermediate != 10 || l.Parameters != 4*(12*12+12)+2*12*10+12+10+4*12 {
		t.Errorf("%+v", l)
	}
	for dir, weights := range map[string]string{"sharded": safetensorsIndexName, "legacy": pytorchName, "f16": safetensorsName} {
		info, err := Inspect(filepath.Join("testdata", dir))
		check(t, err)
		if info.Weights != weights || info.Architecture != "BertForSequenceClassification" || info.FileBytes < info.Bytes || info.Checksums != "none" {
			t.Errorf("%s: %+v", dir, info)
		}
	}
}

func TestInspectOtherFiles(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "training.state")
	check(t, WriteState(state, State{map[string]any{"step": 3}, []Section{
		{"weights/bert.encoder.layer.1.output.dense.bias", []float32{1, 2, 3}}, {"m/x", []float32{4}},
	}}))
	for path, want := range map[string]Info{
		state: {Format: "state", FormatVersion: containerVersion, Parameters: 4, Bytes: 16, Checksums: "ok"},
		filepath.Join("testdata", "f16", safetensorsName):                            {Format: "safetensors", Parameters: 17123, Bytes: 34246, Checksums: "none"},
		filepath.Join("testdata", "f16-zip", pytorchName):                            {Format: "pytorch", Parameters: 17123, Bytes: 34246, Checksums: "none"},
		filepath.Join("testdata", "legacy", pytorchName):                             {Format: "pytorch", Parameters: 17123, Bytes: 68492, Checksums: "none"},
		filepath.Join("testdata", "sharded-bin", "pytorch_model-00002-of-00002.bin"): {Format: "pytorch", Checksums: "none"},
	} {
		info, err := Inspect(path)
		check(t, err)
		if info.Format != want.Format || info.FormatVersion != want.FormatVersion || info.Checksums != want.Checksums || len(info.Layers) != 2 ||
			want.Parameters > 0 && (info.Parameters != want.Parameters || info.Bytes != want.Bytes) {
			t.Errorf("%s: %+v", path, info)
		}
		if path == state && (fmt.Sprint(info.State["step"]) != "3" || info.Layers[1].Parameters != 3) {
			t.Errorf("%+v", info)
		}
	}
	if _, err := Inspect(filepath.Join("testdata", "goldens.py")); !errors.Is(err, ErrNotModel) {
		t.Error(err)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	save := func(name string, m *Model) string {
		path := filepath.Join(dir, name)
		check(t, m.SaveSkive(path))
		return path
	}
	m := tinyModel()
	a, hf := save("a", m), filepath.Join(dir, "hf")
	check(t, m.SaveHF(hf))
	if d, err := Diff(a, hf); err != nil || len(d) > 0 {
		t.Errorf("a model and its export: %+v, %v", d, err)
	}
	if text, err := json.Marshal(Differences(nil)); err != nil || string(text) != `{"equal":true,"differences":[]}` {
		t.Errorf("no differences are %s, %v", text, err)
	}
	for _, name := range []string{"bert-f16", "roberta-f32"} {
		dir := filepath.Join("testdata", "matrix", name)
		if d, err := Diff(filepath.Join(dir, "legacy", pytorchName), filepath.Join(dir, "safetensors", safetensorsName)); err != nil || len(d) > 0 {
			t.Errorf("%s, the weights alone in two formats: %+v, %v", name, d, err)
		}
	}
	other := m.Clone()
	other.Tensors[classifierBias].Float32s()[1] += 0.25
	other.Tokenizer["vocab.txt"] = []byte("[PAD]\n")
	delete(other.Tokenizer, "tokenizer_config.json")
	other.Config.Task = "rte"
	other.Provenance = nil
	d, err := Diff(a, save("b", other))
	check(t, err)
	var what []string
	for _, x := range d {
		what = append(what, x.What)
	}
	if want := []string{"Task", "provenance", "tokenizer tokenizer_config.json", "tokenizer vocab.txt", "tensor classifier.bias"}; !slices.Equal(what, want) {
		t.Errorf("got %v, want %v", what, want)
	}
	if last := d[len(d)-1]; last.Largest == nil || *last.Largest != 0.25 || last.A != "f32 [2]" {
		t.Errorf("%+v", last)
	}
	if d[2].B != "" || d[0].A != `"sst2"` || d[0].B != `"rte"` {
		t.Errorf("%+v", d)
	}
	// The same int8 numbers under another scale are other weights.
	q, scaled := int8Model(), int8Model()
	name := layerPrefix(0) + "output.dense.weight"
	scaled.Tensors[name+scaleSuffix].Float32s()[0] *= 2
	d, err = Diff(save("q", q), save("s", scaled))
	check(t, err)
	if len(d) != 2 || d[0].What != "tensor "+name || *d[0].Largest <= 0 {
		t.Errorf("%+v", d)
	}
	d, err = Diff(a, save("u", uneven()))
	check(t, err)
	if i := slices.IndexFunc(d, func(x Difference) bool { return x.What == "tensor "+name }); i < 0 || d[i].Largest != nil || d[i].B != "f32 [12 7]" {
		t.Errorf("%+v", d)
	}
}

// TestMiniLM reads a real model, all-MiniLM-L6-v2, where it is there.
func TestMiniLM(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("SKIVE_MINILM")
	if dir == "" {
		t.Skip("SKIVE_MINILM names no directory")
	}
	m := open1(t, dir)
	if got := m.Parameters(); got != 22713216 {
		t.Errorf("%d parameters", got)
	}
	out := filepath.Join(t.TempDir(), "hf")
	check(t, m.SaveHF(out))
	equalModels(t, open1(t, out), m)
	a, _ := os.ReadFile(filepath.Join(dir, safetensorsName))
	b, _ := os.ReadFile(filepath.Join(out, safetensorsName))
	ta, err := parseSafetensors(a)
	check(t, err)
	tb, err := parseSafetensors(b)
	check(t, err)
	delete(ta, "embeddings.position_ids")
	if !reflect.DeepEqual(ta, tb) {
		t.Error("saved tensors differ from the original's")
	}
	file := filepath.Join(t.TempDir(), "m.skive")
	check(t, m.SaveSkive(file))
	equalModels(t, open1(t, file), m)
}

// BenchmarkOpen opens a random 12L-768 model, f32, by turns with reading its file
// into memory, and reports the ratio of the median times.
func BenchmarkOpen(b *testing.B) {
	cfg := tinyConfig()
	cfg.VocabSize, cfg.MaxPositions, cfg.HiddenSize, cfg.HeadDim = 30522, 512, 768, 64
	cfg.Layers = slices.Repeat([]LayerSize{{12, 3072}}, 12)
	dir, file := filepath.Join(b.TempDir(), "hf"), filepath.Join(b.TempDir(), "m.skive")
	m := InitBERT(cfg, 1)
	if err := errors.Join(m.SaveHF(dir), m.SaveSkive(file)); err != nil {
		b.Fatal(err)
	}
	weights := filepath.Join(dir, safetensorsName)
	for name, open := range map[string]func() (*Model, error){
		"safetensors":      func() (*Model, error) { return Open(dir) },
		"skive":            func() (*Model, error) { return Open(file) },
		"skive unverified": func() (*Model, error) { return OpenUnverified(file) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(m.Bytes())
			var opened, read []float64
			for b.Loop() {
				start := time.Now()
				_, err := os.ReadFile(weights)
				if err != nil {
					b.Fatal(err)
				}
				read = append(read, time.Since(start).Seconds())
				start = time.Now()
				got, err := open()
				if err != nil {
					b.Fatal(err)
				}
				opened = append(opened, time.Since(start).Seconds())
				got.Close()
			}
			slices.Sort(opened)
			slices.Sort(read)
			b.ReportMetric(1e3*opened[len(opened)/2], "ms/open")
			b.ReportMetric(1e3*read[len(read)/2], "ms/read")
			b.ReportMetric(opened[len(opened)/2]/read[len(read)/2], "open/read")
		})
	}
}
