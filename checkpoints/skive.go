package checkpoints

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/internal/mapped"
)

// Extension is the usual file name extension of .skive files.
const Extension = ".skive"

// tokenizerPrefix marks the sections that hold tokenizer files.
const tokenizerPrefix = "tokenizer/"

// skiveMeta is the header of a .skive file, without the list of sections.
type skiveMeta struct {
	// Config is the text of config.json, labels included.
	Config     []byte  `msgpack:"config"`
	Provenance []Stage `msgpack:"provenance"`
}

// SaveSkive writes the model, its tokenizer and provenance to one file in the format of
// docs/format.md. The write is atomic, and the same model gives the same bytes.
func (m *Model) SaveSkive(path string) error {
	if err := m.Validate(); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return WriteFile(path, m.writeSkive)
}

func (m *Model) writeSkive(w io.Writer) (err error) {
	defer mapped.Catch(&err, debug.SetPanicOnFault(true))
	config, err := formatConfig(m, true)
	if err != nil {
		return err
	}
	var sections []section
	for _, name := range sortedNames(m.Tokenizer) {
		data := m.Tokenizer[name]
		sections = append(sections, section{tokenizerPrefix + name, rawBytes, []int{len(data)}, data})
	}
	for _, name := range m.Names() {
		t := m.Tensors[name]
		sections = append(sections, section{name, t.DType.code(), t.Shape, t.Data})
	}
	if err := writeContainer(w, kindModel, skiveMeta{config, m.Provenance}, sections); err != nil {
		return err
	}
	return unchanged(m.Tensors)
}

// openSkive maps a .skive file.
func openSkive(path string, verify bool) (m *Model, err error) {
	f, err := mapped.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	defer mapped.Catch(&err, debug.SetPanicOnFault(true))
	var checks *verification
	if verify {
		checks = verificationOf(f)
	}
	m, err = parseSkive(f.Data, checks)
	if err != nil {
		return nil, named(path, err)
	}
	m.files = append(m.files, f)
	m.skive = true
	return m, nil
}

// Read reads a model from the bytes of a .skive file of the given size. It copies them
// into memory and verifies them. Its errors name no file.
func Read(r io.ReaderAt, size int64) (*Model, error) {
	if size < preambleSize {
		return nil, corrupt("truncated: %d bytes, the preamble alone has %d", size, preambleSize)
	}
	if size > math.MaxInt-alignment {
		return nil, fmt.Errorf("%d bytes do not fit the address space", size)
	}
	// Something that is no model, or is missing, needs no memory of its size.
	var start [len(containerMagic)]byte
	for _, look := range []struct {
		to []byte
		at int64
	}{{make([]byte, 1), size - 1}, {start[:], 0}} {
		if n, err := r.ReadAt(look.to, look.at); n < len(look.to) {
			return nil, fmt.Errorf("reading %d bytes: %w", size, err)
		}
	}
	if !isContainer(start[:]) {
		return nil, fmt.Errorf("%w: the bytes are not those of a %s file", ErrNotModel, Extension)
	}
	b := alignedBytes(int(size))
	if n, err := r.ReadAt(b, 0); n < len(b) {
		return nil, fmt.Errorf("reading %d bytes: %w", size, err)
	}
	return parseSkive(b, &verification{finite: true})
}

// OpenFS reads the named .skive file of a file system, such as an embedded one, into
// memory. See Read.
func OpenFS(fsys fs.FS, name string) (*Model, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: expected a %s file", name, ErrNotModel, Extension)
	}
	r, ok := f.(io.ReaderAt)
	if !ok {
		b, err := bounded.ReadAll(f, info.Size())
		if err != nil {
			return nil, named(name, err)
		}
		r = bytes.NewReader(b)
	}
	m, err := Read(r, info.Size())
	if err != nil {
		return nil, named(name, err)
	}
	m.path = name
	return m, nil
}

func verificationOf(f *mapped.File) *verification {
	return &verification{finite: true, release: f.Release}
}

// Verify checks what OpenUnverified does not. It may run while the model is read, so
// that the model can be prepared at the same time, but not while Close runs. It returns
// nil for a model that was not read from a .skive file.
func (m *Model) Verify() (err error) {
	defer mapped.Catch(&err, debug.SetPanicOnFault(true))
	if !m.skive || len(m.files) == 0 {
		return nil
	}
	f := m.files[0]
	if _, _, err := readContainer(f.Data, kindModel, verificationOf(f)); err != nil {
		return named(m.path, err)
	}
	return nil
}

func parseSkive(b []byte, verify *verification) (*Model, error) {
	raw, sections, err := readContainer(b, kindModel, verify)
	if err != nil {
		return nil, err
	}
	var meta skiveMeta
	if err := decodeMsgpack(raw, &meta); err != nil {
		return nil, corrupt("header: %v", err)
	}
	cfg, err := ParseConfig(meta.Config)
	if err != nil {
		return nil, fmt.Errorf("header: config: %w", err)
	}
	m := &Model{
		Config:     cfg,
		Tensors:    make(map[string]Tensor, len(sections)),
		Tokenizer:  make(map[string][]byte),
		Provenance: meta.Provenance,
	}
	for i := range m.Provenance {
		m.Provenance[i].Time = inUTC(m.Provenance[i].Time)
	}
	for _, s := range sections {
		if name, ok := strings.CutPrefix(s.name, tokenizerPrefix); ok {
			if s.dtype != rawBytes || !plainName(name) {
				return nil, corrupt("section %q: not a tokenizer file", s.name)
			}
			// A copy, so that the tokenizer outlives Close.
			m.Tokenizer[name] = slices.Clone(s.data)
			continue
		}
		d, ok := dtypeOf(s.dtype)
		if !ok {
			return nil, corrupt("section %q: neither a tensor nor a tokenizer file", s.name)
		}
		if _, ok := m.Tensors[s.name]; ok {
			return nil, corrupt("section %q: occurs twice", s.name)
		}
		m.Tensors[s.name] = Tensor{DType: d, Shape: s.shape, Data: s.data}
	}
	if err := m.validateShapes(); err != nil {
		return nil, corrupt("%v", err)
	}
	return m, nil
}

func inUTC(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}
