//go:build !noasm

package kernels

const (
	// mostRows is the largest number of rows in a tile.
	mostRows = 14
	// wideBytes is roughly the memory for a block of widened 8-bit rows.
	wideBytes = 192 << 10
)

// longK is shortK for AVX-512, whose kernels fetch panels from L2. Two panels and the rows must
// leave half of it free. The longer it is, the less often sums are loaded and stored.
var longK = min(L2/2/(4*(blockRows+2*Lanes))/128*128, 1024)

// blockK returns the largest number of steps of k that are multiplied at a time.
func blockK() int {
	if active.has(avx512) {
		return longK
	}
	return shortK
}

// tileF32 returns the largest number of rows in a tile of f32 or bfloat16, and the panels for so
// many rows.
func tileF32(rows int) (maxRows, panels int) {
	if active.has(avx512) {
		if rows <= 3 {
			return mostRows, 4
		}
		return mostRows, 2
	}
	switch {
	case rows == 1:
		return 6, 4
	case rows <= 3:
		return 6, 2
	}
	return 6, 1
}

// gemmBF16 is GemmBF16 after its checks, with K at least 1.
func gemmBF16(m int, a ViewF32, b *PanelsBF16, lo, hi int, c []float32, ldc int, ep *Epilogue, s *Scratch) {
	if active.has(amxTiles) {
		gemmBF16Tiles(m, a, nil, b, lo, hi, c, ldc, ep, s)
		return
	}
	blockBF16(m, a, b, lo, hi, c, ldc, ep, s)
}

// pairsAreMultiplied tells whether rows of bfloat16 stay pairs: if there is VDPBF16PS.
func pairsAreMultiplied() bool { return active.has(bf16dot) }

// multiplyTile multiplies rows of a, from a on, by n panels, from b on. In a, steps of k are cs
// bytes apart and rows rs bytes. Panels are panelSize elements apart. next is fetched meanwhile.
func (g *gemmBlock) multiplyTile(rows, n, a, rs, cs, b, panelSize, next int, c *float32, ldc int, bias *float32, accumulate int) {
	switch {
	case g.bf16 == nil && active.has(avx512):
		gemmF32AVX512(rows, n, g.k, &g.a[a], rs, cs, &g.f32[b], 4*panelSize, c, 4*ldc, bias, accumulate, &g.f32[next])
	case g.bf16 == nil:
		gemmF32AVX2(rows, n, g.k, &g.a[a], rs, cs, &g.f32[b], 4*panelSize, c, 4*ldc, bias, accumulate, &g.f32[next])
	case active.has(bf16dot):
		gemmBF16Dot(rows, n, g.k, &g.pairs[a], rs, cs, &g.bf16[b], 4*panelSize, c, 4*ldc, bias, accumulate, &g.bf16[next])
	case active.has(avx512):
		gemmBF16AVX512(rows, n, g.k, &g.a[2*a], 2*rs, 2*cs, &g.bf16[b], 4*panelSize, c, 4*ldc, bias, accumulate, &g.bf16[next])
	default:
		gemmBF16AVX2(rows, n, g.k, &g.a[2*a], 2*rs, 2*cs, &g.bf16[b], 4*panelSize, c, 4*ldc, bias, accumulate, &g.bf16[next])
	}
}

// tiling returns the largest number of rows in a tile of 8-bit integers, the panels that are
// multiplied together, the rows in a block, and whether AMX's tiles do it.
func (g *i8Product) tiling(width int, ep *Epilogue, quantized bool) (maxRows, panels, block int, tiled bool) {
	maxRows, panels = mostRows, 2
	block = max(maxRows, wideBytes/g.a.Stride())
	if !active.has(vnni) {
		maxRows, panels = 6, 1
		if active.has(avx512) {
			maxRows = 12
		}
		block = max(maxRows, block/2)
	}
	tiled = active.has(amxTiles) && g.a.M >= amxRows
	if tiled {
		panels, block = ep.stripOf(width, quantized), max(maxTileRows, amxBytes/g.a.Stride())
	}
	return maxRows, panels, block, tiled
}

// wideRow returns the length of a widened row.
func (g *i8Product) wideRow() int { return 8 * ceilDiv(g.k, 2) }

// setRows prepares the rows [top, bottom), which are divided evenly into tiles.
func (g *i8Product) setRows(top, bottom, tiles int) {
	g.top = top
	if active.has(vnni) {
		return
	}
	g.s.wide = grow(g.s.wide, (bottom-top)*g.wideRow())
	g.wide = g.s.wide
	for t := range tiles {
		lo, hi := t*(bottom-top)/tiles, (t+1)*(bottom-top)/tiles
		widenI8AVX2(&g.wide[lo*g.wideRow()], &g.a.Data[(top+lo)*g.a.Stride()], g.a.Stride(), hi-lo, ceilDiv(g.k, 2))
	}
}

func (g *i8Product) kernel(top, rows, panel, n int, c *float32, ldc int, bias *float32) {
	b, bs := &g.b.Data[panel*g.b.stride()], g.b.stride()
	scaleA, sum, scaleB := &g.a.Scale[top], &g.a.Sum[top], &g.b.Scale[panel*Lanes]
	if active.has(vnni) {
		stride := g.a.Stride()
		gemmI8VNNI(rows, n, g.k, &g.a.Data[top*stride], stride, b, bs, c, 4*ldc, scaleA, sum, scaleB, bias, g.accumulate)
		return
	}
	a := &g.wide[(top-g.top)*g.wideRow()]
	if active.has(avx512) {
		gemmI8AVX512(rows, g.k, a, b, c, 4*ldc, scaleA, sum, scaleB, bias, g.accumulate)
	} else {
		gemmI8AVX2(rows, g.k, a, b, c, 4*ldc, scaleA, sum, scaleB, bias, g.accumulate)
	}
}
