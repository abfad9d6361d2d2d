package main

import (
	"bytes"
	"fmt"
	"go/format"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Of arm64, Go's assembler knows general registers, branches, loads and stores, and few
// instructions of vectors. The others are written as WORDs, each with its GNU spelling
// behind it, which CI compares with what LLVM's disassembler makes of the word.

// armGroups are the groups of functions of arm64.
var armGroups = map[string]func(f *armFile){}

func registerARM(group string, declare func(f *armFile)) { armGroups[group] = declare }

// generateARM writes the files of every group to dir.
func generateARM(dir string) error {
	for group, declare := range armGroups {
		f := &armFile{group: group}
		declare(f)
		if err := f.write(dir); err != nil {
			return fmt.Errorf("%s: %w", group, err)
		}
	}
	return nil
}

// An armFile is a file of assembly with the Go declarations of its functions.
type armFile struct {
	group       string
	text, stubs bytes.Buffer
	constants   []uint32 // each fills a vector in the file's table
	tails       bool     // the masks of tails are needed
}

func (f *armFile) write(dir string) error {
	header := generatedHeader + "\n\n//go:build !noasm\n\n"
	var b bytes.Buffer
	b.WriteString(header + "#include \"textflag.h\"\n")
	if len(f.constants) > 0 {
		fmt.Fprintf(&b, "\n")
		for i, c := range f.constants {
			for lane := range 4 {
				fmt.Fprintf(&b, "DATA constants<>+%d(SB)/4, $0x%08x\n", 16*i+4*lane, c)
			}
		}
		fmt.Fprintf(&b, "GLOBL constants<>(SB), RODATA|NOPTR, $%d\n", 16*len(f.constants))
	}
	if f.tails {
		fmt.Fprintf(&b, "\n")
		for i := range 2 * lanes {
			word := uint32(0)
			if i < lanes {
				word = math.MaxUint32
			}
			fmt.Fprintf(&b, "DATA tailMasks<>+%d(SB)/4, $0x%08x\n", 4*i, word)
		}
		fmt.Fprintf(&b, "GLOBL tailMasks<>(SB), RODATA|NOPTR, $%d\n", 8*lanes)
	}
	b.Write(f.text.Bytes())
	if err := os.WriteFile(filepath.Join(dir, f.group+"_arm64.s"), b.Bytes(), 0o644); err != nil {
		return err
	}
	stubs, err := format.Source([]byte(header + "package " + packageOf(f.group) + "\n" + f.stubs.String()))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, f.group+"_stubs_arm64.go"), stubs, 0o644)
}

// An armArg is an argument or a result in the frame.
type armArg struct {
	name   string
	offset int
}

// A vreg is one of V0 to V31, an xreg one of R0 to R26.
type (
	vreg int
	xreg int
)

// An armFunc is a function that is being written. Registers are taken and given back:
// there are no spills, and too many are an error of the generator.
type armFunc struct {
	file   *armFile
	args   map[string]armArg
	vs     [32]bool // taken
	xs     [27]bool
	labels int

	table xreg // of the file's constants
	// Of the loop that is being written:
	moving []xreg
	inTail bool
	count  xreg // of the tail's lanes
}

// function declares a function; signature is its Go spelling without the name. The body
// ends with a return.
func (f *armFile) function(name, signature, doc string, body func(g *armFunc)) {
	fmt.Fprintf(&f.stubs, "\n// %s %s\n//\n//go:noescape\nfunc %s%s\n", name, strings.ReplaceAll(doc, "\n", "\n// "), name, strings.TrimPrefix(signature, "func"))
	g := &armFunc{file: f, args: map[string]armArg{}, table: -1}
	for _, r := range []int{16, 17, 18} { // of linkers and of systems
		g.xs[r] = true
	}
	size := g.frame(signature)
	fmt.Fprintf(&f.text, "\n// func %s%s\nTEXT ·%s(SB), NOSPLIT, $0-%d\n", name, strings.TrimPrefix(signature, "func"), name, size)
	body(g)
	g.plain("RET")
}

// vector declares the kernel of a Go loop.
func (f *armFile) vector(name, signature string, body func(g *armFunc)) {
	f.function(name+"NEON", signature, "is "+name+"Generic.", body)
}

// frame finds the places of arguments and results and returns the size of all.
func (g *armFunc) frame(signature string) int {
	offset := 0
	place := func(list string) {
		var names []string
		for _, field := range strings.Split(list, ",") {
			name, typ, named := strings.Cut(strings.TrimSpace(field), " ")
			names = append(names, name)
			if !named {
				continue
			}
			for _, name := range names {
				size, parts := 8, []string{""}
				switch {
				case strings.HasPrefix(typ, "[]"):
					parts = []string{"_base", "_len", "_cap"}
				case strings.HasSuffix(typ, "32") && typ[0] != '*':
					size = 4
				}
				offset = (offset + size - 1) &^ (size - 1)
				for _, part := range parts {
					g.args[name+part] = armArg{name + part, offset}
					offset += size
				}
			}
			names = nil
		}
	}
	arguments, results, _ := strings.Cut(strings.TrimPrefix(signature, "func("), ")")
	place(arguments)
	if results = strings.Trim(results, " ()"); results != "" {
		offset = (offset + 7) &^ 7
		if !strings.Contains(results, " ") {
			results = "ret " + results
		}
		place(results)
	}
	return offset
}

// plain writes a line of Go's assembler.
func (g *armFunc) plain(format string, args ...any) {
	fmt.Fprintf(&g.file.text, "\t"+format+"\n", args...)
}

func (g *armFunc) label(name string) string {
	g.labels++
	return fmt.Sprintf("%s%d", name, g.labels)
}

func (g *armFunc) at(label string) { fmt.Fprintf(&g.file.text, "%s:\n", label) }

func (g *armFunc) slot(name string) string {
	a, known := g.args[name]
	if !known {
		panic("no argument " + name)
	}
	return fmt.Sprintf("%s+%d(FP)", a.name, a.offset)
}

// v takes a vector register, x a general one.
func (g *armFunc) v() vreg {
	i := slices.Index(g.vs[:], false)
	if i < 0 {
		panic("no vector register is left")
	}
	g.vs[i] = true
	return vreg(i)
}

func (g *armFunc) x() xreg {
	i := slices.Index(g.xs[:], false)
	if i < 0 {
		panic("no general register is left")
	}
	g.xs[i] = true
	return xreg(i)
}

// free gives registers back.
func (g *armFunc) free(rs ...any) {
	for _, r := range rs {
		switch r := r.(type) {
		case vreg:
			g.vs[r] = false
		case xreg:
			g.xs[r] = false
		case quad:
			for _, v := range r {
				g.vs[v] = false
			}
		default:
			panic("not a register")
		}
	}
}

// arg loads an argument of 64 bits, or a part of a slice.
func (g *armFunc) arg(name string) xreg {
	x := g.x()
	g.plain("MOVD %s, R%d", g.slot(name), x)
	return x
}

// An armInst is an instruction: its word and its GNU spelling or, where Go's assembler
// has it, its spelling there.
type armInst struct {
	word     uint32
	gnu, go_ string
}

func (g *armFunc) emit(is ...armInst) {
	for _, i := range is {
		if i.go_ != "" {
			g.plain("%s", i.go_)
		} else {
			g.plain("WORD $0x%08x // %s", i.word, i.gnu)
		}
	}
}

// Forms of instructions of vectors.

// three is an instruction of three registers with the same arrangement, or with a
// wider destination.
func three(word uint32, name, to, from string) func(d, n, m vreg) armInst {
	return func(d, n, m vreg) armInst {
		return armInst{word: word | uint32(m)<<16 | uint32(n)<<5 | uint32(d),
			gnu: fmt.Sprintf("%s v%d.%s, v%d.%s, v%d.%s", name, d, to, n, from, m, from)}
	}
}

// known is three where Go's assembler has the instruction.
func known(name, arrangement string) func(d, n, m vreg) armInst {
	return func(d, n, m vreg) armInst {
		return armInst{go_: fmt.Sprintf("%s V%d.%s, V%d.%s, V%d.%s", name, m, arrangement, n, arrangement, d, arrangement)}
	}
}

// two is an instruction of two registers; its GNU spelling may end with an operand.
func two(word uint32, name, to, from string, last ...string) func(d, n vreg) armInst {
	return func(d, n vreg) armInst {
		return armInst{word: word | uint32(n)<<5 | uint32(d),
			gnu: strings.Join(append([]string{fmt.Sprintf("%s v%d.%s, v%d.%s", name, d, to, n, from)}, last...), ", ")}
	}
}

// scalar is an instruction of the lowest lanes.
func scalar(word uint32, name, size string) func(d, n, m vreg) armInst {
	return func(d, n, m vreg) armInst {
		return armInst{word: word | uint32(m)<<16 | uint32(n)<<5 | uint32(d),
			gnu: fmt.Sprintf("%s %s%d, %s%d, %s%d", name, size, d, size, n, size, m)}
	}
}

// across is an instruction from all lanes of a register to the lowest one.
func across(word uint32, name, to, from string) func(d, n vreg) armInst {
	return func(d, n vreg) armInst {
		return armInst{word: word | uint32(n)<<5 | uint32(d), gnu: fmt.Sprintf("%s %s%d, v%d.%s", name, to, d, n, from)}
	}
}

// element is an instruction of two vectors of which the last gives one element.
func element(word uint32, name, from, unit string) func(d, n, m vreg, i int) armInst {
	return func(d, n, m vreg, i int) armInst {
		return armInst{word: word | uint32(i&1)<<21 | uint32(m)<<16 | uint32(i>>1)<<11 | uint32(n)<<5 | uint32(d),
			gnu: fmt.Sprintf("%s v%d.4s, v%d.%s, v%d.%s[%d]", name, d, n, from, m, unit, i)}
	}
}

// shifted is a shift of 32-bit elements by a constant, or one to or from those of half
// the size; left shifts count up from the size of the narrower elements.
func shifted(word uint32, name, to, from string, size int, left bool) func(d, n vreg, by int) armInst {
	return func(d, n vreg, by int) armInst {
		immediate := 2*size - by
		if left {
			immediate = size + by
		}
		return armInst{word: word | uint32(immediate)<<16 | uint32(n)<<5 | uint32(d),
			gnu: fmt.Sprintf("%s v%d.%s, v%d.%s, #%d", name, d, to, n, from, by)}
	}
}

var (
	fadd = three(0x4E20D400, "fadd", "4s", "4s")
	fsub = three(0x4EA0D400, "fsub", "4s", "4s")
	fmul = three(0x6E20DC00, "fmul", "4s", "4s")
	fdiv = three(0x6E20FC00, "fdiv", "4s", "4s")
	// Of NaN and a number fmax and fmin give NaN; fmaxnm and fminnm give the number,
	// unless the NaN is a signalling one.
	fmax   = three(0x4E20F400, "fmax", "4s", "4s")
	fmin   = three(0x4EA0F400, "fmin", "4s", "4s")
	fmaxnm = three(0x4E20C400, "fmaxnm", "4s", "4s")
	fminnm = three(0x4EA0C400, "fminnm", "4s", "4s")
	fmla   = known("VFMLA", "S4")
	fmls   = known("VFMLS", "S4")
	fcmgt  = three(0x6EA0E400, "fcmgt", "4s", "4s")
	fcmeq  = three(0x4E20E400, "fcmeq", "4s", "4s")
	addi   = known("VADD", "S4")
	muli   = three(0x4EA09C00, "mul", "4s", "4s")
	umax   = three(0x6EA06400, "umax", "4s", "4s")
	cmhs   = three(0x6EA03C00, "cmhs", "4s", "4s")
	and    = known("VAND", "B16")
	orr    = known("VORR", "B16")
	eor    = known("VEOR", "B16")
	bic    = three(0x4E601C00, "bic", "16b", "16b")
	bit    = three(0x6EA01C00, "bit", "16b", "16b") // takes those bits of n that m has
	bif    = three(0x6EE01C00, "bif", "16b", "16b") // takes those bits of n that m has not
	addp   = three(0x4EA0BC00, "addp", "4s", "4s")
	faddd  = three(0x4E60D400, "fadd", "2d", "2d")
	fmlad  = three(0x4E60CC00, "fmla", "2d", "2d")
	trn1   = three(0x4E802800, "trn1", "4s", "4s")
	trn2   = three(0x4E806800, "trn2", "4s", "4s")
	trn1d  = three(0x4EC02800, "trn1", "2d", "2d")
	trn2d  = three(0x4EC06800, "trn2", "2d", "2d")
	uzp1   = three(0x4E801800, "uzp1", "4s", "4s")
	uzp2   = three(0x4E805800, "uzp2", "4s", "4s")

	smull  = three(0x0E20C000, "smull", "8h", "8b")
	smull2 = three(0x4E20C000, "smull2", "8h", "16b")
	smlal  = three(0x0E208000, "smlal", "8h", "8b")
	smlal2 = three(0x4E208000, "smlal2", "8h", "16b")
	smmla  = three(0x4E80A400, "smmla", "4s", "16b")
	sadalp = two(0x4E606800, "sadalp", "4s", "8h")

	fabs   = two(0x4EA0F800, "fabs", "4s", "4s")
	fsqrt  = two(0x6EA1F800, "fsqrt", "4s", "4s")
	scvtf  = two(0x4E21D800, "scvtf", "4s", "4s")
	fcvtns = two(0x4E21A800, "fcvtns", "4s", "4s")
	fcmlt0 = two(0x4EA0E800, "fcmlt", "4s", "4s", "#0.0")
	fcmle0 = two(0x6EA0D800, "fcmle", "4s", "4s", "#0.0")

	fcvtl   = two(0x0E217800, "fcvtl", "4s", "4h")
	fcvtl2  = two(0x4E217800, "fcvtl2", "4s", "8h")
	fcvtn   = two(0x0E216800, "fcvtn", "4h", "4s")
	fcvtn2  = two(0x4E216800, "fcvtn2", "8h", "4s")
	fcvtld  = two(0x0E617800, "fcvtl", "2d", "2s")
	fcvtld2 = two(0x4E617800, "fcvtl2", "2d", "4s")
	xtn     = two(0x0E612800, "xtn", "4h", "4s")
	xtn2    = two(0x4E612800, "xtn2", "8h", "4s")
	xtnb    = two(0x0E212800, "xtn", "8b", "8h")
	xtnb2   = two(0x4E212800, "xtn2", "16b", "8h")
	shll    = two(0x2E613800, "shll", "4s", "4h", "#16")
	shll2   = two(0x6E613800, "shll2", "4s", "8h", "#16")

	shl    = shifted(0x4F005400, "shl", "4s", "4s", 32, true)
	ushr   = shifted(0x6F000400, "ushr", "4s", "4s", 32, false)
	sri    = shifted(0x6F004400, "sri", "4s", "4s", 32, false)
	shrn   = shifted(0x0F008400, "shrn", "4h", "4s", 16, false)
	shrn2  = shifted(0x4F008400, "shrn2", "8h", "4s", 16, false)
	sshll  = shifted(0x0F00A400, "sshll", "4s", "4h", 16, true)
	sshll2 = shifted(0x4F00A400, "sshll2", "4s", "8h", 16, true)
	// Of bytes.
	sshllb  = shifted(0x0F00A400, "sshll", "8h", "8b", 8, true)
	sshllb2 = shifted(0x4F00A400, "sshll2", "8h", "16b", 8, true)

	faddS  = scalar(0x1E202800, "fadd", "s")
	fdivS  = scalar(0x1E201800, "fdiv", "s")
	faddpS = across(0x7E30D800, "faddp", "s", "2s")
	faddpD = across(0x7E70D800, "faddp", "d", "2d")
	addvS  = across(0x4EB1B800, "addv", "s", "4s")
	umaxvS = across(0x6EB0A800, "umaxv", "s", "4s")
	fsqrtS = func(d, n vreg) armInst {
		return armInst{word: 0x1E21C000 | uint32(n)<<5 | uint32(d), gnu: fmt.Sprintf("fsqrt s%d, s%d", d, n)}
	}

	fmlaElement = element(0x4F801000, "fmla", "4s", "s")
	sdotElement = element(0x4F80E000, "sdot", "16b", "4b")
)

// dup sets all lanes of d to lane i of n.
func dup(d, n vreg, i int) armInst {
	return armInst{go_: fmt.Sprintf("VDUP V%d.S[%d], V%d.S4", n, i, d)}
}

// ext sets d to the bytes of n from the given one on, followed by those of m.
func ext(d, n, m vreg, from int) armInst {
	return armInst{word: 0x6E000000 | uint32(m)<<16 | uint32(from)<<11 | uint32(n)<<5 | uint32(d),
		gnu: fmt.Sprintf("ext v%d.16b, v%d.16b, v%d.16b, #%d", d, n, m, from)}
}

func move(d, n vreg) armInst {
	return armInst{go_: fmt.Sprintf("VORR V%d.B16, V%d.B16, V%d.B16", n, n, d)}
}

func clear0(d vreg) armInst {
	return armInst{go_: fmt.Sprintf("VEOR V%d.B16, V%d.B16, V%d.B16", d, d, d)}
}

// Loads and stores.

func ldq(d vreg, x xreg, offset int) armInst {
	return armInst{go_: fmt.Sprintf("FMOVQ %d(R%d), F%d", offset, x, d)}
}

func ldqPost(d vreg, x xreg, step int) armInst {
	return armInst{go_: fmt.Sprintf("FMOVQ.P %d(R%d), F%d", step, x, d)}
}

func ldp(d, e vreg, x xreg, offset int) armInst {
	return armInst{go_: fmt.Sprintf("FLDPQ %d(R%d), (F%d, F%d)", offset, x, d, e)}
}

func stq(d vreg, x xreg, offset int) armInst {
	return armInst{go_: fmt.Sprintf("FMOVQ F%d, %d(R%d)", d, offset, x)}
}

func stp(d, e vreg, x xreg, offset int) armInst {
	return armInst{go_: fmt.Sprintf("FSTPQ (F%d, F%d), %d(R%d)", d, e, offset, x)}
}

func ld1r(d vreg, x xreg) armInst { // and moves on
	return armInst{go_: fmt.Sprintf("VLD1R.P 4(R%d), [V%d.S4]", x, d)}
}

// zeroOf sets registers to zero.
func (g *armFunc) zeroOf(vs ...vreg) {
	for _, v := range vs {
		g.emit(clear0(v))
	}
}

// setConstant loads a constant, given by its bits, into all lanes of v.
func (g *armFunc) setConstant(v vreg, bits uint32) {
	f := g.file
	i := slices.Index(f.constants, bits)
	if i < 0 {
		i = len(f.constants)
		f.constants = append(f.constants, bits)
	}
	if g.table < 0 {
		panic("the function does not say that it has constants")
	}
	g.emit(ldq(v, g.table, 16*i))
}

// needConstants points a register to the file's constants.
func (g *armFunc) needConstants() {
	g.table = g.x()
	g.plain("MOVD $constants<>(SB), R%d", g.table)
}
