//go:build (!amd64 && !arm64) || noasm

package kernels

func gemmF32(m int, a ViewF32, b *PanelsF32, lo, hi int, c []float32, ldc int, ep *Epilogue, s *Scratch) {
	gemmF32Generic(m, a, b, lo, hi, c, ldc, ep)
	ep.finish(m, lo*Lanes, min(hi*Lanes, b.N), c, ldc)
}

func gemmBF16(m int, a ViewF32, b *PanelsBF16, lo, hi int, c []float32, ldc int, ep *Epilogue, s *Scratch) {
	gemmBF16Generic(m, a, b, lo, hi, c, ldc, ep, s)
	ep.finish(m, lo*Lanes, min(hi*Lanes, b.N), c, ldc)
}

func gemmI8(a *RowsI8, b *PanelsI8, lo, hi int, c []float32, ldc int, ep *Epilogue, dst *RowsI8, s *Scratch) {
	gemmI8Generic(a, b, lo, hi, c, ldc, ep)
	ep.finish(a.M, lo*Lanes, min(hi*Lanes, b.N), c, ldc)
}

func packPanelsBF16(p *PanelsBF16, b ViewF32, lo, hi int) {
	for ; lo < hi; lo++ {
		packPairsGeneric(p.Data[lo*p.stride():][:p.stride()], b, p.K, lo*Lanes, min(Lanes, p.N-lo*Lanes))
	}
}

func packPanelsF32(p *PanelsF32, b ViewF32, lo, hi int) {
	for ; lo < hi; lo++ {
		packPanelGeneric(p.Data[lo*p.K*Lanes:][:p.K*Lanes], b, p.K, lo*Lanes, min(Lanes, p.N-lo*Lanes))
	}
}

func prefetchBytes(*byte, int) {}
