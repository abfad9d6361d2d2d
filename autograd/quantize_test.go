package autograd

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/internal/gradcheck"
	"github.com/skive-ml/skive/internal/quant"
)

// quantizedCase is a quantized linear layer: what goes into it, the input of 5
// tokens, weight, bias and, where it is learned, the scale; and what comes out.
type quantizedCase struct {
	Inputs       [][]float32
	Output       []float64
	Coefficients []float32
	Gradients    [][]float64
}

// quantizedGoldens are PyTorch's.
func quantizedGoldens(t *testing.T) map[string]quantizedCase {
	raw, err := os.ReadFile("testdata/quantize.json")
	check(t, err)
	var goldens map[string]quantizedCase
	check(t, json.Unmarshal(raw, &goldens))
	return goldens
}

// run returns the output, and the gradients of the inputs in their order.
func (c *quantizedCase) run(t *testing.T, name string, threads int) (output []float32, gradients [][]float32) {
	t.Helper()
	g := New(Options{Threads: threads})
	defer g.Close()
	out := len(c.Inputs[2])
	in := len(c.Inputs[1]) / out
	x := g.InputWithGradient("x", Tokens, in)
	check(t, g.Set(x, c.Inputs[0]))
	nodes := []*Node{x, g.Parameter("w", c.Inputs[1], out, in), g.Parameter("b", c.Inputs[2], out)}
	var scale *Node
	if len(c.Inputs) > 3 {
		scale = g.Parameter("s", c.Inputs[3], 1)
		nodes = append(nodes, scale)
	}
	activation := Identity
	switch {
	case strings.Contains(name, "GELU"):
		activation = GELU
	case strings.Contains(name, "cut"):
		activation = ReLU
	}
	y := g.QuantizedLinear(x, nodes[1], nodes[2], scale, activation)
	s, err := NewSession(g, g.apply(&dot{c.Coefficients}, []bool{true}, y))
	check(t, err)
	for range 2 { // buffers of the run before must not matter
		check(t, s.Run())
	}
	for _, n := range nodes {
		gradients = append(gradients, slices.Clone(s.Gradient(n)))
	}
	return slices.Clone(s.Value(y)), gradients
}

// The output is that of the rounded operands, and the gradients are those that
// straight-through rounding and LSQ's pseudocode give in PyTorch.
func TestQuantizedLinearFollowsPyTorch(t *testing.T) {
	t.Parallel()
	for name, c := range quantizedGoldens(t) {
		output, gradients := c.run(t, name, 2)
		if e := gradcheck.RelativeError(output, c.Output); e > 1e-5 {
			t.Errorf("%s: output differs by %.1e of its largest element", name, e)
		}
		for i, want := range c.Gradients {
			if e := gradcheck.RelativeError(gradients[i], want); e > 1e-4 {
				t.Errorf("%s: gradient of %s differs by %.1e of its largest element", name, []string{"x", "weight", "bias", "scale"}[i], e)
			}
		}
	}
}

func TestQuantizedLinearWithAnyThreads(t *testing.T) {
	t.Parallel()
	for name, c := range quantizedGoldens(t) {
		output, gradients := c.run(t, name, 1)
		for _, threads := range []int{2, 7} {
			o, g := c.run(t, name, threads)
			if !slices.Equal(o, output) || !slices.EqualFunc(g, gradients, slices.Equal[[]float32]) {
				t.Errorf("%s: other bits with %d threads", name, threads)
			}
		}
	}
}

// The gradient of a scale that two layers share is the sum of theirs, and a
// scale alone can be trained.
func TestSharedScale(t *testing.T) {
	t.Parallel()
	c := quantizedGoldens(t)["static"]
	_, want := c.run(t, "static", 1)
	g := New(Options{Threads: 1})
	defer g.Close()
	x := g.Input("x", Tokens, 18)
	check(t, g.Set(x, c.Inputs[0]))
	w, b, scale := g.Constant("w", c.Inputs[1], 19, 18), g.Constant("b", c.Inputs[2], 19), g.Parameter("s", c.Inputs[3], 1)
	var terms []Term
	for range 2 {
		terms = append(terms, Term{g.apply(&dot{c.Coefficients}, []bool{true}, g.QuantizedLinear(x, w, b, scale, Identity)), NewWeight(1)})
	}
	s, err := NewSession(g, g.WeightedSum(terms...))
	check(t, err)
	for range 2 {
		check(t, s.Run())
		if got := s.Gradient(scale); len(got) != 1 || got[0] != 2*want[3][0] {
			t.Errorf("gradient %v, want twice %v", got, want[3])
		}
	}
}

// Rows of words and positions are rounded, those of types are not, and gradients
// are those of the float embedding.
func TestQuantizedEmbedding(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	random := func(rows int) []float32 {
		v := make([]float32, rows*5)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		return v
	}
	words, positions, types := random(7), random(9), random(2)
	coefficients := random(11)
	rounded := func(table []float32) []float32 {
		q, scale, out := make([]int8, len(table)), make([]float32, len(table)/5), make([]float32, len(table))
		check(t, quant.Channels(q, scale, table, len(scale), 5))
		for i := range out {
			out[i] = scale[i/5] * float32(q[i])
		}
		return out
	}
	run := func(quantized bool, words, positions []float32) (output []float32, gradients [][]float32) {
		g := New(Options{Threads: 2})
		defer g.Close()
		ids, places, kinds := g.Ints("ids", Tokens), g.Ints("places", Tokens), g.Ints("types", Tokens)
		for n, v := range map[*Node][]int32{ids: testIDs, places: testPlaces, kinds: testTypes} {
			check(t, g.SetInts(n, v))
		}
		tables := []*Node{g.Parameter("words", words, 7, 5), g.Parameter("positions", positions, 9, 5), g.Parameter("types", types, 2, 5)}
		embedding := g.Embedding
		if quantized {
			embedding = g.QuantizedEmbedding
		}
		y := embedding(tables[0], tables[1], tables[2], ids, places, kinds)
		s, err := NewSession(g, g.apply(&dot{coefficients}, []bool{true}, y))
		check(t, err)
		check(t, s.Run())
		for _, n := range tables {
			gradients = append(gradients, slices.Clone(s.Gradient(n)))
		}
		return slices.Clone(s.Value(y)), gradients
	}
	output, gradients := run(true, words, positions)
	want, wantGradients := run(false, rounded(words), rounded(positions))
	if !slices.Equal(output, want) {
		t.Error("other bits than those of the rounded tables")
	}
	if !slices.EqualFunc(gradients, wantGradients, slices.Equal[[]float32]) {
		t.Error("other gradients than those of the rounded tables")
	}
}

func TestQuantizedLinearRefuses(t *testing.T) {
	t.Parallel()
	nan := float32(math.NaN())
	for want, c := range map[string]struct {
		weight []float32
		scale  []float32
	}{
		"scale is [2], want [1]":                    {[]float32{1, 2, 3, 4}, []float32{1, 1}},
		"scale of the input is 0, want a positive":  {[]float32{1, 2, 3, 4}, []float32{0}},
		"scale of the input is -1, want a positive": {[]float32{1, 2, 3, 4}, []float32{-1}},
		"QuantizedLinear: weight holds NaN":         {[]float32{1, nan, 3, 4}, []float32{1}},
	} {
		g := New(Options{Threads: 1})
		x := g.InputWithGradient("x", Tokens, 2)
		check(t, g.Set(x, []float32{1, 2}))
		y := g.QuantizedLinear(x, g.Parameter("w", c.weight, 2, 2), g.Parameter("b", []float32{0, 0}, 2), g.Parameter("s", c.scale, len(c.scale)), Identity)
		s, err := NewSession(g, nil)
		if err == nil {
			err = s.Run()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s (%v)", err, want, y)
		}
		if strings.Contains(want, "NaN") && !errors.Is(err, quant.ErrNotFinite) {
			t.Errorf("%v does not wrap ErrNotFinite", err)
		}
		g.Close()
	}
}
