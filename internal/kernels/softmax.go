package kernels

import (
	"math"

	"github.com/skive-ml/skive/internal/exact"
)

// Softmax replaces x by exp(scale*x - max)/sum in place. max and sum are over scale*x, and scale
// is positive. It computes powers of 2, within 2e-7 of their value, and 0 below 2^-125. Elements
// far below the maximum (including -Inf) become 0. A NaN, a +Inf, or nothing but -Inf makes the
// whole row NaN.
func Softmax(x []float32, scale float32) {
	if len(x) == 0 {
		return
	}
	softmax(x, scale*expLog2e)
}

// SoftmaxRows applies [Softmax] to each of the rows of n floats, which are ld floats apart.
func SoftmaxRows(x []float32, rows, n, ld int, scale float32) {
	if rows <= 0 || n <= 0 {
		return
	}
	if ld < n || len(x) < (rows-1)*ld+n {
		panic(shortData)
	}
	for i, done := 0, 0; i < rows; i += done {
		done = softmaxRows(rows-i, x[i*ld:], n, ld, scale*expLog2e)
	}
}

// softmaxGeneric is Softmax with powers of 2.
func softmaxGeneric(x []float32, scale float32) {
	m := laneMax(x)
	var lanes [Lanes]float32
	for i, v := range x {
		e := exp2(float32(v-m) * scale)
		x[i] = e
		lanes[i%Lanes] += e
	}
	r := 1 / laneSum(&lanes)
	for i := range x {
		x[i] *= r
	}
}

// softmaxWeights is softmaxWeightsGeneric for each of the rows of n floats, with powers of e; sums receives the sums.
func softmaxWeights(x []float32, rows, n int, scale float32, sums []float32) {
	for i, done := 0, 0; i < rows; i += done {
		done = softmaxWeightsRows(rows-i, x[i*n:], n, scale*expLog2e, sums[i:])
	}
}

// softmaxWeightsGeneric replaces x by 2^(scale*(x - max)), rounded to bfloat16,
// and returns the sum of these.
func softmaxWeightsGeneric(x []float32, scale float32) float32 {
	m := laneMax(x)
	var lanes [Lanes]float32
	for i, v := range x {
		b := math.Float32bits(exp2(float32(v-m) * scale))
		e := math.Float32frombits((b + 0x7FFF + b>>16&1) &^ 0xFFFF)
		x[i] = e
		lanes[i%Lanes] += e
	}
	return laneSum(&lanes)
}

// laneMax returns the largest x[i], ignoring NaN, or -Inf if there is none.
func laneMax(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

// SoftmaxBackward sets dx = p*(dp - Σ dp·p)*scale for one row, where p is the result of [Softmax]
// with the same scale, and dp the gradient with respect to it. dx may be dp or p.
func SoftmaxBackward(dx, dp, p []float32, scale float32) {
	sameLength(len(dx), len(dp), len(p))
	softmaxBackward(dx, dp, p, scale)
}

func softmaxBackwardGeneric(dx, dp, p []float32, scale float32) {
	s := dotGeneric(dp, p)
	for i, v := range p {
		dx[i] = float32(v*scale) * (dp[i] - s)
	}
}

// LogSumExp returns log Σ exp(x[i]), computed as max + log Σ exp(x[i]-max). It is -Inf for an
// empty row or one of only -Inf, and NaN if there is a NaN.
func LogSumExp(x []float32) float32 {
	m, s := logSumExp(x)
	if math.IsInf(float64(m), 0) {
		for _, v := range x {
			if v != v {
				return v
			}
		}
		return m
	}
	return m + float32(exact.Log(float64(s)))
}

// logSumExpGeneric returns the maximum m of x and Σ exp(x[i]-m).
func logSumExpGeneric(x []float32) (m, s float32) {
	m = laneMax(x)
	var lanes [Lanes]float32
	for i, v := range x {
		lanes[i%Lanes] += exp32(v - m)
	}
	return m, laneSum(&lanes)
}
