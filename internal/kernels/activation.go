package kernels

import "math"

// Activation is a pointwise nonlinearity.
type Activation uint8

// The activations of encoder checkpoints. GELU is the exact form x*Φ(x) with the error function
// (Hendrycks and Gimpel, arXiv 1606.08415). GELUTanh approximates it by tanh (Hugging Face's
// gelu_new and gelu_pytorch_tanh). SiLU is x*σ(x) with the logistic function (ibid.), the
// activation of SwiGLU.
const (
	Identity Activation = iota
	GELU
	GELUTanh
	ReLU
	Tanh
	SiLU
)

func (a Activation) String() string {
	switch a {
	case Identity:
		return "identity"
	case GELU:
		return "gelu"
	case GELUTanh:
		return "gelu_tanh"
	case ReLU:
		return "relu"
	case Tanh:
		return "tanh"
	case SiLU:
		return "silu"
	}
	return "unknown"
}

const badActivation = "kernels: unknown activation"

// erf and tanh are Eigen's odd rational minimax functions x*P(x²)/Q(x²) (generic_fast_erf_float,
// generic_fast_tanh_float). The argument is clamped to where the function is ±1 in f32, and the
// result to [-1, 1].
const (
	erfBound = 4
	erfP1    = -1.60960333262415e-02
	erfP3    = -2.95459980854025e-03
	erfP5    = -7.34990630326855e-04
	erfP7    = -5.69250639462346e-05
	erfP9    = -2.10102402082508e-06
	erfP11   = 2.77068142495902e-08
	erfP13   = -2.72614225801306e-10
	erfQ0    = -1.42647390514189e-02
	erfQ2    = -7.37332916720468e-03
	erfQ4    = -1.68282697438203e-03
	erfQ6    = -2.13374055278905e-04
	erfQ8    = -1.45660718464996e-05

	tanhBound = 9
	tanhP1    = 4.89352455891786e-03
	tanhP3    = 6.37261928875436e-04
	tanhP5    = 1.48572235717979e-05
	tanhP7    = 5.12229709037114e-08
	tanhP9    = -8.60467152213735e-11
	tanhP11   = 2.00018790482477e-13
	tanhP13   = -2.76076847742355e-16
	tanhQ0    = 4.89352518554385e-03
	tanhQ2    = 2.26843463243900e-03
	tanhQ4    = 1.18534705686654e-04
	tanhQ6    = 1.19825839466702e-06

	sqrtHalf   = 0.70710678118654752440
	invSqrt2Pi = 0.39894228040143267794

	// GELUTanh is x*σ(2u) with u = √(2/π)*(x + 0.044715x³). This equals 0.5x*(1+tanh(u)) without
	// its cancellation. For the derivative, x is clamped inside σ: at -9.9, e^(-2u) is still
	// finite.
	geluTanhCubic         = 0.044715
	geluTanhScale         = -2 * 0.79788456080286535588
	geluTanhBackwardBound = 9.9

	// Beyond this bound the derivative of SiLU is constant to 1e-32. Inside, e^-x is finite.
	siluBackwardBound = 80
)

// GELU is max(x, 0) - |x|*Q(|x|), where Q is the tail of the normal distribution, or for GELUTanh
// of the logistic one at 2u. Q is computed as the eighth power of a polynomial, without a
// division: its eighth root is so smooth that few terms give |x|*Q within 4e-9, or 1.1e-7. Above
// the bound on |x|, |x|*Q is below 1e-7 and no longer changes.
const (
	geluBound     = 5.6
	geluTanhBound = 5.2
)

// The polynomials, highest coefficient first, are least-squares fits, reweighted until the error
// was level.
var (
	geluRoot = [...]float32{-0x1.3aae8ep-22, 0x1.f312b8p-18, -0x1.f740fp-15, 0x1.186df2p-15, 0x1.8ac7cap-10,
		-0x1.613118p-11, -0x1.058bf6p-5, -0x1.769c56p-4, 0x1.d5818ep-1}
	geluTanhRoot = [...]float32{0x1.0560b2p-21, -0x1.787434p-17, 0x1.928c0cp-14, -0x1.8b2a6cp-12, 0x1.1505ep-11,
		0x1.19056ep-10, -0x1.5f2b46p-12, -0x1.062732p-5, -0x1.76931ep-4, 0x1.d58186p-1}
)

// Activate sets dst[i] = a(x[i]). dst may be x. The absolute error of GELU, GELUTanh, Tanh and
// SiLU is below 1e-6 for |x| up to 10. ReLU keeps NaN.
func Activate(a Activation, dst, x []float32) {
	sameLength(len(dst), len(x))
	switch a {
	case Identity:
		copy(dst, x)
	case GELU:
		gelu(dst, x)
	case GELUTanh:
		geluTanh(dst, x)
	case ReLU:
		relu(dst, x)
	case Tanh:
		tanh(dst, x)
	case SiLU:
		silu(dst, x)
	default:
		panic(badActivation)
	}
}

// ActivateBackward sets dx[i] = dy[i]*a'(pre[i]), where pre is the argument of the forward pass.
// dx may be dy or pre. The derivative of ReLU at 0 is 0.
func ActivateBackward(a Activation, dx, dy, pre []float32) {
	sameLength(len(dx), len(dy), len(pre))
	switch a {
	case Identity:
		copy(dx, dy)
	case GELU:
		geluBackward(dx, dy, pre)
	case GELUTanh:
		geluTanhBackward(dx, dy, pre)
	case ReLU:
		reluBackward(dx, dy, pre)
	case Tanh:
		tanhBackward(dx, dy, pre)
	case SiLU:
		siluBackward(dx, dy, pre)
	default:
		panic(badActivation)
	}
}

// clamp returns x limited to [-bound, bound]; NaN stays NaN.
func clamp(x, bound float32) float32 {
	if x < -bound {
		x = -bound
	}
	if x > bound {
		x = bound
	}
	return x
}

func erf32(x float32) float32 {
	x = clamp(x, erfBound)
	s := x * x
	p := fma32(erfP13, s, erfP11)
	p = fma32(p, s, erfP9)
	p = fma32(p, s, erfP7)
	p = fma32(p, s, erfP5)
	p = fma32(p, s, erfP3)
	p = fma32(p, s, erfP1)
	q := fma32(erfQ8, s, erfQ6)
	q = fma32(q, s, erfQ4)
	q = fma32(q, s, erfQ2)
	q = fma32(q, s, erfQ0)
	return float32(x*p) / q
}

func tanh32(x float32) float32 {
	x = clamp(x, tanhBound)
	s := x * x
	p := fma32(tanhP13, s, tanhP11)
	p = fma32(p, s, tanhP9)
	p = fma32(p, s, tanhP7)
	p = fma32(p, s, tanhP5)
	p = fma32(p, s, tanhP3)
	p = fma32(p, s, tanhP1)
	q := fma32(tanhQ6, s, tanhQ4)
	q = fma32(q, s, tanhQ2)
	q = fma32(q, s, tanhQ0)
	return clamp(float32(x*p)/q, 1)
}

func geluGeneric(dst, x []float32) { tailGELU(dst, x, geluBound, geluRoot[:]) }

func geluTanhGeneric(dst, x []float32) { tailGELU(dst, x, geluTanhBound, geluTanhRoot[:]) }

func tailGELU(dst, x []float32, bound float32, root []float32) {
	for i, v := range x {
		a := min(abs32(v), bound)
		p := root[0]
		for _, c := range root[1:] {
			p = fma32(p, a, c)
		}
		p *= p
		p *= p
		p *= p
		if v < 0 {
			v = 0
		}
		dst[i] = fma32(-a, p, v)
	}
}

// abs32 clears the sign.
func abs32(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// geluBackwardGeneric: d/dx x*Φ(x) = Φ(x) + x*φ(x).
func geluBackwardGeneric(dx, dy, pre []float32) {
	for i, v := range pre {
		cdf := float32(0.5 * (1 + erf32(float32(v*sqrtHalf))))
		pdf := float32(invSqrt2Pi * exp32(float32(-0.5*v)*v))
		dx[i] = dy[i] * fma32(v, pdf, cdf)
	}
}

// geluTanhExp returns e^(-2u), the clamped x, and 0.044715x².
func geluTanhExp(x float32) (e, c, cubic float32) {
	c = clamp(x, geluTanhBackwardBound)
	cubic = float32(c*c) * geluTanhCubic
	u := c * geluTanhScale
	return exp32(fma32(u, cubic, u)), c, cubic
}

// geluTanhBackwardGeneric: with σ' = σ²*e^(-2u), d/dx x*σ(2u) = σ + x*σ'*2√(2/π)*(1 + 3*0.044715x²).
func geluTanhBackwardGeneric(dx, dy, pre []float32) {
	for i, v := range pre {
		e, c, cubic := geluTanhExp(v)
		s := 1 / (1 + e)
		slope := float32(-geluTanhScale*c) * fma32(3, cubic, 1)
		dx[i] = dy[i] * fma32(float32(float32(e*s)*s), slope, s)
	}
}

func reluGeneric(dst, x []float32) {
	for i, v := range x {
		if v < 0 {
			v = 0
		}
		dst[i] = v
	}
}

func reluBackwardGeneric(dx, dy, pre []float32) {
	for i, v := range pre {
		d := dy[i]
		if v <= 0 {
			d = 0
		}
		dx[i] = d
	}
}

func tanhGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = tanh32(v)
	}
}

func tanhBackwardGeneric(dx, dy, pre []float32) {
	for i, v := range pre {
		t := tanh32(v)
		dx[i] = dy[i] * fma32(-t, t, 1)
	}
}

func siluGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = v / (1 + float32(exp32(-v)))
	}
}

// siluBackwardGeneric: with σ' = σ²*e^-x, d/dx x*σ = σ + x*σ'.
func siluBackwardGeneric(dx, dy, pre []float32) {
	for i, v := range pre {
		c := clamp(v, siluBackwardBound)
		e := float32(exp32(-c))
		s := 1 / (1 + e)
		dx[i] = dy[i] * fma32(float32(float32(e*s)*s), c, s)
	}
}
