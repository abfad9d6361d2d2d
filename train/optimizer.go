package train

import (
	"math"
	"strings"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/exact"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/machine"
)

// parameter is a trainable tensor with its optimizer state. Its weights are the model's, its
// gradient is the graph's buffer.
type parameter struct {
	name     string
	weights  []float32
	computed []float32 // the objective's gradient of one batch
	gradient []float32 // gradient of the step: computed, or a sum over batches
	m, v     []float32
	decay    bool
	scale    float64 // factor of the learning rate
}

// decayed tells whether AdamW's weight decay applies to the tensor of this name. As usual for
// BERT (Devlin et al., arXiv 1810.04805, and every fine-tuning script since), it does not apply
// to biases and LayerNorm weights, and also not to the scales of quantized inputs. A name that is
// not a tensor of a model is a matrix that belongs to a loss.
func decayed(name string) bool {
	_, kind, ok := checkpoints.ParseTensor(name)
	return !ok || kind == checkpoints.Weight || kind == checkpoints.Table
}

func isInputScale(name string) bool {
	_, kind, ok := checkpoints.ParseTensor(name)
	return ok && kind == checkpoints.InputScale
}

// depth returns the place of a parameter among the layers, see checkpoints.Part.Depth. A matrix
// that belongs to a loss on the embeddings has their depth.
func depth(name string) int {
	part, _, ok := checkpoints.ParseTensor(name)
	switch {
	case ok:
		return part.Depth()
	case strings.Contains(name, "embeddings"):
		return 0
	}
	return -1
}

// chunk is the number of elements in one part of the team's work. block is the number of elements
// that are either all updated or all left alone. Both are fixed, so sums do not depend on the
// number of workers.
const (
	chunk = 1 << 15
	block = 1 << 8
)

type span struct {
	p      *parameter
	lo, hi int
	// warm tells for each block whether any of its gradients has ever differed from zero. If not,
	// both moments are zero, and a step only decays the weights. This holds for most of a
	// vocabulary.
	warm []bool
}

// blocks calls f for each block of the span.
func (s *span) blocks(f func(i, lo, hi int)) {
	for i, lo := 0, s.lo; lo < s.hi; i, lo = i+1, lo+block {
		f(i, lo, min(lo+block, s.hi))
	}
}

// optimizer is AdamW with clipping by the global norm, over all parameters.
type optimizer struct {
	workers    *autograd.Workers
	parameters []*parameter
	spans      []span
	squares    []float64 // sum of squares of each span
	o          *Options
	rate       float64
	update     kernels.AdamW
	gradScale  float32
	share      float32
	first      bool

	sum, weigh, apply, add func(worker, part int)
}

func newOptimizer(workers *autograd.Workers, parameters []*parameter, o *Options) *optimizer {
	z := &optimizer{workers: workers, parameters: parameters, o: o}
	layers := 0
	for _, p := range parameters {
		layers = max(layers, depth(p.name))
	}
	for _, p := range parameters {
		p.m = make([]float32, len(p.weights))
		p.v = make([]float32, len(p.weights))
		machine.HugePages(p.m)
		machine.HugePages(p.v)
		p.gradient = p.computed
		if o.Accumulate > 1 {
			p.gradient = make([]float32, len(p.weights))
			machine.HugePages(p.gradient)
		}
		p.decay = decayed(p.name)
		p.scale = 1
		if d := depth(p.name); d >= 0 && o.LayerDecay > 0 {
			p.scale = exact.Pow(o.LayerDecay, float64(layers+1-d))
		}
		if isInputScale(p.name) {
			// Adam's steps are as long as the learning rate, whatever the gradient. Steps
			// relative to the initial scale are neither too small for one input nor too large for
			// another.
			p.scale *= float64(p.weights[0])
		}
		for lo := 0; lo < len(p.weights); lo += chunk {
			hi := min(lo+chunk, len(p.weights))
			z.spans = append(z.spans, span{p, lo, hi, make([]bool, (hi-lo+block-1)/block)})
		}
	}
	z.squares = make([]float64, len(z.spans))
	z.sum = func(_, part int) {
		s, sum := &z.spans[part], 0.0
		s.blocks(func(i, lo, hi int) {
			squares := kernels.SumSquares(s.p.gradient[lo:hi])
			s.warm[i] = s.warm[i] || squares != 0
			sum += squares
		})
		z.squares[part] = sum
	}
	z.weigh = func(_, part int) {
		s := &z.spans[part]
		z.squares[part] = kernels.SumSquares(s.p.weights[s.lo:s.hi])
	}
	z.add = func(_, part int) {
		s := &z.spans[part]
		if z.first {
			kernels.Scale(s.p.gradient[s.lo:s.hi], z.share, s.p.computed[s.lo:s.hi])
		} else {
			kernels.Axpy(s.p.gradient[s.lo:s.hi], z.share, s.p.computed[s.lo:s.hi])
		}
	}
	z.apply = func(_, part int) { z.applyTo(&z.spans[part]) }
	return z
}

// restored sets warm from the saved moments.
func (z *optimizer) restored() {
	for k := range z.spans {
		s := &z.spans[k]
		s.blocks(func(i, lo, hi int) {
			s.warm[i] = kernels.MaxAbs(s.p.m[lo:hi]) != 0 || kernels.MaxAbs(s.p.v[lo:hi]) != 0
		})
	}
}

// applyTo updates the weights of a span.
func (z *optimizer) applyTo(s *span) {
	update := z.update
	update.LR = float32(z.rate * s.p.scale)
	if !s.p.decay {
		update.WeightDecay = 0
	}
	s.blocks(func(i, lo, hi int) {
		if s.warm[i] {
			update.Update(s.p.weights[lo:hi], s.p.gradient[lo:hi], s.p.m[lo:hi], s.p.v[lo:hi], z.gradScale)
		} else {
			update.Decay(s.p.weights[lo:hi])
		}
	})
}

// accumulate adds a share of the objective's gradients to the gradients of the step.
func (z *optimizer) accumulate(share float32, first bool) {
	z.share, z.first = share, first
	z.workers.Run(len(z.spans), z.add)
}

// gradNorm returns the L2 norm of all gradients together. Call it before step.
func (z *optimizer) gradNorm() float64 { return z.norm(z.sum) }

// weightNorm returns the L2 norm of all weights together.
func (z *optimizer) weightNorm() float64 { return z.norm(z.weigh) }

func (z *optimizer) norm(squares func(worker, part int)) float64 {
	z.workers.Run(len(z.spans), squares)
	var sum float64
	for _, s := range z.squares {
		sum += s
	}
	return math.Sqrt(sum)
}

// step updates all weights. number counts from 1. norm is the global norm of the gradients, which
// the clip compares with MaxGradNorm like PyTorch's clip_grad_norm_.
func (z *optimizer) step(number int, rate, norm float64) {
	o := z.o
	z.rate, z.gradScale = rate, 1
	if o.MaxGradNorm > 0 {
		z.gradScale = float32(min(1, o.MaxGradNorm/(norm+1e-6)))
	}
	z.update = kernels.AdamW{
		Beta1: float32(o.Beta1), Beta2: float32(o.Beta2),
		Eps: float32(o.Epsilon), WeightDecay: float32(o.WeightDecay),
		Correction1: float32(1 - exact.Pow(o.Beta1, float64(number))),
		Correction2: float32(1 - exact.Pow(o.Beta2, float64(number))),
	}
	z.workers.Run(len(z.spans), z.apply)
}
