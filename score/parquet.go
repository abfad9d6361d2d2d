package score

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
)

// table is what is known of a Parquet file.
type table struct {
	names []string // of the columns
	// text, pair and choices are the numbers of their values, -1 for none; leaves is how many
	// there are.
	text, pair, choices, leaves int
	rows, perBlock              int64
}

// guard makes a panic of the library, which a damaged file may cause, an error.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("damaged Parquet file: %v", r)
	}
}

// openParquet opens the file behind a reader.
func openParquet(f io.Reader, size int64) (_ *pq.File, err error) {
	defer guard(&err)
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil, errors.New("this file system does not read at a position, which Parquet needs")
	}
	return pq.OpenFile(at, size, pq.SkipPageIndex(true), pq.SkipBloomFilters(true))
}

// openTable reads what the plan has to know of a Parquet file.
func (in *input) openTable(f io.Reader, o *Options) (err error) {
	defer guard(&err)
	file, err := openParquet(f, in.bytes)
	if err != nil {
		return err
	}
	t := &table{text: -1, pair: -1, choices: -1, rows: file.NumRows(), leaves: len(file.Schema().Columns())}
	for _, c := range file.Root().Columns() {
		t.names = append(t.names, c.Name())
	}
	if err := checkNames(t.names, o); err != nil {
		return err
	}
	p := newParser(in, o, nil)
	for _, c := range []struct {
		name string
		to   *int
		list bool
	}{{p.text, &t.text, false}, {p.pair, &t.pair, false}, {p.choices, &t.choices, true}} {
		if !slices.Contains(t.names, c.name) {
			continue
		}
		paths, levels, want := [][]string{{c.name}}, 0, "strings"
		if c.list {
			paths, levels, want = [][]string{{c.name, "list", "element"}, {c.name, "list", "item"}}, 1, "lists of strings"
		}
		for _, path := range paths {
			if leaf, ok := file.Schema().Lookup(path...); ok && leaf.MaxRepetitionLevel == levels && leaf.Node.Type().Kind() == pq.ByteArray {
				*c.to = leaf.ColumnIndex
			}
		}
		if *c.to < 0 {
			return fmt.Errorf("the column %q: expected %s", c.name, want)
		}
	}
	var bytes int64
	for i := range file.Metadata().RowGroups {
		bytes += file.Metadata().RowGroups[i].TotalByteSize
	}
	t.perBlock = max(1, int64(float64(o.Block)*float64(t.rows)/float64(max(1, bytes))))
	in.table = t
	return nil
}

// blocks is how many blocks of rows the table has.
func (t *table) blocks() int64 { return (t.rows + t.perBlock - 1) / t.perBlock }

// parse makes the input of a row.
func (t *table) parse(values pq.Row) (input infer.Input, err error) {
	var text bool
	for _, v := range values {
		if v.IsNull() {
			continue
		}
		switch v.Column() {
		case t.text:
			input.Text, text = string(v.ByteArray()), true
		case t.pair:
			input.Pair, input.HasPair = string(v.ByteArray()), true
		case t.choices:
			input.Choices = append(input.Choices, string(v.ByteArray()))
		}
	}
	if !text {
		err = errors.New("the text is null")
	}
	return input, err
}

// parquetRows is how many rows are read at a time.
const parquetRows = 64

// readTable calls add with the rows of a block, which it may keep.
func (in *input) readTable(ctx context.Context, store Store, block int64, add func(number int64, values pq.Row) error) (err error) {
	f, err := store.Open(ctx, in.path)
	if err != nil {
		return err
	}
	defer f.Close()
	file, err := openParquet(f, in.bytes)
	if err != nil {
		return in.errorf("%w", err)
	}
	at := block * in.table.perBlock
	end := min(at+in.table.perBlock, in.table.rows)
	first := int64(0) // row of the group
	for _, group := range file.RowGroups() {
		next := first + group.NumRows()
		if at < end && at < next {
			var stopped error // by who takes the rows
			err := readGroup(group, at-first, min(end, next)-at, func(values pq.Row) error {
				at++
				stopped = add(at-1, values)
				return stopped
			})
			if stopped != nil {
				return stopped
			}
			if err != nil {
				return in.errorf("from row %d on: %w", at, err)
			}
		}
		first = next
	}
	if at < end {
		return in.errorf("%d rows, expected %d", at, in.table.rows)
	}
	return nil
}

// readGroup calls add with n rows of a group from one on.
func readGroup(group pq.RowGroup, from, n int64, add func(pq.Row) error) (err error) {
	defer guard(&err)
	rows := group.Rows()
	defer rows.Close()
	if err := rows.SeekToRow(from); err != nil {
		return err
	}
	some := make([]pq.Row, parquetRows)
	for n > 0 {
		got, err := rows.ReadRows(some[:min(n, parquetRows)])
		for _, values := range some[:got] {
			if err := add(values.Clone()); err != nil {
				return err
			}
		}
		if n -= int64(got); n == 0 || err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// root is the schema of a part: the columns of the input as they are, and the added ones
// behind them.
type root struct {
	pq.Group
	fields []pq.Field
}

func (r *root) Fields() []pq.Field { return r.fields }

// written is a field of an input as a part has it. The encoding that parquet-go finds for
// a column may be that of its levels (RLE), in which only booleans can be written.
type written struct{ pq.Field }

func (f written) Encoding() encoding.Encoding {
	e := f.Field.Encoding()
	if e != nil && e.Encoding() == pq.RLE.Encoding() && f.Leaf() && f.Type().Kind() != pq.Boolean {
		return &pq.Plain
	}
	return e
}

func (f written) Fields() []pq.Field {
	fields := slices.Clone(f.Field.Fields())
	for i := range fields {
		fields[i] = written{fields[i]}
	}
	return fields
}

// tableWriter writes a part of Parquet.
type tableWriter struct {
	*pq.GenericWriter[any]
}

func (in *input) newTableWriter(ctx context.Context, store Store, w io.Writer, columns []column) (t tableWriter, err error) {
	defer guard(&err)
	f, err := store.Open(ctx, in.path)
	if err != nil {
		return t, err
	}
	defer f.Close()
	file, err := openParquet(f, in.bytes)
	if err != nil {
		return t, in.errorf("%w", err)
	}
	added := pq.Group{}
	for _, c := range columns {
		added[c.name] = leaves[c.kind].node()
	}
	byName := map[string]pq.Field{}
	for _, f := range added.Fields() {
		byName[f.Name()] = f
	}
	r := &root{Group: added}
	for _, f := range file.Root().Fields() {
		r.fields = append(r.fields, written{f})
	}
	for _, c := range columns {
		r.fields = append(r.fields, byName[c.name])
	}
	schema := pq.NewSchema(file.Schema().Name(), r)
	return tableWriter{pq.NewGenericWriter[any](w, schema, pq.CreatedBy("skive", checkpoints.Version, "0"))}, nil
}

func (t tableWriter) write(rows []pq.Row) (err error) {
	defer guard(&err)
	_, err = t.WriteRows(rows)
	return err
}

func (t tableWriter) close() (err error) {
	defer guard(&err)
	return t.Close()
}

// leaf is the column of a kind of values.
type leaf struct {
	node   func() pq.Node
	append func(row pq.Row, v *value, column int) pq.Row
}

var leaves = map[kind]leaf{
	words: {pq.String, func(row pq.Row, v *value, column int) pq.Row {
		return append(row, pq.ByteArrayValue([]byte(v.text)).Level(0, 0, column))
	}},
	whole: {func() pq.Node { return pq.Leaf(pq.Int32Type) }, func(row pq.Row, v *value, column int) pq.Row {
		return append(row, pq.Int32Value(int32(v.whole)).Level(0, 0, column))
	}},
	number: {func() pq.Node { return pq.Leaf(pq.FloatType) }, func(row pq.Row, v *value, column int) pq.Row {
		return append(row, pq.FloatValue(v.number).Level(0, 0, column))
	}},
	numbers: {func() pq.Node { return pq.List(pq.Leaf(pq.FloatType)) }, func(row pq.Row, v *value, column int) pq.Row {
		return appendList(row, v.numbers, column, pq.FloatValue)
	}},
	names: {func() pq.Node { return pq.List(pq.String()) }, func(row pq.Row, v *value, column int) pq.Row {
		return appendList(row, v.names, column, func(s string) pq.Value { return pq.ByteArrayValue([]byte(s)) })
	}},
	document: {pq.JSON, func(row pq.Row, v *value, column int) pq.Row {
		return append(row, pq.ByteArrayValue(appendJSON(nil, document, v)).Level(0, 0, column))
	}},
}

// appendList appends a list's values: an empty one is a null that is not defined.
func appendList[T any](row pq.Row, list []T, column int, of func(T) pq.Value) pq.Row {
	if len(list) == 0 {
		return append(row, pq.NullValue().Level(0, 0, column))
	}
	for i, v := range list {
		row = append(row, of(v).Level(min(i, 1), 1, column))
	}
	return row
}
