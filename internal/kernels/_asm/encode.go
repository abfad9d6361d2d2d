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
	asm = unknown.ReplaceAllFunc(asm, func(line []byte) []byte {
		var parts [9]string
		for i, p := range unknown.FindSubmatch(line) {
			parts[i] = string(p)
		}
		code, e := vdpbf16ps(parts[2:])
		if e != nil {
			err = fmt.Errorf("%s: %w", strings.TrimSpace(string(line)), e)
		}
		var bytes []string
		for _, b := range code {
			bytes = append(bytes, fmt.Sprintf("BYTE $%#02x", b))
		}
		return []byte("\t" + strings.Join(bytes, "; ") + " // " + strings.Join(strings.Fields(string(line)), " "))
	})
	return asm, err
}

var registers = strings.Fields("AX CX DX BX SP BP SI DI R8 R9 R10 R11 R12 R13 R14 R15")

// vdpbf16ps encodes EVEX.512.F3.0F38.W0 52 /r (Intel SDM, volume 2, "VDPBF16PS"
// and 2.7, "Intel AVX-512 Encoding"). Of the operands, which are the submatches
// of unknown from the second on, those of the other form are empty.
func vdpbf16ps(operands []string) ([]byte, error) {
	number := func(i int) int {
		n, _ := strconv.Atoi(operands[i]) // the expression has seen to digits; absent is 0
		return n
	}
	register := func(i int) int { return slices.Index(registers, operands[i]) }
	disp, base, index, scale := number(0), register(1), register(2), number(3)
	x, y, d := number(4), number(5), number(6)

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
	if operands[1] == "" {
		return append(prefix(inverted(x, 4), inverted(x, 3), 0), modRM(3, x)), nil
	}
	if base < 0 || index < 0 && operands[2] != "" {
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
