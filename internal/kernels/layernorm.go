package kernels

import "math"

// LayerNorm normalizes one row (Ba et al., arXiv 1607.06450): dst = (x-mean)*rstd*gamma + beta, where rstd is
// 1/sqrt(variance+eps) and the variance is the mean of (x-mean)². It returns mean and rstd for the backward pass. dst
// may be x. An empty row gives zeros.
func LayerNorm(dst, x, gamma, beta []float32, eps float32) (mean, rstd float32) {
	sameLength(len(dst), len(x), len(gamma), len(beta))
	if len(dst) == 0 {
		return 0, 0
	}
	return layerNorm(dst, x, gamma, beta, eps)
}

func layerNormGeneric(dst, x, gamma, beta []float32, eps float32) (mean, rstd float32) {
	n := float32(len(x))
	mean = sumGeneric(x) / n
	var lanes [Lanes]float32
	for i, v := range x {
		d := v - mean
		lanes[i%Lanes] = fma32(d, d, lanes[i%Lanes])
	}
	variance := laneSum(&lanes) / n
	rstd = 1 / sqrt32(variance+eps)
	for i, v := range x {
		dst[i] = fma32(float32((v-mean)*rstd), gamma[i], beta[i])
	}
	return mean, rstd
}

// AddLayerNorm sets sum = x + residual and normalizes the sum into dst as [LayerNorm] does. sum may be x or residual,
// and dst may be any of sum, x and residual; if dst is sum, the sum is lost.
func AddLayerNorm(dst, sum, x, residual, gamma, beta []float32, eps float32) (mean, rstd float32) {
	sameLength(len(dst), len(sum), len(x), len(residual), len(gamma), len(beta))
	if len(dst) == 0 {
		return 0, 0
	}
	return addLayerNorm(dst, sum, x, residual, gamma, beta, eps)
}

func addLayerNormGeneric(dst, sum, x, residual, gamma, beta []float32, eps float32) (mean, rstd float32) {
	addGeneric(sum, x, residual)
	return layerNormGeneric(dst, sum, gamma, beta, eps)
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
