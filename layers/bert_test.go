package layers

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/gradcheck"
)

// golden is a safetensors file of float32 and int32 tensors.
type golden struct {
	header map[string]struct {
		DType   string `json:"dtype"`
		Offsets [2]int `json:"data_offsets"`
	}
	data []byte
}

func readGolden(t testing.TB, name string) golden {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".safetensors"))
	check(t, err)
	n := binary.LittleEndian.Uint64(raw)
	g := golden{data: raw[8+n:]}
	check(t, json.Unmarshal(raw[8:8+n], &g.header))
	return g
}

func (g golden) ints(name string) []int32 {
	h := g.header[name]
	out := make([]int32, (h.Offsets[1]-h.Offsets[0])/4)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint32(g.data[h.Offsets[0]+4*i:]))
	}
	return out
}

func (g golden) floats(name string) []float64 {
	var out []float64
	for _, v := range g.ints(name) {
		out = append(out, float64(math.Float32frombits(uint32(v))))
	}
	return out
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, path string) *checkpoints.Model {
	t.Helper()
	m, err := checkpoints.Open(path)
	check(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

func newGraph(t testing.TB) *autograd.Graph {
	g := autograd.New(autograd.Options{Threads: 2, Seed: 1})
	t.Cleanup(g.Close)
	return g
}

// pack gives the positions and offsets of sequences of these lengths.
func pack(lengths ...int) (positions, offsets []int32) {
	offsets = []int32{0}
	for i, n := range lengths {
		for p := range n {
			positions = append(positions, int32(p))
		}
		offsets = append(offsets, offsets[i]+int32(n))
	}
	return positions, offsets
}

// worst returns the largest absolute difference.
func worst(t *testing.T, got []float32, want []float64) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	d := 0.0
	for i, w := range want {
		e := math.Abs(float64(got[i]) - w)
		if math.IsNaN(e) {
			return math.Inf(1)
		}
		d = max(d, e)
	}
	return d
}

var (
	goldenModels  = []string{"even", "gelu_new", "uneven", "mpnet", "modernbert", "modernbert_local", "modernbert_mean", "deberta"}
	goldenLengths = []int{5, 1, 9, 3}
	// farLengths are those of models with biases by distance, or with windows.
	farLengths   = map[string][]int{"mpnet": {5, 1, 130, 40}, "modernbert": {5, 1, 130, 40}, "deberta-v2": {5, 1, 130, 40}}
	goldenLabels = []int32{2, 0, 1, 1}
)

// classifier is a golden model in a session with a mean cross-entropy.
type classifier struct {
	*Classifier
	g *autograd.Graph
	s *autograd.Session
}

func newClassifier(t testing.TB, m *checkpoints.Model, gold golden, o Options) classifier {
	lengths := goldenLengths
	if far := farLengths[m.Config.ModelType]; far != nil && len(m.Config.Layers) > 1 {
		lengths = far
	}
	g := newGraph(t)
	in := NewInputs(g)
	c, err := NewClassifier(g, in, m, o)
	check(t, err)
	labels := g.Ints("labels", autograd.Sequences)
	loss := g.CrossEntropy(c.Logits, labels, autograd.Mean)
	if o.Frozen {
		loss = nil
	}
	s, err := autograd.NewSession(g, loss)
	check(t, err)
	positions, offsets := pack(lengths...)
	check(t, in.Set(gold.ints("ids"), gold.ints("types"), positions, offsets))
	check(t, g.SetInts(labels, goldenLabels))
	for l, layer := range c.Layers {
		size := m.Config.Layers[l]
		if o.HeadMasks {
			check(t, g.Set(layer.HeadMask, ones(len(lengths)*size.Heads)))
		}
		if o.FFNMasks {
			check(t, g.Set(layer.FFNMask, ones(len(lengths)*size.Intermediate)))
		}
	}
	check(t, s.Run())
	return classifier{c, g, s}
}

func ones(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

// Logits, hidden states and the gradients of all parameters are those of Hugging
// Face transformers, whether the last layer computes all tokens or the first.
func TestGoldens(t *testing.T) {
	t.Parallel()
	for _, name := range goldenModels {
		m, gold := open(t, filepath.Join("testdata", name)), readGolden(t, name)
		for _, o := range []Options{{}, {AllTokens: true}, {HeadMasks: true, FFNMasks: true}, {Recompute: true}} {
			c := newClassifier(t, m, gold, o)
			if d := worst(t, c.s.Value(c.Logits), gold.floats("logits")); d > 1e-4 {
				t.Errorf("%s %+v: logits differ by %.1e", name, o, d)
			}
			if d := worst(t, []float32{c.s.Loss()}, gold.floats("loss")); d > 1e-5 {
				t.Errorf("%s %+v: loss differs by %.1e", name, o, d)
			}
			hidden := []*autograd.Node{c.Embeddings}
			for _, l := range c.Layers {
				hidden = append(hidden, l.Hidden)
			}
			for i, n := range hidden {
				if n == nil {
					if o.AllTokens || i < len(hidden)-1 {
						t.Errorf("%s %+v: no hidden states of layer %d", name, o, i)
					}
					continue
				}
				if d := worst(t, c.s.Value(n), gold.floats("hidden."+string(rune('0'+i)))); d > 1e-4 {
					t.Errorf("%s %+v: hidden states %d differ by %.1e", name, o, i, d)
				}
			}
			if len(c.g.Parameters()) != len(m.Tensors) {
				t.Errorf("%s: %d parameters, want the model's %d tensors", name, len(c.g.Parameters()), len(m.Tensors))
			}
			for _, p := range c.g.Parameters() {
				want := gold.floats("grad." + p.Name)
				if strings.HasSuffix(p.Name, "key.bias") && m.Config.RelativeBuckets == 0 {
					// Zero but for rounding: softmax does not see it.
					if d := worst(t, p.Gradient, make([]float64, len(want))); d > 1e-6 {
						t.Errorf("%s %+v: gradient of %s is %.1e, want 0", name, o, p.Name, d)
					}
					continue
				}
				if e := gradcheck.RelativeError(p.Gradient, want); e > 1e-4 {
					t.Errorf("%s %+v: gradient of %s differs by %.1e of its largest element", name, o, p.Name, e)
				}
			}
		}
	}
}

// Heads that answer for tokens, which in ModernBERT have a dense layer of their own:
// logits, and gradients of all parameters, with the decoder's weights tied.
func TestGoldensOfTokenHeads(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"modernbert_token", "modernbert_lm", "deberta_lm"} {
		m, gold := open(t, filepath.Join("testdata", name)), readGolden(t, name)
		g := newGraph(t)
		in := NewInputs(g)
		labels := g.Ints("labels", autograd.Tokens)
		var logits *autograd.Node
		if m.Config.Head == head.MaskedLM {
			rows := g.Ints("rows", autograd.Selected)
			labels = g.Ints("labels of rows", autograd.Selected)
			lm, err := NewMaskedLM(g, in, m, rows, Options{})
			check(t, err)
			logits = lm.Logits
			all := make([]int32, len(gold.ints("ids")))
			for i := range all {
				all[i] = int32(i)
			}
			check(t, g.SetInts(rows, all))
		} else {
			c, err := NewClassifier(g, in, m, Options{})
			check(t, err)
			logits = c.Logits
		}
		s, err := autograd.NewSession(g, g.CrossEntropy(logits, labels, autograd.Mean))
		check(t, err)
		positions, offsets := pack(goldenLengths...)
		check(t, in.Set(gold.ints("ids"), gold.ints("types"), positions, offsets))
		check(t, g.SetInts(labels, gold.ints("labels")))
		check(t, s.Run())
		if d := worst(t, s.Value(logits), gold.floats("logits")); d > 1e-4 {
			t.Errorf("%s: logits differ by %.1e", name, d)
		}
		if d := worst(t, []float32{s.Loss()}, gold.floats("loss")); d > 1e-5 {
			t.Errorf("%s: loss differs by %.1e", name, d)
		}
		if len(g.Parameters()) != len(m.Tensors) {
			t.Errorf("%s: %d parameters, want the model's %d tensors", name, len(g.Parameters()), len(m.Tensors))
		}
		for _, p := range g.Parameters() {
			if e := gradcheck.RelativeError(p.Gradient, gold.floats("grad."+p.Name)); e > 1e-4 {
				t.Errorf("%s: gradient of %s differs by %.1e of its largest element", name, p.Name, e)
			}
		}
	}
}

// A frozen model gives the logits and nothing to train.
func TestFrozen(t *testing.T) {
	t.Parallel()
	m, gold := open(t, filepath.Join("testdata", "uneven")), readGolden(t, "uneven")
	c := newClassifier(t, m, gold, Options{Frozen: true})
	if d := worst(t, c.s.Value(c.Logits), gold.floats("logits")); d > 1e-4 {
		t.Errorf("logits differ by %.1e", d)
	}
	if n := len(c.g.Parameters()); n != 0 {
		t.Errorf("%d parameters, want none", n)
	}
}

// Masks of a summed loss have each example's own gradient.
func TestMaskGradients(t *testing.T) {
	t.Parallel()
	m, gold := open(t, filepath.Join("testdata", "even")), readGolden(t, "even")
	run := func(sequences ...int) (heads, units [][]float32) {
		g := newGraph(t)
		in := NewInputs(g)
		c, err := NewClassifier(g, in, m, Options{HeadMasks: true, FFNMasks: true})
		check(t, err)
		labels := g.Ints("labels", autograd.Sequences)
		s, err := autograd.NewSession(g, g.CrossEntropy(c.Logits, labels, autograd.Sum))
		check(t, err)
		_, all := pack(goldenLengths...)
		var ids, types, chosen []int32
		var lengths []int
		for _, q := range sequences {
			ids = append(ids, gold.ints("ids")[all[q]:all[q+1]]...)
			types = append(types, gold.ints("types")[all[q]:all[q+1]]...)
			lengths, chosen = append(lengths, goldenLengths[q]), append(chosen, goldenLabels[q])
		}
		positions, offsets := pack(lengths...)
		check(t, in.Set(ids, types, positions, offsets))
		check(t, g.SetInts(labels, chosen))
		for _, l := range c.Layers {
			check(t, g.Set(l.HeadMask, ones(4*len(sequences))))
			check(t, g.Set(l.FFNMask, ones(64*len(sequences))))
		}
		check(t, s.Run())
		for _, l := range c.Layers {
			heads, units = append(heads, slices.Clone(s.Gradient(l.HeadMask))), append(units, slices.Clone(s.Gradient(l.FFNMask)))
		}
		return heads, units
	}
	heads, units := run(0, 1, 2, 3)
	for q := range goldenLengths {
		h, u := run(q)
		for l := range h {
			if d := worst(t, heads[l][4*q:4*q+4], gradcheck.Float64s(h[l])); d > 1e-6 {
				t.Errorf("example %d, layer %d: head mask gradients differ by %.1e from those alone", q, l, d)
			}
			if d := worst(t, units[l][64*q:64*q+64], gradcheck.Float64s(u[l])); d > 1e-6 {
				t.Errorf("example %d, layer %d: unit mask gradients differ by %.1e from those alone", q, l, d)
			}
		}
	}
}

// Store brings the trained values to the model under their names, and the model
// that was opened is as it was until then.
func TestStore(t *testing.T) {
	t.Parallel()
	m, gold := open(t, filepath.Join("testdata", "even")), readGolden(t, "even")
	c := newClassifier(t, m, gold, Options{})
	const key = "bert.encoder.layer.1.attention.self.key.weight"
	before, _ := m.Float32s(key)
	before = slices.Clone(before)
	for _, p := range c.g.Parameters() {
		for i := range p.Value {
			p.Value[i]++
		}
	}
	if now, _ := m.Float32s(key); !slices.Equal(now, before) {
		t.Error("training wrote to the model's tensors")
	}
	check(t, Store(c.g, m))
	for name := range m.Tensors {
		now, err := m.Float32s(name)
		check(t, err)
		if name == key && now[7] != before[7]+1 {
			t.Errorf("%s[7] is %v, want %v", name, now[7], before[7]+1)
		}
	}
	check(t, m.Validate())
}

// The real all-MiniLM-L6-v2, where SKIVE_MINILM names its directory.
func TestMiniLM(t *testing.T) {
	t.Parallel()
	path := os.Getenv("SKIVE_MINILM")
	if path == "" {
		t.Skip("SKIVE_MINILM is not set")
	}
	m, gold := open(t, path), readGolden(t, "minilm")
	check(t, m.AddHead([]string{"a", "b"}, 1))
	g := newGraph(t)
	in := NewInputs(g)
	c, err := NewClassifier(g, in, m, Options{Frozen: true})
	check(t, err)
	s, err := autograd.NewSession(g, nil)
	check(t, err)
	var lengths []int
	for _, n := range gold.ints("lengths") {
		lengths = append(lengths, int(n))
	}
	positions, offsets := pack(lengths...)
	check(t, in.Set(gold.ints("ids"), make([]int32, len(positions)), positions, offsets))
	check(t, s.Run())
	if d := worst(t, s.Value(c.First), gold.floats("first")); d > 1e-4 {
		t.Errorf("last hidden states differ by %.1e", d)
	}
	if d := worst(t, s.Value(c.Pooled), gold.floats("pooled")); d > 1e-4 {
		t.Errorf("pooler outputs differ by %.1e", d)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	g := newGraph(t)
	if _, err := NewMaskedLM(g, NewInputs(g), open(t, filepath.Join("testdata", "even")), g.Ints("rows", autograd.Selected), Options{}); err == nil {
		t.Error("a masked language model without its head: no error")
	}
	for _, c := range []struct {
		change func(m *checkpoints.Model)
		want   string
	}{
		{func(m *checkpoints.Model) { m.Config.ModelType = "gpt2" }, `model_type "gpt2": not supported`},
		{func(m *checkpoints.Model) { m.Config.Activation = "mish" }, `hidden_act "mish": not supported`},
		{func(m *checkpoints.Model) { delete(m.Tensors, "classifier.bias") }, "tensor classifier.bias: not in the model"},
		{func(m *checkpoints.Model) { m.Config.HeadDim = 6 }, "SelfAttention"},
		{func(m *checkpoints.Model) { m.Config.Head = head.MaskedLM }, "want a classifier"},
	} {
		m := open(t, filepath.Join("testdata", "even")).Clone()
		c.change(m)
		g := newGraph(t)
		if _, err := NewClassifier(g, NewInputs(g), m, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, want one with %q", err, c.want)
		}
	}
}
