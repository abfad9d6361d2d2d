//go:build !noasm

package kernels

// The kernels of both AVX2 and AVX-512.
func packRows16(dst, src *float32, step, cs, k int)          { packRowsAVX2(dst, src, step, cs, k) }
func packColumns16(dst, src *float32, ld, n int)             { packColumnsAVX2(dst, src, ld, n) }
func packPairs16(dst *uint32, src *float32, step, cs, k int) { packPairsAVX2(dst, src, step, cs, k) }

// packPanelsBF16 packs the panels [lo, hi) of b into p.
func packPanelsBF16(p *PanelsBF16, b ViewF32, lo, hi int) {
	if active.has(avx512) && (b.ColStride == 1 || b.RowStride == 1) {
		packPanelsBF16AVX512(p, b, lo, hi)
		return
	}
	blockPackBF16(p, b, lo, hi)
}

// packPanelsBF16AVX512 is packPanelsBF16 where rows or columns are contiguous.
func packPanelsBF16AVX512(p *PanelsBF16, b ViewF32, lo, hi int) {
	size := p.stride()
	if b.ColStride == 1 {
		whole := p.K / 2
		// A few rows at a time, of which each is read from end to end.
		for from := 0; from < whole; from += packStep {
			for i := lo; i < hi; i++ {
				packPairsAVX512(&p.Data[i*size+from*Lanes], &b.Data[2*from*b.RowStride+i*Lanes], 4*b.RowStride, min(packStep, whole-from), maskOf(p.N-i*Lanes))
			}
		}
		for i := lo; i < hi; i++ {
			rest := p.Data[i*size+whole*Lanes:][:size-whole*Lanes]
			clear(rest)
			if p.K%2 == 1 {
				for j, v := range b.Data[(p.K-1)*b.RowStride+i*Lanes:][:min(Lanes, p.N-i*Lanes)] {
					rest[j] = uint32(roundBF16(v))
				}
			}
		}
		return
	}
	// Columns become rows of pairs, of which blocks are transposed.
	const step = 8 // tiles of a column at a time
	var columns [Lanes * step * tilePairs]uint32
	for i := lo; i < hi; i++ {
		n := min(Lanes, p.N-i*Lanes)
		if n < Lanes {
			clear(columns[n*step*tilePairs:])
		}
		for from := 0; from < size/Lanes; from += step * tilePairs {
			pairs := min(step*tilePairs, size/Lanes-from)
			roundPairsAVX512(&columns[0], 4*step*tilePairs, &b.Data[i*Lanes*b.ColStride+2*from], 4*b.ColStride, n, min(2*pairs, p.K-2*from))
			for q := 0; q < pairs; q += tilePairs {
				transposePairsAVX512(&p.Data[i*size+(from+q)*Lanes], tileBytes, &columns[q], 4*step*tilePairs)
			}
		}
	}
}

// maskOf is the mask of the first n of 16 columns.
func maskOf(n int) int { return 1<<min(max(n, 0), Lanes) - 1 }
