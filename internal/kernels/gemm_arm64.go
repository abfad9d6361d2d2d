//go:build !noasm

package kernels

const (
	// mostRows is the largest number of rows in a tile.
	mostRows = 6
	// i8Bytes is roughly the memory for a block of 8-bit rows, which stays in L2 while the panels
	// pass.
	i8Bytes = 192 << 10
)

// blockK returns the largest number of steps of k that are multiplied at a time.
func blockK() int { return shortK }

// tileF32 returns the largest number of rows in a tile of f32 or bfloat16, and the panels for so
// many rows.
func tileF32(int) (maxRows, panels int) { return mostRows, 1 }

// gemmBF16 is GemmBF16 after its checks, with K at least 1.
func gemmBF16(m int, a ViewF32, b *PanelsBF16, lo, hi int, c []float32, ldc int, ep *Epilogue, s *Scratch) {
	blockBF16(m, a, b, lo, hi, c, ldc, ep, s)
}

// pairsAreMultiplied is false: BFDOT rounds differently, so rows of bfloat16 are widened.
func pairsAreMultiplied() bool { return false }

// multiplyTile multiplies rows of a, from a on, by a panel from b on. In a, steps of k are cs
// bytes apart and rows rs bytes.
func (g *gemmBlock) multiplyTile(rows, _, a, rs, cs, b, _, _ int, c *float32, ldc int, bias *float32, accumulate int) {
	switch {
	case g.bf16 != nil:
		gemmBF16NEON(rows, g.k, &g.a[2*a], 2*rs, 2*cs, &g.bf16[b], c, 4*ldc, bias, accumulate)
	case g.packed:
		gemmF32PackedNEON(rows, g.k, &g.a[a], &g.f32[b], c, 4*ldc, bias, accumulate)
	default:
		gemmF32NEON(rows, g.k, &g.a[a], rs, &g.f32[b], c, 4*ldc, bias, accumulate)
	}
}

// tiling returns the largest number of rows in a tile of 8-bit integers, the panels that are
// multiplied together, and the rows in a block.
func (g *i8Product) tiling(int, *Epilogue, bool) (maxRows, panels, block int, tiled bool) {
	maxRows = mostRows
	if !active.has(dotProd) {
		maxRows = 2
	}
	return maxRows, 1, max(maxRows, i8Bytes/g.a.Stride()), false
}

// setRows notes where the block of rows begins. They are multiplied as they are.
func (g *i8Product) setRows(top, _, _ int) { g.top = top }

// tileRows is only used with AMX's tiles.
func (g *i8Product) tileRows(int, int, int, int, []float32) {}

func (g *i8Product) kernel(top, rows, panel, _ int, c *float32, ldc int, bias *float32) {
	stride, multiply := g.a.Stride(), gemmI8NEON
	switch {
	case g.b.group == 8:
		multiply = gemmI8MatMul
	case active.has(dotProd):
		multiply = gemmI8DotProd
	}
	multiply(rows, ceilDiv(g.k, 4), &g.a.Data[top*stride], stride, &g.b.Data[panel*g.b.stride()], c, 4*ldc,
		&g.a.Scale[top], &g.b.Scale[panel*Lanes], bias, g.accumulate)
}
