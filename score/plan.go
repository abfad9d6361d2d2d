package score

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/kernels"
)

// Plan cuts inputs into blocks. It follows from the inputs and the size of a block alone.
type Plan struct {
	o      Options
	store  Store
	inputs []*input
}

// NewPlan looks at the inputs of a job and returns its plan.
func NewPlan(ctx context.Context, o Options) (*Plan, error) {
	p := &Plan{o: o, store: o.store}
	if p.store == nil {
		p.store = disk{}
	}
	paths, err := expand(o.Inputs, o.Output)
	if err != nil {
		return nil, err
	}
	return p, p.inspect(ctx, paths)
}

// PlanOf is NewPlan for files of a store, whose paths it takes literally. The output is
// in that store, too.
func PlanOf(ctx context.Context, store Store, o Options) (*Plan, error) {
	p := &Plan{o: o, store: store}
	return p, p.inspect(ctx, o.Inputs)
}

// lookers is how many files are looked at at the same time.
const lookers = 16

func (p *Plan) inspect(ctx context.Context, paths []string) error {
	p.inputs = make([]*input, len(paths))
	errs := make([]error, len(paths))
	var group sync.WaitGroup
	places := make(chan struct{}, lookers)
	for i, path := range paths {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				p.inputs[i], errs[i] = inspect(ctx, p.store, i, path, &p.o, true)
			}
		})
	}
	group.Wait()
	for _, err := range errs { // the first is enough
		if err != nil {
			return err
		}
	}
	return nil
}

// Block is a unit of work: some rows of an input.
type Block struct {
	// Input is the number of the input, and Path its file.
	Input int
	Path  string
	// Number is that of the block in the input; -1 stands for all blocks of a file that can only
	// be read from its beginning.
	Number int64
}

// Blocks returns the units of work of the whole job.
func (p *Plan) Blocks() []Block {
	var all []Block
	for _, in := range p.inputs {
		n, known := p.blocks(in)
		if !known {
			all = append(all, Block{in.number, in.path, -1})
			continue
		}
		for k := range n {
			all = append(all, Block{in.number, in.path, k})
		}
	}
	return all
}

// blocks is how many blocks an input has, where its size tells it.
func (p *Plan) blocks(in *input) (n int64, known bool) {
	switch {
	case !in.seeks:
		return 0, false
	case in.table != nil:
		return in.table.blocks(), true
	}
	return p.blocksOf(in.bytes), true
}

// blocksOf is how many blocks so many bytes of text are.
func (p *Plan) blocksOf(bytes int64) int64 {
	return (bytes + int64(p.o.Block) - 1) / int64(p.o.Block)
}

// task is what is read in one go: a block, or the blocks of a stream that are wanted.
type task struct {
	in     *input
	block  int64
	wanted func(block int64) bool // of a stream
}

// work is what a call has to do.
type work struct {
	tasks []task
	// earlier parts were there already, with so many rows and bad rows.
	earlier   int
	rows, bad int64
	// behind and ahead are bytes of inputs.
	behind, ahead int64
}

// share finds what a shard has to do. Blocks that are found by themselves go round the shards. A file that
// has to be read from its beginning is one shard's where there are files enough for all of them,
// else its blocks go round, too, and each shard decompresses it.
func (p *Plan) share(done *done) work {
	var w work
	index, of := share(p.o.Shard)
	mine := func(part string) (own, there bool) {
		if there := done.parts[part]; there != nil {
			w.earlier++
			w.rows += there.Rows
			w.bad += there.Bad
			return true, true
		}
		return true, false
	}
	var streams []*input
	count := 0
	for _, in := range p.inputs {
		n, known := p.blocks(in)
		if !known {
			streams = append(streams, in)
			continue
		}
		for k := range n {
			if count++; (count-1)%of != index {
				continue
			}
			weight := in.bytes / n
			if _, there := mine(p.partName(in, k)); there {
				w.behind += weight
				continue
			}
			w.ahead += weight
			w.tasks = append(w.tasks, task{in: in, block: k})
		}
	}
	whole := len(streams) >= of
	owners := deal(streams, of)
	for _, in := range streams {
		weight := in.bytes
		if !whole {
			weight /= int64(of)
		} else if owners[in] != index {
			continue
		}
		own := func(block int64) bool { return whole || (block+int64(in.number))%int64(of) == int64(index) }
		n, known := done.blocks[in.number]
		missing := !known
		for k := range n {
			if own(k) {
				_, there := mine(p.partName(in, k))
				missing = missing || !there
			}
		}
		if !missing {
			w.behind += weight
			continue
		}
		if !known { // those that are there count all the same
			for _, part := range done.parts {
				if part.Input == in.number && own(part.Block) {
					mine(part.Name)
				}
			}
		}
		w.ahead += weight
		w.tasks = append(w.tasks, task{in: in, wanted: func(block int64) bool {
			return own(block) && done.parts[p.partName(in, block)] == nil
		}})
	}
	return w
}

// deal gives each file to the shard that has least, the largest first.
func deal(files []*input, of int) map[*input]int {
	sorted := slices.Clone(files)
	slices.SortStableFunc(sorted, func(a, b *input) int { return cmp.Compare(b.bytes, a.bytes) })
	loads, owners := make([]int64, of), map[*input]int{}
	for _, in := range sorted {
		least := 0
		for i := range loads {
			if loads[i] < loads[least] {
				least = i
			}
		}
		owners[in] = least
		loads[least] += in.bytes + 1
	}
	return owners
}

// packing is the compression of an input's parts.
func (p *Plan) packing(in *input) string {
	if in.format == parquet {
		return none
	}
	return cmp.Or(p.o.Compression, in.packed)
}

// stem is the name of a part without its endings. Parts sort as their rows do in the inputs.
func stem(in *input, block int64) string { return fmt.Sprintf("part-%05d-%06d", in.number, block) }

func (p *Plan) partName(in *input, block int64) string {
	form := in.format
	if form == plain {
		form = jsonl
	}
	ending := map[string]string{none: "", gzipped: ".gz", zstandard: ".zst"}[p.packing(in)]
	return stem(in, block) + "." + string(form) + ending
}

// path is that of a file of the output.
func (p *Plan) path(name string) string { return join(p.store, p.o.Output, name) }

// join is the path of a file of a directory. Elsewhere than on disks it may be an address.
func join(store Store, dir, name string) string {
	if _, ok := store.(disk); ok {
		return filepath.Join(dir, name)
	}
	return strings.TrimRight(dir, "/") + "/" + name
}

// Manifest describes an output: what its parts were made from, and which they are.
// Without rows and parts it is plan.json, with them manifest.json.
type Manifest struct {
	// Format is the number of this format, Version the program's.
	Format  int    `json:"format"`
	Version string `json:"version"`
	// Models are told apart by their checksums.
	Models []ManifestModel `json:"models"`
	// Settings are those that decide what the parts hold.
	Settings map[string]string `json:"settings"`
	Inputs   []ManifestInput   `json:"inputs"`
	// Rows are in the parts, Bad in their files of bad rows.
	Rows  int64  `json:"rows,omitempty"`
	Bad   int64  `json:"bad,omitempty"`
	Parts []Part `json:"parts,omitempty"`
}

// ManifestModel is a model of a Manifest.
type ManifestModel struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	Checksum string `json:"checksum"`
}

// ManifestInput is an input of a Manifest. The checksum is of its size and of samples of its bytes.
type ManifestInput struct {
	Path     string `json:"path"`
	Bytes    int64  `json:"bytes"`
	Checksum string `json:"checksum"`
}

const manifestFormat = 1

// Manifest returns the plan's manifest, without parts.
func (p *Plan) Manifest(s *Scorer) *Manifest {
	d := &Manifest{Format: manifestFormat, Version: checkpoints.Version, Settings: p.o.Settings().Record()}
	for _, m := range s.models {
		d.Models = append(d.Models, ManifestModel{m.Name, m.Path, m.sum})
		if m.rounds() {
			// The sums of AMX have an order of their own.
			d.Settings["arithmetic"] = "bf16"
			if kernels.Current() == kernels.AMX {
				d.Settings["arithmetic"] = "bf16 of AMX"
			}
		}
	}
	for _, in := range p.inputs {
		d.Inputs = append(d.Inputs, ManifestInput{in.path, in.bytes, in.sum})
	}
	return d
}

// rounds tells whether anything is computed in bfloat16.
func (m *opened) rounds() bool {
	o := m.Pool.Options()
	if o.DType == infer.BF16 || o.AttentionDType == infer.BF16 {
		return true
	}
	for _, t := range m.checkpoint.Tensors {
		if t.DType == checkpoints.BF16 {
			return true
		}
	}
	return false
}

// differs says in what another job differs, "" where it does not.
func (d *Manifest) differs(want *Manifest) string {
	switch {
	case d.Format != want.Format || d.Version != want.Version:
		return fmt.Sprintf("the parts were made by version %s, this is %s", d.Version, want.Version)
	case len(d.Models) != len(want.Models):
		return fmt.Sprintf("the parts are of %d models, not %d", len(d.Models), len(want.Models))
	}
	for i, m := range d.Models {
		switch w := want.Models[i]; {
		case m.Name != w.Name:
			return fmt.Sprintf("the parts are of a model called %q, not %q", m.Name, w.Name)
		case m.Checksum != w.Checksum:
			return fmt.Sprintf("the parts are of another model (%s), not of %s as it is now", m.Path, w.Path)
		}
	}
	var names []string
	for name := range want.Settings {
		names = append(names, name)
	}
	for name := range d.Settings {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if was, is := d.Settings[name], want.Settings[name]; was != is {
			return fmt.Sprintf("the parts were made with %s %q, not %q", name, was, is)
		}
	}
	for i, in := range d.Inputs {
		if i >= len(want.Inputs) || want.Inputs[i].Path != in.Path {
			return fmt.Sprintf("the parts are of %d inputs with %s, not of these", len(d.Inputs), in.Path)
		}
		if want.Inputs[i] != in {
			return fmt.Sprintf("the input %s has changed since the parts were made", in.Path)
		}
	}
	if len(want.Inputs) > len(d.Inputs) {
		return fmt.Sprintf("the parts are of %d inputs, without %s", len(d.Inputs), want.Inputs[len(d.Inputs)].Path)
	}
	return ""
}
