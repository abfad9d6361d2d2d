//go:build !noasm

package kernels

// packSlack is how many floats packTile may write beyond its tile.
const packSlack = Lanes

// packTile sets dst[p*rows+r] = src[r*rs+p*cs] for p < k and r < rows <= 16.
// What follows in dst may be overwritten.
func packTile(dst, src []float32, rs, cs, rows, k int) {
	if rs == 1 {
		fast := 0 // values of p for which 16 floats can be read
		if len(src) >= Lanes && k > 0 {
			fast = k
			if cs > 0 {
				fast = min(k, (len(src)-Lanes)/cs+1)
			}
			packRowsAVX2(&dst[0], &src[0], 4*rows, 4*cs, fast)
		}
		for p := fast; p < k; p++ {
			copy(dst[p*rows:][:rows], src[p*cs:])
		}
		return
	}
	for r := range rows {
		at := r * rs
		for p := range k {
			dst[p*rows+r] = src[at]
			at += cs
		}
	}
}

// packPanelsF32 packs the panels [lo, hi) of b into p.
func packPanelsF32(p *PanelsF32, b ViewF32, lo, hi int) {
	for ; lo < hi; lo++ {
		dst, col := p.Data[lo*p.K*Lanes:][:p.K*Lanes], lo*Lanes
		n := min(Lanes, p.N-col)
		done := 0
		if current >= AVX2 && n == Lanes && b.ColStride == 1 {
			done = p.K
			packRowsAVX2(&dst[0], &b.Data[col], 4*Lanes, 4*b.RowStride, p.K)
		} else if current >= AVX2 && n == Lanes && b.RowStride == 1 && p.K >= 8 {
			done = p.K / 8 * 8
			packColumnsAVX2(&dst[0], &b.Data[col*b.ColStride], 4*b.ColStride, done/8)
		}
		if done < p.K {
			packPanelGeneric(dst[done*Lanes:], ViewF32{b.Data[done*b.RowStride:], b.RowStride, b.ColStride}, p.K-done, col, n)
		}
	}
}
