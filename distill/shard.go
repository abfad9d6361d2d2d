package distill

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
)

// A shard is a file with a teacher's outputs for some thousands of examples, and with the tokens
// of these examples. It is little-endian:
//
//	header     64 bytes: magic, key, bytes of the description and of the file, checksum
//	description, JSON: examples, sequences, tokens, and the outputs
//	tokens     first sequence of each example, offsets of the sequences, ids, and types, with a checksum
//	checksums  4 bytes for each output and example, 0 while there is nothing
//	outputs    one after the other, of each its examples
//
// The sections after the description begin at multiples of 64 bytes. A job writes whole shards. A
// cache fills outputs in place, in any order, each before its checksum; until then the file is
// sparse. A process or machine that stops leaves outputs that are missing or have a wrong
// checksum. Both count as missing, so a shard may be incomplete but never wrong. Processes may
// share a shard, because all of them compute the same outputs.
type shard struct {
	layout
	file *os.File
	view view
}

// view reads a file that no longer grows.
type view interface {
	at(offset int64, n int) ([]byte, error)
	close() error
}

const (
	shardMagic   = "SKIVEKD2"
	earlierMagic = "SKIVEKD1"
	headerBytes  = 64
	// maxDescription is the largest description in bytes.
	maxDescription = 1 << 20
)

// shardExamples is the number of examples in a shard, except for the last one of a set. Tests use
// smaller ones.
var shardExamples = 1 << 14

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is never 0.
func checksum(b []byte) uint32 { return max(1, crc32.Checksum(b, castagnoli)) }

var (
	errNoShard   = errors.New("not a shard of these outputs")
	errByteOrder = errors.New("this machine's numbers begin with their most significant byte, and those of the files with the least")
)

// description says what a shard contains.
type description struct {
	Examples  int           `json:"examples"`
	Sequences int           `json:"sequences"`
	Tokens    int           `json:"tokens"`
	Outputs   []shardOutput `json:"outputs"`
}

// shardOutput is an output of the teacher: how many numbers of 2 or 4 bytes there are for each
// sequence, or each token.
type shardOutput struct {
	Name     string `json:"name"`
	Columns  int    `json:"columns"`
	Bytes    int    `json:"bytes"`
	ByTokens bool   `json:"by_tokens"`
}

// layout says where things are in a shard.
type layout struct {
	description
	key  [32]byte
	text []byte // of the description

	ids, types, offsets, first []int32

	tokensAt, sumsAt int64
	at               [][]int64 // for each output, [examples+1]
	size             int64
}

// layoutOf returns the layout of one shard of a set, for outputs of the teacher with this key.
func layoutOf(key [32]byte, set *data.Encoded, number int, outputs []*output) (*layout, error) {
	l := &layout{offsets: []int32{0}, first: []int32{0}}
	var b data.Batch
	for i := number * shardExamples; i < min((number+1)*shardExamples, set.Len()); i++ {
		set.Fill(&b, []int32{int32(i)})
		for _, end := range b.Offsets[1:] {
			l.offsets = append(l.offsets, int32(len(l.ids))+end)
		}
		l.ids, l.types = append(l.ids, b.IDs...), append(l.types, b.TypeIDs...)
		l.first = append(l.first, int32(len(l.offsets)-1))
	}
	for _, o := range outputs {
		l.Outputs = append(l.Outputs, shardOutput{o.name(), o.columns, o.bytes(), o.tokens})
	}
	l.Examples, l.Sequences, l.Tokens = len(l.first)-1, len(l.offsets)-1, len(l.ids)
	var err error
	if l.text, err = json.Marshal(l.description); err != nil {
		return nil, err
	}
	h := sha256.New()
	h.Write(key[:])
	hashed(h, l.text)
	hashed(h, l.tokens())
	h.Sum(l.key[:0])
	l.place()
	return l, nil
}

// tokens returns the tokens of the shard in the form of its file.
func (l *layout) tokens() []byte {
	var b []byte
	for _, v := range [][]int32{l.first, l.offsets, l.ids, l.types} {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, uint32(x))
		}
	}
	return b
}

// tokensSize is the size of the tokens with their checksum.
func (d *description) tokensSize() int64 {
	return 4 * (int64(d.Examples) + 1 + int64(d.Sequences) + 1 + 2*int64(d.Tokens) + 1)
}

// place computes where things are, once the tokens are known.
func (l *layout) place() {
	align := func(n int64) int64 { return (n + 63) &^ 63 }
	l.tokensAt = align(headerBytes + int64(len(l.text)))
	l.sumsAt = align(l.tokensAt + l.tokensSize())
	end := l.sumsAt + 4*int64(len(l.Outputs))*int64(l.Examples)
	l.at = nil
	for _, o := range l.Outputs {
		at := make([]int64, l.Examples+1)
		at[0] = align(end)
		for i := range l.Examples {
			rows := int64(l.first[i+1] - l.first[i])
			if o.ByTokens {
				rows = int64(l.offsets[l.first[i+1]] - l.offsets[l.first[i]])
			}
			at[i+1] = at[i] + rows*int64(o.Columns)*int64(o.Bytes)
		}
		l.at = append(l.at, at)
		end = at[l.Examples]
	}
	l.size = end
}

func (l *layout) header() []byte {
	header := make([]byte, headerBytes)
	copy(header, shardMagic)
	copy(header[8:], l.key[:])
	binary.LittleEndian.PutUint64(header[40:], uint64(len(l.text)))
	binary.LittleEndian.PutUint64(header[48:], uint64(l.size))
	binary.LittleEndian.PutUint32(header[60:], crc32.Checksum(header[:60], castagnoli))
	return header
}

// write puts a shard at path in one step, with the outputs that fill writes, or without any.
func (l *layout) write(path string, fill func(*shard) error) error {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return errByteOrder
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	temporary := "." + filepath.Base(path) + "-*"
	if err := sweep(dir, temporary); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, temporary)
	if err != nil {
		return err
	}
	_, err = f.Write(append(l.header(), l.text...))
	if err == nil {
		tokens := l.tokens()
		_, err = f.WriteAt(binary.LittleEndian.AppendUint32(tokens, checksum(tokens)), l.tokensAt)
	}
	if err == nil {
		err = f.Truncate(l.size)
	}
	if err == nil && fill != nil {
		err = fill(&shard{layout: *l, file: f})
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Chmod(0o644) // temporary files are readable only by their owner
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// abandoned is the time after which a temporary file that nobody wrote to counts as left by a
// killed process. Its writer may be on another machine, where a lock would not tell.
const abandoned = time.Hour

// sweep removes temporary files that killed processes left.
func sweep(dir, pattern string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if match, _ := filepath.Match(pattern, e.Name()); !match {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > abandoned {
			os.Remove(filepath.Join(dir, e.Name())) // another process may have been faster
		}
	}
	return nil
}

// openShard opens the shard at path. If the shard is missing or its header differs from the given
// one, the error is errNoShard. A nil header accepts any shard.
func openShard(path string, header []byte) (s *shard, err error) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil, errByteOrder
	}
	s = &shard{}
	flag := os.O_RDWR
	if header == nil {
		flag = os.O_RDONLY
	}
	file, err := os.OpenFile(path, flag, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoShard
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	s.file = file
	info, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	found := make([]byte, headerBytes)
	if _, err := s.file.ReadAt(found, 0); err != nil || string(found[:8]) != shardMagic ||
		binary.LittleEndian.Uint32(found[60:]) != crc32.Checksum(found[:60], castagnoli) ||
		binary.LittleEndian.Uint64(found[48:]) != uint64(info.Size()) || header != nil && !bytes.Equal(found, header) {
		return nil, errNoShard
	}
	if err := s.read(found, info.Size()); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoShard, err)
	}
	s.view, err = newView(s.file, s.size)
	return s, err
}

// read reads the description and the tokens.
func (s *shard) read(header []byte, size int64) error {
	copy(s.key[:], header[8:])
	n := binary.LittleEndian.Uint64(header[40:])
	if n > maxDescription {
		return fmt.Errorf("a description of %d bytes", n)
	}
	s.text = make([]byte, n)
	if _, err := s.file.ReadAt(s.text, headerBytes); err != nil {
		return err
	}
	if err := json.Unmarshal(s.text, &s.description); err != nil {
		return err
	}
	d := &s.description
	for _, n := range []int{d.Examples, d.Sequences, d.Tokens, len(d.Outputs)} {
		if n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("damaged: %d examples, %d sequences and %d tokens", d.Examples, d.Sequences, d.Tokens)
		}
	}
	if d.tokensSize() > size {
		return errors.New("damaged: more tokens than bytes")
	}
	b := make([]byte, d.tokensSize())
	if _, err := s.file.ReadAt(b, (headerBytes+int64(n)+63)&^63); err != nil {
		return err
	}
	tokens := b[:len(b)-4]
	if checksum(tokens) != binary.LittleEndian.Uint32(b[len(tokens):]) {
		return errors.New("damaged: the checksum of its tokens is wrong")
	}
	take := func(n int) []int32 {
		v := make([]int32, n)
		for i := range v {
			v[i] = int32(binary.LittleEndian.Uint32(tokens[4*i:]))
		}
		tokens = tokens[4*n:]
		return v
	}
	s.first, s.offsets = take(d.Examples+1), take(d.Sequences+1)
	s.ids, s.types = take(d.Tokens), take(d.Tokens)
	if _, err := data.FromTokens(data.Task{}, s.ids, s.types, s.offsets, s.first); err != nil {
		return fmt.Errorf("damaged: %w", err)
	}
	if s.place(); s.size != size {
		return fmt.Errorf("damaged: %d bytes, expected %d", size, s.size)
	}
	return nil
}

// get returns an output of an example, or nil if it is missing.
func (s *shard) get(output, example int) []byte {
	sum, err := s.view.at(s.sumAt(output, example), 4)
	if err != nil {
		return nil
	}
	want := binary.LittleEndian.Uint32(sum)
	if want == 0 {
		return nil
	}
	at := s.at[output]
	b, err := s.view.at(at[example], int(at[example+1]-at[example]))
	if err != nil || checksum(b) != want {
		return nil
	}
	return b
}

func (s *shard) sumAt(output, example int) int64 {
	return s.sumsAt + 4*(int64(output)*int64(s.Examples)+int64(example))
}

// put writes an output of an example.
func (s *shard) put(output, example int, b []byte) error {
	if at := s.at[output]; int64(len(b)) != at[example+1]-at[example] {
		return fmt.Errorf("%d bytes of %s, expected %d", len(b), s.Outputs[output].Name, at[example+1]-at[example])
	}
	_, err := s.file.WriteAt(b, s.at[output][example])
	if err == nil {
		_, err = s.file.WriteAt(binary.LittleEndian.AppendUint32(nil, checksum(b)), s.sumAt(output, example))
	}
	return err
}

func (s *shard) close() error { return errors.Join(s.view.close(), s.file.Close()) }

// shardsName is the name of the manifest of a directory of shards.
const shardsName = "manifest.json"

// shardsFormat is the version of the manifest's format.
const shardsFormat = 1

// shardsManifest describes a directory of shards.
type shardsManifest struct {
	Format int `json:"format"`
	// Teacher is the key of the teacher with its tokenizer and precision, in hexadecimal digits.
	Teacher   string `json:"teacher"`
	Precision string `json:"precision"`
	// MaxLength is the number of tokens to which examples were cut.
	MaxLength int           `json:"max_length"`
	Examples  int           `json:"examples"`
	Outputs   []shardOutput `json:"outputs"`
	// Shards holds the keys of the files, in order.
	Shards []string `json:"shards"`
}

func (m *shardsManifest) write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(m)
}

func shardPath(dir string, number int) string {
	return filepath.Join(dir, fmt.Sprintf("shard-%05d.skivekd", number))
}

func readShards(dir string) (*shardsManifest, error) {
	path := filepath.Join(dir, shardsName)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m shardsManifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.Format != shardsFormat {
		return nil, fmt.Errorf("%s: format %d, expected %d", path, m.Format, shardsFormat)
	}
	return &m, nil
}

func writeShards(dir string, m *shardsManifest) error {
	return checkpoints.WriteFile(filepath.Join(dir, shardsName), m.write)
}
