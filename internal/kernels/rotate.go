package kernels

// Rotate turns the pairs (x[k], x[k+h]) of a row by an angle each, h being the length of cos and sin, which hold the
// angles' cosines and sines (rotary positions, Su et al., arXiv 2104.09864): every product and every sum is rounded. A
// row may hold several of 2h floats, which are turned alike.
func Rotate(x, cos, sin []float32) {
	h := len(cos)
	sameLength(h, len(sin))
	for ; len(x) >= 2*h && h > 0; x = x[2*h:] {
		a, b := x[:h], x[h:2*h]
		for k, c := range cos {
			s, u, v := sin[k], a[k], b[k]
			a[k] = float32(u*c) - float32(v*s)
			b[k] = float32(v*c) + float32(u*s)
		}
	}
}
