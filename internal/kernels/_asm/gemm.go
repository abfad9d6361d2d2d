package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// isa is a vector register file.
type isa struct {
	name string // as the functions' names end
	wide int    // bytes of a register
}

var (
	avx2   = isa{"AVX2", 32}
	avx512 = isa{"AVX512", 64}
)

// vec allocates a register.
func (v isa) vec() reg.VecVirtual {
	if v.wide == 64 {
		return ZMM()
	}
	return YMM()
}

// zero clears a register.
func (v isa) zero(r reg.VecVirtual) {
	if v.wide == 64 {
		VPXORD(r, r, r)
	} else {
		VPXOR(r, r, r)
	}
}

// rowGroup is the number of rows that are addressed from one base register
// with the strides s, 3s and 5s.
const rowGroup = 7

// rowSet addresses the rows of a left-hand tile: row r begins r strides after
// the first.
type rowSet struct {
	base          []reg.GPVirtual
	one, tri, pen reg.GPVirtual
}

// newRowSet makes the registers for rows rows from a pointer, which it takes
// over, and a stride.
func newRowSet(rows int, first, stride reg.GPVirtual) rowSet {
	s := rowSet{base: []reg.GPVirtual{first}, one: stride}
	if rows > 3 {
		s.tri = GP64()
		LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, s.tri)
	}
	if rows > 5 {
		s.pen = GP64()
		LEAQ(Mem{Base: stride, Index: stride, Scale: 4}, s.pen)
	}
	for r := rowGroup; r < rows; r += rowGroup {
		next := GP64()
		LEAQ(Mem{Base: s.base[len(s.base)-1], Index: s.tri, Scale: 2}, next)
		ADDQ(stride, next)
		s.base = append(s.base, next)
	}
	return s
}

// at returns the address of row r, disp bytes on.
func (s rowSet) at(r, disp int) Mem {
	m := Mem{Base: s.base[r/rowGroup], Disp: disp}
	switch r % rowGroup {
	case 1, 2, 4:
		m.Index, m.Scale = s.one, uint8(r%rowGroup)
	case 3:
		m.Index, m.Scale = s.tri, 1
	case 5:
		m.Index, m.Scale = s.pen, 1
	case 6:
		m.Index, m.Scale = s.tri, 2
	}
	return m
}

// advance moves on by a register or an immediate.
func (s rowSet) advance(by Op) {
	for _, b := range s.base {
		ADDQ(by, b)
	}
}

// panelAt returns the address of panel i of the adjacent panels at b, which lie
// stride bytes apart, disp bytes on; tri is three strides.
func panelAt(b, stride, tri reg.GPVirtual, i, disp int) Mem {
	m := Mem{Base: b, Disp: disp}
	switch i {
	case 1, 2:
		m.Index, m.Scale = stride, uint8(i)
	case 3:
		m.Index, m.Scale = tri, 1
	}
	return m
}

// tileShape is the size of an output tile: panels of 16 columns.
type tileShape struct{ rows, panels int }

func (t tileShape) label(what string) string {
	return fmt.Sprintf("%s%dx%d", what, t.rows, t.panels)
}

// dispatch jumps to the code of the tile shape given by the parameters rows and
// panels; the last shape is fallen through to.
func dispatch(shapes []tileShape, withPanels bool) {
	rows := Load(Param("rows"), GP64()).(reg.GPVirtual)
	if withPanels {
		panels := Load(Param("panels"), GP64()).(reg.GPVirtual)
		SHLQ(Imm(8), panels)
		ORQ(panels, rows)
	}
	for _, s := range shapes[:len(shapes)-1] {
		code := s.rows
		if withPanels {
			code |= s.panels << 8
		}
		CMPQ(rows, U32(code))
		JEQ(LabelRef(s.label("tile")))
	}
}

// arg loads a parameter into a register.
func arg(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// ifZero jumps to a label when a parameter is zero.
func ifZero(param, label string) {
	p := arg(param)
	TESTQ(p, p)
	JZ(LabelRef(label))
}
