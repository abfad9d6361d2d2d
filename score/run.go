package score

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	pq "github.com/parquet-go/parquet-go"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/machine"
	"github.com/skive-ml/skive/progress"
)

// row is one of an input.
type row struct {
	at     int64  // see RowError
	line   []byte // but of Parquet
	values pq.Row
	bad    error
}

// A chunk is some rows of a block, few enough to be a request to a pool.
type chunk struct {
	parser *parser
	block  int64
	rows   []row
	text   []byte // what the lines of the rows are parts of
	size   int
	last   bool // of its block
	// weight is how many bytes of the input file it is, for those who watch.
	weight int64

	// What is made of it.
	good   int
	lines  []byte
	values []pq.Row
	bad    []*RowError
	err    error
	done   chan struct{}
}

// What a chunk has at most, unless one row is more. Requests of some hundred tokens are what a pool
// packs best.
const (
	chunkRows  = 32
	chunkBytes = 2 << 10
	// Behind a chunk of so many bytes nothing is read before it is answered, so that memory does not
	// grow with the rows under way.
	largeChunk = 256 << 10
)

// recorder notes what is in place.
type recorder interface {
	part(Part) error
	blocks(input int, n int64) error
}

// Score answers for a block, or for all blocks of an input, and writes the parts. It is for engines that
// share blocks out and repeat them by themselves: the end of their job is Manifest.Commit.
func (s *Scorer) Score(ctx context.Context, store Store, b Block) ([]Part, error) {
	in, err := inspect(ctx, store, b.Input, b.Path, &s.o, false)
	if err != nil {
		return nil, err
	}
	p := &Plan{o: s.o, store: store, inputs: []*input{in}}
	t := task{in: in, block: b.Number, wanted: func(int64) bool { return true }}
	var r collector
	m := &meter{plan: p, task: progress.Begin(nil, "", 0, 0), began: time.Now()}
	err = s.run(ctx, []task{t}, &r, m)
	return r.parts, err
}

// Texts answers for texts as for the lines of a file of plain text: each is an object of JSON, or what
// is wrong with it.
func (s *Scorer) Texts(ctx context.Context, texts []string) (lines [][]byte, bad []error, err error) {
	in := &input{format: plain}
	c := &chunk{parser: newParser(in, &s.o, s.columns)}
	if err := c.parser.header(); err != nil {
		return nil, nil, err
	}
	for i, text := range texts {
		c.rows = append(c.rows, row{at: int64(i), line: []byte(text)})
	}
	if err := s.answer(ctx, c); err != nil {
		return nil, nil, err
	}
	lines, bad = make([][]byte, len(texts)), make([]error, len(texts))
	for _, b := range c.bad {
		bad[b.At] = b.Err
	}
	rest := c.lines
	for i := range texts {
		if bad[i] == nil {
			lines[i], rest, _ = bytes.Cut(rest, []byte{'\n'})
		}
	}
	return lines, bad, nil
}

// collector is a recorder in memory.
type collector struct{ parts []Part }

func (c *collector) part(p Part) error       { c.parts = append(c.parts, p); return nil }
func (c *collector) blocks(int, int64) error { return nil }

// run does tasks. One goroutine reads and cuts, several parse, tokenize, wait for the models and
// encode, and this one writes, in the order of the rows.
func (s *Scorer) run(ctx context.Context, tasks []task, r recorder, m *meter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	instances := s.o.Threads
	if instances == 0 {
		instances = machine.CPUs()
	}
	workers := 2*instances + 2
	work, order := make(chan *chunk, workers), make(chan *chunk, 2*workers)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for c := range work {
				c.err = s.answer(ctx, c)
				close(c.done)
			}
		})
	}
	group.Go(func() {
		defer close(order)
		defer close(work)
		f := &feeder{ctx: ctx, plan: m.plan, scorer: s, recorder: r, work: work, order: order}
		for _, t := range tasks {
			if err := f.feed(t); err != nil {
				f.fail(err)
				return
			}
		}
	})
	err := s.writeAll(ctx, order, r, m)
	cancel()
	for range order { // so that nobody waits to be heard
	}
	group.Wait()
	return err
}

// writeAll writes the parts whose chunks come along.
func (s *Scorer) writeAll(ctx context.Context, order <-chan *chunk, r recorder, m *meter) error {
	next := func() (*chunk, error) {
		select {
		case c := <-order:
			if c == nil && ctx.Err() == nil {
				return nil, io.EOF
			}
			if c == nil {
				return nil, ctx.Err()
			}
			select {
			case <-c.done:
				return c, c.err
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		return nil, ctx.Err()
	}
	for {
		c, err := next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		part, err := s.writePart(ctx, m, c, next)
		if err != nil {
			return err
		}
		m.result.Parts++
		if err := r.part(part); err != nil {
			return err
		}
		if err := m.check(false); err != nil {
			return err
		}
	}
}

// errNoneBad keeps a file of bad rows from being made.
var errNoneBad = errors.New("no bad rows")

// writePart writes a part from its first chunk on, and the file of its bad rows if there are any.
func (s *Scorer) writePart(ctx context.Context, m *meter, c *chunk, next func() (*chunk, error)) (Part, error) {
	p, in := m.plan, c.parser.in
	part := Part{Name: p.partName(in, c.block), Input: in.number, Block: c.block}
	var failed error // of no file that is written
	err := p.store.Put(ctx, p.path(stem(in, c.block)+".errors"), func(bad io.Writer) error {
		errorLines := json.NewEncoder(bad)
		errorLines.SetEscapeHTML(false)
		err := p.store.Put(ctx, p.path(part.Name), func(w io.Writer) error {
			out, err := s.newWriter(ctx, p, in, w)
			if err != nil {
				return err
			}
			for {
				if err := out.write(c); err != nil {
					return err
				}
				for _, b := range c.bad {
					if err := errorLines.Encode(b.line()); err != nil {
						return err
					}
				}
				part.Rows += int64(c.good)
				part.Bad += int64(len(c.bad))
				if failed = m.wrote(c); failed != nil {
					return failed
				}
				if c.last {
					break
				}
				if c, failed = next(); failed != nil {
					return failed
				}
			}
			part.Bytes, part.SHA256, err = out.close()
			return err
		})
		if failed == nil {
			failed = err
		}
		if err == nil && part.Bad == 0 {
			err = errNoneBad
		}
		return err
	})
	switch {
	case failed != nil:
		return part, failed
	case errors.Is(err, errNoneBad):
		return part, nil
	}
	return part, err
}

// line is a bad row in the file of a part.
func (e *RowError) line() any {
	line := struct {
		File   string `json:"file"`
		Offset *int64 `json:"offset,omitempty"`
		Row    *int64 `json:"row,omitempty"`
		Error  string `json:"error"`
	}{File: e.Path, Error: e.Err.Error()}
	if line.Offset = &e.At; e.Numbered {
		line.Offset, line.Row = nil, &e.At
	}
	return line
}

// writer writes the rows of a part.
type writer struct {
	counted
	buffer *bufio.Writer
	packer io.WriteCloser
	table  *tableWriter
}

// counted counts and sums what is written.
type counted struct {
	w   io.Writer
	n   int64
	sum hash.Hash
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	c.sum.Write(b[:n])
	return n, err
}

func (s *Scorer) newWriter(ctx context.Context, p *Plan, in *input, to io.Writer) (*writer, error) {
	w := &writer{counted: counted{w: to, sum: sha256.New()}}
	w.buffer = bufio.NewWriterSize(&w.counted, 64<<10)
	if in.format == parquet {
		t, err := in.newTableWriter(ctx, p.store, w.buffer, s.columns)
		w.table = &t
		return w, err
	}
	switch p.packing(in) {
	case gzipped:
		w.packer = gzip.NewWriter(w.buffer)
	case zstandard:
		z, err := zstd.NewWriter(w.buffer, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		w.packer = z
	default:
		w.packer = flusher{w.buffer}
	}
	if in.header == nil {
		return w, nil
	}
	header := bytes.Clone(in.header)
	for _, c := range s.columns {
		header = appendText(append(header, separators[in.format]), in.format, c.name)
	}
	_, err := w.packer.Write(append(header, '\n'))
	return w, err
}

var separators = map[format]byte{comma: ',', tab: '\t'}

// flusher closes what needs no end.
type flusher struct{ io.Writer }

func (flusher) Close() error { return nil }

func (w *writer) write(c *chunk) error {
	if w.table != nil {
		return w.table.write(c.values)
	}
	_, err := w.packer.Write(c.lines)
	return err
}

func (w *writer) close() (size int64, sum string, err error) {
	if w.table != nil {
		err = w.table.close()
	} else {
		err = w.packer.Close()
	}
	if err == nil {
		err = w.buffer.Flush()
	}
	return w.n, hex.EncodeToString(w.sum.Sum(nil)), err
}

// answer makes what is written of a chunk.
func (s *Scorer) answer(ctx context.Context, c *chunk) error {
	in := c.parser.in
	bad := make([]error, 0, len(c.rows)) // of the inputs
	inputs, of := make([]infer.Input, 0, len(c.rows)), make([]*row, 0, len(c.rows))
	reject := func(r *row, err error) {
		c.bad = append(c.bad, &RowError{in.path, r.at, in.format == parquet, err})
	}
	for i := range c.rows {
		r := &c.rows[i]
		if r.bad != nil {
			reject(r, r.bad)
			continue
		}
		input, err := c.parser.parse(r)
		var named clash
		switch {
		case err == errBlank:
			continue
		case errors.As(err, &named):
			return &RowError{in.path, r.at, in.format == parquet, err}
		}
		for _, m := range s.models {
			if err == nil {
				if err = infer.CheckInput(m.config, &input); err != nil {
					err = errors.New(strings.TrimPrefix(err.Error(), infer.ErrOption.Error()+": "))
				}
			}
		}
		if err != nil {
			reject(r, err)
			continue
		}
		inputs, of, bad = append(inputs, input), append(of, r), append(bad, nil)
	}
	if len(inputs) == 0 {
		return nil
	}
	answers := make([][]answer, len(s.models))
	for i, m := range s.models {
		var err error
		if answers[i], err = m.ask(ctx, inputs, bad); err != nil {
			return err
		}
	}
	c.lines = make([]byte, 0, len(c.text)+len(c.text)/2)
	for i, r := range of {
		if bad[i] != nil {
			reject(r, bad[i])
			continue
		}
		c.good++
		s.encode(c, r, func(model int) *answer { return &answers[model][i] })
	}
	slices.SortFunc(c.bad, func(a, b *RowError) int { return cmp.Compare(a.At, b.At) })
	return nil
}

// encode appends a row with its answers.
func (s *Scorer) encode(c *chunk, r *row, of func(model int) *answer) {
	in := c.parser.in
	switch in.format {
	case parquet:
		values := r.values
		leaf := in.table.leaves
		for _, col := range s.columns {
			v := col.of(of(col.model))
			values = leaves[col.kind].append(values, &v, leaf)
			leaf++
		}
		c.values = append(c.values, values)
		return
	case comma, tab:
		c.lines = append(c.lines, r.line...)
		for _, col := range s.columns {
			v := col.of(of(col.model))
			c.lines = appendField(append(c.lines, separators[in.format]), in.format, col.kind, &v)
		}
		c.lines = append(c.lines, '\n')
		return
	case plain:
		c.lines = appendString(append(c.lines, `{"text":`...), string(r.line))
	default:
		line := bytes.TrimSpace(r.line)
		c.lines = append(c.lines, line[:len(line)-1]...)
	}
	for _, col := range s.columns {
		v := col.of(of(col.model))
		c.lines = append(appendString(append(c.lines, ','), col.name), ':')
		c.lines = appendJSON(c.lines, col.kind, &v)
	}
	c.lines = append(c.lines, "}\n"...)
}

// feeder reads inputs and cuts them into chunks.
type feeder struct {
	ctx         context.Context
	plan        *Plan
	scorer      *Scorer
	recorder    recorder
	work, order chan<- *chunk

	parser *parser
	chunk  *chunk
	// consumed is how many bytes of the file were read, and counted up to which of them chunks
	// have their weight.
	consumed, counted int64
}

func (f *feeder) fail(err error) {
	c := &chunk{err: err, done: make(chan struct{})}
	close(c.done)
	select {
	case f.order <- c:
	case <-f.ctx.Done():
	}
}

func (f *feeder) feed(t task) error {
	f.parser = newParser(t.in, &f.plan.o, f.scorer.columns)
	if err := f.parser.header(); err != nil {
		return err
	}
	f.consumed, f.counted = 0, 0
	switch {
	case t.in.table != nil:
		return f.feedTable(t)
	case t.in.seeks:
		return f.feedLines(t)
	}
	return f.feedStream(t)
}

// begin makes the first chunk of a block, add puts a row into the current one, and end sends the
// last one.
func (f *feeder) begin(block int64) {
	f.chunk = &chunk{parser: f.parser, block: block, done: make(chan struct{})}
}

func (f *feeder) add(r row, size int) error {
	c := f.chunk
	if len(c.rows) == chunkRows || c.size > 0 && c.size+size > chunkBytes {
		if err := f.send(); err != nil {
			return err
		}
		f.begin(c.block)
		c = f.chunk
	}
	if r.line != nil {
		at := len(c.text)
		c.text = append(c.text, r.line...)
		r.line = c.text[at:len(c.text):len(c.text)]
	}
	c.rows = append(c.rows, r)
	c.size += size
	return nil
}

func (f *feeder) end() error {
	f.chunk.last = true
	return f.send()
}

func (f *feeder) send() error {
	c := f.chunk
	c.weight, f.counted = f.consumed-f.counted, f.consumed
	for _, to := range []chan<- *chunk{f.order, f.work} {
		select {
		case to <- c:
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	}
	if c.size > largeChunk {
		select {
		case <-c.done:
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	}
	return nil
}

func (f *feeder) feedTable(t task) error {
	f.begin(t.block)
	per := float64(t.in.bytes) / float64(t.in.table.rows)
	n := 0
	err := t.in.readTable(f.ctx, f.plan.store, t.block, func(number int64, values pq.Row) error {
		n++
		f.consumed = int64(float64(n) * per)
		size := 0
		for _, v := range values {
			if !v.IsNull() && v.Kind() == pq.ByteArray {
				size += len(v.ByteArray())
			}
		}
		return f.add(row{at: number, values: values}, size)
	})
	if err != nil {
		return err
	}
	return f.end()
}

// feedLines reads a block that is found by itself: the lines that begin in it.
func (f *feeder) feedLines(t task) error {
	file, err := f.plan.store.Open(f.ctx, t.in.path)
	if err != nil {
		return err
	}
	defer file.Close()
	block := int64(f.plan.o.Block)
	start, end := t.block*block, min((t.block+1)*block, t.in.bytes)
	from := max(start-1, 0) // whether a line begins at start is what the byte before it says
	if start <= t.in.start {
		from = t.in.start
	}
	if _, err := file.(io.Seeker).Seek(from, io.SeekStart); err != nil {
		return t.in.errorf("%w", err)
	}
	r := records{r: bufio.NewReaderSize(file, 64<<10), at: from}
	f.begin(t.block)
	if start > t.in.start {
		if _, _, _, err := r.next(); err != nil && err != io.EOF {
			return t.in.errorf("%w", err)
		}
	}
	f.counted = min(r.at, end) - start
	for r.at < end {
		line, at, bad, err := r.next()
		if err == io.EOF {
			return t.in.errorf("it is shorter than it was: %d bytes, expected %d", r.at, t.in.bytes)
		}
		if err != nil {
			return t.in.errorf("%w", err)
		}
		f.consumed = min(r.at, end) - start
		if t.in.format == tab && len(line) == 0 && bad == nil && len(t.in.names) > 1 {
			continue
		}
		if err := f.add(row{at: at, line: line, bad: bad}, len(line)); err != nil {
			return err
		}
	}
	f.consumed = end - start
	return f.end()
}

// counter tells how far a stream was read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// feedStream reads a file from its beginning, and cuts out the blocks that are wanted.
func (f *feeder) feedStream(t task) error {
	file, err := f.plan.store.Open(f.ctx, t.in.path)
	if err != nil {
		return err
	}
	defer file.Close()
	compressed := &counter{r: file}
	text, closer, err := unpack(bufio.NewReaderSize(compressed, 64<<10), t.in.packed)
	if err != nil {
		return t.in.errorf("%w", err)
	}
	defer closer()
	r := records{r: bufio.NewReaderSize(text, 64<<10), quoted: t.in.format == comma}
	if _, err := io.CopyN(io.Discard, r.r, t.in.start); err != nil {
		return t.in.errorf("%w", err)
	}
	r.at = t.in.start
	// to moves on to a block, through those between.
	block, open := int64(-1), false
	to := func(next int64) error {
		for block < next {
			if open {
				if err := f.end(); err != nil {
					return err
				}
			}
			block++
			if open = t.wanted(block); open {
				f.counted = f.consumed
				f.begin(block)
			}
		}
		return f.ctx.Err()
	}
	for {
		line, at, bad, err := r.next()
		if err == io.EOF {
			break
		}
		var broken *RowError
		if errors.As(err, &broken) {
			broken.Path = t.in.path
			return broken
		}
		if err != nil && t.in.packed != none {
			err = fmt.Errorf("decompressing: %w", err)
		}
		if err != nil {
			return t.in.errorf("%w", err)
		}
		f.consumed = compressed.n
		if next := at / int64(f.plan.o.Block); next != block {
			if err := to(next); err != nil {
				return err
			}
		}
		if !open || len(line) == 0 && bad == nil && (t.in.format == comma || t.in.format == tab && len(t.in.names) > 1) {
			continue
		}
		if err := f.add(row{at: at, line: line, bad: bad}, len(line)); err != nil {
			return err
		}
	}
	blocks := f.plan.blocksOf(r.at)
	f.consumed = compressed.n
	if err := to(blocks - 1); err != nil {
		return err
	}
	if open {
		if err := f.end(); err != nil {
			return err
		}
	}
	return f.recorder.blocks(t.in.number, blocks)
}
