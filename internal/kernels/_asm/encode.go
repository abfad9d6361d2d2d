package main

import (
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// unknown finds the instructions that Go's assembler lacks, of the forms
//
//	OP.BCST disp(base)(index*scale), Zy, Zd
//	OP Zx, Zy, Zd
var unknown = regexp.MustCompile(`(?m)^\t(VDPBF16PS)(?:\.BCST +(-?\d+)?\((\w+)\)(?:\((\w+)\*(\d)\))?| +Z(\d+)), Z(\d+), Z(\d+)$`)

// encode writes the instructions that Go's assembler lacks as bytes.
func encode(asm []byte) ([]byte, error) {
	var err error
	replace := func(form *regexp.Regexp, encode func(operands []string) ([]byte, error)) {
		asm = form.ReplaceAllFunc(asm, func(line []byte) []byte {
			var operands []string
			for _, p := range form.FindSubmatch(line)[1:] {
				operands = append(operands, string(p))
			}
			code, e := encode(operands)
			if e != nil {
				err = fmt.Errorf("%s: %w", strings.TrimSpace(string(line)), e)
			}
			var bytes []string
			for _, b := range code {
				bytes = append(bytes, fmt.Sprintf("BYTE $%#02x", b))
			}
			return []byte("\t" + strings.Join(bytes, "; ") + " // " + strings.Join(strings.Fields(string(line)), " "))
		})
	}
	replace(unknown, vdpbf16ps)
	replace(tileForms, amx)
	return asm, err
}

// tileForms are those of AMX, as tileOp and tileMem write them:
//
//	OP_TILE... disp(base)(index*1), or no operand
var tileForms = regexp.MustCompile(`(?m)^\t(TILE[A-Z]+|LDTILECFG|TDP[A-Z0-9]+)((?:_\d)*)(?: +(-?\d+)?\((\w+)\)(?:\((\w+)\*1\))?)?$`)

// amxCodes are the opcodes of map 0F38 and the prefixes, as VEX has them: 0, 66,
// F3, F2 (Intel SDM, volume 2).
var amxCodes = map[string][2]byte{
	"LDTILECFG": {0x49, 0}, "TILERELEASE": {0x49, 0}, "TILEZERO": {0x49, 3}, "TILELOADD": {0x4B, 3}, "TILESTORED": {0x4B, 2},
	"TDPBSUD": {0x5E, 2}, "TDPBF16PS": {0x5C, 2},
}

// amx encodes an instruction of AMX. Operands are the submatches of tileForms.
func amx(operands []string) ([]byte, error) {
	code, known := amxCodes[operands[0]]
	if !known {
		return nil, errors.New("unknown instruction")
	}
	var tiles []int
	for _, t := range strings.Split(operands[1], "_")[1:] {
		n, _ := strconv.Atoi(t)
		tiles = append(tiles, n)
	}
	reg, rm, third := 0, 0, 0
	if len(tiles) > 0 {
		reg = tiles[0]
	}
	if len(tiles) == 3 {
		rm, third = tiles[1], tiles[2]
	}
	vex := func(x, b int) []byte {
		return []byte{0xC4, byte(1<<7 | (1-x)<<6 | (1-b)<<5 | 0b10), byte((^third&15)<<3) | code[1], code[0]}
	}
	if operands[3] == "" {
		return append(vex(0, 0), byte(0b11<<6|reg<<3|rm)), nil
	}
	disp, _ := strconv.Atoi(operands[2])
	base, index := slices.Index(registers, operands[3]), slices.Index(registers, operands[4])
	if base < 0 || index < 0 && operands[4] != "" || index == 4 {
		return nil, errors.New("unknown register")
	}
	mod := 2
	switch {
	case disp == 0 && base&7 != 5:
		mod = 0
	case disp >= -128 && disp < 128:
		mod = 1
	}
	bytes := vex(max(index, 0)>>3, base>>3)
	switch {
	case index >= 0:
		bytes = append(bytes, byte(mod<<6|reg<<3|4), byte(index&7<<3|base&7))
	case base&7 == 4: // which stands for an index
		bytes = append(bytes, byte(mod<<6|reg<<3|4), byte(4<<3|base&7))
	default:
		bytes = append(bytes, byte(mod<<6|reg<<3|base&7))
	}
	switch mod {
	case 1:
		bytes = append(bytes, byte(disp))
	case 2:
		bytes = append(bytes, byte(disp), byte(disp>>8), byte(disp>>16), byte(disp>>24))
	}
	return bytes, nil
}

var registers = strings.Fields("AX CX DX BX SP BP SI DI R8 R9 R10 R11 R12 R13 R14 R15")

// vdpbf16ps encodes EVEX.512.F3.0F38.W0 52 /r (Intel SDM, volume 2, "VDPBF16PS"
// and 2.7, "Intel AVX-512 Encoding"). Of the submatches of unknown those of the other form
// are empty.
func vdpbf16ps(operands []string) ([]byte, error) {
	number := func(i int) int {
		n, _ := strconv.Atoi(operands[i]) // the expression has seen to digits; absent is 0
		return n
	}
	register := func(i int) int { return slices.Index(registers, operands[i]) }
	disp, base, index, scale := number(1), register(2), register(3), number(4)
	x, y, d := number(5), number(6), number(7)

	inverted := func(n, bit int) int { return 1 - n>>bit&1 }
	prefix := func(x3, b3, broadcast int) []byte {
		return []byte{
			0x62,
			byte(inverted(d, 3)<<7 | x3<<6 | b3<<5 | inverted(d, 4)<<4 | 0b10), // map 0F38
			byte((^y&15)<<3 | 1<<2 | 0b10),                                     // W0, F3
			byte(0b10<<5 | broadcast<<4 | inverted(y, 4)<<3),                   // 512 bits
			0x52,
		}
	}
	modRM := func(mod, rm int) byte { return byte(mod<<6 | d&7<<3 | rm&7) }
	if operands[2] == "" {
		return append(prefix(inverted(x, 4), inverted(x, 3), 0), modRM(3, x)), nil
	}
	if base < 0 || index < 0 && operands[3] != "" {
		return nil, errors.New("unknown register")
	}
	// A displacement of one byte counts elements.
	const element = 4
	mod := 2
	switch {
	case disp == 0 && base&7 != 5:
		mod = 0
	case disp%element == 0 && disp/element >= -128 && disp/element < 128:
		mod = 1
	}
	var code []byte
	switch {
	case index >= 0:
		code = append(prefix(inverted(index, 3), inverted(base, 3), 1), modRM(mod, 4), byte(bits.TrailingZeros(uint(scale))<<6|index&7<<3|base&7))
	case base&7 == 4: // which stands for an index
		code = append(prefix(1, inverted(base, 3), 1), modRM(mod, 4), byte(4<<3|base&7))
	default:
		code = append(prefix(1, inverted(base, 3), 1), modRM(mod, base))
	}
	switch mod {
	case 1:
		code = append(code, byte(disp/element))
	case 2:
		code = append(code, byte(disp), byte(disp>>8), byte(disp>>16), byte(disp>>24))
	}
	return code, nil
}
