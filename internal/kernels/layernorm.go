package kernels

import "math"

// normRows is the largest number of rows that a kernel normalizes at once.
const normRows = 4

// rowStats holds what a kernel reports about each row that it normalized.
type rowStats struct {
	mean, rstd [normRows]float32
	max        [normRows]uint32 // the bits of the largest magnitude of the result, from addLayerNormMax
}

// LayerNorm normalizes rows of len(gamma) floats (Ba et al., arXiv 1607.06450): dst =
// (x-mean)*rstd*gamma + beta. rstd is 1/sqrt(variance+eps), and the variance is the mean of
// (x-mean)². If they are not nil, mean and rstd receive those of each row for the backward pass.
// dst may be x.
func LayerNorm(dst, x, gamma, beta []float32, eps float32, mean, rstd []float32) {
	sameLength(len(dst), len(x))
	rows := normalized(len(dst), gamma, beta, mean, rstd)
	var s rowStats
	for i, n := 0, 0; i < rows; i += n {
		lo := i * len(gamma)
		n = layerNorm(rows-i, dst[lo:], x[lo:], gamma, beta, eps, &s)
		s.give(i, n, mean, rstd)
	}
}

// AddLayerNorm sets sum = x + residual and normalizes the rows of the sum into dst as [LayerNorm]
// does. sum may be x or residual. dst may be sum, x or residual; if it is sum, the sum is lost.
func AddLayerNorm(dst, sum, x, residual, gamma, beta []float32, eps float32, mean, rstd []float32) {
	sameLength(len(dst), len(sum), len(x), len(residual))
	rows := normalized(len(dst), gamma, beta, mean, rstd)
	var s rowStats
	for i, n := 0, 0; i < rows; i += n {
		lo := i * len(gamma)
		n = addLayerNorm(rows-i, dst[lo:], sum[lo:], x[lo:], residual[lo:], gamma, beta, eps, &s)
		s.give(i, n, mean, rstd)
	}
}

// normalized returns the number of rows in size floats.
func normalized(size int, gamma, beta, mean, rstd []float32) int {
	sameLength(len(gamma), len(beta))
	rows := 0
	if size > 0 {
		rows = size / len(gamma)
		sameLength(size, rows*len(gamma))
	}
	if mean != nil {
		sameLength(len(mean), rows, len(rstd))
	}
	return rows
}

// give copies the statistics of n rows to those from row i on.
func (s *rowStats) give(i, n int, mean, rstd []float32) {
	if mean != nil {
		copy(mean[i:], s.mean[:n])
		copy(rstd[i:], s.rstd[:n])
	}
}

// layerNormGeneric normalizes one row.
func layerNormGeneric(dst, x, gamma, beta []float32, eps float32, s *rowStats) {
	n := float32(len(gamma))
	x = x[:len(gamma)]
	mean := sumGeneric(x) / n
	var lanes [Lanes]float32
	for i, v := range x {
		d := v - mean
		lanes[i%Lanes] = fma32(d, d, lanes[i%Lanes])
	}
	variance := laneSum(&lanes) / n
	rstd := 1 / sqrt32(variance+eps)
	for i, v := range x {
		dst[i] = fma32(float32((v-mean)*rstd), gamma[i], beta[i])
	}
	s.mean[0], s.rstd[0] = mean, rstd
}

func addLayerNormGeneric(dst, sum, x, residual, gamma, beta []float32, eps float32, s *rowStats) {
	n := len(gamma)
	addGeneric(sum, x[:n], residual)
	layerNormGeneric(dst, sum, gamma, beta, eps, s)
}

func addLayerNormMaxGeneric(dst, sum, x, residual, gamma, beta []float32, eps float32, s *rowStats) {
	addLayerNormGeneric(dst, sum, x, residual, gamma, beta, eps, s)
	s.max[0] = maxAbsBitsGeneric(dst[:len(gamma)])
}

// LayerNormBackward is the gradient of [LayerNorm] for one row: with h = (x-mean)*rstd and d = dy*gamma,
//
//	dgamma += dy*h
//	dbeta  += dy
//	dx      = rstd*(d - mean(d) - h*mean(d*h))
//
// dx is overwritten and may be dy or x; dgamma and dbeta are accumulated.
func LayerNormBackward(dx, dgamma, dbeta, dy, x, gamma []float32, mean, rstd float32) {
	sameLength(len(dx), len(dgamma), len(dbeta), len(dy), len(x), len(gamma))
	if len(dx) == 0 {
		return
	}
	layerNormBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd)
}

func layerNormBackwardGeneric(dx, dgamma, dbeta, dy, x, gamma []float32, mean, rstd float32) {
	var sumD, sumDH [Lanes]float32
	for i, v := range x {
		h := float32((v - mean) * rstd)
		d := float32(dy[i] * gamma[i])
		sumD[i%Lanes] += d
		sumDH[i%Lanes] = fma32(d, h, sumDH[i%Lanes])
		dgamma[i] = fma32(dy[i], h, dgamma[i])
		dbeta[i] += dy[i]
	}
	n := float32(len(x))
	meanD, meanDH := laneSum(&sumD)/n, laneSum(&sumDH)/n
	for i, v := range x {
		h := float32((v - mean) * rstd)
		d := float32(dy[i] * gamma[i])
		dx[i] = rstd * fma32(-h, meanDH, d-meanD)
	}
}

// sqrt32 is the correctly rounded square root.
func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }
