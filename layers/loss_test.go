package layers

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/gradcheck"
)

// reference computes a model in float64 from named weights.
type reference struct {
	cfg     checkpoints.Config
	weights map[string][]float64
}

func newReference(t *testing.T, m *checkpoints.Model) reference {
	r := reference{m.Config, map[string][]float64{}}
	for name := range m.Tensors {
		v, err := m.Float32s(name)
		check(t, err)
		r.weights[name] = gradcheck.Float64s(v)
	}
	return r
}

type outputs struct {
	logits      []float64
	hidden, qkv [][]float64
}

func (r reference) run(ids, types, positions, offsets []int32) outputs {
	h := r.cfg.HiddenSize
	w := func(name string) []float64 { return r.weights[name] }
	linear := func(name string, x []float64, in int, act string) []float64 {
		return gradcheck.Linear(x, w(name+".weight"), w(name+".bias"), in, gradcheck.Activation(act))
	}
	norm := func(name string, x, residual []float64) []float64 {
		return gradcheck.LayerNorm(x, residual, w(name+".weight"), w(name+".bias"), float64(r.cfg.LayerNormEps))
	}
	const e = "bert.embeddings."
	x := norm(e+"LayerNorm", gradcheck.Embedding(w(e+"word_embeddings.weight"), w(e+"position_embeddings.weight"),
		w(e+"token_type_embeddings.weight"), ids, positions, types, h), nil)
	var out outputs
	for l, size := range r.cfg.Layers {
		p := fmt.Sprintf("bert.encoder.layer.%d.", l)
		width := size.Heads * r.cfg.HeadDim
		qkv := make([]float64, len(ids)*3*width)
		for i, part := range []string{"query", "key", "value"} {
			y := linear(p+"attention.self."+part, x, h, "")
			for t := range ids {
				copy(qkv[(3*t+i)*width:(3*t+i+1)*width], y[t*width:])
			}
		}
		context := gradcheck.SelfAttention(qkv, nil, offsets, size.Heads, r.cfg.HeadDim)
		x = norm(p+"attention.output.LayerNorm", linear(p+"attention.output.dense", context, width, ""), x)
		y := linear(p+"intermediate.dense", x, h, r.cfg.Activation)
		x = norm(p+"output.LayerNorm", linear(p+"output.dense", y, size.Intermediate, ""), x)
		out.hidden, out.qkv = append(out.hidden, x), append(out.qkv, qkv)
	}
	pooled := linear("bert.pooler.dense", gradcheck.First(x, offsets, h), h, "tanh")
	out.logits = linear("classifier", pooled, h, "")
	return out
}

// All losses of a distillation together, teacher and student of different width
// in one graph: value and gradients agree with the float64 reference's.
func TestDistillationLoss(t *testing.T) {
	t.Parallel()
	student, teacher := open(t, filepath.Join("testdata", "even")), open(t, filepath.Join("testdata", "gelu_new"))
	gold := readGolden(t, "even")
	ids, types := gold.ints("ids"), gold.ints("types")
	positions, offsets := pack(goldenLengths...)

	g := newGraph(t)
	in := NewInputs(g)
	s, err := NewClassifier(g, in, student, Options{AllTokens: true})
	check(t, err)
	te, err := NewClassifier(g, in, teacher, Options{AllTokens: true, Frozen: true})
	check(t, err)
	labels := g.Ints("labels", autograd.Sequences)
	projection := make([]float32, 24*32)
	for i := range projection {
		projection[i] = float32(i%7-3) / 10
	}
	project := g.Parameter("projection", projection, 24, 32)
	w := autograd.NewWeight
	loss := g.WeightedSum(
		autograd.Term{Loss: g.CrossEntropy(s.Logits, labels, autograd.Mean), Weight: w(0.5)},
		autograd.Term{Loss: g.SoftCrossEntropy(s.Logits, te.Logits, w(2), autograd.Mean), Weight: w(0.7)},
		autograd.Term{Loss: g.MSE(g.Linear(s.Layers[0].Hidden, project, nil, autograd.Identity), te.Embeddings), Weight: w(0.3)},
		autograd.Term{Loss: g.CosineLoss(g.Linear(s.Layers[1].Hidden, project, nil, autograd.Identity), te.Layers[0].Hidden), Weight: w(2)},
		autograd.Term{Loss: g.RelationKL(s.Layers[1].QKV, te.Layers[0].QKV, in.Offsets, 4), Weight: w(1.5)},
	)
	session, err := autograd.NewSession(g, loss)
	check(t, err)
	check(t, in.Set(ids, types, positions, offsets))
	check(t, g.SetInts(labels, goldenLabels))
	check(t, session.Run())

	rs, rt := newReference(t, student), newReference(t, teacher)
	target := rt.run(ids, types, positions, offsets)
	embeddings := gradcheck.Float64s(session.Value(te.Embeddings))
	rs.weights["projection"] = gradcheck.Float64s(projection)
	identity := gradcheck.Activation("")
	f := func() float64 {
		o := rs.run(ids, types, positions, offsets)
		projected := func(x []float64) []float64 {
			return gradcheck.Linear(x, rs.weights["projection"], nil, 32, identity)
		}
		return 0.5*gradcheck.CrossEntropy(o.logits, goldenLabels) +
			0.7*gradcheck.SoftCrossEntropy(o.logits, target.logits, 3, 2) +
			0.3*gradcheck.MSE(projected(o.hidden[0]), embeddings) +
			2*gradcheck.CosineLoss(projected(o.hidden[1]), target.hidden[0], 24) +
			1.5*gradcheck.RelationKL(o.qkv[1], target.qkv[0], offsets, 4, 0, 1, 2)
	}
	if e := gradcheck.RelativeError([]float32{session.Loss()}, []float64{f()}); e > 1e-5 {
		t.Errorf("loss differs by %.1e", e)
	}
	for _, p := range g.Parameters() {
		// Some elements of each parameter, among them its largest gradient.
		largest := 0
		for i, v := range p.Gradient {
			if max(v, -v) > max(p.Gradient[largest], -p.Gradient[largest]) {
				largest = i
			}
		}
		var got []float32
		var want []float64
		for _, i := range []int{largest, 0, len(p.Gradient) / 3, len(p.Gradient) - 1} {
			got = append(got, p.Gradient[i])
			want = append(want, gradcheck.Derivative(f, rs.weights[p.Name], i))
		}
		if strings.HasSuffix(p.Name, "layer.0.attention.self.key.bias") {
			// Zero but for rounding: softmax does not see it, and no loss reads
			// this layer's keys.
			want = make([]float64, len(got))
			if d := worst(t, got, want); d > 1e-6 {
				t.Errorf("%s: gradient is %.1e, want 0", p.Name, d)
			}
			continue
		}
		if e := gradcheck.RelativeError(got, want); e > 1e-3 {
			t.Errorf("%s: gradient differs by %.1e: %v, want %v", p.Name, e, got, want)
		}
	}
}
