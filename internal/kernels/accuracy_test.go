package kernels

import (
	"math"
	"testing"
)

func TestExpWithinTwoUlp(t *testing.T) {
	t.Parallel()
	x := []float32{0}
	for b := uint32(0); b < math.Float32bits(88.72); b += 1009 {
		for _, sign := range []float32{1, -1} {
			v := math.Float32frombits(b) * sign
			if v < -86.98 {
				continue
			}
			x[0] = v
			Exp(x, x)
			want := math.Exp(float64(v))
			_, e := math.Frexp(want)
			if ulp := math.Abs(float64(x[0])-want) / math.Ldexp(1, e-24); ulp > 2 {
				t.Fatalf("Exp(%g) is %g, want %g: %.2f ulp", v, x[0], want, ulp)
			}
		}
	}
}

func TestActivationsAgainstFloat64(t *testing.T) {
	t.Parallel()
	cdf := func(x float64) float64 { return 0.5 * math.Erfc(-x/math.Sqrt2) }
	u := func(x float64) float64 { return 2 * math.Sqrt(2/math.Pi) * (x + 0.044715*x*x*x) }
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	for _, c := range []struct {
		a        Activation
		f, slope func(x float64) float64
	}{
		{GELU, func(x float64) float64 { return x * cdf(x) },
			func(x float64) float64 { return cdf(x) + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi) }},
		{GELUTanh, func(x float64) float64 { return x * sigmoid(u(x)) },
			func(x float64) float64 {
				s, du := sigmoid(u(x)), 2*math.Sqrt(2/math.Pi)*(1+3*0.044715*x*x)
				return s + x*s*(1-s)*du
			}},
		{SiLU, func(x float64) float64 { return x * sigmoid(x) },
			func(x float64) float64 { return sigmoid(x) * (1 + x*(1-sigmoid(x))) }},
		{Tanh, math.Tanh, func(x float64) float64 { return 1 - math.Tanh(x)*math.Tanh(x) }},
	} {
		for x := -10.0; x < 10; x += 1e-3 {
			v, y, one := []float32{float32(x)}, []float32{0}, []float32{1}
			Activate(c.a, y, v)
			if want := c.f(float64(v[0])); math.Abs(float64(y[0])-want) > 1e-6 {
				t.Fatalf("%v(%g) is %g, want %g", c.a, v[0], y[0], want)
			}
			ActivateBackward(c.a, y, one, v)
			if want := c.slope(float64(v[0])); math.Abs(float64(y[0])-want) > 1e-6 {
				t.Fatalf("slope of %v at %g is %g, want %g", c.a, v[0], y[0], want)
			}
		}
	}
}

// TestDropoutIsRandom looks at the mean, at neighbours and at equal positions under other keys: each count of agreeing
// elements must lie within six standard deviations of the binomial one.
func TestDropoutIsRandom(t *testing.T) {
	t.Parallel()
	const n, p = 1 << 17, 0.3
	ones := make([]float32, n)
	for i := range ones {
		ones[i] = 1
	}
	mask := func(key, offset uint64) []float32 {
		m := make([]float32, n)
		Dropout(m, ones, p, key, offset)
		return m
	}
	check := func(what string, count int, trials, share float64) {
		t.Helper()
		if d := math.Abs(float64(count)-trials*share) / math.Sqrt(trials*share*(1-share)); d > 6 {
			t.Errorf("%s: %d of %g, %.1f standard deviations off", what, count, trials, d)
		}
	}
	both := func(a, b []float32) (count int) {
		for i := range b {
			if a[i] == 0 && b[i] == 0 {
				count++
			}
		}
		return count
	}
	for _, key := range []uint64{0, 1, 1 << 32, 0xDEADBEEF} {
		a := mask(key, 0)
		check("dropped", both(a, a), n, p)
		for _, lag := range []int{1, 2, 3, 16, 64, 312, 768, 4096} {
			check("neighbours", both(a, a[lag:]), float64(n-lag), p*p)
		}
		for _, other := range []uint64{key + 1, key ^ 2, key ^ 1<<31, key ^ 1<<32, key ^ 1<<63} {
			check("keys", both(a, mask(other, 0)), n, p*p)
		}
		for _, offset := range []uint64{1 << 20, 1 << 32, 1 << 40} {
			check("offsets", both(a, mask(key, offset)), n, p*p)
		}
		if b := mask(key, 100); both(a[100:], b[:n-100]) != both(a[100:], a[100:]) {
			t.Error("the mask is not a function of offset + i")
		}
	}
}

func TestAdamWStepByHand(t *testing.T) {
	t.Parallel()
	w, g, m, v := []float32{1}, []float32{0.5}, []float32{0}, []float32{0}
	a := AdamW{LR: 0.1, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, Correction1: 0.1, Correction2: 0.001}
	a.Update(w, g, m, v, 1)
	// The first step moves by LR against the sign of the gradient, after the decay.
	if math.Abs(float64(w[0])-(1-0.001-0.1)) > 1e-6 || math.Abs(float64(m[0])-0.05) > 1e-8 || math.Abs(float64(v[0])-0.00025) > 1e-10 {
		t.Errorf("w, m, v = %v, %v, %v", w[0], m[0], v[0])
	}
}

func TestLayerNormBackwardAgainstDifferences(t *testing.T) {
	t.Parallel()
	const n = 37
	x, gamma, beta, dy := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
	for i := range x {
		f := float64(i)
		x[i], gamma[i], dy[i] = float32(math.Sin(f*f)), float32(1+0.3*math.Cos(f)), float32(math.Sin(3*f))
	}
	loss := func(at int, step float64) (sum float64) {
		v := make([]float64, n)
		mean, square := 0.0, 0.0
		for i := range v {
			v[i] = float64(x[i])
			if i == at {
				v[i] += step
			}
			mean += v[i] / n
		}
		for i := range v {
			square += (v[i] - mean) * (v[i] - mean) / n
		}
		for i := range v {
			sum += float64(dy[i]) * (v[i] - mean) / math.Sqrt(square+1e-5) * float64(gamma[i])
		}
		return sum
	}
	y, dx, dgamma, dbeta := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
	means, rstds := make([]float32, 1), make([]float32, 1)
	LayerNorm(y, x, gamma, beta, 1e-5, means, rstds)
	mean, rstd := means[0], rstds[0]
	LayerNormBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd)
	for i := range dx {
		if want := (loss(i, 1e-5) - loss(i, -1e-5)) / 2e-5; math.Abs(float64(dx[i])-want) > 1e-5 {
			t.Errorf("dx[%d] is %g, want %g", i, dx[i], want)
		}
		if want := float64(dy[i]) * float64(x[i]-mean) * float64(rstd); math.Abs(float64(dgamma[i])-want) > 1e-5 || dbeta[i] != dy[i] {
			t.Errorf("dgamma[%d], dbeta[%d] = %g, %g", i, i, dgamma[i], dbeta[i])
		}
	}
}
