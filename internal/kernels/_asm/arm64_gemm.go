package main

import (
	"fmt"
	"slices"
	"strings"
)

func init() {
	registerARM("neon_gemm_f32", func(f *armFile) {
		const doc = "sets, for i < rows <= 6 and j < 16,\n\n" +
			"\tc[i*ldc+j] = fma over p < k of a(i, p), b[p*16+j], from 0 or, with accumulate, from c; plus bias[j] unless it is nil\n\n"
		f.function("gemmF32NEON", "func(rows, k int, a *float32, rs int, b, c *float32, ldc int, bias *float32, accumulate int)",
			doc+"where a(i, p) is a[i*rs+p]. Strides are in bytes, and k is at least 1.", func(g *armFunc) { g.gemmF32(false) })
		f.function("gemmF32PackedNEON", "func(rows, k int, a *float32, b, c *float32, ldc int, bias *float32, accumulate int)",
			doc+"where a(i, p) is a[p*rows+i]. Strides are in bytes, and k is at least 1.", func(g *armFunc) { g.gemmF32(true) })
	})
	registerARM("neon_gemm_bf16", func(f *armFile) {
		f.function("gemmBF16NEON", "func(rows, k int, a *float32, rs, cs int, b *uint32, c *float32, ldc int, bias *float32, accumulate int)",
			"is gemmF32NEON for k pairs of bfloat16: those of a are widened, a(i, p) being the two\nfloats at a[i*rs+p*cs], those of b are the halves of b[p*16+j]. The second of a pair comes first. Subnormal numbers count as zeros.",
			(*armFunc).gemmBF16)
	})
	registerARM("neon_gemm_i8", func(f *armFile) {
		const signature = "func(rows, k int, a *int8, lda int, b *uint8, c *float32, ldc int, scaleA, scaleB, bias *float32, accumulate int)"
		const doc = "and j < 16, with acc the sum over p < 16*k of a[i*lda+p]*b[p/4*64+j*4+p%4], which\nare signed bytes within 127,\n\n" +
			"\tc[i*ldc+j] = fma(float32(acc), scaleA[i]*scaleB[j], bias[j])   plus c when accumulate is not zero\n\n" +
			"Strides are in bytes, and k is at least 1."
		f.function("gemmI8DotProd", signature, "sets, for i < rows <= 6 "+doc, func(g *armFunc) { g.gemmI8(6, sums, g.dotI8) })
		f.function("gemmI8MatMul", signature, "sets, for i < rows <= 6 "+strings.Replace(doc, "b[p/4*64+j*4+p%4]", "b[p/8*128+j*8+p%8]", 1),
			func(g *armFunc) { g.gemmI8(6, pairSums, g.matMulI8) })
		f.function("gemmI8NEON", signature, "sets, for i < rows <= 2 "+doc, func(g *armFunc) { g.gemmI8(2, sums, g.multiplyI8) })
	})
	registerARM("neon_pack", armPack)
}

// armRows is the number of rows of a tile of floats: 24 registers hold the sums of 6
// rows and 16 columns, six what comes of the rows and two what comes of the panel.
const armRows = 6

// sums is the register of row r and columns 4j to 4j+3.
func sums(r, j int) vreg { return vreg(4*r + j) }

const panel0, row0 = vreg(24), vreg(26)

// eachRows writes body for each number of rows up to most; the registers of sums are
// taken.
func (g *armFunc) eachRows(rows xreg, most int, body func(rows int, label func(string) string)) {
	for i := range g.vs {
		g.vs[i] = true // by hand
	}
	for n := 1; n < most; n++ {
		g.plain("CMP $%d, R%d", n, rows)
		g.plain("BEQ rows%d", n)
	}
	for n := most; n > 0; n-- {
		g.at(fmt.Sprintf("rows%d", n))
		body(n, func(name string) string { return fmt.Sprintf("%s%d", name, n) })
		if n > 1 {
			g.plain("RET")
		}
	}
}

// begin sets the sums of so many rows to zero or, with accumulate, to c.
func (g *armFunc) begin(rows int, label func(string) string, accumulate, c, ldc, t xreg) {
	g.plain("CBZ R%d, %s", accumulate, label("zero"))
	g.plain("MOVD R%d, R%d", c, t)
	for r := range rows {
		g.emit(ldp(sums(r, 0), sums(r, 1), t, 0), ldp(sums(r, 2), sums(r, 3), t, 32))
		if r < rows-1 {
			g.plain("ADD R%d, R%d, R%d", ldc, t, t)
		}
	}
	g.plain("B %s", label("start"))
	g.at(label("zero"))
	g.clearSums(rows)
	g.at(label("start"))
}

func (g *armFunc) clearSums(rows int) {
	for r := range rows {
		for j := range 4 {
			g.zeroOf(sums(r, j))
		}
	}
}

// end adds the bias, unless it is nil, and stores the sums.
func (g *armFunc) end(rows int, label func(string) string, bias, c, ldc xreg) {
	g.plain("CBZ R%d, %s", bias, label("store"))
	b := [4]vreg{24, 25, 26, 27}
	g.emit(ldp(b[0], b[1], bias, 0), ldp(b[2], b[3], bias, 32))
	for r := range rows {
		for j := range 4 {
			g.emit(fadd(sums(r, j), sums(r, j), b[j]))
		}
	}
	g.at(label("store"))
	for r := range rows {
		g.emit(stp(sums(r, 0), sums(r, 1), c, 0), stp(sums(r, 2), sums(r, 3), c, 32))
		if r < rows-1 {
			g.plain("ADD R%d, R%d, R%d", ldc, c, c)
		}
	}
}

// rowsOf returns registers for the addresses of rows, the first of which is a.
func (g *armFunc) rowsOf(a xreg, most int) []xreg {
	rows := []xreg{a}
	for len(rows) < most {
		rows = append(rows, g.x())
	}
	return rows
}

// step adds the products of one k, for which x gives register and element of each row.
func (g *armFunc) step(rows int, b xreg, offset int, x func(r int) (vreg, int), product func(d, n, m vreg, i int) armInst) {
	for half := range 2 {
		g.emit(ldp(panel0, panel0+1, b, offset+32*half))
		for r := range rows {
			v, i := x(r)
			g.emit(product(sums(r, 2*half), panel0, v, i), product(sums(r, 2*half+1), panel0+1, v, i))
		}
	}
}

// gemmF32 multiplies four k at a time, whose values take as many registers as there are
// rows, and what is left one at a time. Packed rows lie k by k, so that their addresses are
// one that moves on.
func (g *armFunc) gemmF32(packed bool) {
	rows, k, a := g.arg("rows"), g.arg("k"), g.arg("a")
	var rs xreg
	if !packed {
		rs = g.arg("rs")
	}
	b, c, ldc, bias, accumulate := g.arg("b"), g.arg("c"), g.arg("ldc"), g.arg("bias"), g.arg("accumulate")
	t, at := g.x(), slices.Repeat([]xreg{a}, armRows)
	if !packed {
		at = g.rowsOf(a, armRows)
	}
	g.eachRows(rows, armRows, func(rows int, label func(string) string) {
		for r := 1; r < rows && !packed; r++ {
			g.plain("ADD R%d, R%d, R%d", rs, at[r-1], at[r])
		}
		g.begin(rows, label, accumulate, c, ldc, t)
		g.plain("SUBS $4, R%d, R%d", k, k)
		g.plain("BLT %s", label("rest"))
		g.plain("PCALIGN $32")
		g.at(label("loop"))
		for r := range rows {
			g.emit(ldqPost(row0+vreg(r), at[r], 16))
		}
		for i := range 4 {
			g.step(rows, b, 64*i, func(r int) (vreg, int) {
				if n := i*rows + r; packed {
					return row0 + vreg(n/4), n % 4
				}
				return row0 + vreg(r), i
			}, fmlaElement)
		}
		g.plain("ADD $256, R%d, R%d", b, b)
		g.plain("SUBS $4, R%d, R%d", k, k)
		g.plain("BGE %s", label("loop"))
		g.at(label("rest"))
		g.plain("ADDS $4, R%d, R%d", k, k)
		g.plain("BEQ %s", label("bias"))
		g.at(label("one"))
		for r := range rows {
			g.plain("FMOVS.P 4(R%d), F%d", at[r], row0+vreg(r))
		}
		g.step(rows, b, 0, func(r int) (vreg, int) { return row0 + vreg(r), 0 }, fmlaElement)
		g.plain("ADD $64, R%d, R%d", b, b)
		g.plain("SUBS $1, R%d, R%d", k, k)
		g.plain("BNE %s", label("one"))
		g.at(label("bias"))
		g.end(rows, label, bias, c, ldc)
	})
}

// gemmBF16 widens the panel: the second of a pair is its upper half, and the first, in
// the lower half, is shifted there. Meanwhile FPCR.FZ takes subnormal numbers for zero.
func (g *armFunc) gemmBF16() {
	rows, k, a, rs, cs := g.arg("rows"), g.arg("k"), g.arg("a"), g.arg("rs"), g.arg("cs")
	b, c, ldc, bias, accumulate := g.arg("b"), g.arg("c"), g.arg("ldc"), g.arg("bias"), g.arg("accumulate")
	t, mode := g.x(), g.x()
	at := g.rowsOf(a, armRows)
	g.plain("MRS FPCR, R%d", mode)
	g.plain("ORR $(1<<24), R%d, R%d", mode, t)
	g.plain("MSR R%d, FPCR", t)
	g.eachRows(rows, armRows, func(rows int, label func(string) string) {
		for r := 1; r < rows; r++ {
			g.plain("ADD R%d, R%d, R%d", rs, at[r-1], at[r])
		}
		g.begin(rows, label, accumulate, c, ldc, t)
		g.plain("PCALIGN $32")
		g.at(label("loop"))
		for r := range rows {
			g.plain("FMOVD (R%d), F%d", at[r], row0+vreg(r))
			g.plain("ADD R%d, R%d, R%d", cs, at[r], at[r])
		}
		for j := range 4 {
			even, odd := panel0, panel0+1
			g.emit(ldq(odd, b, 16*j), shl(even, odd, 16), ushr(odd, odd, 16), shl(odd, odd, 16))
			for r := range rows {
				g.emit(fmlaElement(sums(r, j), odd, row0+vreg(r), 1))
			}
			for r := range rows {
				g.emit(fmlaElement(sums(r, j), even, row0+vreg(r), 0))
			}
		}
		g.plain("ADD $64, R%d, R%d", b, b)
		g.plain("SUBS $1, R%d, R%d", k, k)
		g.plain("BNE %s", label("loop"))
		g.plain("MSR R%d, FPCR", mode)
		g.end(rows, label, bias, c, ldc)
	})
}

// gemmI8 multiplies bytes; multiply writes the loop over k that leaves the sums in the
// registers of place. There is an address for a row beyond an odd number.
func (g *armFunc) gemmI8(most int, place func(r, j int) vreg, multiply func(rows int, label func(string) string, at []xreg, k, b xreg)) {
	rows, k, a, lda := g.arg("rows"), g.arg("k"), g.arg("a"), g.arg("lda")
	b, c, ldc := g.arg("b"), g.arg("c"), g.arg("ldc")
	scaleA, scaleB, bias, accumulate := g.arg("scaleA"), g.arg("scaleB"), g.arg("bias"), g.arg("accumulate")
	at := g.rowsOf(a, most)
	g.eachRows(rows, most, func(rows int, label func(string) string) {
		for r := 1; r < rows; r++ {
			g.plain("ADD R%d, R%d, R%d", lda, at[r-1], at[r])
		}
		multiply(rows, label, at, k, b)
		scales, x, y := [4]vreg{24, 25, 26, 27}, vreg(28), vreg(29)
		g.emit(ldp(scales[0], scales[1], scaleB, 0), ldp(scales[2], scales[3], scaleB, 32))
		for r := range rows {
			g.emit(ld1r(x, scaleA))
			for j := range 4 {
				s, z := place(r, j), vreg(30)
				g.emit(scvtf(s, s), fmul(y, x, scales[j]), ldq(z, bias, 16*j), fmla(z, s, y), move(s, z))
			}
			g.plain("CBZ R%d, %s", accumulate, label(fmt.Sprintf("store%dof", r)))
			for j := range 4 {
				g.emit(ldq(y, c, 16*j), fadd(place(r, j), y, place(r, j)))
			}
			g.at(label(fmt.Sprintf("store%dof", r)))
			g.emit(stp(place(r, 0), place(r, 1), c, 0), stp(place(r, 2), place(r, 3), c, 32))
			if r < rows-1 {
				g.plain("ADD R%d, R%d, R%d", ldc, c, c)
			}
		}
	})
}

// dotI8 multiplies by SDOT, 16 of k at a time.
func (g *armFunc) dotI8(rows int, label func(string) string, at []xreg, k, b xreg) {
	g.clearSums(rows)
	g.plain("PCALIGN $32")
	g.at(label("loop"))
	for r := range rows {
		g.emit(ldqPost(row0+vreg(r), at[r], 16))
	}
	for i := range 4 {
		g.step(rows, b, 64*i, func(r int) (vreg, int) { return row0 + vreg(r), i }, sdotElement)
	}
	g.plain("ADD $256, R%d, R%d", b, b)
	g.plain("SUBS $1, R%d, R%d", k, k)
	g.plain("BNE %s", label("loop"))
}

// pairSums is sums for rows in pairs.
func pairSums(r, j int) vreg { return vreg(8*(r/2) + 2*j + r%2) }

// matMulI8 multiplies by SMMLA, 16 of k at a time: two columns by two rows and eight k.
// Rows lie one after the other, so that pairs of them are joined; that of an odd one is
// the row itself.
func (g *armFunc) matMulI8(rows int, label func(string) string, at []xreg, k, b xreg) {
	pairs := (rows + 1) / 2
	if rows%2 == 1 {
		g.plain("MOVD R%d, R%d", at[rows-1], at[rows])
	}
	g.clearSums(2 * pairs)
	g.plain("PCALIGN $32")
	g.at(label("loop"))
	joined := func(pair, half int) vreg { return row0 + vreg(2*pair+half) }
	for pair := range pairs {
		t := panel0
		g.emit(ldqPost(t, at[2*pair], 16), ldqPost(joined(pair, 1), at[2*pair+1], 16))
		g.emit(trn1d(joined(pair, 0), t, joined(pair, 1)), trn2d(joined(pair, 1), t, joined(pair, 1)))
	}
	for half := range 2 {
		for j := range 4 {
			g.emit(ldp(panel0, panel0+1, b, 128*half+32*j))
			for pair := range pairs {
				g.emit(smmla(vreg(8*pair+2*j), panel0, joined(pair, half)), smmla(vreg(8*pair+2*j+1), panel0+1, joined(pair, half)))
			}
		}
	}
	g.plain("ADD $256, R%d, R%d", b, b)
	g.plain("SUBS $1, R%d, R%d", k, k)
	g.plain("BNE %s", label("loop"))
	// A register holds two rows of each of two columns.
	for pair := range pairs {
		for j := range 4 {
			t, first := panel0, vreg(8*pair+2*j)
			g.emit(move(t, first), uzp1(first, t, first+1), uzp2(first+1, t, first+1))
		}
	}
}

// multiplyI8 multiplies without dot products. Two products of bytes within 127 fit 16
// bits, three do not: two groups of four k are multiplied and added, then the sums of
// pairs go to accumulators of 32 bits, of which there are twice as many as sums.
func (g *armFunc) multiplyI8(rows int, label func(string) string, at []xreg, k, b xreg) {
	wide := func(r, j, half int) vreg { return vreg(8*r + 2*j + half) }
	for r := range rows {
		for j := range 4 {
			g.zeroOf(wide(r, j, 0), wide(r, j, 1))
		}
	}
	x := func(r, i int) vreg { return vreg(16 + 2*r + i) } // four k of a row, for two groups
	rowAt := func(r int) vreg { return vreg(20 + r) }
	first, second, low, high := vreg(24), vreg(25), vreg(26), vreg(27)
	g.plain("PCALIGN $32")
	g.at(label("loop"))
	for r := range rows {
		g.emit(ldqPost(rowAt(r), at[r], 16))
	}
	for pair := range 2 {
		for r := range rows {
			for i := range 2 {
				g.emit(dup(x(r, i), rowAt(r), 2*pair+i))
			}
		}
		for j := range 4 {
			g.emit(ldq(first, b, 128*pair+16*j), ldq(second, b, 128*pair+64+16*j))
			for r := range rows {
				g.emit(smull(low, first, x(r, 0)), smlal(low, second, x(r, 1)), sadalp(wide(r, j, 0), low))
				g.emit(smull2(high, first, x(r, 0)), smlal2(high, second, x(r, 1)), sadalp(wide(r, j, 1), high))
			}
		}
	}
	g.plain("ADD $256, R%d, R%d", b, b)
	g.plain("SUBS $1, R%d, R%d", k, k)
	g.plain("BNE %s", label("loop"))
	for r := range rows {
		for j := range 4 {
			g.emit(addp(sums(r, j), wide(r, j, 0), wide(r, j, 1)))
		}
	}
}

func armPack(f *armFile) {
	f.function("packRowsNEON", "func(dst, src *float32, step, cs, k int)",
		"copies 16 floats from src to dst, k times, moving on by step bytes in dst and cs in src: step is at\nmost 64, so that the next copy overwrites what is too much of one. k is at least 1.", func(g *armFunc) {
			dst, src, step, cs, k, v := g.arg("dst"), g.arg("src"), g.arg("step"), g.arg("cs"), g.arg("k"), g.quad()
			g.at("rows")
			g.emit(ldp(v[0], v[1], src, 0), ldp(v[2], v[3], src, 32), stp(v[0], v[1], dst, 0), stp(v[2], v[3], dst, 32))
			g.plain("ADD R%d, R%d, R%d", cs, src, src)
			g.plain("ADD R%d, R%d, R%d", step, dst, dst)
			g.plain("SUBS $1, R%d, R%d", k, k)
			g.plain("BNE rows")
		})
	f.function("packColumnsNEON", "func(dst, src *float32, ld, n int)",
		"sets dst[p*16+j] = src[j*ld+p] for p < 8*n and j < 16; ld is in bytes and n at least 1.", func(g *armFunc) {
			dst, src, ld, n, p := g.arg("dst"), g.arg("src"), g.arg("ld"), g.arg("n"), g.x()
			g.plain("LSL $1, R%d, R%d", n, n)
			g.at("columns")
			g.plain("MOVD R%d, R%d", src, p)
			for j := range 4 {
				x, t := g.quad(), g.quad()
				for i := range x {
					g.emit(ldq(x[i], p, 0))
					g.plain("ADD R%d, R%d, R%d", ld, p, p)
				}
				g.emit(trn1(t[0], x[0], x[1]), trn2(t[1], x[0], x[1]), trn1(t[2], x[2], x[3]), trn2(t[3], x[2], x[3]))
				g.emit(trn1d(x[0], t[0], t[2]), trn1d(x[1], t[1], t[3]), trn2d(x[2], t[0], t[2]), trn2d(x[3], t[1], t[3]))
				for i := range x {
					g.emit(stq(x[i], dst, 64*i+16*j))
				}
				g.free(x, t)
			}
			g.plain("ADD $16, R%d, R%d", src, src)
			g.plain("ADD $256, R%d, R%d", dst, dst)
			g.plain("SUBS $1, R%d, R%d", n, n)
			g.plain("BNE columns")
		})
	f.function("packPairsNEON", "func(dst *uint32, src *float32, step, cs, k int)",
		"rounds 16 floats from src and 16 from cs bytes on to bfloat16, as F32ToBF16 does, and stores them to\ndst as pairs, those from src in the lower halves; k times, moving on by step bytes in dst and 2*cs in src. step is\nat most 64, so that the next pairs overwrite what is too much. k is at least 1.", func(g *armFunc) {
			g.needConstants()
			dst, src, step, cs, k := g.arg("dst"), g.arg("src"), g.arg("step"), g.arg("cs"), g.arg("k")
			rounded := func() quad {
				v := g.quad()
				g.emit(ldp(v[0], v[1], src, 0), ldp(v[2], v[3], src, 32))
				g.plain("ADD R%d, R%d, R%d", cs, src, src)
				return g.roundedBF16(v)
			}
			g.at("pairs")
			low, high := rounded(), rounded()
			g.by(sri, high, low, 16)
			g.emit(stp(high[0], high[1], dst, 0), stp(high[2], high[3], dst, 32))
			g.plain("ADD R%d, R%d, R%d", step, dst, dst)
			g.plain("SUBS $1, R%d, R%d", k, k)
			g.plain("BNE pairs")
		})
}
