package kernels

// Rotate turns each pair (x[k], x[k+h]) of a row by an angle (rotary positions, Su et al., arXiv
// 2104.09864). cos and sin hold the cosines and sines of the angles, and h is their length. Every
// product and every sum is rounded. A row may consist of several parts of 2h floats, which are
// turned alike.
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
