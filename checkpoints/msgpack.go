package checkpoints

import (
	"encoding/binary"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
)

// decodeMsgpack decodes all of b into v, after checkMsgpack has accepted it.
func decodeMsgpack(b []byte, v any) (err error) {
	if err := checkMsgpack(b, maxDepth); err != nil {
		return err
	}
	// The decoder's reflection panics on some mismatched types.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("msgpack: %v", r)
		}
	}()
	return msgpack.Unmarshal(b, v)
}

// checkMsgpack walks over one msgpack value without building anything. It accepts no
// length beyond the input and no nesting deeper than depth, so that the decoder is
// safe.
func checkMsgpack(b []byte, depth int) error {
	// open[i] is the number of values still to come at level i.
	open := make([]uint64, 1, depth+1)
	open[0] = 1
	pos := 0
	for len(open) > 0 {
		top := len(open) - 1
		if open[top] == 0 {
			open = open[:top]
			continue
		}
		open[top]--
		if pos >= len(b) {
			return fmt.Errorf("msgpack: truncated at byte %d", pos)
		}
		v := readMsgpackHead(b[pos:])
		if v.invalid {
			return fmt.Errorf("msgpack: invalid byte %#x at %d", b[pos], pos)
		}
		rest := uint64(len(b) - pos - v.size)
		if v.truncated || v.skip > rest || v.children > rest {
			return fmt.Errorf("msgpack: value at byte %d reaches beyond the end", pos)
		}
		if v.container && len(open) > depth {
			return fmt.Errorf("msgpack: nested deeper than %d at byte %d", depth, pos)
		}
		pos += v.size + int(v.skip)
		if v.container {
			open = append(open, v.children)
		}
	}
	if pos != len(b) {
		return fmt.Errorf("msgpack: %d bytes after the end", len(b)-pos)
	}
	return nil
}

// msgpackHead is the beginning of a value: its own size, and what follows it, which is
// bytes or the values of a container.
type msgpackHead struct {
	size               int
	skip, children     uint64
	container          bool
	truncated, invalid bool
}

func readMsgpackHead(b []byte) msgpackHead {
	v := msgpackHead{size: 1}
	c := b[0]
	number := func(n int) uint64 {
		if len(b) < 1+n {
			v.truncated = true
			return 0
		}
		v.size += n
		switch n {
		case 1:
			return uint64(b[1])
		case 2:
			return uint64(binary.BigEndian.Uint16(b[1:]))
		}
		return uint64(binary.BigEndian.Uint32(b[1:]))
	}
	switch {
	case c <= 0x7f, c >= 0xe0, c == 0xc0, c == 0xc2, c == 0xc3:
	case c <= 0x8f:
		v.children, v.container = 2*uint64(c&0x0f), true
	case c <= 0x9f:
		v.children, v.container = uint64(c&0x0f), true
	case c <= 0xbf:
		v.skip = uint64(c & 0x1f)
	case c >= 0xc4 && c <= 0xc6: // bin 8, 16, 32
		v.skip = number(1 << (c - 0xc4))
	case c >= 0xc7 && c <= 0xc9: // ext 8, 16, 32
		v.skip = number(1<<(c-0xc7)) + 1
	case c == 0xca || c == 0xce || c == 0xd2:
		v.skip = 4
	case c == 0xcb || c == 0xcf || c == 0xd3:
		v.skip = 8
	case c == 0xcc || c == 0xd0:
		v.skip = 1
	case c == 0xcd || c == 0xd1:
		v.skip = 2
	case c >= 0xd4 && c <= 0xd8: // fixext
		v.skip = 1 + 1<<(c-0xd4)
	case c >= 0xd9 && c <= 0xdb: // str 8, 16, 32
		v.skip = number(1 << (c - 0xd9))
	case c == 0xdc || c == 0xdd: // array 16, 32
		v.children, v.container = number(2<<(c-0xdc)), true
	case c == 0xde || c == 0xdf: // map 16, 32
		v.children, v.container = 2*number(2<<(c-0xde)), true
	default:
		v.invalid = true
	}
	return v
}
