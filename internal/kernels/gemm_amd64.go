//go:build !noasm

package kernels

func gemmF32(m int, a ViewF32, b *PanelsF32, lo, hi int, c []float32, ldc int, ep *Epilogue, s *Scratch) {
	gemmF32Generic(m, a, b, lo, hi, c, ldc, ep)
	ep.finish(m, lo*Lanes, min(hi*Lanes, b.N), c, ldc)
}

func gemmI8(a *RowsI8, b *PanelsI8, lo, hi int, c []float32, ldc int, ep *Epilogue, s *Scratch) {
	gemmI8Generic(a, b, lo, hi, c, ldc, ep)
	ep.finish(a.M, lo*Lanes, min(hi*Lanes, b.N), c, ldc)
}

func packPanelF32(dst []float32, b ViewF32, k, col, n int) { packPanelGeneric(dst, b, k, col, n) }
