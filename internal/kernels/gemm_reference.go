package kernels

// gemmF32Generic is the definition of GemmF32 up to the activation: for each
// row i and column j of the panels [lo, hi)
//
//	acc = 0, or c[i][j] with Accumulate
//	acc = fma(a[i][p], b[p][j], acc)   for p = 0, 1, ... K-1
//	c[i][j] = acc + bias[j]            or acc, when there is no bias
func gemmF32Generic(m int, a ViewF32, b *PanelsF32, lo, hi int, c []float32, ldc int, ep *Epilogue) {
	var acc [Lanes]float32
	for panel := lo; panel < hi; panel++ {
		col := panel * Lanes
		n := min(Lanes, b.N-col)
		data := b.Data[panel*b.K*Lanes:][:b.K*Lanes]
		for i := range m {
			out := c[i*ldc+col:][:n]
			clear(acc[:])
			if ep.Accumulate {
				copy(acc[:], out)
			}
			at := i * a.RowStride
			for p := range b.K {
				x := a.Data[at]
				at += a.ColStride
				row := data[p*Lanes:][:n]
				for j, y := range row {
					acc[j] = fma32(x, y, acc[j])
				}
			}
			if ep.Bias != nil {
				for j, y := range ep.Bias[col : col+n] {
					acc[j] += y
				}
			}
			copy(out, acc[:])
		}
	}
}

// gemmI8Generic is the definition of GemmI8 up to the activation: for each row
// i and column j of the panels [lo, hi)
//
//	acc = sum over p of a[i][p]*w[p][j]                   in int32, exactly
//	z = fma(float32(acc), scaleA[i]*scaleB[j], bias[j])   the bias is 0 when there is none
//	c[i][j] = z, or c[i][j] + z with Accumulate
func gemmI8Generic(a *RowsI8, b *PanelsI8, lo, hi int, c []float32, ldc int, ep *Epilogue) {
	for panel := lo; panel < hi; panel++ {
		col := panel * Lanes
		n := min(Lanes, b.N-col)
		data := b.Data[panel*b.stride():][:b.stride()]
		for i := range a.M {
			row := a.Data[i*a.Stride():][:a.K]
			var acc [Lanes]int32
			for p, x := range row {
				group := data[p/b.group*b.group*Lanes+p%b.group:]
				for j := range n {
					acc[j] += int32(x) * int32(int8(group[j*b.group]^zeroI8))
				}
			}
			out := c[i*ldc+col:][:n]
			for j := range out {
				var bias float32
				if ep.Bias != nil {
					bias = ep.Bias[col+j]
				}
				z := fma32(float32(acc[j]), a.Scale[i]*b.Scale[col+j], bias)
				if ep.Accumulate {
					z = out[j] + z
				}
				out[j] = z
			}
		}
	}
}
