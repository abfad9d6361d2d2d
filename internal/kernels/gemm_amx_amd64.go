//go:build !noasm

package kernels

import "github.com/skive-ml/skive/internal/team"

const (
	// maxTileRows is the largest number of rows in a call of the AMX kernels: two tiles.
	maxTileRows = 2 * Lanes
	// amxRows is the smallest number of rows for which tiles are used. Below, VPDPBUSD is as
	// fast.
	amxRows = 4
	// amxBytes is roughly the memory for a block of left-hand rows, which stays in L2 while the
	// panels pass.
	amxBytes = 768 << 10
	// amxPairs is the largest number of pairs of k that are multiplied at a time.
	amxPairs = 1536
)

// amxScratch is what the AMX kernels need.
type amxScratch struct {
	config tileConfig
	sums   []int32
	block  [Lanes * tilePairs]uint32
}

// tileConfig is the operand of LDTILECFG (Intel SDM, volume 2).
type tileConfig struct {
	palette byte
	_       [15]byte
	bytes   [16]uint16 // of a tile's row
	rows    [16]byte
}

// tiles sets the configuration for blocks of so many rows and panels. It returns the number of
// tiles that the rows fill.
func (s *amxScratch) tiles(rows, panels int) int {
	if s.sums == nil {
		s.sums = growAligned(s.sums, maxTileRows*2*Lanes)
		s.config.palette = 1
		for i := range 8 {
			s.config.bytes[i] = tileBytes
		}
	}
	r := &s.config.rows
	for i := range 8 {
		r[i] = Lanes // of a panel
	}
	tiles := ceilDiv(rows, Lanes)
	for i := range tiles {
		n := byte(min(Lanes, rows-i*Lanes))
		r[7-i] = n
		for j := range panels {
			r[i*panels+j] = n
		}
	}
	return tiles
}

// A tileCall is one call of an AMX kernel.
type tileCall struct {
	rowTiles, panels    int
	top, blocks, rows   int
	panel, groups, mask int
}

// eachCall divides rows and panels into calls. mask has the columns of the last panel.
func (s *amxScratch) eachCall(rows, panel, panels, mask int, call func(c tileCall)) {
	const whole = 1<<Lanes - 1
	part := func(top, blocks, rows int) {
		for at := 0; at < panels; {
			c := tileCall{top: top, blocks: blocks, rows: rows, panel: panel + at, panels: 1, groups: 1, mask: whole}
			if left := panels - at; left >= 2 {
				// A group whose last panel is incomplete gets a call of its own.
				c.panels, c.groups = 2, left/2
				if mask != whole && left%2 == 0 && left > 2 {
					c.groups--
				}
			}
			if at+c.panels*c.groups == panels {
				c.mask = mask
			}
			c.rowTiles = s.tiles(rows, c.panels)
			call(c)
			at += c.panels * c.groups
		}
	}
	blocks := rows / maxTileRows
	if blocks > 0 {
		part(0, blocks, maxTileRows)
	}
	if done := blocks * maxTileRows; done < rows {
		part(done, 1, rows-done)
	}
}

// tileRows multiplies the rows [top, bottom) by n panels.
func (g *i8Product) tileRows(top, bottom, panel, n int, bias []float32) {
	s := &g.s.amx
	stride, bs := g.a.Stride(), g.b.stride()
	s.eachCall(bottom-top, panel, n, maskOf(g.b.N-(panel+n-1)*Lanes), func(c tileCall) {
		row, col := top+c.top, c.panel*Lanes
		var biasAt *float32
		if bias != nil {
			biasAt = &bias[col]
		}
		gemmI8AMX(c.rowTiles, c.panels, &s.config.palette, stride/tileBytes, &g.a.Data[row*stride], stride, c.blocks, c.rows, &g.b.Data[c.panel*bs], bs, c.groups,
			&g.c[(row-g.top)*g.ldc+col-g.first], 4*g.ldc, c.mask, &s.sums[0], &g.a.Scale[row], &g.a.Sum[row], &g.b.Scale[col], biasAt, g.accumulate)
	})
}

// gemmBF16Tiles is GemmBF16 after its checks, with K at least 1, on AMX. pairs, if not nil, has
// the rows of a already in pairs, with all tiles of each row.
func gemmBF16Tiles(m int, a ViewF32, pairs []uint32, b *PanelsBF16, lo, hi int, c []float32, ldc int, ep *Epilogue, s *Scratch) {
	steps := b.tiles()
	kBlocks := ceilDiv(steps, amxPairs/tilePairs)
	blocks := ceilDiv(m, max(maxTileRows, amxBytes/(ceilDiv(steps, kBlocks)*tileBytes)))
	finish := ep.Activation != Identity || ep.PreActivation != nil
	for i := range blocks {
		top, bottom := i*m/blocks, (i+1)*m/blocks
		out := c[top*ldc:]
		var pre []float32
		if ep.PreActivation != nil {
			pre = ep.PreActivation[top*ldc:]
		}
		for j := range kBlocks {
			from, to := j*steps/kBlocks, (j+1)*steps/kBlocks
			left, stride := pairs, steps*tilePairs
			if pairs == nil {
				stride = (to - from) * tilePairs
				s.pairs = growAligned(s.pairs, (bottom-top)*stride)
				pairRows(s.pairs, a, top, bottom, from, to, b.K, &s.amx.block)
				left = s.pairs
			} else {
				left = pairs[top*stride+from*tilePairs:]
			}
			last := j == kBlocks-1
			accumulate := 0
			if ep.Accumulate || j > 0 {
				accumulate = 1
			}
			step := ep.stripOf(hi-lo, false)
			for at := lo; at < hi; at += step {
				n := min(step, hi-at)
				s.amx.eachCall(bottom-top, at, n, maskOf(b.N-(at+n-1)*Lanes), func(t tileCall) {
					var bias *float32
					if last && ep.Bias != nil {
						bias = &ep.Bias[t.panel*Lanes]
					}
					gemmBF16AMX(t.rowTiles, t.panels, &s.amx.config.palette, to-from, &left[t.top*stride], 4*stride, t.blocks, t.rows,
						&b.Data[t.panel*b.stride()+from*tilePairs*Lanes], 4*b.stride(), t.groups, &out[t.top*ldc+t.panel*Lanes], 4*ldc, t.mask, &s.amx.sums[0], bias, accumulate)
				})
				if last && finish {
					e := Epilogue{Activation: ep.Activation, PreActivation: pre}
					e.finish(bottom-top, at*Lanes, min((at+n)*Lanes, b.N), out, ldc)
				}
			}
		}
	}
}

// share makes the pairs of the left-hand rows for all parts, on the workers of t.
func (g *gemmJob) share(t *team.Team, pack func(worker, part int)) {
	if !active.has(amxTiles) {
		return
	}
	s := &g.s[0]
	s.shared = growAligned(s.shared, g.m*g.bf16.tiles()*tilePairs)
	g.pairs = s.shared
	t.Run(ceilDiv(g.m, packRows), pack)
}

// packRows is the number of rows for which a worker makes pairs at a time.
const packRows = 4 * Lanes

func (g *gemmJob) pack(worker, part int) {
	steps := g.bf16.tiles()
	top := part * packRows
	pairRows(g.pairs[top*steps*tilePairs:], g.a, top, min(top+packRows, g.m), 0, steps, g.bf16.K, &g.s[worker].amx.block)
}

// multiplyPairs multiplies a part of the rows that share has made.
func (g *gemmJob) multiplyPairs(top, bottom, lo, hi int, c []float32, ep Epilogue, s *Scratch) {
	gemmBF16Tiles(bottom-top, ViewF32{}, g.pairs[top*g.bf16.tiles()*tilePairs:], g.bf16, lo, hi, c, g.ldc, &ep, s)
}

// pairRows sets pairs to the rows [top, bottom) of a, of k columns, rounded to bfloat16. For each
// row it sets the tiles [from, to) of 16 pairs, with zeros beyond k. It overwrites block. Its
// loops are nested like the tiles: strips of columns, blocks of rows, and the rest of an
// incomplete block.
func pairRows(pairs []uint32, a ViewF32, top, bottom, from, to, k int, block *[Lanes * tilePairs]uint32) {
	rows, stride := bottom-top, (to-from)*tilePairs
	at := top*a.RowStride + 2*from*tilePairs*a.ColStride
	n := min(k, 2*to*tilePairs) - 2*from*tilePairs // columns
	if a.RowStride == 1 && a.ColStride != 1 {
		for q := 0; q < stride; q += tilePairs {
			for lo := 0; lo < rows; lo += Lanes {
				m := min(Lanes, rows-lo)
				left := min(2*tilePairs, n-2*q)
				packPairTile(block[:], a.Data[at+lo+2*q*a.ColStride:], a.ColStride, m, left)
				clear(block[ceilDiv(left, 2)*m:])
				if m == Lanes {
					transposePairsAVX512(&pairs[lo*stride+q], 4*stride, &block[0], tileBytes)
					continue
				}
				for r := range m {
					for p := range tilePairs {
						pairs[(lo+r)*stride+q+p] = block[p*m+r]
					}
				}
			}
		}
		return
	}
	if a.ColStride == 1 {
		roundPairsAVX512(&pairs[0], 4*stride, &a.Data[at], 4*a.RowStride, rows, n)
		return
	}
	for r := range rows {
		row := halves(pairs[r*stride:][:stride])
		for p := range n {
			row[p] = roundBF16(a.Data[at+r*a.RowStride+p*a.ColStride])
		}
		clear(row[n:])
	}
}

// stripOf returns how many of n panels are multiplied before their outputs are finished or
// quantized. If nothing is left to do, there are many, but a call must not take too long, because
// it cannot be preempted.
func (ep *Epilogue) stripOf(n int, quantized bool) int {
	const longest = 64
	if ep.Activation == Identity && ep.PreActivation == nil && !quantized {
		return min(n, longest)
	}
	return strip
}
