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
				epilogueDoc + ", a nil bias being 0",
			},
			start: (*amxBlock).zero, prepare: amxI8Prepare, row: amxI8Row, scaled: true,
		}.function()
		bf16 := amxKernel{
			name: "gemmBF16AMX", a: "uint32", b: "uint32", multiply: "TDPBF16PS",
			params: "bias *float32, accumulate int",
			doc: []string{
				"\tacc = 0, or c[i][j] when accumulate is not zero",
				"\tacc = TDPBF16PS of 16 pairs of a[i] and of b's column j, k times",
				"\tc[i][j] = acc + bias[j]                              or acc, when bias is nil",
			},
			prepare: amxBF16Prepare, row: amxBF16Row, direct: true,
		}
		bf16.start = amxBF16Start(&bf16)
		bf16.function()
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

// amxShapes are the blocks of outputs, in tiles of 16 rows and 16 columns.
var amxShapes = []tileShape{{2, 2}, {2, 1}, {1, 2}, {1, 1}}

// The tiles of the factors: the sums take the others.
var leftTiles, rightTiles = [2]int{7, 6}, [2]int{4, 5}

// amxRowsPerStep is the number of outputs' rows that are finished in a step of
// the next block's products, whose tiles leave the vectors free.
const amxRowsPerStep = 4

// An amxKernel multiplies blocks of rows by groups of panels. The sums of a block
// go through memory, and become outputs while the next one is multiplied.
type amxKernel struct {
	name, a, b string
	multiply   string // the instruction
	params     string
	doc        []string
	start      func(x *amxBlock)               // sets the tiles of sums
	prepare    func(x *amxBlock)               // loads what a block's rows share
	row        func(x *amxBlock, label string) // finishes a row
	scaled     bool                            // rows of a have scales and sums
	direct     bool                            // sums may be the outputs
}

// amxBlock is the code of one shape. What lives through more than one product
// lies on the stack.
type amxBlock struct {
	tileShape
	a, b, c, group Mem               // of the block, and c of its group of panels
	blocks, groups Mem               // that are left
	scaleA, sumA   Mem               // of the block
	next           Mem               // what is to be brought near of the panels that follow
	cut            reg.OpmaskVirtual // of the last panel

	// Of the block that is finished: its next row, and what is left of it.
	sums, out, ldc, rowsLeft reg.GPVirtual
	rowScale, rowSum         reg.GPVirtual
	scales, biases           []reg.VecVirtual // by panel
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
	var x amxBlock
	for _, m := range []*Mem{&x.a, &x.b, &x.c, &x.group, &x.blocks, &x.groups, &x.scaleA, &x.sumA, &x.next} {
		*m = AllocLocal(8)
	}
	tileMem("LDTILECFG", Mem{Base: arg("config")})
	MOVQ(arg("b"), x.b)
	MOVQ(arg("c"), x.group)
	MOVQ(arg("groups"), x.groups)
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
		y := x
		y.tileShape, y.cut = s, K()
		KMOVW(mask.As32(), y.cut)
		k.shape(&y)
	}
}

// shape writes the products of tiles of one shape. It is long as assembly is: an
// instruction a line.
func (k amxKernel) shape(x *amxBlock) {
	for _, r := range []*reg.GPVirtual{&x.sums, &x.out, &x.rowsLeft, &x.rowScale, &x.rowSum} {
		*r = GP64()
		XORQ(*r, *r)
	}
	for range x.panels {
		v, w := ZMM(), ZMM()
		avx512.zero(v)
		avx512.zero(w)
		x.scales, x.biases = append(x.scales, v), append(x.biases, w)
	}
	x.ldc = arg("ldc")

	Label(x.label("group"))
	MOVQ(local(x.group), x.c)
	MOVQ(arg("a"), x.a)
	MOVQ(arg("blocks"), x.blocks)
	following := local(x.b)
	for range x.panels {
		ADDQ(arg("bs"), following)
	}
	MOVQ(following, x.next)
	if k.scaled {
		MOVQ(arg("scaleA"), x.scaleA)
		MOVQ(arg("sum"), x.sumA)
	}

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
	if x.panels == 2 {
		next := arg("bs")
		ADDQ(pb[0], next)
		pb = append(pb, next)
	}
	next := local(x.next)
	Label(x.label("loop"))
	// The panels that follow come near while the blocks pass, those of one call
	// sharing the work.
	line := 0
	fetch := func(lines int) {
		for range lines {
			PREFETCHT1(Mem{Base: next, Disp: 64 * line})
			line++
		}
	}
	fetch(4 * x.panels)
	CMPQ(param("blocks"), Imm(4))
	JGE(LabelRef(x.label("fetched")))
	fetch(4 * x.panels)
	CMPQ(param("blocks"), Imm(2))
	JGE(LabelRef(x.label("half")))
	fetch(8 * x.panels)
	ADDQ(U32(64*8*x.panels), next)
	Label(x.label("half"))
	ADDQ(U32(64*4*x.panels), next)
	Label(x.label("fetched"))
	ADDQ(U32(64*4*x.panels), next)
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
	for i := range amxRowsPerStep {
		TESTQ(x.rowsLeft, x.rowsLeft)
		JZ(LabelRef(x.label("next")))
		x.finish(k, fmt.Sprintf("step%dof", i))
	}
	Label(x.label("next"))
	DECQ(n)
	JNZ(LabelRef(x.label("loop")))
	MOVQ(next, x.next)
	if k.direct {
		CMPQ(param("bias"), Imm(0))
		JNE(LabelRef(x.label("through")))
		CMPQ(param("mask"), U32(1<<16-1))
		JNE(LabelRef(x.label("through")))
		x.eachOutput("TILESTORED")
		JMP(LabelRef(x.label("stored")))
		Label(x.label("through"))
	}
	x.drain(k, "left")
	x.eachTile("TILESTORED")
	Load(Param("sums"), x.sums)
	MOVQ(x.c, x.out)
	Load(Param("rows"), x.rowsLeft)
	k.prepare(x)

	Label(x.label("stored"))
	rows, step := arg("rows"), arg("as")
	IMULQ(rows, step)
	ADDQ(step, x.a)
	MOVQ(x.ldc, step)
	IMULQ(rows, step)
	ADDQ(step, x.c)
	if k.scaled {
		SHLQ(Imm(2), rows)
		ADDQ(rows, x.scaleA)
		ADDQ(rows, x.sumA)
	}
	DECQ(x.blocks)
	JNZ(LabelRef(x.label("block")))

	step = arg("bs")
	for range x.panels {
		ADDQ(step, x.b)
	}
	ADDQ(U32(x.wide()), x.group)
	DECQ(x.groups)
	JNZ(LabelRef(x.label("group")))
	x.drain(k, "end")
	tileOp("TILERELEASE")
	VZEROUPPER()
	RET()
}

// drain finishes the rows that are left of a block.
func (x *amxBlock) drain(k amxKernel, name string) {
	TESTQ(x.rowsLeft, x.rowsLeft)
	JZ(LabelRef(x.label(name + "none")))
	Label(x.label(name))
	x.finish(k, name)
	JNZ(LabelRef(x.label(name)))
	Label(x.label(name + "none"))
}

// finish finishes a row and moves on to the next; its last instruction tells
// whether there is one.
func (x *amxBlock) finish(k amxKernel, name string) {
	k.row(x, x.label(name+"row"))
	ADDQ(U32(x.wide()), x.sums)
	ADDQ(x.ldc, x.out)
	DECQ(x.rowsLeft)
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

// eachOutput loads or stores the tiles of sums where the outputs are.
func (x *amxBlock) eachOutput(op string) {
	at := local(x.c)
	for i := range x.rows {
		if i == 1 {
			down := GP64()
			MOVQ(x.ldc, down)
			SHLQ(Imm(4), down)
			ADDQ(down, at)
		}
		for j := range x.panels {
			tileMem(op, Mem{Base: at, Index: x.ldc, Scale: 1, Disp: 64 * j}, x.tile(i, j))
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

// column returns how far the block's first column is from the first of all, in
// bytes of c.
func (x *amxBlock) column() reg.GPVirtual {
	r := local(x.group)
	c := arg("c")
	SUBQ(c, r)
	return r
}

// amxI8Prepare and amxI8Row are i8Epilogue over the rows of a block.
func amxI8Prepare(x *amxBlock) {
	MOVQ(x.scaleA, x.rowScale)
	MOVQ(x.sumA, x.rowSum)
	column, scaleB, bias := x.column(), arg("scaleB"), arg("bias")
	for j := range x.scales {
		VMOVUPS(Mem{Base: scaleB, Index: column, Scale: 1, Disp: 64 * j}, x.scales[j])
		avx512.zero(x.biases[j])
	}
	TESTQ(bias, bias)
	JZ(LabelRef(x.label("unbiased")))
	for j := range x.biases {
		x.load(Mem{Base: bias, Index: column, Scale: 1, Disp: 64 * j}, j, x.biases[j])
	}
	Label(x.label("unbiased"))
}

func amxI8Row(x *amxBlock, label string) {
	sum, scale := ZMM(), ZMM()
	VPBROADCASTD(Mem{Base: x.rowSum}, sum)
	VPSLLD(Imm(7), sum, sum)
	VBROADCASTSS(Mem{Base: x.rowScale}, scale)
	acc := make([]reg.VecVirtual, x.panels)
	for j := range acc {
		acc[j] = ZMM()
		VMOVDQU32(Mem{Base: x.sums, Disp: 64 * j}, acc[j])
		VPSUBD(sum, acc[j], acc[j])
		VCVTDQ2PS(acc[j], acc[j])
		s := ZMM()
		VMULPS(x.scales[j], scale, s)
		VFMADD213PS(x.biases[j], s, acc[j])
	}
	CMPQ(param("accumulate"), Imm(0))
	JEQ(LabelRef(label))
	for j := range acc {
		old := ZMM()
		x.load(Mem{Base: x.out, Disp: 64 * j}, j, old)
		VADDPS(old, acc[j], acc[j])
	}
	Label(label)
	for j := range acc {
		x.store(acc[j], j, Mem{Base: x.out, Disp: 64 * j})
	}
	ADDQ(Imm(4), x.rowScale)
	ADDQ(Imm(4), x.rowSum)
}

// param is the place of a parameter.
func param(name string) Mem {
	c, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return c.Addr
}

// amxBF16Start begins with zero, or with what is in c. That lies in the sums
// while the tiles take it, so that the block before has to be finished.
func amxBF16Start(k *amxKernel) func(x *amxBlock) {
	return func(x *amxBlock) {
		ifZero("accumulate", x.label("zero"))
		CMPQ(param("mask"), U32(1<<16-1))
		JNE(LabelRef(x.label("cut")))
		x.eachOutput("TILELOADD")
		JMP(LabelRef(x.label("begin")))
		Label(x.label("cut"))
		x.drain(*k, "before")
		sums, c, rows := arg("sums"), local(x.c), arg("rows")
		Label(x.label("old"))
		for j := range x.panels {
			v := ZMM()
			x.load(Mem{Base: c, Disp: 64 * j}, j, v)
			VMOVUPS(v, Mem{Base: sums, Disp: 64 * j})
		}
		ADDQ(U32(x.wide()), sums)
		ADDQ(x.ldc, c)
		DECQ(rows)
		JNZ(LabelRef(x.label("old")))
		x.eachTile("TILELOADD")
		JMP(LabelRef(x.label("begin")))
		Label(x.label("zero"))
		x.zero()
		Label(x.label("begin"))
	}
}

// amxBF16Prepare and amxBF16Row add the bias. Minus zero changes nothing that it
// is added to.
func amxBF16Prepare(x *amxBlock) {
	minus := GP32()
	MOVL(U32(1<<31), minus)
	for j := range x.biases {
		VPBROADCASTD(minus, x.biases[j])
	}
	bias := arg("bias")
	TESTQ(bias, bias)
	JZ(LabelRef(x.label("plain")))
	column := x.column()
	for j := range x.biases {
		x.load(Mem{Base: bias, Index: column, Scale: 1, Disp: 64 * j}, j, x.biases[j])
	}
	Label(x.label("plain"))
}

func amxBF16Row(x *amxBlock, _ string) {
	for j := range x.panels {
		v := ZMM()
		VADDPS(Mem{Base: x.sums, Disp: 64 * j}, x.biases[j], v)
		x.store(v, j, Mem{Base: x.out, Disp: 64 * j})
	}
}
