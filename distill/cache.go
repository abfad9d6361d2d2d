package distill

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
)

// keeper stores an output of a teacher for the examples of a data set.
type keeper interface {
	// get returns what was put for an example, or nil. It is valid until the keeper is closed.
	get(example int) []byte
	put(example int, b []byte) error
	Close() error
}

// memory is a keeper in memory.
type memory struct {
	offsets []int
	all     []byte
	known   []bool
}

// newMemory returns a keeper of outputs of the given sizes, in bytes.
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

// cacheKey hashes everything on which a teacher's outputs for given tokens depend: the model, its
// tokenizer, the precision, and the program.
func cacheKey(m *checkpoints.Model, precision string) ([32]byte, error) {
	h := sha256.New()
	config, err := json.Marshal(m.Config)
	if err != nil {
		return [32]byte{}, err
	}
	hashed(h, []byte(shardMagic+" "+checkpoints.Version+" "+precision))
	hashed(h, config)
	for _, name := range m.Names() {
		t := m.Tensors[name]
		hashed(h, fmt.Appendf(nil, "%s %v %v", name, t.DType, t.Shape))
		hashed(h, t.Data)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Tokenizer)) {
		hashed(h, []byte(name))
		hashed(h, m.Tokenizer[name])
	}
	return [32]byte(h.Sum(nil)), nil
}

// hashed adds the length of b and b itself to the hash.
func hashed(h hash.Hash, b []byte) {
	_ = binary.Write(h, binary.LittleEndian, int64(len(b))) // hashes never fail
	h.Write(b)
}

// cachePath returns the path of the file with one output of a shard.
func cachePath(dir string, key [32]byte, output string) string {
	return filepath.Join(dir, hex.EncodeToString(key[:8]), output)
}

// cache is a keeper on disk. It keeps the shards of one output, each in a file that is filled in
// place. Shards are found by their content, so more examples before or after a shard do not
// matter.
type cache struct {
	dir    string
	key    [32]byte // key of the teacher
	set    *data.Encoded
	output *output
	create bool
	shards []*shard
	tried  []bool
	failed bool
}

// openCache opens the cache of an output. It returns nil if there is none and create is unset.
func openCache(dir string, key [32]byte, set *data.Encoded, o *output, create bool) (*cache, error) {
	n := (set.Len() + shardExamples - 1) / shardExamples
	c := &cache{dir: dir, key: key, set: set, output: o, create: create, shards: make([]*shard, n), tried: make([]bool, n)}
	s, err := c.shard(0)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cache: %w", err)
	case s == nil && n == 1:
		return nil, nil
	}
	return c, nil
}

// shard opens a shard by its number. It returns nil if there is none.
func (c *cache) shard(i int) (*shard, error) {
	if c.tried[i] {
		return c.shards[i], nil
	}
	c.tried[i] = true
	l, err := layoutOf(c.key, c.set, i, []*output{c.output})
	if err != nil {
		return nil, err
	}
	path := cachePath(c.dir, l.key, c.output.name())
	s, err := openShard(path, l.header())
	if errors.Is(err, errNoShard) && c.create {
		if err = l.write(path, nil); err == nil {
			s, err = openShard(path, l.header())
		}
	}
	if errors.Is(err, errNoShard) {
		return nil, nil
	}
	c.shards[i] = s
	return s, err
}

func (c *cache) get(i int) []byte {
	s, err := c.shard(i / shardExamples)
	if err != nil || s == nil {
		return nil
	}
	return s.get(0, i%shardExamples)
}

// put writes the output of an example. After an error, such as a full disk, nothing more is
// written. Missing outputs are computed again.
func (c *cache) put(i int, b []byte) error {
	if c.failed {
		return nil
	}
	s, err := c.shard(i / shardExamples)
	if err == nil && s != nil {
		err = s.put(0, i%shardExamples, b)
	}
	c.failed = err != nil
	return err
}

func (c *cache) Close() error {
	var errs []error
	for _, s := range c.shards {
		if s != nil {
			errs = append(errs, s.close())
		}
	}
	return errors.Join(errs...)
}

// earlier tells whether a cache has outputs in the format of an earlier version.
func earlier(dir, output string) bool {
	found, _ := filepath.Glob(filepath.Join(dir, "*", output))
	for _, path := range found {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		magic := make([]byte, len(shardMagic))
		_, err = io.ReadFull(f, magic)
		f.Close()
		if err == nil && string(magic) == earlierMagic {
			return true
		}
	}
	return false
}

// bytesOf and fromBytes view numbers as bytes and bytes as numbers.
func bytesOf[T uint16 | int32 | float32](v []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(*new(T))))
}

func fromBytes[T uint16 | float32](b []byte) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(*new(T))))
}
