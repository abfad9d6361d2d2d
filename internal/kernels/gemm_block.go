//go:build (amd64 || arm64) && !noasm

package kernels

import "unsafe"

const (
	// shortK is the largest number of steps of k that are multiplied at a time by kernels that
	// read panels from L1. A panel's block is then 24 KB, which stays there while the rows pass.
	shortK = 384
	// blockRows is roughly the number of rows whose blocks of A stay in L2.
	blockRows = 120
	// strip is the number of panels after which the activation is applied, while their outputs
	// are still in the cache.
	strip = 4
)

// gemmF32 is GemmF32 after its checks, with K at least 1.
func gemmF32(m int, a ViewF32, b *PanelsF32, lo, hi int, c []float32, ldc int, ep *Epilogue, s *Scratch) {
	block := gemmBlock{f32: b.Data, panel: b.K * Lanes, steps: b.K, n: b.N, ldc: ldc, ep: ep, s: s}
	block.run(m, a, blockK(), lo, hi, c)
}

// blockBF16 is gemmBF16 by blocks.
func blockBF16(m int, a ViewF32, b *PanelsBF16, lo, hi int, c []float32, ldc int, ep *Epilogue, s *Scratch) {
	block := gemmBlock{bf16: b.Data, panel: b.stride(), steps: b.Pairs(), odd: b.K%2 == 1, n: b.N, ldc: ldc, ep: ep, s: s}
	most := blockK()
	if !pairsAreMultiplied() {
		most /= 2 // rows of a are widened to twice the bytes
	}
	block.run(m, a, most, lo, hi, c)
}

// gemmBlock is a block of a product, in rows and in k. A step of k is one row of the right-hand
// matrix, or two in bfloat16.
type gemmBlock struct {
	f32   []float32 // the panels, one of the two
	bf16  []uint32
	panel int  // elements of one panel
	steps int  // steps in a panel
	odd   bool // the last step is only half
	n     int  // columns

	rows, tiles int // rows are divided evenly into tiles
	from, k     int // in steps
	accumulate  bool
	last        bool      // of k, so the epilogue follows
	a           []float32 // two to a step of bfloat16
	pairs       []uint32  // used instead of a if pairs are multiplied
	packed      bool      // into tiles, each [k][rows of the tile]
	stride      int       // between the rows of a, in steps, when it is not packed
	c, pre      []float32
	ldc         int
	ep          *Epilogue
	s           *Scratch
}

// run multiplies m rows of a by the panels [lo, hi), in blocks of at most so many steps.
func (g *gemmBlock) run(m int, a ViewF32, most, lo, hi int, c []float32) {
	maxRows, _ := tileF32(m)
	blocks := ceilDiv(m, blockRows)
	kBlocks := ceilDiv(g.steps, most)
	for i := range blocks {
		top, bottom := i*m/blocks, (i+1)*m/blocks
		g.rows = bottom - top
		g.tiles = ceilDiv(g.rows, maxRows)
		g.c = c[top*g.ldc:]
		if g.ep.PreActivation != nil {
			g.pre = g.ep.PreActivation[top*g.ldc:]
		}
		for j := range kBlocks {
			from, to := j*g.steps/kBlocks, (j+1)*g.steps/kBlocks
			g.from, g.k = from, to-from
			g.accumulate = g.ep.Accumulate || j > 0
			g.last = j == kBlocks-1
			if g.bf16 != nil {
				g.setPairs(a, top)
			} else {
				g.setA(a, top)
			}
			g.multiply(lo, hi)
		}
	}
}

// tile returns the rows of tile t.
func (g *gemmBlock) tile(t int) (top, bottom int) {
	return t * g.rows / g.tiles, (t + 1) * g.rows / g.tiles
}

// setA sets the block of a that begins in row top. Contiguous rows are read in place; others are
// packed.
func (g *gemmBlock) setA(a ViewF32, top int) {
	at := top*a.RowStride + g.from*a.ColStride
	if a.ColStride == 1 {
		g.packed, g.a, g.stride = false, a.Data[at:], a.RowStride
		return
	}
	g.packed = true
	g.s.packed = grow(g.s.packed, g.rows*g.k)
	g.a = g.s.packed
	// Contiguous columns are read a few at a time, by all tiles in turn. A cache line has values
	// of several tiles, and it is soon evicted if the columns are a power of two apart.
	step := g.k
	if a.RowStride == 1 {
		step = packStep
	}
	for p := 0; p < g.k; p += step {
		for t := range g.tiles {
			lo, hi := g.tile(t)
			tile := g.a[lo*g.k : hi*g.k]
			packTile(tile[p*(hi-lo):], a.Data[at+lo*a.RowStride+p*a.ColStride:], a.RowStride, a.ColStride, hi-lo, min(step, g.k-p))
		}
	}
}

// setPairs sets the block of a that begins in row top, rounded to bfloat16. It is packed into
// tiles if the columns are contiguous.
func (g *gemmBlock) setPairs(a ViewF32, top int) {
	at := top*a.RowStride + 2*g.from*a.ColStride
	k := 2 * g.k
	if g.odd && g.last {
		k--
	}
	g.s.pairs = grow(g.s.pairs, g.rows*g.k)
	pairs := g.s.pairs
	g.packed, g.stride = a.RowStride == 1 && a.ColStride != 1, g.k
	switch {
	case g.packed:
		for q := 0; q < g.k; q += packStep {
			for t := range g.tiles {
				lo, hi := g.tile(t)
				tile := pairs[lo*g.k : hi*g.k]
				packPairTile(tile[q*(hi-lo):], a.Data[at+lo+2*q*a.ColStride:], a.ColStride, hi-lo, min(2*packStep, k-2*q))
			}
		}
	case a.ColStride == 1:
		for r := range g.rows {
			row := halves(pairs[r*g.k:][:g.k])
			F32ToBF16(row[:k], a.Data[at+r*a.RowStride:][:k])
			clear(row[k:])
		}
	default:
		for r := range g.rows {
			for q := range g.k {
				pairs[r*g.k+q] = a.T().pair(g.from+q, top+r, 2*g.from+k)
			}
		}
	}
	if pairsAreMultiplied() {
		g.pairs = pairs
		return
	}
	g.s.packed = grow(g.s.packed, 2*len(pairs))
	g.a = g.s.packed
	BF16ToF32(g.a, halves(pairs))
}

// halves returns the memory of pairs of bfloat16.
func halves(pairs []uint32) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(pairs))), 2*len(pairs))
}

// multiply multiplies the block by the panels [lo, hi).
func (g *gemmBlock) multiply(lo, hi int) {
	finish := g.last && (g.ep.Activation != Identity || g.pre != nil)
	whole := min(hi, g.n/Lanes) // panels that are not cut off
	_, panels := tileF32(ceilDiv(g.rows, g.tiles))
	done := lo
	for at := lo; at < hi; {
		n := 1
		for n < panels && at+2*n <= whole {
			n *= 2
		}
		if at < whole {
			g.column(at, n)
		} else {
			g.edge(at)
		}
		at += n
		if finish && (at-done >= strip || at == hi) {
			ep := Epilogue{Activation: g.ep.Activation, PreActivation: g.pre}
			ep.finish(g.rows, done*Lanes, min(at*Lanes, g.n), g.c, g.ldc)
			done = at
		}
	}
}

// column multiplies the tiles of the block by n whole panels.
func (g *gemmBlock) column(panel, n int) {
	var bias *float32
	if g.last && g.ep.Bias != nil {
		bias = &g.ep.Bias[panel*Lanes]
	}
	for t := range g.tiles {
		top, _ := g.tile(t)
		g.kernel(t, panel, n, &g.c[top*g.ldc+panel*Lanes], g.ldc, bias)
	}
}

// edge multiplies the tiles by the last panel, which lacks some columns, using a tile of scratch
// memory.
func (g *gemmBlock) edge(panel int) {
	col := panel * Lanes
	n := g.n - col
	var bias *float32
	if g.last && g.ep.Bias != nil {
		bias = &g.s.padBias(g.ep.Bias[col:g.n])[0]
	}
	g.s.tile = grow(g.s.tile, mostRows*Lanes)
	for t := range g.tiles {
		top, bottom := g.tile(t)
		if g.accumulate {
			for r := top; r < bottom; r++ {
				copy(g.s.tile[(r-top)*Lanes:], g.c[r*g.ldc+col:][:n])
			}
		}
		g.kernel(t, panel, 1, &g.s.tile[0], Lanes, bias)
		for r := top; r < bottom; r++ {
			copy(g.c[r*g.ldc+col:][:n], g.s.tile[(r-top)*Lanes:])
		}
	}
}

// padBias returns bias padded with zeros to a panel.
func (s *Scratch) padBias(bias []float32) []float32 {
	s.bias = grow(s.bias, Lanes)
	clear(s.bias[copy(s.bias, bias):])
	return s.bias
}

// kernel multiplies one tile of the rows by n panels into c.
func (g *gemmBlock) kernel(tile, panel, n int, c *float32, ldc int, bias *float32) {
	top, bottom := g.tile(tile)
	rows := bottom - top
	a, rs, cs := top*g.stride, 4*g.stride, 4
	if g.packed {
		a, rs, cs = top*g.k, 4, 4*rows
	}
	accumulate := 0
	if g.accumulate {
		accumulate = 1
	}
	panelSize := g.panel
	b := panel*panelSize + g.from*Lanes
	// While the tiles pass, the next panel's block is fetched, a part with each tile. Without a
	// next panel, this one is named, and nothing is fetched twice.
	next := b
	ahead := b + n*panelSize
	if part := tile * g.k * 4; part < n*g.k*Lanes && ahead+part < len(g.f32)+len(g.bf16) {
		next = ahead + part
	}
	g.multiplyTile(rows, n, a, rs, cs, b, panelSize, next, c, ldc, bias, accumulate)
}

// setStrip sets the columns [from, to) of the rows [top, bottom) to those of a strip
// whose rows are ld floats apart.
func (a *RowsI8) setStrip(top, bottom, from, to int, strip []float32, ld int) {
	for r := top; r < bottom; r++ {
		a.setColumns(r, from, strip[(r-top)*ld:][:to-from])
	}
}

// gemmI8 is GemmI8 after its checks, with K at least 1. If dst is not nil it is GemmI8Quantized,
// whose outputs stay in a strip of few panels.
func gemmI8(a *RowsI8, b *PanelsI8, lo, hi int, c []float32, ldc int, ep *Epilogue, dst *RowsI8, s *Scratch) {
	g := i8Product{a: a, b: b, ldc: ldc, k: ceilDiv(b.K, 4), s: s}
	if ep.Accumulate {
		g.accumulate = 1
	}
	maxRows, panels, block, tiled := g.tiling(hi-lo, ep, dst != nil)
	blocks := ceilDiv(a.M, block)
	for i := range blocks {
		top, bottom := i*a.M/blocks, (i+1)*a.M/blocks
		tiles := ceilDiv(bottom-top, maxRows)
		g.setRows(top, bottom, tiles)
		if dst == nil {
			g.c = c[top*ldc:]
		} else {
			// A strip may grow by all but one of the panels that are multiplied together.
			g.ldc = (strip + panels - 1) * Lanes
			s.strip = grow(s.strip, (bottom-top)*g.ldc)
			g.c = s.strip
		}
		done := lo
		g.first = 0
		for at := lo; at < hi; {
			n := min(panels, hi-at)
			if tiled {
				g.tileRows(top, bottom, at, n, ep.Bias)
			} else {
				if n > 1 && (at+n)*Lanes > b.N {
					n-- // an incomplete panel is multiplied alone
				}
				for t := range tiles {
					g.tile(top+t*(bottom-top)/tiles, top+(t+1)*(bottom-top)/tiles, at, n, ep.Bias)
				}
			}
			at += n
			if at-done >= strip || at == hi {
				e := Epilogue{Activation: ep.Activation}
				if ep.PreActivation != nil {
					e.PreActivation = ep.PreActivation[top*ldc:]
				}
				from, to := done*Lanes, min(at*Lanes, b.N)
				e.finish(bottom-top, from-g.first, to-g.first, g.c, g.ldc)
				if dst != nil {
					dst.setStrip(top, bottom, from, to, g.c, g.ldc)
					g.first = to
				}
				done = at
			}
		}
	}
}

// i8Product is a product of 8-bit integers.
type i8Product struct {
	a          *RowsI8
	b          *PanelsI8
	c          []float32 // from row top and column first on
	ldc        int
	k          int // in groups of 4
	accumulate int
	s          *Scratch
	top, first int
	// wide holds the rows from top on, if the level needs them widened: tile by tile, each [k
	// rounded up to even][rows of the tile][4].
	wide []int16
}

var noBias [2 * Lanes]float32

// tile multiplies the rows [top, bottom) by n panels.
func (g *i8Product) tile(top, bottom, panel, n int, bias []float32) {
	col := panel * Lanes
	rows, columns := bottom-top, min(g.b.N-col, n*Lanes)
	cut := columns < n*Lanes
	biasAt := &noBias[0]
	if bias != nil {
		biasAt = &bias[col]
		if cut {
			biasAt = &g.s.padBias(bias[col : col+columns])[0]
		}
	}
	out := g.c[(top-g.top)*g.ldc+col-g.first:]
	if !cut {
		g.kernel(top, rows, panel, n, &out[0], g.ldc, biasAt)
		return
	}
	g.s.tile = grow(g.s.tile, mostRows*Lanes)
	if g.accumulate != 0 {
		for r := range rows {
			copy(g.s.tile[r*Lanes:], out[r*g.ldc:][:columns])
		}
	}
	g.kernel(top, rows, panel, 1, &g.s.tile[0], Lanes, biasAt)
	for r := range rows {
		copy(out[r*g.ldc:][:columns], g.s.tile[r*Lanes:])
	}
}
