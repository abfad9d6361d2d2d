//go:build (amd64 || arm64) && !noasm

package kernels

import "unsafe"

// packStep is the number of columns for packTile at a time, if they are contiguous.
const packStep = 16

// packTile sets dst[p*rows+r] = src[r*rs+p*cs] for p < k and r < rows <= 16.
// What dst holds beyond may be overwritten.
func packTile(dst, src []float32, rs, cs, rows, k int) {
	if rs == 1 {
		// fast is the number of values of p for which 16 floats can be read and written.
		fast := max(0, min(k, (len(dst)-Lanes)/rows+1))
		if len(dst) < Lanes || len(src) < Lanes {
			fast = 0
		} else if cs > 0 {
			fast = min(fast, (len(src)-Lanes)/cs+1)
		}
		if fast > 0 {
			packRows16(&dst[0], &src[0], 4*rows, 4*cs, fast)
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
	if active != 0 && b.ColStride == 1 {
		// A few rows at a time, of which each is read from end to end.
		whole = min(hi, p.N/Lanes)
		for from := 0; from < p.K; from += packStep {
			rows := min(packStep, p.K-from)
			for i := lo; i < whole; i++ {
				packRows16(&p.Data[(i*p.K+from)*Lanes], &b.Data[from*b.RowStride+i*Lanes], 4*Lanes, 4*b.RowStride, rows)
			}
		}
	}
	for lo = max(lo, whole); lo < hi; lo++ {
		dst, col := p.Data[lo*p.K*Lanes:][:p.K*Lanes], lo*Lanes
		n := min(Lanes, p.N-col)
		done := 0
		if active != 0 && n == Lanes && b.RowStride == 1 && p.K >= 8 {
			done = p.K / 8 * 8
			packColumns16(&dst[0], &b.Data[col*b.ColStride], 4*b.ColStride, done/8)
		}
		if done < p.K {
			packPanelGeneric(dst[done*Lanes:], ViewF32{b.Data[done*b.RowStride:], b.RowStride, b.ColStride}, p.K-done, col, n)
		}
	}
}

// packPairTile sets dst[q*rows+r] to src[r+2*q*cs] and, in the upper half, src[r+(2*q+1)*cs],
// rounded to bfloat16, for 2*q < k and r < rows <= 16. It may overwrite dst beyond that.
func packPairTile(dst []uint32, src []float32, cs, rows, k int) {
	// fast is the number of pairs for which 16 floats can be read twice, and 16 pairs written.
	fast := 0
	if len(dst) >= Lanes && len(src) >= cs+Lanes {
		fast = max(0, min(k/2, (len(dst)-Lanes)/rows+1, (len(src)-Lanes-cs)/max(2*cs, 1)+1))
	}
	if fast > 0 {
		packPairs16(&dst[0], &src[0], 4*rows, 4*cs, fast)
	}
	v := ViewF32{src, cs, 1}
	for q := fast; 2*q < k; q++ {
		for r := range rows {
			dst[q*rows+r] = v.pair(q, r, k)
		}
	}
}

// blockPackBF16 packs the panels [lo, hi) of b into p.
func blockPackBF16(p *PanelsBF16, b ViewF32, lo, hi int) {
	size := p.stride()
	whole := lo // panels that are packed here but for a last row without its pair
	done := 0   // pairs of rows that are
	if active != 0 && b.ColStride == 1 {
		whole, done = max(lo, min(hi, p.N/Lanes)), p.K/2
		// A few rows at a time, of which each is read from end to end.
		for from := 0; from < done; from += packStep {
			for i := lo; i < whole; i++ {
				packPairs16(&p.Data[i*size+from*Lanes], &b.Data[2*from*b.RowStride+i*Lanes], 4*Lanes, 4*b.RowStride, min(packStep, done-from))
			}
		}
	}
	for i := lo; i < hi; i++ {
		dst, col := p.Data[i*size:][:size], i*Lanes
		n := min(Lanes, p.N-col)
		from := 0
		switch {
		case i < whole:
			from = done
		case active != 0 && n == Lanes && b.RowStride == 1:
			from = packPairColumns(dst, b.Data[col*b.ColStride:], b.ColStride, p.K)
		}
		if 2*from < p.K {
			packPairsGeneric(dst[from*Lanes:], ViewF32{b.Data[2*from*b.RowStride:], b.RowStride, b.ColStride}, p.K-2*from, col, n)
		} else {
			clear(dst[from*Lanes:])
		}
	}
}

// packPairColumns packs 16 columns of k contiguous floats, which are ld floats apart. It returns
// the number of pairs of rows that it packed, which is almost all.
func packPairColumns(dst []uint32, src []float32, ld, k int) int {
	const step = 128 // pairs of a column at a time
	var columns [Lanes * step]uint32
	done := k / 16 * 8
	for from := 0; from < done; from += step {
		n := min(step, done-from)
		for j := range Lanes {
			F32ToBF16(halves(columns[j*step:][:n]), src[j*ld+2*from:][:2*n])
		}
		// A pair is moved like a float.
		packColumns16((*float32)(unsafe.Pointer(&dst[from*Lanes])), (*float32)(unsafe.Pointer(&columns[0])), 4*step, n/8)
	}
	return done
}
