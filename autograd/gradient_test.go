package autograd

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/skive-ml/skive/internal/gradcheck"
)

// dot is the test's own loss: the sum of x times fixed coefficients.
type dot struct{ coefficients []float32 }

func (*dot) name() string                 { return "dot" }
func (*dot) shape([]array) (array, error) { return array{rows: 1, columns: 1}, nil }
func (l *dot) forward(_ *Graph, in []array, out array, _ bool) error {
	if len(in[0].f) != len(l.coefficients) {
		return errors.New("length")
	}
	sum := 0.0
	for i, c := range l.coefficients {
		sum += float64(c) * float64(in[0].f[i])
	}
	out.f[0] = float32(sum)
	return nil
}
func (l *dot) backward(_ *Graph, in []array, out, dout array, d []array) error {
	for i, c := range l.coefficients {
		d[0].f[i] = c * dout.f[0]
	}
	return nil
}

// operand is an input of the operation under test: activations with one row a
// token or sequence, or, with rows, weights.
type operand struct {
	name          string
	extent        Extent
	rows, columns int
	constant      bool
}

var (
	testOffsets = []int32{0, 3, 4, 11}
	testIDs     = []int32{2, 5, 3, 2, 2, 0, 1, 5, 6, 4, 3}
	testPlaces  = []int32{0, 1, 2, 0, 0, 1, 2, 3, 4, 5, 6}
	testTypes   = []int32{0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1}
	testLabels  = []int32{2, -100, 0}
	testRows    = []int32{10, 0, 3, 0}
	testGroups  = []int32{4, 4, 4, 7, 2, 2, 2, 2, 2, 2, 2}
	testRight   = []int32{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	testWeights = []float64{0.5, 2, 1.25, 0}
	testBuckets = []int32{3, 3, 3, 2, 2, 1, 0, 1, 1, 1, 3, 2, 0}
	testColumns = []int{4, 0, 2}
	// testDistances are rows of distances up to 6 tokens.
	testDistances = []int32{6, 6, 5, 5, 5, 4, 3, 2, 1, 1, 1, 0, 0}
)

// opCase is an operation with its float64 reference.
type opCase struct {
	name     string
	operands []operand
	build    func(g *Graph, n []*Node, in testInputs) *Node
	// reference returns the output, a loss as one element.
	reference func(x [][]float64) []float64
}

type testInputs struct{ offsets, ids, places, types, labels, rows, groups, right *Node }

func tokens(name string, columns int) operand {
	return operand{name: name, extent: Tokens, columns: columns}
}
func perSequence(name string, columns int) operand {
	return operand{name: name, extent: Sequences, columns: columns}
}
func weights(name string, rows, columns int) operand {
	return operand{name: name, rows: rows, columns: columns}
}
func target(o operand) operand { o.constant = true; return o }

var opCases = []opCase{
	{"Embedding", []operand{weights("words", 7, 5), weights("positions", 9, 5), weights("types", 2, 5)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.Embedding(n[0], n[1], n[2], in.ids, in.places, in.types)
		},
		func(x [][]float64) []float64 {
			return gradcheck.Embedding(x[0], x[1], x[2], testIDs, testPlaces, testTypes, 5)
		}},
	linearCase("Linear", Identity, ""),
	linearCase("Linear GELU", GELU, "gelu"),
	linearCase("Linear GELUTanh", GELUTanh, "gelu_new"),
	linearCase("Linear ReLU", ReLU, "relu"),
	linearCase("Linear Tanh", Tanh, "tanh"),
	linearCase("Linear SiLU", SiLU, "silu"),
	{"Linear without bias", []operand{tokens("x", 6), weights("w", 4, 6)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.Linear(n[0], n[1], nil, GELU) },
		func(x [][]float64) []float64 {
			return gradcheck.Linear(x[0], x[1], nil, 6, gradcheck.Activation("gelu"))
		}},
	{"LayerNorm", []operand{tokens("x", 6), weights("gamma", 6, 0), weights("beta", 6, 0)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.LayerNorm(n[0], n[1], n[2], 1e-5) },
		func(x [][]float64) []float64 { return gradcheck.LayerNorm(x[0], nil, x[1], x[2], 1e-5) }},
	{"AddLayerNorm", []operand{tokens("x", 20), weights("gamma", 20, 0), weights("beta", 20, 0), tokens("residual", 20)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.AddLayerNorm(n[0], n[3], n[1], n[2], 1e-5) },
		func(x [][]float64) []float64 { return gradcheck.LayerNorm(x[0], x[3], x[1], x[2], 1e-5) }},
	{"AddLayerNorm of a value and itself", []operand{tokens("x", 6), weights("gamma", 6, 0), weights("beta", 6, 0)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.AddLayerNorm(n[0], n[0], n[1], n[2], 1e-5) },
		func(x [][]float64) []float64 { return gradcheck.LayerNorm(x[0], x[0], x[1], x[2], 1e-5) }},
	{"SelfAttention", []operand{tokens("qkv", 3*2*4)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.SelfAttention(n[0], in.offsets, 2, 4, AttentionOptions{})
		},
		func(x [][]float64) []float64 { return gradcheck.SelfAttention(x[0], nil, testOffsets, 2, 4) }},
	{"SelfAttention with head mask", []operand{tokens("qkv", 3*3*5), perSequence("mask", 3)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.SelfAttention(n[0], in.offsets, 3, 5, AttentionOptions{HeadMask: n[1]})
		},
		func(x [][]float64) []float64 { return gradcheck.SelfAttention(x[0], x[1], testOffsets, 3, 5) }},
	{"FirstAttention", []operand{perSequence("q", 6), tokens("kv", 12), perSequence("mask", 2)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.FirstAttention(n[0], n[1], in.offsets, 2, 3, AttentionOptions{HeadMask: n[2]})
		},
		func(x [][]float64) []float64 {
			return gradcheck.First(gradcheck.SelfAttention(firstQueries(x[0], x[1]), x[2], testOffsets, 2, 3), testOffsets, 6)
		}},
	{"SelfAttention with biases", []operand{tokens("qkv", 3*3*5), perSequence("mask", 3), weights("table", 4, 5)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.SelfAttention(n[0], in.offsets, 3, 5, AttentionOptions{HeadMask: n[1], Bias: g.ScoreBias(n[2], testBuckets, testColumns)})
		},
		func(x [][]float64) []float64 {
			return gradcheck.BiasedAttention(x[0], x[1], layBias(x[2]), testOffsets, 3, 5, 0)
		}},
	{"FirstAttention with biases", []operand{perSequence("q", 6), tokens("kv", 12), weights("bias", 2, 13)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.FirstAttention(n[0], n[1], in.offsets, 2, 3, AttentionOptions{Bias: n[2]})
		},
		func(x [][]float64) []float64 {
			return gradcheck.First(gradcheck.BiasedAttention(firstQueries(x[0], x[1]), nil, x[2], testOffsets, 2, 3, 0), testOffsets, 6)
		}},
	biasedLossCase("AttentionLoss MSE with biases", AttentionLossOptions{Heads: 2, TargetHeads: 2}, "mse"),
	biasedLossCase("AttentionLoss KL with biases", AttentionLossOptions{Heads: 2, TargetHeads: 2, Distance: MapKL}, "kl"),
	biasedLossCase("AttentionLoss cosine of means with biases", AttentionLossOptions{Heads: 2, TargetHeads: 2, Distance: MapCosine, HeadMeans: true}, "cosine"),
	{"SelfAttention with relative terms", []operand{tokens("qkv", 3*2*4), perSequence("mask", 2), weights("distances", 8, 3*2*4)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.SelfAttention(n[0], in.offsets, 2, 4, AttentionOptions{HeadMask: n[1], Relative: &Relative{[]*Node{n[2]}, testDistances}})
		},
		func(x [][]float64) []float64 {
			return gradcheck.RelativeAttention(x[0], x[1], x[2], testDistances, testOffsets, 2, 4)
		}},
	{"FirstAttention with relative terms", []operand{perSequence("q", 6), tokens("kv", 12), weights("queries of distances", 7, 6), weights("keys of distances", 7, 12)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.FirstAttention(n[0], n[1], in.offsets, 2, 3, AttentionOptions{Relative: &Relative{n[2:4], testDistances}})
		},
		func(x [][]float64) []float64 {
			var distances []float64
			for i := range 7 {
				distances = append(append(distances, x[2][i*6:][:6]...), x[3][i*12:][:12]...)
			}
			return gradcheck.First(gradcheck.RelativeAttention(firstQueries(x[0], x[1]), nil, distances, testDistances, testOffsets, 2, 3), testOffsets, 6)
		}},
	relativeLossCase("AttentionLoss MSE with relative terms", ScoreMSE, "mse"),
	relativeLossCase("AttentionLoss KL with relative terms", MapKL, "kl"),
	{"SelfAttention with windows", []operand{tokens("qkv", 3*3*5), perSequence("mask", 3)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.SelfAttention(n[0], in.offsets, 3, 5, AttentionOptions{HeadMask: n[1], Window: 2})
		},
		func(x [][]float64) []float64 {
			return gradcheck.BiasedAttention(x[0], x[1], nil, testOffsets, 3, 5, 2)
		}},
	{"SelfAttention with windows and biases", []operand{tokens("qkv", 3*3*5), weights("table", 4, 5)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.SelfAttention(n[0], in.offsets, 3, 5, AttentionOptions{Window: 1, Bias: g.ScoreBias(n[1], testBuckets, testColumns)})
		},
		func(x [][]float64) []float64 {
			return gradcheck.BiasedAttention(x[0], nil, layBias(x[1]), testOffsets, 3, 5, 1)
		}},
	{"FirstAttention with windows", []operand{perSequence("q", 6), tokens("kv", 12), perSequence("mask", 2)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.FirstAttention(n[0], n[1], in.offsets, 2, 3, AttentionOptions{HeadMask: n[2], Window: 3})
		},
		func(x [][]float64) []float64 {
			return gradcheck.First(gradcheck.BiasedAttention(firstQueries(x[0], x[1]), x[2], nil, testOffsets, 2, 3, 3), testOffsets, 6)
		}},
	attentionLossCase("AttentionLoss of scores with windows", AttentionLossOptions{Heads: 2, TargetHeads: 2, Distance: ScoreMSE, Window: 2}, "mse"),
	attentionLossCase("AttentionLoss of maps by cosine with windows", AttentionLossOptions{Heads: 2, TargetHeads: 2, Distance: MapCosine, Window: 1}, "cosine"),
	attentionLossCase("AttentionLoss of maps by KL with windows", AttentionLossOptions{Heads: 2, TargetHeads: 2, Distance: MapKL, Window: 2}, "kl"),
	attentionLossCase("AttentionLoss of maps by KL with windows, head means", AttentionLossOptions{Heads: 3, TargetHeads: 4, Distance: MapKL, HeadMeans: true, Window: 2}, "kl"),
	attentionLossCase("AttentionLoss of scores with windows, head means", AttentionLossOptions{Heads: 3, TargetHeads: 4, Distance: ScoreMSE, HeadMeans: true, Window: 2}, "mse"),
	{"Rotary", []operand{tokens("x", 18)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.Rotary(n[0], in.places, 12, NewTurns(6, testTurns))
		},
		func(x [][]float64) []float64 { return gradcheck.Rotary(x[0], testPlaces, 18, 12, 6, 50) }},
	{"Rotary and windows", []operand{tokens("qkv", 3*2*4)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			turned := g.Rotary(n[0], in.places, 2*2*4, NewTurns(4, func(first, end int) (cos, sin []float32) { return turns(4, first, end) }))
			return g.SelfAttention(turned, in.offsets, 2, 4, AttentionOptions{Window: 3})
		},
		func(x [][]float64) []float64 {
			return gradcheck.BiasedAttention(gradcheck.Rotary(x[0], testPlaces, 24, 16, 4, 50), nil, nil, testOffsets, 2, 4, 3)
		}},
	gatedCase("Gated GELU", GELU, "gelu"),
	gatedCase("Gated ReLU", ReLU, "relu"),
	gatedCase("Gated GELUTanh", GELUTanh, "gelu_new"),
	{"LayerNorm without beta", []operand{tokens("x", 6), weights("gamma", 6, 0)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.LayerNorm(n[0], n[1], nil, 1e-5) },
		func(x [][]float64) []float64 {
			return gradcheck.LayerNorm(x[0], nil, x[1], make([]float64, 6), 1e-5)
		}},
	{"AddLayerNorm without beta", []operand{tokens("x", 6), weights("gamma", 6, 0), tokens("residual", 6)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.AddLayerNorm(n[0], n[2], n[1], nil, 1e-5) },
		func(x [][]float64) []float64 {
			return gradcheck.LayerNorm(x[0], x[2], x[1], make([]float64, 6), 1e-5)
		}},
	{"norms before the layers", []operand{tokens("x", 6), weights("gamma", 6, 0), weights("w", 6, 6)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			x := n[0]
			for range 2 {
				x = g.Add(g.Linear(g.LayerNorm(x, n[1], nil, 1e-5), n[2], nil, Tanh), x)
			}
			return x
		},
		func(x [][]float64) []float64 {
			y := x[0]
			for range 2 {
				z := gradcheck.Linear(gradcheck.LayerNorm(y, nil, x[1], make([]float64, 6), 1e-5), x[2], nil, 6, gradcheck.Activation("tanh"))
				for i := range z {
					z[i] += y[i]
				}
				y = z
			}
			return y
		}},
	{"Add of a value and itself", []operand{tokens("x", 6)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.Add(n[0], g.Add(n[0], n[0])) },
		func(x [][]float64) []float64 {
			y := make([]float64, len(x[0]))
			for i, v := range x[0] {
				y[i] = 3 * v
			}
			return y
		}},
	{"SequenceMeans", []operand{tokens("x", 5)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.SequenceMeans(n[0], in.offsets) },
		func(x [][]float64) []float64 { return gradcheck.SequenceMeans(x[0], testOffsets, 5) }},
	{"Embedding of words alone", []operand{weights("words", 7, 5)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.Embedding(n[0], nil, nil, in.ids, nil, nil) },
		func(x [][]float64) []float64 {
			return gradcheck.Embedding(x[0], make([]float64, 9*5), make([]float64, 2*5), testIDs, testPlaces, testTypes, 5)
		}},
	{"Embedding without positions", []operand{weights("words", 7, 5), weights("types", 2, 5)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.Embedding(n[0], nil, n[1], in.ids, nil, in.types)
		},
		func(x [][]float64) []float64 {
			return gradcheck.Embedding(x[0], make([]float64, 9*5), x[1], testIDs, testPlaces, testTypes, 5)
		}},
	{"FFNMask", []operand{tokens("x", 5), perSequence("mask", 5)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.FFNMask(n[0], n[1], in.offsets) },
		func(x [][]float64) []float64 { return gradcheck.SequenceMask(x[0], x[1], testOffsets) }},
	{"FFNMask of first tokens", []operand{perSequence("x", 5), perSequence("mask", 5)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.FFNMask(n[0], n[1], nil) },
		func(x [][]float64) []float64 { return gradcheck.SequenceMask(x[0], x[1], []int32{0, 1, 2, 3}) }},
	{"SelectFirst", []operand{tokens("x", 5)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.SelectFirst(n[0], in.offsets) },
		func(x [][]float64) []float64 { return gradcheck.First(x[0], testOffsets, 5) }},
	{"SelectRows", []operand{tokens("x", 5)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.SelectRows(n[0], in.rows) },
		func(x [][]float64) []float64 {
			var out []float64
			for _, row := range testRows {
				out = append(out, x[0][5*row:][:5]...)
			}
			return out
		}},
	{"BinaryCrossEntropy", []operand{perSequence("logits", 4), target(perSequence("target", 4))},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.BinaryCrossEntropy(n[0], n[1]) },
		func(x [][]float64) []float64 { return []float64{gradcheck.BinaryCrossEntropy(x[0], x[1])} }},
	{"ChoiceCrossEntropy", []operand{tokens("scores", 1)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.ChoiceCrossEntropy(n[0], in.groups, in.right) },
		func(x [][]float64) []float64 {
			return []float64{(gradcheck.CrossEntropy(x[0][:3], []int32{1}) + gradcheck.CrossEntropy(x[0][4:], []int32{6})) / 2}
		}},
	{"CrossEntropy", []operand{perSequence("logits", 4)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.CrossEntropy(n[0], in.labels, Mean) },
		func(x [][]float64) []float64 { return []float64{gradcheck.CrossEntropy(x[0], testLabels)} }},
	{"CrossEntropy summed", []operand{perSequence("logits", 4)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.CrossEntropy(n[0], in.labels, Sum) },
		func(x [][]float64) []float64 { return []float64{2 * gradcheck.CrossEntropy(x[0], testLabels)} }},
	{"CrossEntropy weighted and smoothed", []operand{perSequence("logits", 4)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.WeightedCrossEntropy(n[0], in.labels, CrossEntropyOptions{Weights: testWeights, Smoothing: 0.1}, Mean)
		},
		func(x [][]float64) []float64 {
			return []float64{gradcheck.WeightedCrossEntropy(x[0], testLabels, testWeights, 0.1)}
		}},
	{"SoftCrossEntropy", []operand{perSequence("logits", 4), target(perSequence("target", 4))},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.SoftCrossEntropy(n[0], n[1], NewWeight(2.5), Mean)
		},
		func(x [][]float64) []float64 { return []float64{gradcheck.SoftCrossEntropy(x[0], x[1], 4, 2.5)} }},
	{"ChoiceSoftCrossEntropy", []operand{tokens("scores", 1), target(tokens("target", 1))},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.ChoiceSoftCrossEntropy(n[0], n[1], in.groups, NewWeight(2.5))
		},
		func(x [][]float64) []float64 {
			sum := 0.0
			for _, group := range [][2]int{{0, 3}, {3, 4}, {4, 11}} {
				lo, hi := group[0], group[1]
				sum += gradcheck.SoftCrossEntropy(x[0][lo:hi], x[1][lo:hi], hi-lo, 2.5)
			}
			return []float64{sum / 3}
		}},
	{"SoftBinaryCrossEntropy", []operand{perSequence("logits", 4), target(perSequence("target", 4))},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.SoftBinaryCrossEntropy(n[0], n[1], NewWeight(2.5))
		},
		func(x [][]float64) []float64 {
			logits, target := make([]float64, len(x[0])), make([]float64, len(x[0]))
			for i, v := range x[0] {
				logits[i], target[i] = v/2.5, 1/(1+math.Exp(-x[1][i]/2.5))
			}
			return []float64{2.5 * 2.5 * gradcheck.BinaryCrossEntropy(logits, target)}
		}},
	{"MSE", []operand{tokens("x", 6), target(tokens("target", 6))},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.MSE(n[0], n[1]) },
		func(x [][]float64) []float64 { return []float64{gradcheck.MSE(x[0], x[1])} }},
	{"CosineLoss", []operand{tokens("x", 6), target(tokens("target", 6))},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.CosineLoss(n[0], n[1]) },
		func(x [][]float64) []float64 { return []float64{gradcheck.CosineLoss(x[0], x[1], 6)} }},
	{"RelationKL", []operand{tokens("x", 3*12), target(tokens("target", 3*20))},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.RelationKL(n[0], n[1], in.offsets, 4) },
		func(x [][]float64) []float64 {
			return []float64{gradcheck.RelationKL(x[0], x[1], testOffsets, 4, 0, 1, 2)}
		}},
	{"ValueRelationKL", []operand{tokens("x", 3*6), target(tokens("target", 3*8))},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.ValueRelationKL(n[0], n[1], in.offsets, 2) },
		func(x [][]float64) []float64 { return []float64{gradcheck.RelationKL(x[0], x[1], testOffsets, 2, 2)} }},
	{"NormalizedMSE", []operand{tokens("x", 6), target(tokens("target", 6))},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.NormalizedMSE(n[0], n[1]) },
		func(x [][]float64) []float64 { return []float64{2 * gradcheck.CosineLoss(x[0], x[1], 6)} }},
	attentionLossCase("AttentionLoss of scores", AttentionLossOptions{Heads: 2, TargetHeads: 2, Distance: ScoreMSE}, "mse"),
	attentionLossCase("AttentionLoss of maps by cosine", AttentionLossOptions{Heads: 2, TargetHeads: 2, Distance: MapCosine}, "cosine"),
	attentionLossCase("AttentionLoss of maps by cross-entropy", AttentionLossOptions{Heads: 2, TargetHeads: 2, Distance: MapCrossEntropy}, "ce"),
	attentionLossCase("AttentionLoss of maps by KL", AttentionLossOptions{Heads: 2, TargetHeads: 2, Distance: MapKL}, "kl"),
	attentionLossCase("AttentionLoss of scores, head means", AttentionLossOptions{Heads: 3, TargetHeads: 4, Distance: ScoreMSE, HeadMeans: true}, "mse"),
	attentionLossCase("AttentionLoss of maps by cosine, head means", AttentionLossOptions{Heads: 2, TargetHeads: 1, Distance: MapCosine, HeadMeans: true}, "cosine"),
	attentionLossCase("AttentionLoss of maps by cross-entropy, head means", AttentionLossOptions{Heads: 1, TargetHeads: 4, Distance: MapCrossEntropy, HeadMeans: true}, "ce"),
	attentionLossCase("AttentionLoss of maps by KL, head means", AttentionLossOptions{Heads: 3, TargetHeads: 4, Distance: MapKL, HeadMeans: true}, "kl"),
	{"WeightedSum of losses of one value", []operand{perSequence("logits", 1), target(perSequence("target", 1))},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.WeightedSum(Term{g.MSE(n[0], n[1]), NewWeight(0.25)}, Term{g.CosineLoss(n[0], n[1]), NewWeight(2)},
				Term{g.SoftCrossEntropy(n[0], n[1], NewWeight(1), Sum), NewWeight(1)})
		},
		func(x [][]float64) []float64 {
			return []float64{0.25*gradcheck.MSE(x[0], x[1]) + 2*gradcheck.CosineLoss(x[0], x[1], 1)}
		}},
	{"a weight used twice", []operand{tokens("x", 6), weights("w", 6, 6)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.Linear(g.Linear(n[0], n[1], nil, Tanh), n[1], nil, Identity)
		},
		func(x [][]float64) []float64 {
			tanh, id := gradcheck.Activation("tanh"), gradcheck.Activation("")
			return gradcheck.Linear(gradcheck.Linear(x[0], x[1], nil, 6, tanh), x[1], nil, 6, id)
		}},
	{"a matrix looked up twice", []operand{weights("words", 7, 5), weights("positions", 9, 5), weights("types", 2, 5)},
		func(g *Graph, n []*Node, in testInputs) *Node {
			a := g.Embedding(n[0], n[1], n[2], in.ids, in.places, in.types)
			return g.FFNMask(a, g.SelectFirst(g.Embedding(n[0], n[1], n[2], in.places, in.types, in.types), in.offsets), in.offsets)
		},
		func(x [][]float64) []float64 {
			a := gradcheck.Embedding(x[0], x[1], x[2], testIDs, testPlaces, testTypes, 5)
			b := gradcheck.Embedding(x[0], x[1], x[2], testPlaces, testTypes, testTypes, 5)
			return gradcheck.SequenceMask(a, gradcheck.First(b, testOffsets, 5), testOffsets)
		}},
}

func linearCase(name string, a Activation, activation string) opCase {
	return opCase{name, []operand{tokens("x", 6), weights("w", 19, 6), weights("b", 19, 0)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.Linear(n[0], n[1], n[2], a) },
		func(x [][]float64) []float64 {
			return gradcheck.Linear(x[0], x[1], x[2], 6, gradcheck.Activation(activation))
		}}
}

func gatedCase(name string, a Activation, activation string) opCase {
	return opCase{name, []operand{tokens("x", 2*19)},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.Gated(n[0], a) },
		func(x [][]float64) []float64 { return gradcheck.Gated(x[0], 19, gradcheck.Activation(activation)) }}
}

// turns are those of heads of a width at base 50, and testTurns of width 6.
func turns(width, first, end int) (cos, sin []float32) {
	for p := first; p < end; p++ {
		for k := range width / 2 {
			angle := float64(p) * math.Pow(50, -2*float64(k)/float64(width))
			cos, sin = append(cos, float32(math.Cos(angle))), append(sin, float32(math.Sin(angle)))
		}
	}
	return cos, sin
}

func testTurns(first, end int) (cos, sin []float32) { return turns(6, first, end) }

func relativeLossCase(name string, d AttentionDistance, distance string) opCase {
	return opCase{name, []operand{tokens("x", 3*2*4), target(tokens("target", 3*2*3)), weights("distances", 7, 3*2*4), target(weights("target distances", 7, 3*2*3))},
		func(g *Graph, n []*Node, in testInputs) *Node {
			return g.AttentionLoss(n[0], n[1], in.offsets, AttentionLossOptions{
				Heads: 2, TargetHeads: 2, Distance: d, Relative: &Relative{n[2:3], testDistances}, TargetRelative: &Relative{n[3:4], testDistances},
			})
		},
		func(x [][]float64) []float64 {
			return []float64{gradcheck.RelativeAttentionLoss(x[0], x[1], x[2], x[3], testDistances, testOffsets, 2, 4, 3, distance)}
		}}
}

func attentionLossCase(name string, o AttentionLossOptions, distance string) opCase {
	return opCase{name, []operand{tokens("x", 3*6), target(tokens("target", 3*8))},
		func(g *Graph, n []*Node, in testInputs) *Node { return g.AttentionLoss(n[0], n[1], in.offsets, o) },
		func(x [][]float64) []float64 {
			return []float64{gradcheck.BiasedAttentionLoss(x[0], x[1], nil, nil, testOffsets, o.Heads, o.TargetHeads, distance, o.HeadMeans, o.Window)}
		}}
}

// biasedLossCase gives x biases that have gradients, and the target some that have
// none.
func biasedLossCase(name string, o AttentionLossOptions, distance string) opCase {
	return opCase{name, []operand{tokens("x", 3*6), target(tokens("target", 3*8)), weights("bias", 2, 15), target(weights("target bias", 2, 13))},
		func(g *Graph, n []*Node, in testInputs) *Node {
			o.Bias, o.TargetBias = n[2], n[3]
			return g.AttentionLoss(n[0], n[1], in.offsets, o)
		},
		func(x [][]float64) []float64 {
			return []float64{gradcheck.BiasedAttentionLoss(x[0], x[1], x[2], x[3], testOffsets, o.Heads, o.TargetHeads, distance, o.HeadMeans, o.Window)}
		}}
}

// firstQueries puts the queries of the first tokens beside keys and values, all of
// width 6. Those of the other tokens are unread.
func firstQueries(q, kv []float64) []float64 {
	qkv := make([]float64, 11*18)
	for t := range 11 {
		copy(qkv[t*18+6:], kv[t*12:][:12])
	}
	for s := range 3 {
		copy(qkv[int(testOffsets[s])*18:], q[s*6:][:6])
	}
	return qkv
}

// layBias is what ScoreBias makes of a table of 5 columns.
func layBias(table []float64) []float64 {
	var bias []float64
	for _, column := range testColumns {
		for _, row := range testBuckets {
			bias = append(bias, table[int(row)*5+column])
		}
	}
	return bias
}

// instance is an operation in a session, with the test's loss.
type instance struct {
	graph   *Graph
	session *Session
	nodes   []*Node
	values  [][]float32
	output  *Node
	// coefficients weigh the output's elements in the loss.
	coefficients []float32
}

func newInstance(t *testing.T, c opCase, threads int) *instance {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	g := New(Options{Threads: threads, Seed: 5})
	t.Cleanup(g.Close)
	in := testInputs{g.Ints("offsets", Boundaries), g.Ints("ids", Tokens), g.Ints("places", Tokens), g.Ints("types", Tokens), g.Ints("labels", Sequences),
		g.Ints("rows", Selected), g.Ints("groups", Tokens), g.Ints("right", Tokens)}
	for n, v := range map[*Node][]int32{in.offsets: testOffsets, in.ids: testIDs, in.places: testPlaces, in.types: testTypes, in.labels: testLabels,
		in.rows: testRows, in.groups: testGroups, in.right: testRight} {
		check(t, g.SetInts(n, v))
	}
	x := &instance{graph: g}
	for _, o := range c.operands {
		rows := o.rows
		if rows == 0 {
			rows = map[Extent]int{Tokens: 11, Sequences: 3}[o.extent]
		}
		v := make([]float32, rows*max(o.columns, 1))
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		var n *Node
		switch {
		case o.rows > 0 && o.columns > 0:
			n = g.Parameter(o.name, v, rows, o.columns)
		case o.rows > 0:
			n = g.Parameter(o.name, v, rows)
		case o.constant:
			n = g.Input(o.name, o.extent, o.columns)
			check(t, g.Set(n, v))
		default:
			n = g.InputWithGradient(o.name, o.extent, o.columns)
			check(t, g.Set(n, v))
		}
		x.nodes, x.values = append(x.nodes, n), append(x.values, v)
	}
	x.output = c.build(g, x.nodes, in)
	check(t, g.Err())
	loss := x.output
	if len(x.output.Shape()) > 0 {
		for range c.reference(x.float64s()) {
			x.coefficients = append(x.coefficients, float32(r.NormFloat64()))
		}
		loss = g.apply(&dot{x.coefficients}, []bool{true}, x.output)
	}
	s, err := NewSession(g, loss)
	check(t, err)
	x.session = s
	check(t, s.Run())
	return x
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (x *instance) float64s() [][]float64 {
	var out [][]float64
	for _, v := range x.values {
		out = append(out, gradcheck.Float64s(v))
	}
	return out
}

// Every operation agrees with its float64 reference, and its gradients with the
// reference's central differences.
func TestGradients(t *testing.T) {
	t.Parallel()
	for _, c := range opCases {
		t.Run(c.name, func(t *testing.T) {
			x := newInstance(t, c, 2)
			check(t, x.session.Run()) // buffers of the run before must not matter
			in := x.float64s()
			if e := gradcheck.RelativeError(x.session.Value(x.output), c.reference(in)); e > 1e-5 {
				t.Errorf("output differs by %.1e of its largest element", e)
			}
			loss := func() float64 {
				out := c.reference(in)
				if x.coefficients == nil {
					return out[0]
				}
				sum := 0.0
				for i, v := range out {
					sum += v * float64(x.coefficients[i])
				}
				return sum
			}
			for i, o := range c.operands {
				got := x.session.Gradient(x.nodes[i])
				if o.constant {
					if got != nil {
						t.Errorf("%s: a gradient of a constant", o.name)
					}
					continue
				}
				e := gradcheck.RelativeError(got, gradcheck.Numeric(loss, in[i]))
				if e > 1e-3 {
					t.Errorf("%s: gradient differs by %.1e of its largest element", o.name, e)
				}
			}
		})
	}
}

// The number of threads changes no bit.
func TestThreads(t *testing.T) {
	t.Parallel()
	for _, c := range opCases {
		want := newInstance(t, c, 1)
		for _, threads := range []int{2, 7} {
			got := newInstance(t, c, threads)
			if !slices.Equal(got.session.Value(got.output), want.session.Value(want.output)) {
				t.Errorf("%s: output differs with %d threads", c.name, threads)
			}
			for i := range c.operands {
				if !slices.Equal(got.session.Gradient(got.nodes[i]), want.session.Gradient(want.nodes[i])) {
					t.Errorf("%s: gradient %d differs with %d threads", c.name, i, threads)
				}
			}
		}
	}
}
