package kernels

import "math"

// AdamW holds the settings of one step of AdamW (Loshchilov and Hutter, arXiv 1711.05101). Correction1 and Correction2 are
// the bias corrections of the step: 1-Beta1^t and 1-Beta2^t for t = 1, 2, ...
type AdamW struct {
	LR, Beta1, Beta2, Eps, WeightDecay float32
	Correction1, Correction2           float32
}

// Update applies one step to the weights w with gradient gradScale*g and moments m and v, in PyTorch's order of
// operations:
//
//	w = w*(1 - LR*WeightDecay)
//	m = m + (1-Beta1)*(g - m)
//	v = v*Beta2 + (1-Beta2)*g*g
//	w = w - LR/Correction1 * m/(sqrt(v)/sqrt(Correction2) + Eps)
//
// Every operation is rounded to float32; the scalar factors are computed in float64.
func (a AdamW) Update(w, g, m, v []float32, gradScale float32) {
	sameLength(len(w), len(g), len(m), len(v))
	adamW(w, g, m, v, &adamWFactors{
		grad:     gradScale,
		decay:    float32(1 - float64(float64(a.LR)*float64(a.WeightDecay))),
		first:    oneMinus(a.Beta1),
		beta2:    a.Beta2,
		second:   oneMinus(a.Beta2),
		sqrtCorr: float32(math.Sqrt(float64(a.Correction2))),
		eps:      a.Eps,
		step:     float32(float64(a.LR) / float64(a.Correction1)),
	})
}

// Decay is Update for weights whose gradient and moments are zero, with the
// same bits.
func (a AdamW) Decay(w []float32) {
	if f := float32(1 - float64(float64(a.LR)*float64(a.WeightDecay))); f != 1 {
		Scale(w, f, w)
	}
}

// oneMinus returns 1-beta for the decimal of up to seven digits that was written as beta. For
// 0.999 this is 0.001; the float32 nearest to 0.999 would give 0.00099999.
func oneMinus(beta float32) float32 {
	return float32(1 - math.Round(float64(beta)*1e7)/1e7)
}

// adamWFactors is read by the assembly; the order of its fields matters.
type adamWFactors struct {
	grad, decay, first, beta2, second, sqrtCorr, eps, step float32
}

func adamWGeneric(w, g, m, v []float32, f *adamWFactors) {
	for i := range w {
		d := float32(g[i] * f.grad)
		mi := m[i] + float32(f.first*(d-m[i]))
		vi := float32(v[i]*f.beta2) + float32(f.second*float32(d*d))
		denominator := sqrt32(vi)/f.sqrtCorr + f.eps
		w[i] = float32(w[i]*f.decay) - float32(f.step*float32(mi/denominator))
		m[i], v[i] = mi, vi
	}
}
