//go:build !noasm

package kernels

func packRows16(dst, src *float32, step, cs, k int)          { packRowsNEON(dst, src, step, cs, k) }
func packColumns16(dst, src *float32, ld, n int)             { packColumnsNEON(dst, src, ld, n) }
func packPairs16(dst *uint32, src *float32, step, cs, k int) { packPairsNEON(dst, src, step, cs, k) }

// packPanelsBF16 packs the panels [lo, hi) of b into p.
func packPanelsBF16(p *PanelsBF16, b ViewF32, lo, hi int) { blockPackBF16(p, b, lo, hi) }
