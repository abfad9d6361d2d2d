//go:build !noasm

package kernels

// packStep is the number of columns that packTile is given at a time where they
// are contiguous.
const packStep = 16

// packTile sets dst[p*rows+r] = src[r*rs+p*cs] for p < k and r < rows <= 16.
// What dst holds beyond may be overwritten.
func packTile(dst, src []float32, rs, cs, rows, k int) {
	if rs == 1 {
		// Values of p for which 16 floats can be read, and written.
		fast := max(0, min(k, (len(dst)-Lanes)/rows+1))
		if len(dst) < Lanes || len(src) < Lanes {
			fast = 0
		} else if cs > 0 {
			fast = min(fast, (len(src)-Lanes)/cs+1)
		}
		if fast > 0 {
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
	whole := lo // panels that are packed here
	if current >= AVX2 && b.ColStride == 1 {
		// A few rows at a time, of which each is read from end to end.
		whole = min(hi, p.N/Lanes)
		for from := 0; from < p.K; from += packStep {
			rows := min(packStep, p.K-from)
			for i := lo; i < whole; i++ {
				packRowsAVX2(&p.Data[(i*p.K+from)*Lanes], &b.Data[from*b.RowStride+i*Lanes], 4*Lanes, 4*b.RowStride, rows)
			}
		}
	}
	for lo = max(lo, whole); lo < hi; lo++ {
		dst, col := p.Data[lo*p.K*Lanes:][:p.K*Lanes], lo*Lanes
		n := min(Lanes, p.N-col)
		done := 0
		if current >= AVX2 && n == Lanes && b.RowStride == 1 && p.K >= 8 {
			done = p.K / 8 * 8
			packColumnsAVX2(&dst[0], &b.Data[col*b.ColStride], 4*b.ColStride, done/8)
		}
		if done < p.K {
			packPanelGeneric(dst[done*Lanes:], ViewF32{b.Data[done*b.RowStride:], b.RowStride, b.ColStride}, p.K-done, col, n)
		}
	}
}
