package checkpoints

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"path"
	"strings"

	"github.com/nlpodyssey/gopickle/pickle"
	"github.com/nlpodyssey/gopickle/types"

	"github.com/skive-ml/skive/internal/mapped"
)

const (
	// Bounds on the pickle of a state dictionary, which needs some 200 bytes for each
	// tensor. They limit the memory that a malicious one can use.
	maxPickle = 2 << 20

	legacyMagic   = "1950a86a20f9469cfc6c"
	legacyVersion = 1001
)

// parsePyTorch reads the state dictionary from a file written by torch.save, in the zip
// format or the one before it. Nothing in the file is executed: the pickle can only
// build dictionaries, tuples and tensors. Contiguous tensors are views of b.
func parsePyTorch(b []byte) (tensors map[string]foreignTensor, err error) {
	defer func() {
		if r := recover(); r != nil {
			tensors, err = nil, corrupt("pickle: %s", oneLine(fmt.Sprint(r)))
			if fault := mapped.Fault(r); fault != nil {
				err = fault
			}
		}
	}()
	if bytes.HasPrefix(b, []byte("PK\x03\x04")) {
		return parseTorchZip(b)
	}
	return parseTorchLegacy(b)
}

// torchStorage is a flat array in the file.
type torchStorage struct {
	dtype string // a DType's code, or safetensors' name for another type
	size  int    // bytes of an element
	numel int
	data  []byte
}

// torchTensor is a strided window on a storage.
type torchTensor struct {
	storage        *torchStorage
	offset         int
	shape, strides []int
}

// torchClass is a name that a pickle may refer to.
type torchClass struct {
	storage *torchStorage // the element type, if this is a storage class
	call    func(args []any) (any, error)
}

func (c *torchClass) Call(args ...any) (any, error) {
	if c.call == nil {
		return nil, fmt.Errorf("call of a storage class")
	}
	return c.call(args)
}

func findTorchClass(module, name string) (any, error) {
	switch full := module + "." + name; full {
	case "torch._utils._rebuild_tensor_v2":
		return &torchClass{call: rebuildTensor}, nil
	case "torch._utils._rebuild_parameter":
		return &torchClass{call: func(args []any) (any, error) {
			if len(args) == 0 {
				return nil, fmt.Errorf("_rebuild_parameter without arguments")
			}
			return args[0], nil
		}}, nil
	case "torch.FloatStorage":
		return &torchClass{storage: &torchStorage{dtype: F32.code(), size: 4}}, nil
	case "torch.HalfStorage":
		return &torchClass{storage: &torchStorage{dtype: F16.code(), size: 2}}, nil
	case "torch.BFloat16Storage":
		return &torchClass{storage: &torchStorage{dtype: BF16.code(), size: 2}}, nil
	case "torch.LongStorage":
		return &torchClass{storage: &torchStorage{dtype: "I64", size: 8}}, nil
	case "torch.DoubleStorage":
		return &torchClass{storage: &torchStorage{dtype: float64Type, size: 8}}, nil
	case "torch.IntStorage":
		return &torchClass{storage: &torchStorage{dtype: "I32", size: 4}}, nil
	case "torch.ShortStorage":
		return &torchClass{storage: &torchStorage{dtype: "I16", size: 2}}, nil
	case "torch.ByteStorage":
		return &torchClass{storage: &torchStorage{dtype: "U8", size: 1}}, nil
	case "torch.CharStorage":
		return &torchClass{storage: &torchStorage{dtype: "I8", size: 1}}, nil
	case "torch.BoolStorage":
		return &torchClass{storage: &torchStorage{dtype: "BOOL", size: 1}}, nil
	default:
		return nil, fmt.Errorf("pickle: %q: %w: not part of a state dictionary", oneLine(full), ErrUnsupported)
	}
}

func rebuildTensor(args []any) (any, error) {
	if len(args) < 4 {
		return nil, fmt.Errorf("_rebuild_tensor_v2 with %d arguments", len(args))
	}
	storage, ok1 := args[0].(*torchStorage)
	offset, ok2 := args[1].(int)
	shape, ok3 := intTuple(args[2])
	strides, ok4 := intTuple(args[3])
	if !ok1 || !ok2 || !ok3 || !ok4 || len(shape) != len(strides) {
		return nil, fmt.Errorf("_rebuild_tensor_v2 with wrong arguments")
	}
	return &torchTensor{storage, offset, shape, strides}, nil
}

func intTuple(v any) ([]int, bool) {
	t, ok := v.(*types.Tuple)
	if !ok {
		return nil, false
	}
	out := make([]int, t.Len())
	for i := range out {
		if out[i], ok = t.Get(i).(int); !ok {
			return nil, false
		}
	}
	return out, true
}

// runPickle runs the pickle at the start of b, and returns its value and length. load
// resolves the persistent ids of storages.
func runPickle(b []byte, load func(class *torchClass, key string, numel int) (any, error)) (any, int, error) {
	b = b[:min(len(b), maxPickle)]
	n, err := scanPickle(b)
	if err != nil {
		return nil, 0, corrupt("%v", err)
	}
	u := pickle.NewUnpickler(bytes.NewReader(b[:n]))
	u.FindClass = findTorchClass
	u.PersistentLoad = func(id any) (any, error) {
		t, ok := id.(*types.Tuple)
		if !ok || t.Len() < 5 || t.Get(0) != "storage" {
			return nil, fmt.Errorf("pickle: persistent id that is not a storage")
		}
		class, ok1 := t.Get(1).(*torchClass)
		key, ok2 := t.Get(2).(string)
		numel, ok3 := t.Get(4).(int)
		if !ok1 || !ok2 || !ok3 || class.storage == nil || load == nil || numel < 0 {
			return nil, fmt.Errorf("pickle: persistent id of a storage with wrong fields")
		}
		if t.Len() > 5 && t.Get(5) != nil {
			return nil, fmt.Errorf("pickle: view of a storage: %w", ErrUnsupported)
		}
		return load(class, key, numel)
	}
	v, err := u.Load()
	switch {
	case err == nil:
		return v, n, nil
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrUnsupported):
		return nil, 0, err
	}
	return nil, 0, corrupt("%s", oneLine(err.Error()))
}

// oneLine shortens a library's message about malicious input.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}

// parseTorchZip reads the format of PyTorch 1.6 and later: a zip archive with the
// pickle and one uncompressed record for each storage.
func parseTorchZip(b []byte) (map[string]foreignTensor, error) {
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, corrupt("%v", err)
	}
	records := make(map[string]*zip.File, len(z.File))
	prefix := ""
	for _, f := range z.File {
		records[f.Name] = f
		if path.Base(f.Name) == "data.pkl" {
			prefix = strings.TrimSuffix(f.Name, "data.pkl")
		}
	}
	if records[prefix+"constants.pkl"] != nil {
		return nil, fmt.Errorf("TorchScript: %w (save the state dictionary)", ErrUnsupported)
	}
	budget := uint64(len(b)) // records that do not overlap need no more
	read := func(name string) ([]byte, error) {
		f := records[prefix+name]
		if f == nil {
			return nil, corrupt("record %s is missing", name)
		}
		if f.Method != zip.Store || f.CompressedSize64 != f.UncompressedSize64 {
			return nil, fmt.Errorf("record %s: compressed: %w (torch.save does not compress)", name, ErrUnsupported)
		}
		offset, err := f.DataOffset()
		if err != nil {
			return nil, corrupt("record %s: %v", name, err)
		}
		n := f.UncompressedSize64
		if offset < 0 || uint64(offset) > uint64(len(b)) || n > uint64(len(b))-uint64(offset) {
			return nil, corrupt("record %s: reaches beyond the end of the file", name)
		}
		if n > budget {
			return nil, corrupt("record %s: records overlap", name)
		}
		budget -= n
		data := b[offset : uint64(offset)+n : uint64(offset)+n]
		// torch.save writes a checksum of zero if told to skip it.
		if f.CRC32 != 0 && crc32.ChecksumIEEE(data) != f.CRC32 {
			return nil, corrupt("record %s: wrong checksum", name)
		}
		return data, nil
	}
	text, err := read("data.pkl")
	if err != nil {
		return nil, err
	}
	if records[prefix+"byteorder"] != nil {
		order, err := read("byteorder")
		if err != nil {
			return nil, err
		}
		if string(order) != "little" {
			return nil, fmt.Errorf("byte order %q: %w", oneLine(string(order)), ErrUnsupported)
		}
	}
	storages := make(map[string]*torchStorage)
	root, _, err := runPickle(text, func(class *torchClass, key string, numel int) (any, error) {
		if s, ok := storages[key]; ok {
			return s, nil
		}
		s := *class.storage
		data, err := read("data/" + key)
		if err != nil {
			return nil, err
		}
		if numel > len(data)/s.size {
			return nil, corrupt("record data/%s: %d bytes for %d elements of %s", key, len(data), numel, s.dtype)
		}
		s.numel, s.data = numel, data[:numel*s.size:numel*s.size]
		storages[key] = &s
		return &s, nil
	})
	if err != nil {
		return nil, fmt.Errorf("data.pkl: %w", err)
	}
	return stateDict(root, len(b))
}

// parseTorchLegacy reads the format before PyTorch 1.6. It has pickles of a magic
// number, a version, the system, the object and the storage keys. Then come the
// storages, each after its number of elements.
func parseTorchLegacy(b []byte) (map[string]foreignTensor, error) {
	magic, n, err := runPickle(b, nil)
	if v, ok := magic.(*big.Int); err != nil || !ok || v.Text(16) != legacyMagic {
		return nil, corrupt("not a file of torch.save")
	}
	rest := b[n:]
	version, n, err := runPickle(rest, nil)
	if err != nil {
		return nil, err
	}
	if version != legacyVersion {
		return nil, fmt.Errorf("torch.save protocol %v: %w", version, ErrUnsupported)
	}
	rest = rest[n:]
	if _, n, err = runPickle(rest, nil); err != nil {
		return nil, fmt.Errorf("system: %w", err)
	}
	rest = rest[n:]
	storages := make(map[string]*torchStorage)
	root, n, err := runPickle(rest, func(class *torchClass, key string, numel int) (any, error) {
		if s, ok := storages[key]; ok {
			return s, nil
		}
		s := *class.storage
		s.numel = numel
		storages[key] = &s
		return &s, nil
	})
	if err != nil {
		return nil, fmt.Errorf("state dictionary: %w", err)
	}
	rest = rest[n:]
	list, n, err := runPickle(rest, nil)
	if err != nil {
		return nil, fmt.Errorf("storage keys: %w", err)
	}
	rest = rest[n:]
	keys, ok := list.(*types.List)
	if !ok {
		return nil, corrupt("storage keys: not a list")
	}
	for _, k := range *keys {
		key, _ := k.(string)
		s := storages[key]
		if s == nil || s.data != nil {
			return nil, corrupt("storage keys: %q is not a storage, or occurs twice", oneLine(key))
		}
		if len(rest) < 8 {
			return nil, corrupt("storage %s: truncated", key)
		}
		numel := binary.LittleEndian.Uint64(rest)
		rest = rest[8:]
		if numel != uint64(s.numel) || numel > uint64(len(rest)/s.size) {
			return nil, corrupt("storage %s: %d elements, the state dictionary says %d, and %d bytes follow", key, numel, s.numel, len(rest))
		}
		size := s.numel * s.size
		s.data, rest = rest[:size:size], rest[size:]
	}
	for key, s := range storages {
		if s.data == nil {
			return nil, corrupt("storage %s: missing", oneLine(key))
		}
	}
	return stateDict(root, len(b))
}

// stateDict turns a pickle's value into tensors. budget bounds the bytes copied for
// tensors that are not contiguous.
func stateDict(root any, budget int) (map[string]foreignTensor, error) {
	tensors := make(map[string]foreignTensor)
	add := func(key, value any) error {
		name, ok := key.(string)
		t, isTensor := value.(*torchTensor)
		if !ok || !isTensor {
			return nil // a version number beside the weights, say
		}
		f, copied, err := t.materialize(budget)
		if err != nil {
			return corrupt("tensor %s: %v", oneLine(name), err)
		}
		budget -= copied
		tensors[name] = f
		return nil
	}
	switch d := root.(type) {
	case *types.OrderedDict:
		for e := d.List.Front(); e != nil; e = e.Next() {
			entry := e.Value.(*types.OrderedDictEntry)
			if err := add(entry.Key, entry.Value); err != nil {
				return nil, err
			}
		}
	case *types.Dict:
		for _, entry := range *d {
			if err := add(entry.Key, entry.Value); err != nil {
				return nil, err
			}
		}
	default:
		return nil, corrupt("not a state dictionary")
	}
	return tensors, nil
}

// materialize returns the tensor in row-major order, as a view of its storage if it
// already has that order.
func (t *torchTensor) materialize(budget int) (f foreignTensor, copied int, err error) {
	s := t.storage
	f = foreignTensor{dtype: s.dtype}
	f.tensor.Shape = t.shape
	f.tensor.DType, f.known = dtypeOf(s.dtype)
	outside := fmt.Errorf("shape %v with strides %v at %d lies outside its storage of %d elements", t.shape, t.strides, t.offset, s.numel)
	elements, last, contiguous := 1, t.offset, true
	if t.offset < 0 || t.offset > s.numel {
		return f, 0, outside
	}
	for i := len(t.shape) - 1; i >= 0; i-- {
		n, stride := t.shape[i], t.strides[i]
		if n < 0 || stride < 0 || n > s.numel {
			return f, 0, outside
		}
		if n > 1 {
			if stride != elements {
				contiguous = false
			}
			if stride > s.numel || stride > 0 && n-1 > (s.numel-last)/stride {
				return f, 0, outside
			}
			last += (n - 1) * stride
		}
		if n > 0 && elements > s.numel/n {
			return f, 0, outside
		}
		elements *= n
	}
	if elements == 0 {
		f.tensor.Data = []byte{}
		return f, 0, nil
	}
	if last >= s.numel {
		return f, 0, outside
	}
	size := elements * s.size
	if contiguous {
		start := t.offset * s.size
		f.tensor.Data = s.data[start : start+size : start+size]
		return f, 0, nil
	}
	if size > budget {
		return f, 0, fmt.Errorf("strided tensors share their storages too often")
	}
	data := alignedBytes(size)
	index := make([]int, len(t.shape))
	src := t.offset
	for dst := 0; dst < size; dst += s.size {
		copy(data[dst:dst+s.size], s.data[src*s.size:])
		for i := len(index) - 1; i >= 0; i-- {
			index[i]++
			src += t.strides[i]
			if index[i] < t.shape[i] {
				break
			}
			src -= t.strides[i] * t.shape[i]
			index[i] = 0
		}
	}
	f.tensor.Data = data
	return f, size, nil
}
