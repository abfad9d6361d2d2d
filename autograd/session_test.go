package autograd

import (
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/internal/gradcheck"
)

// tower is a small network over packed batches, with inputs that a test sets.
type tower struct {
	g                    *Graph
	s                    *Session
	x, offsets, labels   *Node
	hidden, logits, loss *Node
	dropped              *Node
	kd                   *Weight
}

func newTower(t testing.TB, seed uint64, dropout float32, train bool) *tower {
	r := rand.New(rand.NewPCG(3, 4))
	random := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64()) * 0.3
		}
		return v
	}
	g := New(Options{Threads: 2, Seed: seed})
	t.Cleanup(g.Close)
	const h = 16
	w := &tower{g: g, x: g.Input("x", Tokens, h), offsets: g.Ints("offsets", Boundaries), labels: g.Ints("labels", Sequences)}
	qkv := g.Linear(w.x, g.Stacked(Part{"q", []int{h, h}, random(h * h)}, Part{"k", []int{h, h}, random(h * h)}, Part{"v", []int{h, h}, random(h * h)}), nil, Identity)
	a := g.SelfAttention(qkv, w.offsets, 4, 4, AttentionOptions{Dropout: dropout})
	w.dropped = g.Dropout(g.Linear(a, g.Parameter("o", random(h*h), h, h), nil, Identity), dropout)
	w.hidden = g.AddLayerNorm(w.dropped, w.x, g.Parameter("gamma", random(h), h), g.Parameter("beta", random(h), h), 1e-5)
	f := g.Linear(w.hidden, g.Parameter("f", random(4*h*h), 4*h, h), nil, GELU)
	f = g.Linear(f, g.Parameter("f2", random(4*h*h), h, 4*h), nil, Identity)
	y := g.AddLayerNorm(f, w.hidden, g.Parameter("gamma2", random(h), h), g.Parameter("beta2", random(h), h), 1e-5)
	w.logits = g.Linear(g.SelectFirst(y, w.offsets), g.Parameter("c", random(3*h), 3, h), g.Parameter("cb", random(3), 3), Identity)
	w.kd = NewWeight(0.5)
	w.loss = g.WeightedSum(Term{g.CrossEntropy(w.logits, w.labels, Mean), NewWeight(1)}, Term{g.MSE(w.hidden, w.x), w.kd})
	loss := w.loss
	if !train {
		loss = nil
	}
	s, err := NewSession(g, loss)
	check(t, err)
	w.s = s
	return w
}

func (w *tower) set(t testing.TB, lengths ...int) {
	offsets, labels := []int32{0}, []int32{}
	for i, n := range lengths {
		offsets = append(offsets, offsets[i]+int32(n))
		labels = append(labels, int32(i%3))
	}
	x := make([]float32, int(offsets[len(lengths)])*16)
	for i := range x {
		x[i] = float32(math.Sin(float64(i)))
	}
	check(t, w.g.Set(w.x, x))
	check(t, w.g.SetInts(w.offsets, offsets))
	check(t, w.g.SetInts(w.labels, labels))
}

// results copies everything that a run leaves.
func (w *tower) results() []float32 {
	out := slices.Concat(w.s.Value(w.loss), w.s.Value(w.hidden), w.s.Value(w.logits))
	for _, p := range w.g.Parameters() {
		out = append(out, p.Gradient...)
	}
	return out
}

// One graph serves batches of every size, and nothing of an earlier batch shows.
func TestBatchSizes(t *testing.T) {
	t.Parallel()
	w := newTower(t, 1, 0, true)
	for _, lengths := range [][]int{{3, 5}, {40, 2, 70}, {1}, {7, 7, 7, 7}, {3, 5}} {
		w.set(t, lengths...)
		check(t, w.s.Run())
		fresh := newTower(t, 1, 0, true)
		fresh.set(t, lengths...)
		check(t, fresh.s.Run())
		if !slices.Equal(w.results(), fresh.results()) {
			t.Errorf("%v: differs from a fresh graph", lengths)
		}
	}
}

// Dropout masks follow from seed and step, and SetStep brings them back.
func TestDropoutSteps(t *testing.T) {
	t.Parallel()
	w := newTower(t, 1, 0.3, true)
	w.set(t, 5, 9)
	run := func(w *tower) []float32 { check(t, w.s.Run()); return w.results() }
	first, second := run(w), run(w)
	if slices.Equal(first, second) {
		t.Error("two steps have the same masks")
	}
	w.s.SetStep(1)
	if !slices.Equal(run(w), second) {
		t.Error("step 1 differs when it is resumed")
	}
	other := newTower(t, 2, 0.3, true)
	other.set(t, 5, 9)
	if slices.Equal(run(other), first) {
		t.Error("two seeds have the same masks")
	}
	zeros := 0
	for _, v := range w.s.Value(w.dropped) {
		if v == 0 {
			zeros++
		}
	}
	if share := float64(zeros) / (14 * 16); math.Abs(share-0.3) > 0.12 {
		t.Errorf("dropped a share of %.2f, want 0.3", share)
	}
}

// With dropout, too, gradients are those of the loss that was computed.
func TestDropoutGradients(t *testing.T) {
	t.Parallel()
	w := newTower(t, 1, 0.3, true)
	w.set(t, 5, 9)
	check(t, w.s.Run())
	for _, p := range w.g.Parameters() {
		grad := slices.Clone(p.Gradient)
		numeric := make([]float64, len(grad))
		for i := range grad {
			if i%37 != 0 {
				numeric[i], grad[i] = 0, 0
				continue
			}
			loss := func(d float32) float64 {
				old := p.Value[i]
				p.Value[i] = old + d
				w.s.SetStep(0)
				check(t, w.s.Run())
				p.Value[i] = old
				return float64(w.s.Loss())
			}
			const h = 1.0 / 128
			numeric[i] = (loss(h) - loss(-h)) / (2 * h)
		}
		if e := gradcheck.RelativeError(grad, numeric); e > 1e-2 {
			t.Errorf("%s: gradient differs by %.1e of its largest element", p.Name, e)
		}
		w.s.SetStep(0)
		check(t, w.s.Run())
	}
}

func TestWeights(t *testing.T) {
	t.Parallel()
	w := newTower(t, 1, 0, true)
	w.set(t, 5, 9)
	check(t, w.s.Run())
	half := w.s.Loss()
	w.kd.Set(0)
	check(t, w.s.Run())
	none := w.s.Loss()
	w.kd.Set(1)
	check(t, w.s.Run())
	if got := w.s.Loss(); math.Abs(float64(got-none-2*(half-none))) > 1e-5 {
		t.Errorf("losses %v, %v, %v at weights 0, 0.5, 1", none, half, got)
	}
}

// A forward session gives the values of the training one.
func TestForwardSession(t *testing.T) {
	t.Parallel()
	train, forward := newTower(t, 1, 0, true), newTower(t, 1, 0, false)
	for _, w := range []*tower{train, forward} {
		w.set(t, 5, 9)
		check(t, w.s.Run())
	}
	if !slices.Equal(train.s.Value(train.logits), forward.s.Value(forward.logits)) {
		t.Error("logits differ")
	}
	if p := forward.g.Parameters()[0]; p.Gradient != nil {
		t.Error("a forward session has gradients")
	}
}

// A step allocates nothing that grows with the batch.
func TestAllocations(t *testing.T) {
	bytes := func(lengths ...int) uint64 {
		w := newTower(t, 1, 0.1, true)
		for range 20 {
			w.set(t, lengths...)
			check(t, w.s.Run())
		}
		// A worker's buffers grow when it first gets a large part, which may be
		// late where the cores are busy: the least of a few measurements counts.
		least := uint64(math.MaxUint64)
		for range 5 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range 10 {
				check(t, w.s.Run())
			}
			runtime.ReadMemStats(&after)
			least = min(least, (after.TotalAlloc-before.TotalAlloc)/10)
		}
		return least
	}
	small, large := bytes(4, 5), bytes(200, 300, 100)
	if large > small+4096 {
		t.Errorf("a step allocates %d bytes for 9 tokens and %d for 600", small, large)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		build func(g *Graph) *Node
		want  string
	}{
		{"linear", func(g *Graph) *Node {
			return g.Linear(g.Input("x", Tokens, 5), g.Parameter("w", make([]float32, 12), 3, 4), nil, Identity)
		}, "Linear: input is [tokens 5] and weight [3 4]"},
		{"rows of two kinds", func(g *Graph) *Node {
			return g.MSE(g.InputWithGradient("x", Tokens, 5), g.Input("y", Sequences, 5))
		}, "MSE: input is [tokens 5] and target [sequences 5]"},
		{"attention", func(g *Graph) *Node {
			return g.SelfAttention(g.Input("x", Tokens, 24), g.Ints("o", Boundaries), 3, 4, AttentionOptions{})
		}, "want 36 columns for 3 heads of width 4"},
		{"head mask", func(g *Graph) *Node {
			return g.SelfAttention(g.Input("x", Tokens, 24), g.Ints("o", Boundaries), 2, 4, AttentionOptions{HeadMask: g.Input("m", Sequences, 3)})
		}, "head mask is [sequences 3], want [sequences 2]"},
		{"biases", func(g *Graph) *Node {
			return g.SelfAttention(g.Input("x", Tokens, 24), g.Ints("o", Boundaries), 2, 4, AttentionOptions{Bias: g.Parameter("b", make([]float32, 12), 2, 6)})
		}, "biases are [2 6], want [2 heads, an odd number of distances]"},
		{"a bucket that is not there", func(g *Graph) *Node {
			return g.ScoreBias(g.Parameter("table", make([]float32, 8), 4, 2), []int32{0, 4, 1}, []int{0})
		}, "ScoreBias: row 4 of a table of 4"},
		{"parameter", func(g *Graph) *Node { return g.Parameter("w", make([]float32, 5), 2, 3) }, "parameter w: 5 values for shape [2 3]"},
		{"relation", func(g *Graph) *Node {
			return g.RelationKL(g.Input("x", Tokens, 24), g.Input("y", Tokens, 24), g.Ints("o", Boundaries), 5)
		}, "5 relation heads do not divide"},
		{"attention heads", func(g *Graph) *Node {
			return g.AttentionLoss(g.InputWithGradient("x", Tokens, 24), g.Input("y", Tokens, 24), g.Ints("o", Boundaries), AttentionLossOptions{Heads: 2, TargetHeads: 4})
		}, "2 heads and 4 of the target, want equal numbers or head means"},
		{"dropout", func(g *Graph) *Node { return g.Dropout(g.Input("x", Tokens, 24), 1) }, "probability is 1"},
		{"temperature", func(g *Graph) *Node {
			return g.SoftCrossEntropy(g.Input("x", Tokens, 2), g.Input("y", Tokens, 2), NewWeight(0), Mean)
		}, "temperature is 0"},
		{"no gradient", func(g *Graph) *Node { return g.MSE(g.Input("x", Tokens, 2), g.Input("y", Tokens, 2)) }, "depends on no trainable parameter"},
		{"no scalar", func(g *Graph) *Node { return g.InputWithGradient("x", Tokens, 2) }, "expected a scalar"},
	} {
		g := New(Options{Threads: 1})
		_, err := NewSession(g, c.build(g))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want one with %q", c.name, err, c.want)
		}
		g.Close()
	}
}

// What is wrong with a batch is an error of Run, after which a good one runs.
func TestRunErrors(t *testing.T) {
	t.Parallel()
	w := newTower(t, 1, 0, true)
	if err := w.s.Run(); err == nil || !strings.Contains(err.Error(), "is not set") {
		t.Errorf("no inputs: error is %v", err)
	}
	w.set(t, 4, 4)
	check(t, w.s.Run())
	want := w.results()
	for _, c := range []struct {
		offsets, labels []int32
		want            string
	}{
		{[]int32{0, 4, 9}, []int32{0, 1}, "do not run from 0 to the 8 tokens"},
		{[]int32{0, 8, 8}, []int32{0, 1}, "it is empty"},
		{[]int32{0, 4, 8}, []int32{0, 3}, "label of row 1 is 3, want 0 to 2"},
		{[]int32{0, 4, 8}, []int32{0}, "CrossEntropy: logits are [2 3] and labels [1]"},
	} {
		check(t, w.g.SetInts(w.offsets, c.offsets))
		check(t, w.g.SetInts(w.labels, c.labels))
		if err := w.s.Run(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, want one with %q", err, c.want)
		}
	}
	w.set(t, 4, 4)
	check(t, w.s.Run())
	if !slices.Equal(w.results(), want) {
		t.Error("a run after errors differs")
	}
	if err := w.g.Set(w.x, make([]float32, 17)); err == nil {
		t.Error("17 values for 16 columns: no error")
	}
	if err := w.g.SetInts(w.x, []int32{1}); err == nil {
		t.Error("integers for a matrix: no error")
	}
}

// A panic within an operation is an error of Run.
func TestPanics(t *testing.T) {
	t.Parallel()
	g := New(Options{Threads: 2})
	defer g.Close()
	x := g.InputWithGradient("x", Tokens, 2)
	loss := g.apply(&panics{}, []bool{true}, x)
	s, err := NewSession(g, loss)
	check(t, err)
	check(t, g.Set(x, make([]float32, 200)))
	if err := s.Run(); err == nil || !strings.Contains(err.Error(), "panics: index out of range") {
		t.Errorf("error is %v", err)
	}
}

type panics struct{ dot }

func (*panics) name() string { return "panics" }
func (*panics) forward(g *Graph, in []array, _ array, _ bool) error {
	g.rows(in[0].rows, func(_, part, _, _ int) {
		if part == 1 {
			panic("index out of range")
		}
	})
	return nil
}

// Of Gorgonia's operations several give wrong answers: the package uses none.
func TestNoStockOperations(t *testing.T) {
	t.Parallel()
	allowed := strings.Fields(`Node Nodes Op SDOp Value UnsafeDoer F32 NewF32 TensorType DimSizer DimSizersToShapes ExprGraph NewGraph
		NewTensor WithShape WithName WithValue ApplyOp Grad Sort`)
	files, err := os.ReadDir(".")
	check(t, err)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		check(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "G" && x.Obj == nil && !slices.Contains(allowed, s.Sel.Name) {
					t.Errorf("%s uses gorgonia.%s", f.Name(), s.Sel.Name)
				}
			}
			return true
		})
	}
}
