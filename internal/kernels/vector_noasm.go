//go:build !amd64 || noasm

package kernels

func prefetchBytes(*byte, int) {}

func vexp(dst, x []float32) {
	expGeneric(dst, x)
}

func softmax(x []float32, scale float32) {
	softmaxGeneric(x, scale)
}

func softmaxWeightsRows(_ int, x []float32, n int, scale float32, sums []float32) int {
	sums[0] = softmaxWeightsGeneric(x[:n], scale)
	return 1
}

func softmaxRows(_ int, x []float32, n, _ int, scale float32) int {
	softmaxGeneric(x[:n], scale)
	return 1
}

func softmaxBackward(dx, dp, p []float32, scale float32) {
	softmaxBackwardGeneric(dx, dp, p, scale)
}

func logSumExp(x []float32) (m, s float32) {
	return logSumExpGeneric(x)
}

func gelu(dst, x []float32) {
	geluGeneric(dst, x)
}

func geluTanh(dst, x []float32) {
	geluTanhGeneric(dst, x)
}

func relu(dst, x []float32) {
	reluGeneric(dst, x)
}

func tanh(dst, x []float32) {
	tanhGeneric(dst, x)
}

func geluBackward(dx, dy, pre []float32) {
	geluBackwardGeneric(dx, dy, pre)
}

func geluTanhBackward(dx, dy, pre []float32) {
	geluTanhBackwardGeneric(dx, dy, pre)
}

func reluBackward(dx, dy, pre []float32) {
	reluBackwardGeneric(dx, dy, pre)
}

func tanhBackward(dx, dy, pre []float32) {
	tanhBackwardGeneric(dx, dy, pre)
}

func layerNorm(_ int, dst, x, gamma, beta []float32, eps float32, s *rowStats) int {
	layerNormGeneric(dst, x, gamma, beta, eps, s)
	return 1
}

func addLayerNorm(_ int, dst, sum, x, residual, gamma, beta []float32, eps float32, s *rowStats) int {
	addLayerNormGeneric(dst, sum, x, residual, gamma, beta, eps, s)
	return 1
}

func addLayerNormMax(_ int, dst, sum, x, residual, gamma, beta []float32, eps float32, s *rowStats) int {
	addLayerNormMaxGeneric(dst, sum, x, residual, gamma, beta, eps, s)
	return 1
}

func layerNormBackward(dx, dgamma, dbeta, dy, x, gamma []float32, mean, rstd float32) {
	layerNormBackwardGeneric(dx, dgamma, dbeta, dy, x, gamma, mean, rstd)
}

func add(dst, a, b []float32) {
	addGeneric(dst, a, b)
}

func mul(dst, a, b []float32) {
	mulGeneric(dst, a, b)
}

func axpy(dst []float32, alpha float32, x []float32) {
	axpyGeneric(dst, alpha, x)
}

func scaleBy(dst []float32, alpha float32, x []float32) {
	scaleByGeneric(dst, alpha, x)
}

func sum(x []float32) float32 {
	return sumGeneric(x)
}

func dot(a, b []float32) float32 {
	return dotGeneric(a, b)
}

func sumSquares(x []float32) float64 {
	return sumSquaresGeneric(x)
}

func maxAbsBits(x []float32) uint32 {
	return maxAbsBitsGeneric(x)
}

func columnSums(dst, x []float32, rows, ld int) {
	columnSumsGeneric(dst, x, rows, ld)
}

func quantizeRow(dst []int8, x []float32, inverse float32) (sum int32) {
	return quantizeRowGeneric(dst, x, inverse)
}

func dropout(dst, x []float32, scale float32, threshold, counter, k0, k1 uint32) {
	dropoutGeneric(dst, x, scale, threshold, counter, k0, k1)
}

func adamW(w, g, m, v []float32, f *adamWFactors) {
	adamWGeneric(w, g, m, v, f)
}

func dequantizeRow(dst []float32, src []int8, scale float32) {
	dequantizeRowGeneric(dst, src, scale)
}

func f16ToF32(dst []float32, src []uint16) {
	f16ToF32Generic(dst, src)
}

func f32ToF16(dst []uint16, src []float32) {
	f32ToF16Generic(dst, src)
}

func bf16ToF32(dst []float32, src []uint16) {
	bf16ToF32Generic(dst, src)
}

func f32ToBF16(dst []uint16, src []float32) {
	f32ToBF16Generic(dst, src)
}
