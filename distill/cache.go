package distill

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"maps"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
)

// keeper remembers an output of a teacher for the examples of a data set.
type keeper interface {
	// get returns what was put for an example, nil if there is nothing. It is
	// valid until the keeper is closed.
	get(example int) []byte
	put(example int, b []byte) error
	Close() error
}

// memory is a keeper without a file.
type memory struct {
	offsets []int
	all     []byte
	known   []bool
}

// newMemory keeps outputs of the given sizes, in bytes.
func newMemory(sizes []int) *memory {
	offsets := make([]int, len(sizes)+1)
	for i, n := range sizes {
		offsets[i+1] = offsets[i] + n
	}
	return &memory{offsets, make([]byte, offsets[len(sizes)]), make([]bool, len(sizes))}
}

func (m *memory) get(i int) []byte {
	if !m.known[i] {
		return nil
	}
	return m.all[m.offsets[i]:m.offsets[i+1]]
}

func (m *memory) put(i int, b []byte) error {
	copy(m.all[m.offsets[i]:], b)
	m.known[i] = true
	return nil
}

func (m *memory) Close() error { return nil }

// store is a keeper on disk: one file, in the byte order of the machine.
//
//	header     64 bytes: magic, key, number of examples, bytes of the outputs, checksum
//	checksums  4 bytes for each example, 0 while there is nothing
//	outputs    from a multiple of 64 bytes on, one after the other
//
// Outputs are written in any order, each before its checksum; the file is sparse
// until then. A process or machine that stops leaves outputs that are not there
// or whose checksum is wrong, which is taken for the same, so that a store is
// complete as far as it goes and never wrong. Outputs are equal whoever computes
// them: processes may share a store.
type store struct {
	file    *os.File
	view    view
	offsets []int64 // of the outputs in the file [examples+1]
	failed  bool
}

// view reads from a file that grows no more.
type view interface {
	at(offset int64, n int) ([]byte, error)
	close() error
}

const (
	storeMagic  = "SKIVEKD1"
	headerBytes = 64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openStore opens the store at path, or makes one where there is none, or one of
// another key or sizes. sizes are the bytes of each example's output. With
// create unset, nil stands for a store that is not there.
func openStore(path string, key [32]byte, sizes []int, create bool) (*store, error) {
	s := &store{offsets: make([]int64, len(sizes)+1)}
	s.offsets[0] = headerBytes + (4*int64(len(sizes))+63)&^63
	for i, n := range sizes {
		s.offsets[i+1] = s.offsets[i] + int64(n)
	}
	total := s.offsets[len(sizes)]
	header := make([]byte, headerBytes)
	copy(header, storeMagic)
	copy(header[8:], key[:])
	binary.NativeEndian.PutUint64(header[40:], uint64(len(sizes)))
	binary.NativeEndian.PutUint64(header[48:], uint64(total))
	binary.NativeEndian.PutUint32(header[60:], crc32.Checksum(header[:60], castagnoli))

	err := s.open(path, header, total)
	if errors.Is(err, errNoStore) {
		if !create {
			return nil, nil
		}
		if err = makeStore(path, header, total); err == nil {
			err = s.open(path, header, total)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return s, nil
}

var errNoStore = errors.New("not a store of these outputs")

func (s *store) open(path string, header []byte, total int64) (err error) {
	s.file, err = os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return errNoStore
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.file.Close()
		}
	}()
	found := make([]byte, headerBytes)
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if _, err := s.file.ReadAt(found, 0); err != nil || info.Size() != total || !bytes.Equal(found, header) {
		return errNoStore
	}
	s.view, err = newView(s.file, total)
	return err
}

// makeStore puts an empty store at path in one step.
func makeStore(path string, header []byte, total int64) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(header)
	if err == nil {
		err = f.Truncate(total)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// checksum is never 0.
func checksum(b []byte) uint32 { return max(1, crc32.Checksum(b, castagnoli)) }

func (s *store) get(i int) []byte {
	sum, err := s.view.at(headerBytes+4*int64(i), 4)
	if err != nil {
		return nil
	}
	want := binary.NativeEndian.Uint32(sum)
	if want == 0 {
		return nil
	}
	b, err := s.view.at(s.offsets[i], int(s.offsets[i+1]-s.offsets[i]))
	if err != nil || checksum(b) != want {
		return nil
	}
	return b
}

// put writes the output of an example. After an error, such as a full disk,
// nothing more is written: what is missing is computed anew.
func (s *store) put(i int, b []byte) error {
	if s.failed {
		return nil
	}
	_, err := s.file.WriteAt(b, s.offsets[i])
	if err == nil {
		var sum [4]byte
		binary.NativeEndian.PutUint32(sum[:], checksum(b))
		_, err = s.file.WriteAt(sum[:], headerBytes+4*int64(i))
	}
	s.failed = err != nil
	return err
}

func (s *store) Close() error { return errors.Join(s.view.close(), s.file.Close()) }

// cacheKey tells apart all that a teacher's outputs depend on: the model and its
// tokenizer, the precision, the token ids of the data, and the program.
func cacheKey(m *checkpoints.Model, set *data.Encoded, precision string) ([32]byte, error) {
	h := sha256.New()
	write := func(b []byte) {
		_ = binary.Write(h, binary.LittleEndian, int64(len(b))) // a hash does not fail
		h.Write(b)
	}
	config, err := json.Marshal(m.Config)
	if err != nil {
		return [32]byte{}, err
	}
	write([]byte(storeMagic + " " + checkpoints.Version + " " + precision))
	write(config)
	for _, name := range m.Names() {
		t := m.Tensors[name]
		write(fmt.Appendf(nil, "%s %v %v", name, t.DType, t.Shape))
		write(t.Data)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Tokenizer)) {
		write([]byte(name))
		write(m.Tokenizer[name])
	}
	var b data.Batch
	for i := range set.Len() {
		set.Fill(&b, []int32{int32(i)})
		write(bytesOf(b.IDs))
		write(bytesOf(b.TypeIDs))
	}
	return [32]byte(h.Sum(nil)), nil
}

// cachePath is the file of an output under a key.
func cachePath(dir string, key [32]byte, output string) string {
	return filepath.Join(dir, hex.EncodeToString(key[:8]), output)
}

// bytesOf and fromBytes view numbers as bytes and back.
func bytesOf[T uint16 | int32 | float32](v []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(*new(T))))
}

func fromBytes[T uint16 | float32](b []byte) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(*new(T))))
}
