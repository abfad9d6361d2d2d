//go:build !noasm

package kernels

func vexp(dst, x []float32) {
	switch {
	case current >= AVX512:
		expAVX512(dst, x)
	case current == AVX2:
		expAVX2(dst, x)
	default:
		expGeneric(dst, x)
	}
}

func softmax(x []float32, scale float32) {
	switch {
	case current >= AVX512:
		softmaxAVX512(x, scale)
	case current == AVX2:
		softmaxAVX2(x, scale)
	default:
		softmaxGeneric(x, scale)
	}
}

// softmaxRows does one or a few of the rows and returns how many, and so does
// softmaxWeightsRows.
func softmaxRows(rows int, x []float32, n, ld int, scale float32) int {
	switch {
	case current >= AVX512 && rows >= 4:
		softmaxRowsAVX512(&x[0], n, ld, scale)
		return 4
	case current == AVX2 && rows >= 2:
		softmaxRowsAVX2(&x[0], n, ld, scale)
		return 2
	}
	softmax(x[:n], scale)
	return 1
}

func softmaxWeightsRows(rows int, x []float32, n int, scale float32, sums []float32) int {
	switch {
	case current >= AVX512 && rows >= 4:
		softmaxWeightsRowsAVX512(&x[0], n, n, scale, &sums[0])
		return 4
	case current >= AVX512:
		sums[0] = softmaxWeightsAVX512(x[:n], scale)
	case current == AVX2 && rows >= 2:
		softmaxWeightsRowsAVX2(&x[0], n, n, scale, &sums[0])
		return 2
	case current == AVX2:
		sums[0] = softmaxWeightsAVX2(x[:n], scale)
	default:
		sums[0] = softmaxWeightsGeneric(x[:n], scale)
	}
	return 1
}

func softmaxBackward(dx, dp, p []float32, scale float32) {
	switch {
	case current >= AVX512:
		softmaxBackwardAVX512(dx, dp, p, scale)
	case current == AVX2:
		softmaxBackwardAVX2(dx, dp, p, scale)
	default:
		softmaxBackwardGeneric(dx, dp, p, scale)
	}
}

func logSumExp(x []float32) (m, s float32) {
	switch {
	case current >= AVX512:
		return logSumExpAVX512(x)
	case current == AVX2:
		return logSumExpAVX2(x)
	}
	return logSumExpGeneric(x)
}

func gelu(dst, x []float32) {
	switch {
	case current >= AVX512:
		geluAVX512(dst, x)
	case current == AVX2:
		geluAVX2(dst, x)
	default:
		geluGeneric(dst, x)
	}
}

func geluTanh(dst, x []float32) {
	switch {
	case current >= AVX512:
		geluTanhAVX512(dst, x)
	case current == AVX2:
		geluTanhAVX2(dst, x)
	default:
		geluTanhGeneric(dst, x)
	}
}

func relu(dst, x []float32) {
	switch {
	case current >= AVX512:
		reluAVX512(dst, x)
	case current == AVX2:
		reluAVX2(dst, x)
	default:
		reluGeneric(dst, x)
	}
}

func tanh(dst, x []float32) {
	switch {
	case current >= AVX512:
		tanhAVX512(dst, x)
	case current == AVX2:
		tanhAVX2(dst, x)
	default:
		tanhGeneric(dst, x)
	}
}

func geluBackward(dx, dy, pre []float32) {
	switch {
	case current >= AVX512:
		geluBackwardAVX512(dx, dy, pre)
	case current == AVX2:
		geluBackwardAVX2(dx, dy, pre)
	default:
		geluBackwardGeneric(dx, dy, pre)
	}
}

func geluTanhBackward(dx, dy, pre []float32) {
	switch {
	case current >= AVX512:
		geluTanhBackwardAVX512(dx, dy, pre)
	case current == AVX2:
		geluTanhBackwardAVX2(dx, dy, pre)
	default:
		geluTanhBackwardGeneric(dx, dy, pre)
	}
}

func reluBackward(dx, dy, pre []float32) {
	switch {
	case current >= AVX512:
		reluBackwardAVX512(dx, dy, pre)
	case current == AVX2:
		reluBackwardAVX2(dx, dy, pre)
	default:
		reluBackwardGeneric(dx, dy, pre)
	}
}

func tanhBackward(dx, dy, pre []float32) {
	switch {
	case current >= AVX512:
		tanhBackwardAVX512(dx, dy, pre)
	case current == AVX2:
		tanhBackwardAVX2(dx, dy, pre)
	default:
		tanhBackwardGeneric(dx, dy, pre)
	}
}

// layerNorm normalizes one or a few of the rows and returns how many, and so do
// those that follow.
func layerNorm(rows int, dst, x, gamma, beta []float32, eps float32, s *rowStats) int {
	n := len(gamma)
	switch {
	case current >= AVX512 && rows >= 4:
		layerNormRowsAVX512(&dst[0], &x[0], &gamma[0], &beta[0], n, eps, &s.mean[0])
		return 4
	case current >= AVX512:
		layerNormAVX512(&dst[0], &x[0], &gamma[0], &beta[0], n, eps, &s.mean[0])
	case current == AVX2 && rows >= 2:
		layerNormRowsAVX2(&dst[0], &x[0], &gamma[0], &beta[0], n, eps, &s.mean[0])
		return 2
	case current == AVX2:
		layerNormAVX2(&dst[0], &x[0], &gamma[0], &beta[0], n, eps, &s.mean[0])
	default:
		layerNormGeneric(dst, x, gamma, beta, eps, s)
	}
	return 1
}

func addLayerNorm(rows int, dst, sum, x, residual, gamma, beta []float32, eps float32, s *rowStats) int {
	n := len(gamma)
	switch {
	case current >= AVX512 && rows >= 4:
		addLayerNormRowsAVX512(&dst[0], &sum[0], &x[0], &residual[0], &gamma[0], &beta[0], n, eps, &s.mean[0])
		return 4
	case current >= AVX512:
		addLayerNormAVX512(&dst[0], &sum[0], &x[0], &residual[0], &gamma[0], &beta[0], n, eps, &s.mean[0])
	case current == AVX2 && rows >= 2:
		addLayerNormRowsAVX2(&dst[0], &sum[0], &x[0], &residual[0], &gamma[0], &beta[0], n, eps, &s.mean[0])
		return 2
	case current == AVX2:
		addLayerNormAVX2(&dst[0], &sum[0], &x[0], &residual[0], &gamma[0], &beta[0], n, eps, &s.mean[0])
	default:
		addLayerNormGeneric(dst, sum, x, residual, gamma, beta, eps, s)
	}
	return 1
}

func addLayerNormMax(rows int, dst, sum, x, residual, gamma, beta []float32, eps float32, s *rowStats) int {
	n := len(gamma)
	switch {
	case current >= AVX512 && rows >= 4:
		addLayerNormMaxRowsAVX512(&dst[0], &sum[0], &x[0], &residual[0], &gamma[0], &beta[0], n, eps, &s.mean[0])
		return 4
	case current >= AVX512:
		addLayerNormMaxAVX512(&dst[0], &sum[0], &x[0], &residual[0], &gamma[0], &beta[0], n, eps, &s.mean[0])
	case current == AVX2 && rows >= 2:
		addLayerNormMaxRowsAVX2(&dst[0], &sum[0], &x[0], &residual[0], &gamma[0], &beta[0], n, eps, &s.mean[0])
		return 2
	case current == AVX2:
		addLayerNormMaxAVX2(&dst[0], &sum[0], &x[0], &residual[0], &gamma[0], &beta[0], n, eps, &s.mean[0])
	default:
		addLayerNormMaxGeneric(dst, sum, x, residual, gamma, beta, eps, s)
	}
	return 1
}

func layerNormBackward(dx, dgamma, dbeta, dy, x, gamma []float32, mean, rstd float32) {
	switch {
	case current >= AVX512:
		layerNormBackwardAVX512(dx, dgamma, dbeta, dy, x, gamma, mean, rstd)
	case current == AVX2:
		layerNormBackwardAVX2(dx, dgamma, dbeta, dy, x, gamma, mean, rstd)
	default:
		layerNormBackwardGeneric(dx, dgamma, dbeta, dy, x, gamma, mean, rstd)
	}
}

func add(dst, a, b []float32) {
	switch {
	case current >= AVX512:
		addAVX512(dst, a, b)
	case current == AVX2:
		addAVX2(dst, a, b)
	default:
		addGeneric(dst, a, b)
	}
}

func mul(dst, a, b []float32) {
	switch {
	case current >= AVX512:
		mulAVX512(dst, a, b)
	case current == AVX2:
		mulAVX2(dst, a, b)
	default:
		mulGeneric(dst, a, b)
	}
}

func axpy(dst []float32, alpha float32, x []float32) {
	switch {
	case current >= AVX512:
		axpyAVX512(dst, alpha, x)
	case current == AVX2:
		axpyAVX2(dst, alpha, x)
	default:
		axpyGeneric(dst, alpha, x)
	}
}

func scaleBy(dst []float32, alpha float32, x []float32) {
	switch {
	case current >= AVX512:
		scaleByAVX512(dst, alpha, x)
	case current == AVX2:
		scaleByAVX2(dst, alpha, x)
	default:
		scaleByGeneric(dst, alpha, x)
	}
}

func sum(x []float32) float32 {
	switch {
	case current >= AVX512:
		return sumAVX512(x)
	case current == AVX2:
		return sumAVX2(x)
	}
	return sumGeneric(x)
}

func dot(a, b []float32) float32 {
	switch {
	case current >= AVX512:
		return dotAVX512(a, b)
	case current == AVX2:
		return dotAVX2(a, b)
	}
	return dotGeneric(a, b)
}

func sumSquares(x []float32) float64 {
	switch {
	case current >= AVX512:
		return sumSquaresAVX512(x)
	case current == AVX2:
		return sumSquaresAVX2(x)
	}
	return sumSquaresGeneric(x)
}

func maxAbsBits(x []float32) uint32 {
	switch {
	case current >= AVX512:
		return maxAbsBitsAVX512(x)
	case current == AVX2:
		return maxAbsBitsAVX2(x)
	}
	return maxAbsBitsGeneric(x)
}

func columnSums(dst, x []float32, rows, ld int) {
	switch {
	case current >= AVX512:
		columnSumsAVX512(dst, x, rows, ld)
	case current == AVX2:
		columnSumsAVX2(dst, x, rows, ld)
	default:
		columnSumsGeneric(dst, x, rows, ld)
	}
}

func quantizeRow(dst []int8, x []float32, inverse float32) (sum int32) {
	switch {
	case current >= AVX512:
		return quantizeRowAVX512(dst, x, inverse)
	case current == AVX2:
		return quantizeRowAVX2(dst, x, inverse)
	}
	return quantizeRowGeneric(dst, x, inverse)
}

func dropout(dst, x []float32, scale float32, threshold, counter, k0, k1 uint32) {
	switch {
	case current >= AVX512:
		dropoutAVX512(dst, x, scale, threshold, counter, k0, k1)
	case current == AVX2:
		dropoutAVX2(dst, x, scale, threshold, counter, k0, k1)
	default:
		dropoutGeneric(dst, x, scale, threshold, counter, k0, k1)
	}
}

func adamW(w, g, m, v []float32, f *adamWFactors) {
	switch {
	case current >= AVX512:
		adamWAVX512(w, g, m, v, &f.grad)
	case current == AVX2:
		adamWAVX2(w, g, m, v, &f.grad)
	default:
		adamWGeneric(w, g, m, v, f)
	}
}

func dequantizeRow(dst []float32, src []int8, scale float32) {
	whole := 0
	switch {
	case current >= AVX512:
		dequantizeRowAVX512(dst, src, scale)
		whole = len(src) &^ (Lanes - 1)
	case current == AVX2:
		dequantizeRowAVX2(dst, src, scale)
		whole = len(src) &^ (Lanes - 1)
	}
	dequantizeRowGeneric(dst[whole:], src[whole:], scale)
}

func f16ToF32(dst []float32, src []uint16) {
	whole := 0
	switch {
	case current >= AVX512:
		f16ToF32AVX512(dst, src)
		whole = len(src) &^ (Lanes - 1)
	case current == AVX2:
		f16ToF32AVX2(dst, src)
		whole = len(src) &^ (Lanes - 1)
	}
	f16ToF32Generic(dst[whole:], src[whole:])
}

func f32ToF16(dst []uint16, src []float32) {
	whole := 0
	switch {
	case current >= AVX512:
		f32ToF16AVX512(dst, src)
		whole = len(src) &^ (Lanes - 1)
	case current == AVX2:
		f32ToF16AVX2(dst, src)
		whole = len(src) &^ (Lanes - 1)
	}
	f32ToF16Generic(dst[whole:], src[whole:])
}

func bf16ToF32(dst []float32, src []uint16) {
	whole := 0
	switch {
	case current >= AVX512:
		bf16ToF32AVX512(dst, src)
		whole = len(src) &^ (Lanes - 1)
	case current == AVX2:
		bf16ToF32AVX2(dst, src)
		whole = len(src) &^ (Lanes - 1)
	}
	bf16ToF32Generic(dst[whole:], src[whole:])
}

func f32ToBF16(dst []uint16, src []float32) {
	whole := 0
	switch {
	case current >= AVX512:
		f32ToBF16AVX512(dst, src)
		whole = len(src) &^ (Lanes - 1)
	case current == AVX2:
		f32ToBF16AVX2(dst, src)
		whole = len(src) &^ (Lanes - 1)
	}
	f32ToBF16Generic(dst[whole:], src[whole:])
}
