package checkpoints

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/skive-ml/skive/internal/mapped"
)

// .skive files and training states share one container format, which docs/format.md
// specifies byte by byte.
const (
	containerVersion = 1
	containerMagic   = "\x89SKIVE\r\n"
	containerEnd     = "SKIVEEND"
	kindModel        = "MODL"
	kindState        = "TRST"
	preambleSize     = 64
	alignment        = 64
	trailerFixed     = 8 + len(containerEnd) + 4 // plus one checksum for the header and one for each section
	maxDepth         = 32                        // of nested msgpack values
	rawBytes         = "raw"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// section is one run of bytes in a container.
type section struct {
	name  string
	dtype string // the code of a DType, or rawBytes
	shape []int
	data  []byte
}

type sectionInfo struct {
	//lint:ignore U1000 msgpack reads the tag by reflection
	_msgpack struct{} `msgpack:",as_array"`
	Name     string
	DType    string
	Shape    []int
}

type containerHeader struct {
	Sections []sectionInfo      `msgpack:"sections"`
	Meta     msgpack.RawMessage `msgpack:"meta"`
}

func padding(n int64) int64 { return -n & (alignment - 1) }

var zeros [alignment]byte

func encodeMsgpack(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := msgpack.NewEncoder(&buf)
	enc.SetSortMapKeys(true)
	enc.UseCompactInts(true)
	err := enc.Encode(v)
	return buf.Bytes(), err
}

// writeContainer writes meta and the sections. The sections' data are written without a
// copy.
func writeContainer(w io.Writer, kind string, meta any, sections []section) error {
	rawMeta, err := encodeMsgpack(meta)
	if err != nil {
		return err
	}
	h := containerHeader{Sections: make([]sectionInfo, len(sections)), Meta: rawMeta}
	for i, s := range sections {
		h.Sections[i] = sectionInfo{Name: s.name, DType: s.dtype, Shape: s.shape}
	}
	header, err := encodeMsgpack(h)
	if err != nil {
		return err
	}
	if err := checkMsgpack(header, maxDepth); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	size := int64(preambleSize) + int64(len(header))
	size += padding(size)
	for _, s := range sections {
		n := int64(len(s.data))
		size += n + padding(n)
	}
	size += 4*(1+int64(len(sections))) + int64(trailerFixed)

	pre := make([]byte, preambleSize)
	copy(pre, containerMagic)
	copy(pre[8:], kind)
	binary.LittleEndian.PutUint32(pre[12:], containerVersion)
	binary.LittleEndian.PutUint64(pre[16:], uint64(size))
	binary.LittleEndian.PutUint64(pre[24:], uint64(len(header)))
	binary.LittleEndian.PutUint32(pre[32:], uint32(len(sections)))
	binary.LittleEndian.PutUint32(pre[60:], crc32.Checksum(pre[:60], castagnoli))
	if _, err := w.Write(pre); err != nil {
		return err
	}
	var trailer []byte
	write := func(data []byte) error {
		pad := zeros[:padding(int64(len(data)))]
		sum := crc32.Update(crc32.Checksum(data, castagnoli), castagnoli, pad)
		trailer = binary.LittleEndian.AppendUint32(trailer, sum)
		if len(data) > 0 {
			if _, err := w.Write(data); err != nil {
				return err
			}
		}
		if len(pad) > 0 {
			if _, err := w.Write(pad); err != nil {
				return err
			}
		}
		return nil
	}
	if err := write(header); err != nil {
		return err
	}
	for _, s := range sections {
		if err := write(s.data); err != nil {
			return err
		}
	}
	trailer = binary.LittleEndian.AppendUint64(trailer, uint64(size))
	trailer = append(trailer, containerEnd...)
	trailer = binary.LittleEndian.AppendUint32(trailer, crc32.Checksum(trailer, castagnoli))
	_, err = w.Write(trailer)
	return err
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// isContainer reports whether a file that starts with b is a container.
func isContainer(b []byte) bool {
	return len(b) >= len(containerMagic) && string(b[:len(containerMagic)]) == containerMagic
}

// verification says how the sections of a container are checked.
type verification struct {
	// finite refuses NaN and infinity.
	finite bool
	// release, if set, is called with each part of a section after it was checked. It
	// keeps the memory use of a mapped file small.
	release func([]byte)
}

const (
	// part is how many bytes each check handles before the next one handles them: they
	// stay in the second-level cache.
	part = 1 << 18
	// held is how many bytes are checked before they are released, a multiple of all
	// page sizes. Smaller steps would interrupt all cores more often.
	held = 1 << 22
)

// check checks a section and its padding.
func (v *verification) check(block []byte, sum uint32, info sectionInfo) (err error) {
	defer mapped.Catch(&err, debug.SetPanicOnFault(true))
	d, isTensor := dtypeOf(info.DType)
	got, finite := uint32(0), true
	for hold := range slices.Chunk(block, held) {
		for now := range slices.Chunk(hold, part) {
			got = crc32.Update(got, castagnoli, now)
			if v.finite && isTensor {
				finite = Tensor{DType: d, Data: now}.finite() && finite
			}
		}
		if v.release != nil {
			v.release(hold)
		}
	}
	if got != sum {
		return corrupt("section %q: wrong checksum", info.Name)
	}
	if !finite {
		return fmt.Errorf("tensor %s: %w", info.Name, ErrNotFinite)
	}
	return nil
}

// checkPreamble checks the first bytes of a container of this kind.
func checkPreamble(b []byte, kind string) error {
	if !isContainer(b) {
		return corrupt("not a Skive file: wrong first bytes")
	}
	if len(b) < preambleSize {
		return corrupt("truncated: %d bytes, the preamble alone has %d", len(b), preambleSize)
	}
	if v := binary.LittleEndian.Uint32(b[12:]); v > containerVersion {
		return fmt.Errorf("%w: format version %d, this one reads up to version %d", ErrNewerVersion, v, containerVersion)
	} else if v != containerVersion {
		return corrupt("preamble: version %d", v)
	}
	if crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) {
		return corrupt("preamble: wrong checksum")
	}
	if got := string(b[8:12]); got != kind {
		names := map[string]string{kindModel: "a model", kindState: "a training state"}
		if names[got] == "" {
			return corrupt("preamble: unknown kind %q", got)
		}
		return fmt.Errorf("%s, expected %s", names[got], names[kind])
	}
	if size := binary.LittleEndian.Uint64(b[16:]); size != uint64(len(b)) {
		return corrupt("truncated or extended: %d bytes, written were %d", len(b), size)
	}
	if !allZero(b[36:60]) {
		return corrupt("preamble: reserved bytes are not zero")
	}
	return nil
}

// readContainer parses a container. The sections' data are views of b. Without a
// verification, the checksums of sections are not checked, but all others are.
func readContainer(b []byte, kind string, verify *verification) (meta msgpack.RawMessage, sections []section, err error) {
	if err := checkPreamble(b, kind); err != nil {
		return nil, nil, err
	}
	size := uint64(len(b))
	headerSize := binary.LittleEndian.Uint64(b[24:])
	count := uint64(binary.LittleEndian.Uint32(b[32:]))
	trailerSize := 4*(1+count) + uint64(trailerFixed)
	if size < preambleSize+trailerSize || headerSize > size-preambleSize-trailerSize {
		return nil, nil, corrupt("preamble: header of %d bytes and %d sections in a file of %d bytes", headerSize, count, size)
	}
	trailer := b[size-trailerSize:]
	fixed := trailer[len(trailer)-trailerFixed:]
	if crc32.Checksum(trailer[:len(trailer)-4], castagnoli) != binary.LittleEndian.Uint32(fixed[16:]) {
		return nil, nil, corrupt("trailer: wrong checksum")
	}
	if string(fixed[8:16]) != containerEnd || binary.LittleEndian.Uint64(fixed) != size {
		return nil, nil, corrupt("trailer: wrong end mark")
	}
	sums := trailer[:len(trailer)-trailerFixed]
	limit := int64(size - trailerSize)
	pos := int64(preambleSize)
	take := func(n int64, what string) (block []byte, sum uint32, err error) {
		padded := n + padding(n)
		if n > limit-pos || padded > limit-pos {
			return nil, 0, corrupt("%s: reaches beyond the end of the file", what)
		}
		block = b[pos : pos+padded]
		sum = binary.LittleEndian.Uint32(sums)
		sums = sums[4:]
		pos += padded
		return block, sum, nil
	}
	block, sum, err := take(int64(headerSize), "header")
	if err != nil {
		return nil, nil, err
	}
	if crc32.Checksum(block, castagnoli) != sum {
		return nil, nil, corrupt("header: wrong checksum")
	}
	header := block[:headerSize]
	var h containerHeader
	if err := decodeMsgpack(header, &h); err != nil {
		return nil, nil, corrupt("header: %v", err)
	}
	if uint64(len(h.Sections)) != count {
		return nil, nil, corrupt("header: %d sections, the preamble says %d", len(h.Sections), count)
	}
	sections = make([]section, count)
	blocks, blockSums := make([][]byte, count), make([]uint32, count)
	for i, info := range h.Sections {
		n, err := sectionSize(info)
		if err != nil {
			return nil, nil, corrupt("section %q: %v", info.Name, err)
		}
		block, sum, err := take(n, fmt.Sprintf("section %q", info.Name))
		if err != nil {
			return nil, nil, err
		}
		blocks[i], blockSums[i] = block, sum
		sections[i] = section{info.Name, info.DType, info.Shape, block[:n:n]}
	}
	if pos != limit {
		return nil, nil, corrupt("%d bytes between the last section and the trailer", limit-pos)
	}
	if verify == nil {
		return h.Meta, sections, nil
	}
	return h.Meta, sections, verify.all(h.Sections, blocks, blockSums)
}

// all checks all sections on all cores, and returns the error of the first bad one.
func (v *verification) all(infos []sectionInfo, blocks [][]byte, sums []uint32) error {
	errs := make([]error, len(infos))
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < len(infos); i = int(next.Add(1)) - 1 {
			errs[i] = v.check(blocks[i], sums[i], infos[i])
		}
	}
	size := 0
	for _, b := range blocks {
		size += len(b)
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0)-1, size/held) { // a few parts do not need another goroutine
		others.Go(work)
	}
	work()
	others.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func sectionSize(info sectionInfo) (int64, error) {
	if info.DType == rawBytes {
		if len(info.Shape) != 1 || info.Shape[0] < 0 || int64(info.Shape[0]) > math.MaxInt64-alignment {
			return 0, fmt.Errorf("impossible length %v", info.Shape)
		}
		return int64(info.Shape[0]), nil
	}
	d, ok := dtypeOf(info.DType)
	if !ok {
		return 0, fmt.Errorf("unknown element type %q", info.DType)
	}
	n, err := byteSize(d, info.Shape)
	if err == nil && n > math.MaxInt64-alignment {
		err = fmt.Errorf("impossible shape %v", info.Shape)
	}
	return n, err
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
