package score

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/bounded"
)

// Names in the output directory.
const (
	planName     = "plan.json"
	manifestName = "manifest.json"
)

// Part is a file of the output.
type Part struct {
	// Name is that of the file, Input the number of its input and Block that of its rows there.
	Name  string `json:"name"`
	Input int    `json:"input"`
	Block int64  `json:"block"`
	// Rows are in it, and Bad in the file of its name without endings and with .errors.
	Rows int64 `json:"rows"`
	Bad  int64 `json:"bad,omitempty"`
	// Bytes is its size, and SHA256 its checksum in hexadecimal digits.
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// entry is a line of a journal: a part that is in place, or how many blocks an input was found
// to have.
type entry struct {
	Part   *Part `json:"part,omitempty"`
	Input  int   `json:"input,omitempty"`
	Blocks int64 `json:"blocks,omitempty"`
}

// journal is where a shard notes what is in place. A line that a killed process left half
// written is of a part that will be made again.
type journal struct {
	mu   sync.Mutex
	path string
	f    *os.File // nil until there is something
}

// openJournal opens the journal of a shard, of whose last line nothing stays that is not whole.
func openJournal(path string) (*journal, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &journal{path: path}, nil
	}
	if err == nil {
		if whole := int64(bytes.LastIndexByte(text, '\n') + 1); whole < int64(len(text)) {
			err = os.Truncate(path, whole)
		}
	}
	return &journal{path: path}, err
}

func (j *journal) note(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		if j.f, err = os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666); err != nil {
			return err
		}
	}
	_, err = j.f.Write(append(line, '\n'))
	return err
}

func (j *journal) part(p Part) error { return j.note(entry{Part: &p}) }

func (j *journal) blocks(input int, n int64) error { return j.note(entry{Input: input, Blocks: n}) }

func (j *journal) close() error {
	if j.f == nil {
		return nil
	}
	return j.f.Close()
}

// done is what is in place.
type done struct {
	parts map[string]*Part
	// blocks is how many blocks the inputs have that were read to their end.
	blocks map[int]int64
}

// readProgress reads the manifest, or the journals of all shards. Parts that somebody removed or
// cut off do not count.
func readProgress(dir string) (*done, error) {
	for {
		d := &done{map[string]*Part{}, map[int]int64{}}
		var m Manifest
		err := readJSON(filepath.Join(dir, manifestName), &m)
		if err == nil {
			for _, p := range m.Parts {
				d.add(dir, entry{Part: &p})
				d.blocks[p.Input] = max(d.blocks[p.Input], p.Block+1)
			}
			for i := range m.Inputs {
				d.blocks[i] += 0 // an empty one has none
			}
			return d, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		paths, err := filepath.Glob(filepath.Join(globQuote(dir), ".progress-*.jsonl"))
		if err != nil {
			return nil, err
		}
		vanished := false
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				vanished = true // the manifest has been written meanwhile
				break
			}
			if err != nil {
				return nil, err
			}
			for line := range bytes.Lines(text) {
				var e entry
				if json.Unmarshal(line, &e) == nil {
					d.add(dir, e)
				}
			}
		}
		if !vanished {
			return d, nil
		}
	}
}

func (d *done) add(dir string, e entry) {
	if e.Part == nil {
		d.blocks[e.Input] = e.Blocks
		return
	}
	if info, err := os.Stat(filepath.Join(dir, e.Part.Name)); err == nil && info.Size() == e.Part.Bytes {
		d.parts[e.Part.Name] = e.Part
	}
}

// complete returns the parts of all inputs, in their order, if they are all there.
func (p *Plan) complete(d *done) ([]Part, bool) {
	var parts []Part
	for _, in := range p.inputs {
		n, known := p.blocks(in)
		if !known {
			if n, known = d.blocks[in.number]; !known {
				return nil, false
			}
		}
		for k := range n {
			part := d.parts[p.partName(in, k)]
			if part == nil {
				return nil, false
			}
			parts = append(parts, *part)
		}
	}
	return parts, true
}

// Commit writes the manifest of all parts into the output, in the order of their inputs.
// Parts of a block that was done twice must be equal.
func (d *Manifest) Commit(ctx context.Context, store Store, output string, parts []Part) error {
	if err := d.fill(parts); err != nil {
		return err
	}
	return store.Put(ctx, join(store, output, manifestName), d.write)
}

// fill takes the parts in.
func (d *Manifest) fill(parts []Part) error {
	d.Parts, d.Rows, d.Bad = slices.Clone(parts), 0, 0
	slices.SortFunc(d.Parts, func(a, b Part) int {
		return cmp.Or(cmp.Compare(a.Input, b.Input), cmp.Compare(a.Block, b.Block))
	})
	d.Parts = slices.CompactFunc(d.Parts, func(a, b Part) bool { return a == b })
	for i := range d.Parts {
		if i > 0 && d.Parts[i].Name == d.Parts[i-1].Name {
			return fmt.Errorf("%s was made twice, with other bytes", d.Parts[i].Name)
		}
		d.Rows += d.Parts[i].Rows
		d.Bad += d.Parts[i].Bad
	}
	return nil
}

// commit writes the manifest of a run, after which the journals say nothing more.
func (p *Plan) commit(s *Scorer, parts []Part) error {
	d := p.Manifest(s)
	if err := d.fill(parts); err != nil {
		return err
	}
	if err := writeShared(p.path(manifestName), d); err != nil {
		return err
	}
	journals, err := filepath.Glob(filepath.Join(globQuote(p.o.Output), ".progress-*.jsonl"))
	for _, j := range journals {
		os.Remove(j) // of no consequence where it fails
	}
	return err
}

func (d *Manifest) write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(d)
}

// writeShared writes a document that other processes may be writing, too.
func writeShared(path string, d *Manifest) (err error) {
	var there Manifest
	for range 100 {
		if err = checkpoints.WriteFile(path, d.write); err == nil {
			return nil
		}
		if readJSON(path, &there) == nil && there.differs(d) == "" && len(there.Parts) == len(d.Parts) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// maxDocument bounds a manifest: a million parts take 200 MB.
const maxDocument = 4 << 30

func readJSON(path string, to *Manifest) error {
	text, err := bounded.ReadFile(path, maxDocument)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
