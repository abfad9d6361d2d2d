package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
	"github.com/mmcloughlin/avo/x86"
)

func init() {
	register("gemm_amx", func() {
		amxKernel{
			name: "gemmI8AMX", a: "int8", b: "uint8", multiply: "TDPBSUD",
			params: "scaleA *float32, sum *int32, scaleB, bias *float32, accumulate int",
			doc: []string{
				"\tacc = sum over p < 64*k of a[i*as+p] * b[j/16*bs+p/4*64+j%16*4+p%4]",
				epilogueDoc,
			},
			start: (*amxBlock).zero, finish: amxI8Epilogue,
		}.function()
		amxKernel{
			name: "gemmBF16AMX", a: "uint32", b: "uint32", multiply: "TDPBF16PS",
			params: "bias *float32, accumulate int",
			doc: []string{
				"\tacc = 0, or c[i][j] when accumulate is not zero",
				"\tacc = TDPBF16PS of 16 pairs of a[i] and of b's column j, k times",
				"\tc[i][j] = acc + bias[j]                              or acc, when bias is nil",
			},
			start: amxBF16Start, finish: amxBF16Epilogue,
		}.function()
		transposePairs()
	})
}

// Go's assembler knows no instruction of AMX, and neither does avo: they are made
// here, and become bytes in encode.

func tileOp(op string, tiles ...int) {
	for _, t := range tiles {
		op += fmt.Sprintf("_%d", t)
	}
	Instruction(&ir.Instruction{Opcode: op})
}

// tileMem is an instruction with a memory operand, which is that of a prefetch to
// avo.
func tileMem(op string, m Mem, tile ...int) {
	i, err := x86.PREFETCHT0(m)
	if err != nil {
		panic(err)
	}
	for _, t := range tile {
		op += fmt.Sprintf("_%d", t)
	}
	i.Opcode, i.ISA = op, []string{"AMX-TILE"}
	Instruction(i)
}

// amxShapes are the blocks of outputs, in tiles of 16 rows and 16 columns. With
// the tiles of factors they fill the eight registers.
var amxShapes = []tileShape{{2, 2}, {2, 1}, {1, 4}, {1, 2}, {1, 1}}

// The tiles of the factors: the sums take the others. A register may be loaded
// anew while the product that reads it is under way.
var leftTiles, rightTiles = [2]int{7, 6}, [4]int{4, 5, 6, 4}

// An amxKernel multiplies blocks of rows by groups of panels.
type amxKernel struct {
	name, a, b string
	multiply   string // the instruction
	params     string
	doc        []string
	start      func(x *amxBlock) // sets the tiles of sums
	finish     func(x *amxBlock) // reads the sums from memory
}

// amxBlock is the code of one shape. What lives through more than one product
// lies on the stack.
type amxBlock struct {
	tileShape
	a, b, c, group        Mem // of the block, and c of its group of panels
	row, blocksLeft, toGo Mem
	cut                   reg.OpmaskVirtual // of the last panel
}

func local(m Mem) reg.GPVirtual {
	r := GP64()
	MOVQ(m, r)
	return r
}

func (x *amxBlock) tile(i, j int) int { return i*x.panels + j }

// wide is the distance of the rows of sums.
func (x *amxBlock) wide() int { return 64 * x.panels }

// load reads a row's part of panel j, and store writes it: of the last panel
// some columns may not exist.
func (x *amxBlock) load(m Mem, j int, v reg.VecVirtual) {
	if j == x.panels-1 {
		VMOVUPS_Z(m, x.cut, v)
	} else {
		VMOVUPS(m, v)
	}
}

func (x *amxBlock) store(v reg.VecVirtual, j int, m Mem) {
	if j == x.panels-1 {
		VMOVUPS(v, x.cut, m)
	} else {
		VMOVUPS(v, m)
	}
}

func (k amxKernel) function() {
	TEXT(k.name, NOSPLIT, fmt.Sprintf("func(rowTiles, panels int, config *byte, k int, a *%s, as, blocks, rows int, b *%s, bs, groups int, c *float32, ldc, mask int, sums *int32, %s)", k.a, k.b, k.params))
	Pragma("noescape")
	Doc(append(append([]string{
		k.name + " sets, for i < blocks*rows and j < 16*panels*groups,",
		"",
	}, k.doc...),
		"",
		"All strides are in bytes. A block has rows rows, in rowTiles tiles of at most 16, as config has it. Of the last panel",
		"of a group only the columns in mask exist. What is at sums, 4 KB, is overwritten. The shapes rowTiles x panels are:",
		shapeList(amxShapes))...)
	x := amxBlock{a: AllocLocal(8), b: AllocLocal(8), c: AllocLocal(8), group: AllocLocal(8), row: AllocLocal(8), blocksLeft: AllocLocal(8), toGo: AllocLocal(8)}
	tileMem("LDTILECFG", Mem{Base: arg("config")})
	MOVQ(arg("b"), x.b)
	MOVQ(arg("c"), x.group)
	MOVQ(arg("groups"), x.toGo)
	mask := arg("mask")
	tiles, panels := arg("rowTiles"), arg("panels")
	SHLQ(Imm(8), panels)
	ORQ(panels, tiles)
	for _, s := range amxShapes[1:] {
		CMPQ(tiles, U32(s.rows|s.panels<<8))
		JEQ(LabelRef(s.label("tile")))
	}
	for _, s := range amxShapes {
		Label(s.label("tile"))
		x.tileShape, x.cut = s, K()
		KMOVW(mask.As32(), x.cut)
		k.shape(&x)
	}
}

func (k amxKernel) shape(x *amxBlock) {
	Label(x.label("group"))
	MOVQ(local(x.group), x.c)
	MOVQ(arg("a"), x.a)
	MOVQ(arg("blocks"), x.blocksLeft)
	zero := GP64()
	XORQ(zero, zero)
	MOVQ(zero, x.row)

	Label(x.label("block"))
	k.start(x)
	as, n, stride := arg("as"), arg("k"), GP64()
	MOVQ(U32(64), stride)
	pa := []reg.GPVirtual{local(x.a)}
	if x.rows == 2 {
		below := GP64()
		MOVQ(as, below)
		SHLQ(Imm(4), below)
		ADDQ(pa[0], below)
		pa = append(pa, below)
	}
	pb := []reg.GPVirtual{local(x.b)}
	for bs := arg("bs"); len(pb) < x.panels; {
		next := GP64()
		LEAQ(Mem{Base: pb[len(pb)-1], Index: bs, Scale: 1}, next)
		pb = append(pb, next)
	}
	Label(x.label("loop"))
	for i := range pa {
		tileMem("TILELOADD", Mem{Base: pa[i], Index: as, Scale: 1}, leftTiles[i])
		ADDQ(Imm(64), pa[i])
		for j := range pb {
			if i == 0 {
				tileMem("TILELOADD", Mem{Base: pb[j], Index: stride, Scale: 1}, rightTiles[j])
				ADDQ(U32(1024), pb[j])
			}
			tileOp(k.multiply, x.tile(i, j), leftTiles[i], rightTiles[j])
		}
	}
	DECQ(n)
	JNZ(LabelRef(x.label("loop")))
	x.eachTile("TILESTORED")
	k.finish(x)

	rows := arg("rows")
	ADDQ(rows, x.row)
	step := arg("as")
	IMULQ(rows, step)
	ADDQ(step, x.a)
	step = arg("ldc")
	IMULQ(rows, step)
	ADDQ(step, x.c)
	DECQ(x.blocksLeft)
	JNZ(LabelRef(x.label("block")))

	step = arg("bs")
	for range x.panels {
		ADDQ(step, x.b)
	}
	ADDQ(U32(x.wide()), x.group)
	DECQ(x.toGo)
	JNZ(LabelRef(x.label("group")))
	tileOp("TILERELEASE")
	VZEROUPPER()
	RET()
}

// eachTile loads or stores the tiles of sums.
func (x *amxBlock) eachTile(op string) {
	sums, wide := arg("sums"), GP64()
	MOVQ(U32(x.wide()), wide)
	for i := range x.rows {
		for j := range x.panels {
			tileMem(op, Mem{Base: sums, Index: wide, Scale: 1, Disp: 16*x.wide()*i + 64*j}, x.tile(i, j))
		}
	}
}

func (x *amxBlock) zero() {
	for i := range x.rows {
		for j := range x.panels {
			tileOp("TILEZERO", x.tile(i, j))
		}
	}
}

// amxI8Epilogue is i8Epilogue over a block.
func amxI8Epilogue(x *amxBlock) {
	sums, c, ldc, rows, add := arg("sums"), local(x.c), arg("ldc"), arg("rows"), arg("accumulate")
	at := local(x.row)
	scaleA, sumA := arg("scaleA"), arg("sum")
	LEAQ(Mem{Base: scaleA, Index: at, Scale: 4}, scaleA)
	LEAQ(Mem{Base: sumA, Index: at, Scale: 4}, sumA)
	column := local(x.group)
	SUBQ(arg("c"), column)
	scaleB, bias := arg("scaleB"), arg("bias")
	ADDQ(column, scaleB)
	ADDQ(column, bias)
	scales, biases := make([]reg.VecVirtual, x.panels), make([]reg.VecVirtual, x.panels)
	for j := range scales {
		scales[j], biases[j] = ZMM(), ZMM()
		VMOVUPS(Mem{Base: scaleB, Disp: 64 * j}, scales[j])
		x.load(Mem{Base: bias, Disp: 64 * j}, j, biases[j])
	}
	Label(x.label("row"))
	sum, scale := ZMM(), ZMM()
	VPBROADCASTD(Mem{Base: sumA}, sum)
	VPSLLD(Imm(7), sum, sum)
	VBROADCASTSS(Mem{Base: scaleA}, scale)
	acc := make([]reg.VecVirtual, x.panels)
	for j := range acc {
		acc[j] = ZMM()
		VMOVDQU32(Mem{Base: sums, Disp: 64 * j}, acc[j])
		VPSUBD(sum, acc[j], acc[j])
		VCVTDQ2PS(acc[j], acc[j])
		s := ZMM()
		VMULPS(scales[j], scale, s)
		VFMADD213PS(biases[j], s, acc[j])
	}
	TESTQ(add, add)
	JZ(LabelRef(x.label("store")))
	for j := range acc {
		old := ZMM()
		x.load(Mem{Base: c, Disp: 64 * j}, j, old)
		VADDPS(old, acc[j], acc[j])
	}
	Label(x.label("store"))
	for j := range acc {
		x.store(acc[j], j, Mem{Base: c, Disp: 64 * j})
	}
	ADDQ(U32(x.wide()), sums)
	ADDQ(ldc, c)
	ADDQ(Imm(4), scaleA)
	ADDQ(Imm(4), sumA)
	DECQ(rows)
	JNZ(LabelRef(x.label("row")))
}

// amxBF16Start begins with zero, or with what is in c.
func amxBF16Start(x *amxBlock) {
	ifZero("accumulate", x.label("zero"))
	sums, c, ldc, rows := arg("sums"), local(x.c), arg("ldc"), arg("rows")
	Label(x.label("old"))
	for j := range x.panels {
		v := ZMM()
		x.load(Mem{Base: c, Disp: 64 * j}, j, v)
		VMOVUPS(v, Mem{Base: sums, Disp: 64 * j})
	}
	ADDQ(U32(x.wide()), sums)
	ADDQ(ldc, c)
	DECQ(rows)
	JNZ(LabelRef(x.label("old")))
	x.eachTile("TILELOADD")
	JMP(LabelRef(x.label("begin")))
	Label(x.label("zero"))
	x.zero()
	Label(x.label("begin"))
}

// amxBF16Epilogue adds the bias.
func amxBF16Epilogue(x *amxBlock) {
	sums, c, ldc, rows, bias := arg("sums"), local(x.c), arg("ldc"), arg("rows"), arg("bias")
	loop := func(name string, biases []reg.VecVirtual) {
		Label(x.label(name))
		for j := range x.panels {
			v := ZMM()
			VMOVUPS(Mem{Base: sums, Disp: 64 * j}, v)
			if biases != nil {
				VADDPS(biases[j], v, v)
			}
			x.store(v, j, Mem{Base: c, Disp: 64 * j})
		}
		ADDQ(U32(x.wide()), sums)
		ADDQ(ldc, c)
		DECQ(rows)
		JNZ(LabelRef(x.label(name)))
	}
	TESTQ(bias, bias)
	JZ(LabelRef(x.label("plain")))
	column := local(x.group)
	SUBQ(arg("c"), column)
	ADDQ(column, bias)
	biases := make([]reg.VecVirtual, x.panels)
	for j := range biases {
		biases[j] = ZMM()
		x.load(Mem{Base: bias, Disp: 64 * j}, j, biases[j])
	}
	loop("biased", biases)
	JMP(LabelRef(x.label("done")))
	loop("plain", nil)
	Label(x.label("done"))
}

// transposePairs turns the pairs of packPairsAVX2 into rows.
func transposePairs() {
	TEXT("transposePairsAVX512", NOSPLIT, "func(dst, src *uint32, stride, n int)")
	Pragma("noescape")
	Doc("transposePairsAVX512 sets dst[r*stride/4+q] = src[q*16+r] for q < 16*n and r < 16; stride is in bytes and n at least 1.")
	src, n := arg("src"), arg("n")
	dst := newRowSet(16, arg("dst"), arg("stride"))
	Label("block")
	x, t := make([]reg.VecVirtual, 16), make([]reg.VecVirtual, 16)
	for i := range x {
		x[i], t[i] = ZMM(), ZMM()
		VMOVUPS(Mem{Base: src, Disp: 64 * i}, x[i])
	}
	for i := 0; i < 16; i += 2 {
		VUNPCKLPS(x[i+1], x[i], t[i])
		VUNPCKHPS(x[i+1], x[i], t[i+1])
	}
	for i := 0; i < 16; i += 4 {
		VUNPCKLPD(t[i+2], t[i], x[i])
		VUNPCKHPD(t[i+2], t[i], x[i+1])
		VUNPCKLPD(t[i+3], t[i+1], x[i+2])
		VUNPCKHPD(t[i+3], t[i+1], x[i+3])
	}
	// Column r of a group of four rows is in lane r/4 of register r%4.
	for i := range 4 {
		VSHUFF32X4(Imm(0x88), x[i+4], x[i], t[i])
		VSHUFF32X4(Imm(0xDD), x[i+4], x[i], t[i+4])
		VSHUFF32X4(Imm(0x88), x[i+12], x[i+8], t[i+8])
		VSHUFF32X4(Imm(0xDD), x[i+12], x[i+8], t[i+12])
	}
	for i := range 4 {
		VSHUFF32X4(Imm(0x88), t[i+8], t[i], x[i])
		VSHUFF32X4(Imm(0x88), t[i+12], t[i+4], x[i+4])
		VSHUFF32X4(Imm(0xDD), t[i+8], t[i], x[i+8])
		VSHUFF32X4(Imm(0xDD), t[i+12], t[i+4], x[i+12])
	}
	for i := range x {
		VMOVUPS(x[i], dst.at(i, 0))
	}
	dst.advance(Imm(64))
	ADDQ(U32(1024), src)
	DECQ(n)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}
