package score

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/internal/textkeys"
)

// A Store is where inputs and parts are. Its methods are called by several goroutines at the
// same time.
type Store interface {
	// Size is the number of bytes of a file.
	Size(ctx context.Context, path string) (int64, error)
	// Open reads a file. One that is an io.ReadSeeker is read from where a block begins, and Parquet
	// needs an io.ReaderAt.
	Open(ctx context.Context, path string) (io.ReadCloser, error)
	// Put makes a file of what write produces, whole or not at all.
	Put(ctx context.Context, path string, write func(io.Writer) error) error
}

// disk is the Store of the operating system.
type disk struct{}

func (disk) Size(_ context.Context, path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (disk) Open(_ context.Context, path string) (io.ReadCloser, error) {
	return bounded.OpenRegular(path)
}

func (disk) Put(_ context.Context, path string, write func(io.Writer) error) error {
	return checkpoints.WriteFile(path, write)
}

// format is what an input holds.
type format string

const (
	jsonl   format = "jsonl"
	comma   format = "csv"
	tab     format = "tsv"
	parquet format = "parquet"
	plain   format = "text"
)

// formats are told by the ends of names.
var formats = map[string]format{
	".jsonl": jsonl, ".ndjson": jsonl, ".json": jsonl, ".csv": comma, ".tsv": tab, ".parquet": parquet, ".txt": plain,
}

// Kinds of compression.
const (
	none      = "none"
	gzipped   = "gzip"
	zstandard = "zstd"
)

// packing is a kind of compression with the bytes by which its files begin.
type packing struct {
	name, magic string
	endings     []string
}

var packings = []packing{
	{gzipped, "\x1f\x8b", []string{".gz", ".gzip"}},
	{zstandard, "\x28\xb5\x2f\xfd", []string{".zst", ".zstd"}},
}

// maxHeader bounds the line that names the columns.
const maxHeader = 1 << 20

// input is a file of the plan.
type input struct {
	number int
	path   string
	bytes  int64
	sum    string // of samples of its bytes
	format format
	packed string // none, gzipped or zstandard
	// seeks says that a block is found without what is before it.
	seeks bool
	// start is the offset of the first row, behind a byte-order mark and the names of columns.
	start  int64
	header []byte         // the line of the names
	names  map[string]int // of a table
	table  *table         // of Parquet
}

// inspect reads what the plan has to know of a file.
func inspect(ctx context.Context, store Store, number int, path string, o *Options, sum bool) (in *input, err error) {
	in = &input{number: number, path: path, packed: none}
	name := strings.ToLower(filepath.Base(path))
	if in.bytes, err = store.Size(ctx, path); err != nil {
		return nil, err
	}
	f, err := store.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sampled := &sampler{r: f}
	start := bufio.NewReader(sampled)
	magic, _ := start.Peek(4) // an error comes back below
	for _, p := range packings {
		for _, ending := range p.endings {
			name = strings.TrimSuffix(name, ending)
		}
		if bytes.HasPrefix(magic, []byte(p.magic)) {
			in.packed = p.name
		}
	}
	var known bool
	if in.format, known = formats[filepath.Ext(name)]; !known {
		return nil, in.errorf("unknown format (expected a name in .jsonl, .csv, .tsv, .parquet or .txt, and .gz or .zst where compressed)")
	}
	_, seeker := f.(io.Seeker)
	in.seeks = seeker && in.packed == none && in.format != comma
	if in.format == parquet {
		if in.packed != none {
			return nil, in.errorf("a Parquet file is compressed inside, expected none around it")
		}
		in.seeks = true
		if err := in.openTable(f, o); err != nil {
			return nil, in.errorf("%w", err)
		}
	} else if err := in.begin(start, o); err != nil {
		return nil, in.errorf("%w", err)
	}
	if sum {
		if in.sum, err = sampled.sum(f, in.bytes); err != nil {
			return nil, in.errorf("%w", err)
		}
	}
	return in, nil
}

func (in *input) errorf(form string, args ...any) error {
	return &data.FileError{Path: in.path, Err: fmt.Errorf(form, args...)}
}

// begin reads what is before the first row.
func (in *input) begin(r *bufio.Reader, o *Options) error {
	text, closer, err := unpack(r, in.packed)
	if err != nil {
		return err
	}
	defer closer()
	b := bufio.NewReader(text)
	start, err := b.Peek(3)
	if err != nil && err != io.EOF {
		return err
	}
	if err := bounded.CheckEncoding(start); err != nil {
		return err
	}
	if bytes.Equal(start, []byte("\ufeff")) {
		in.start = 3
		b.Discard(3)
	}
	if in.format == jsonl {
		if c, err := b.Peek(1); err == nil && c[0] == '[' {
			return errors.New("a list of JSON, expected an object a line")
		}
	}
	if in.format != comma && in.format != tab {
		return nil
	}
	records := records{r: b, at: in.start, quoted: in.format == comma, bound: maxHeader}
	line, _, bad, err := records.next()
	if err == io.EOF {
		return nil // no rows, and no names
	}
	var broken *RowError
	if errors.As(err, &broken) {
		err = broken.Err
	}
	if err = cmp.Or(bad, err); err != nil {
		return fmt.Errorf("the names of the columns: %w", err)
	}
	in.header, in.start = bytes.Clone(line), records.at
	fields, err := in.fields(line)
	if err != nil {
		return fmt.Errorf("the names of the columns: %w", err)
	}
	in.names = map[string]int{}
	for i, name := range fields {
		if _, twice := in.names[name]; twice {
			return fmt.Errorf("two columns are named %q", name)
		}
		in.names[name] = i
	}
	return checkNames(fields, o)
}

// checkNames reports a column that is missing.
func checkNames(names []string, o *Options) error {
	for _, c := range []struct{ option, name, key string }{
		{"TextColumn", o.TextColumn, "text"}, {"PairColumn", o.PairColumn, "text_pair"}, {"ChoicesColumn", o.ChoicesColumn, "choices"},
	} {
		name := c.name
		if name == "" {
			name = c.key
		}
		if slices.Contains(names, name) {
			continue
		}
		if c.name != "" || c.key == "text" {
			return &data.ColumnError{Option: c.option, Err: fmt.Errorf("expected the column %q, found %s", name, quoted(names))}
		}
		for _, other := range names {
			if textkeys.Meant(other) == c.key && other != o.TextColumn && other != o.PairColumn && other != o.ChoicesColumn {
				return &data.ColumnError{Option: c.option, Err: fmt.Errorf("the column %q may be meant for %q: expected that name, or another one for what is none", other, c.key)}
			}
		}
	}
	return nil
}

// quoted lists the first few names.
func quoted(names []string) string {
	var q []string
	for _, n := range names {
		if q = append(q, fmt.Sprintf("%.40q", n)); len(q) == 12 {
			break
		}
	}
	if len(q) == 0 {
		return "none"
	}
	return strings.Join(q, ", ")
}

// fields are those of a line of a table.
func (in *input) fields(line []byte) ([]string, error) {
	if in.format == tab {
		return strings.Split(string(line), "\t"), nil
	}
	r := csv.NewReader(bytes.NewReader(line))
	fields, err := r.Read()
	var syntax *csv.ParseError
	if errors.As(err, &syntax) {
		err = syntax.Err
	}
	return fields, err
}

// unpack decompresses a stream.
func unpack(r io.Reader, packed string) (io.Reader, func(), error) {
	switch packed {
	case gzipped:
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	case zstandard:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return r, func() {}, nil
}

// sampler makes a checksum of a file: of its first bytes, as they are read, of some in its middle
// and of its last, and of its size.
type sampler struct {
	r    io.Reader
	head []byte
}

const sample = 64 << 10

func (s *sampler) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if left := sample - len(s.head); left > 0 {
		s.head = append(s.head, b[:min(n, left)]...)
	}
	return n, err
}

func (s *sampler) sum(f io.Reader, size int64) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", size)
	if more := min(sample, size) - int64(len(s.head)); more > 0 {
		if _, err := io.CopyN(io.Discard, s, more); err != nil && err != io.EOF {
			return "", err
		}
	}
	h.Write(s.head)
	if at, ok := f.(io.ReaderAt); ok && size > sample {
		for _, from := range []int64{size / 4, size / 2, 3 * size / 4, size - sample} {
			if _, err := io.Copy(h, io.NewSectionReader(at, from, sample)); err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// records divides a stream into lines, or into the records of a CSV, in which a field in quotes
// may hold line ends.
type records struct {
	r      *bufio.Reader
	at     int64 // of the next record
	quoted bool
	bound  int // of a record, 0 for that of a line
	long   []byte
}

// next returns a record without its end, valid until the next call, and where it begins. A
// line that is too long is bad and passed over; a record of a CSV that is too long ends the
// reading, since nobody knows where the next one begins.
func (r *records) next() (record []byte, at int64, bad, err error) {
	bound := r.bound
	if bound == 0 {
		bound = bounded.Line
	}
	at = r.at
	r.long = r.long[:0]
	open, size := false, 0
	for {
		line, err := r.r.ReadSlice('\n')
		r.at += int64(len(line))
		size += len(line)
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return nil, at, nil, err
		}
		if err == io.EOF && size == 0 {
			return nil, at, nil, io.EOF
		}
		more := err == bufio.ErrBufferFull
		if r.quoted {
			open = inQuotes(line, open)
			more = more || open && err == nil
		}
		if size > bound+2 { // the line's end is not counted
			r.long = r.long[:0]
			if r.quoted {
				return nil, at, nil, &RowError{At: at, Err: fmt.Errorf("the record %w: is there a quote that does not end?", &bounded.TooLongError{Limit: int64(bound)})}
			}
			if more {
				continue
			}
			return nil, at, &bounded.TooLongError{Limit: int64(bound)}, nil
		}
		if !more && len(r.long) == 0 {
			return trimEnd(line), at, nil, nil
		}
		r.long = append(r.long, line...)
		if !more {
			return trimEnd(r.long), at, nil, nil
		}
	}
}

func trimEnd(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\r'})
}

// inQuotes tells whether a field in quotes goes on behind a line that begins in one or not. A quote
// within a field that does not begin with one means nothing.
func inQuotes(line []byte, quoted bool) bool {
	begins := !quoted // a field
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '"' && i+1 < len(line) && line[i+1] == '"':
			i++
		case quoted:
			quoted = c != '"'
		case c == ',':
			begins = true
			continue
		case c == '"' && begins:
			quoted = true
		}
		begins = false
	}
	return quoted
}
