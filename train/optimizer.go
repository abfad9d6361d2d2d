package train

import (
	"math"
	"strings"

	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/team"
)

// parameter is one trainable tensor with its optimizer state. The weights lie
// in the model, the gradient in the graph's buffer.
type parameter struct {
	name     string
	weights  []float32
	gradient []float32
	m, v     []float32
	decay    bool
}

// decayed tells whether AdamW's weight decay applies to the tensor of that
// name: biases and LayerNorm weights are left out, as usual for BERT (Devlin et
// al., arXiv 1810.04805, and every fine-tuning script since).
func decayed(name string) bool {
	return !strings.HasSuffix(name, ".bias") && !strings.Contains(name, "LayerNorm")
}

// chunk is the number of elements that one part of the team's work holds. It
// is fixed, so that sums do not depend on the number of workers.
const chunk = 1 << 15

type span struct {
	p      *parameter
	lo, hi int
}

// optimizer is AdamW with clipping by the global norm, over all parameters.
type optimizer struct {
	team       *team.Team
	parameters []*parameter
	spans      []span
	squares    []float64 // sum of squares of each span
	o          *Options
	update     kernels.AdamW
	gradScale  float32
	sum, apply func(worker, part int)
}

func newOptimizer(t *team.Team, parameters []*parameter, o *Options) *optimizer {
	z := &optimizer{team: t, parameters: parameters, o: o}
	for _, p := range parameters {
		p.m = make([]float32, len(p.weights))
		p.v = make([]float32, len(p.weights))
		p.decay = decayed(p.name)
		for lo := 0; lo < len(p.weights); lo += chunk {
			z.spans = append(z.spans, span{p, lo, min(lo+chunk, len(p.weights))})
		}
	}
	z.squares = make([]float64, len(z.spans))
	z.sum = func(_, part int) {
		s := z.spans[part]
		z.squares[part] = kernels.SumSquares(s.p.gradient[s.lo:s.hi])
	}
	z.apply = func(_, part int) {
		s := z.spans[part]
		update := z.update
		if !s.p.decay {
			update.WeightDecay = 0
		}
		update.Update(s.p.weights[s.lo:s.hi], s.p.gradient[s.lo:s.hi], s.p.m[s.lo:s.hi], s.p.v[s.lo:s.hi], z.gradScale)
	}
	return z
}

// gradNorm is the L2 norm of all gradients together.
func (z *optimizer) gradNorm() float64 {
	z.team.Run(len(z.spans), z.sum)
	var sum float64
	for _, s := range z.squares {
		sum += s
	}
	return math.Sqrt(sum)
}

// step updates all weights. number counts from 1; norm is the gradients'
// global norm, which the clip compares with MaxGradNorm as PyTorch's
// clip_grad_norm_ does.
func (z *optimizer) step(number int, rate, norm float64) {
	o := z.o
	z.gradScale = 1
	if o.MaxGradNorm > 0 {
		z.gradScale = float32(min(1, o.MaxGradNorm/(norm+1e-6)))
	}
	z.update = kernels.AdamW{
		LR: float32(rate), Beta1: float32(o.Beta1), Beta2: float32(o.Beta2),
		Eps: float32(o.Epsilon), WeightDecay: float32(o.WeightDecay),
		Correction1: float32(1 - math.Pow(o.Beta1, float64(number))),
		Correction2: float32(1 - math.Pow(o.Beta2, float64(number))),
	}
	z.team.Run(len(z.spans), z.apply)
}
