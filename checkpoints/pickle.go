package checkpoints

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// One-byte opcodes are expensive for the machine that runs them: an empty dictionary
// takes some 200 bytes. In files of torch.save they stand between names and numbers. So
// a pickle may have a fixed number of them, plus one for this many bytes.
const (
	bytesPerObject = 6 // opcodes that make a container
	bytesPerBare   = 2 // all opcodes without an argument
	slack          = 64
)

// scanPickle walks over the opcodes of one pickle without running them, and returns its
// length. It accepts only the opcodes that torch.save uses for a state dictionary, and
// only arguments inside b. So the machine that runs the pickle afterwards meets no
// length beyond the input.
func scanPickle(b []byte) (int, error) {
	objects, bare := 0, 0
	for pos := 0; pos < len(b); {
		at := pos
		op := b[pos]
		pos++
		// prefix is the width of a length that precedes the argument.
		fixed, prefix, lines := 0, 0, 0
		switch op {
		case '.':
			if objects > slack+pos/bytesPerObject || bare > slack+pos/bytesPerBare {
				return 0, fmt.Errorf("pickle: %d objects in %d bytes are not a state dictionary", max(objects, bare), pos)
			}
			return pos, nil
		case '(', ')', ']', '}', 't', 'l', 'd', 'R', 0x81, 0x85, 0x86, 0x87:
			objects++
			bare++
		case 'a', 'e', 's', 'u', 'N', '0', '1', '2', 'b', 'Q', 0x88, 0x89, 0x93, 0x94:
			bare++
		case 0x80, 'K', 'h', 'q':
			fixed = 1
		case 'M':
			fixed = 2
		case 'J', 'j', 'r':
			fixed = 4
		case 'G':
			fixed = 8
		case 'c':
			lines = 2
		case 'X', 'B', 'T':
			prefix = 4
		case 'U', 'C', 0x8c, 0x8a:
			prefix = 1
		case 0x8d:
			prefix = 8
		case 0x95: // its content follows as opcodes
			fixed = 8
			if len(b)-pos < 8 || binary.LittleEndian.Uint64(b[pos:]) > uint64(len(b)-pos-8) {
				return 0, fmt.Errorf("pickle: frame at byte %d reaches beyond the end", at)
			}
		default:
			return 0, fmt.Errorf("pickle: opcode %#02x at byte %d is not one of a state dictionary", op, at)
		}
		rest := len(b) - pos
		n := uint64(fixed)
		if prefix > 0 {
			if rest < prefix {
				return 0, fmt.Errorf("pickle: truncated at byte %d", at)
			}
			var buf [8]byte
			copy(buf[:], b[pos:pos+prefix])
			n = binary.LittleEndian.Uint64(buf[:])
			if op == 0x8a && (n == 0 || n > 16) {
				return 0, fmt.Errorf("pickle: integer of %d bytes at byte %d", n, at)
			}
			pos, rest = pos+prefix, rest-prefix
		}
		if n > uint64(rest) {
			return 0, fmt.Errorf("pickle: argument at byte %d reaches beyond the end", at)
		}
		pos += int(n)
		for range lines {
			i := bytes.IndexByte(b[pos:], '\n')
			if i < 0 {
				return 0, fmt.Errorf("pickle: truncated at byte %d", at)
			}
			pos += i + 1
		}
	}
	return 0, fmt.Errorf("pickle: no end")
}
