// Package gradcheck helps tests of gradients. It has float64 references of the differentiable
// operations, written like their definitions, and central differences.
package gradcheck

import "math"

// Numeric returns the gradient of f with respect to x by central differences. f must read x.
func Numeric(f func() float64, x []float64) []float64 {
	grad := make([]float64, len(x))
	for i := range x {
		grad[i] = Derivative(f, x, i)
	}
	return grad
}

// Derivative returns one element of Numeric.
func Derivative(f func() float64, x []float64, i int) float64 {
	old := x[i]
	h := 1e-5 * math.Max(1, math.Abs(old))
	x[i] = old + h
	up := f()
	x[i] = old - h
	down := f()
	x[i] = old
	return (up - down) / (2 * h)
}

// RelativeError returns the largest difference relative to the largest
// magnitude in want; NaN counts as infinite.
func RelativeError(got []float32, want []float64) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var worst, largest float64
	for i, w := range want {
		d := math.Abs(float64(got[i]) - w)
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst, largest = math.Max(worst, d), math.Max(largest, math.Abs(w))
	}
	if worst == 0 {
		return 0
	}
	return worst / math.Max(largest, 1e-12)
}

// Float64s converts x to float64.
func Float64s(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}
