package score

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	pq "github.com/parquet-go/parquet-go"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/deptest"
	"github.com/skive-ml/skive/internal/headtest"
	"github.com/skive-ml/skive/settings"
)

const tiny = "../train/testdata/tiny"

// texts are as many different ones.
func texts(n int) []string {
	all := make([]string, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range all {
		var words []string
		for range 2 + r.IntN(6) {
			words = append(words, fmt.Sprintf("w%d", 5+r.IntN(95)))
		}
		all[i] = strings.Join(words, " ")
	}
	return all
}

func pack(t testing.TB, content []byte, packed string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch packed {
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".zst":
		w, _ = zstd.NewWriter(&b)
	default:
		return content
	}
	if _, err := w.Write(content); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, path string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// parquetRow is a row of the test's Parquet files.
type parquetRow struct {
	ID   int64    `parquet:"id"`
	Tags []string `parquet:"tags,list"`
	Text *string  `parquet:"text,optional"`
	At   float64  `parquet:"at"`
}

// makeInput writes texts as a file of a format.
func makeInput(t testing.TB, path string, all []string) string {
	t.Helper()
	var b bytes.Buffer
	name, packed := filepath.Base(path), ""
	for _, ending := range []string{".gz", ".zst"} {
		if rest, ok := strings.CutSuffix(name, ending); ok {
			name, packed = rest, ending
		}
	}
	switch filepath.Ext(name) {
	case ".jsonl":
		for i, text := range all {
			fmt.Fprintf(&b, "{\"id\": %d, \"text\":%q, \"more\": {\"a\": [1, \"}\"]} }\n", i, text)
		}
	case ".csv":
		b.WriteString("id,text,note\r\n")
		for i, text := range all {
			fmt.Fprintf(&b, "%d,%s,\"a \"\"note\"\"\r\nof two lines, %d\"\r\n", i, text, i)
		}
	case ".tsv":
		b.WriteString("\ufeffid\ttext\n")
		for i, text := range all {
			fmt.Fprintf(&b, "\"%d\t%s\n", i, text)
		}
	case ".txt":
		b.WriteString(strings.Join(all, "\n"))
	case ".parquet":
		w := pq.NewGenericWriter[parquetRow](&b, pq.MaxRowsPerRowGroup(int64(len(all)/3+1)), pq.Compression(&pq.Zstd))
		for i := range all {
			var tags []string
			for k := range i % 3 {
				tags = append(tags, fmt.Sprint(k))
			}
			if _, err := w.Write([]parquetRow{{int64(i), tags, &all[i], float64(i) / 2}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return write(t, path, pack(t, b.Bytes(), packed))
}

func options(out string, inputs ...string) Options {
	o := Defaults()
	o.Models, o.Inputs, o.Output, o.Block, o.Threads = []Model{{Path: tiny}}, inputs, out, 1<<10, 2
	return o
}

func run(t testing.TB, o Options) *Result {
	t.Helper()
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// contents are the files of an output that stay.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(b)
	}
	return all
}

// manifest reads the manifest of an output and checks its parts.
func manifest(t testing.TB, dir string) Manifest {
	t.Helper()
	var d Manifest
	if err := readJSON(filepath.Join(dir, manifestName), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// read returns the text of all parts in their order, without the names of the columns of all but
// the first.
func read(t testing.TB, dir string) string {
	t.Helper()
	var all strings.Builder
	for i, p := range manifest(t, dir).Parts {
		b, err := os.ReadFile(filepath.Join(dir, p.Name))
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = bytes.NewReader(b)
		switch filepath.Ext(p.Name) {
		case ".gz":
			r, err = gzip.NewReader(r)
		case ".zst":
			r, err = zstd.NewReader(r)
		}
		if err != nil {
			t.Fatal(err)
		}
		if b, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		if i > 0 && (strings.Contains(p.Name, ".csv") || strings.Contains(p.Name, ".tsv")) {
			b = b[bytes.IndexByte(b, '\n')+1:]
		}
		all.Write(b)
	}
	return all.String()
}

// predictions are those of the tiny model.
func predictions(t testing.TB, all []string) []infer.Prediction {
	t.Helper()
	e, err := infer.Open(tiny, infer.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	inputs := make([]infer.Input, len(all))
	for i := range all {
		inputs[i].Text = all[i]
	}
	p, err := e.Predict(context.Background(), inputs)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func short(f float32) string {
	b, _ := json.Marshal(f)
	return string(b)
}

// All columns stay as they are, and answers are those of the engine.
func TestFormats(t *testing.T) {
	t.Parallel()
	all := texts(300)
	want := predictions(t, all)
	for _, c := range []struct {
		name string
		line func(i int, label, probability string) string
	}{
		{"in.jsonl", func(i int, label, p string) string {
			return fmt.Sprintf("{\"id\": %d, \"text\":%q, \"more\": {\"a\": [1, \"}\"]} ,\"predicted_label\":%q,\"predicted_probability\":%s}\n", i, all[i], label, p)
		}},
		{"in.csv", func(i int, label, p string) string {
			return fmt.Sprintf("%d,%s,\"a \"\"note\"\"\r\nof two lines, %d\",%s,%s\n", i, all[i], i, label, p)
		}},
		{"in.tsv", func(i int, label, p string) string { return fmt.Sprintf("\"%d\t%s\t%s\t%s\n", i, all[i], label, p) }},
		{"in.txt", func(i int, label, p string) string {
			return fmt.Sprintf("{\"text\":%q,\"predicted_label\":%q,\"predicted_probability\":%s}\n", all[i], label, p)
		}},
	} {
		text := map[string]string{"in.csv": "id,text,note,predicted_label,predicted_probability\n", "in.tsv": "id\ttext\tpredicted_label\tpredicted_probability\n"}[c.name]
		for i, p := range want {
			text += c.line(i, p.Label, short(p.Probabilities[p.Index]))
		}
		for _, packed := range []string{"", ".gz", ".zst"} {
			dir := t.TempDir()
			out := filepath.Join(dir, "out")
			r := run(t, options(out, makeInput(t, filepath.Join(dir, c.name+packed), all)))
			if got := read(t, out); got != text {
				t.Errorf("%s%s: %.300q, want %.300q", c.name, packed, got, text)
			}
			if r.Rows != 300 || r.Bad != 0 || r.Parts < 3 || !r.Complete {
				t.Errorf("%s%s: %+v", c.name, packed, r)
			}
			for _, p := range manifest(t, out).Parts {
				if packed != "" && !strings.HasSuffix(p.Name, packed) {
					t.Errorf("%s%s: the part %s", c.name, packed, p.Name)
				}
			}
		}
	}
}

func TestParquet(t *testing.T) {
	t.Parallel()
	all := texts(300)
	want := predictions(t, all)
	dir := t.TempDir()
	o := options(filepath.Join(dir, "out"), makeInput(t, filepath.Join(dir, "in.parquet"), all))
	o.Columns = Columns{"label", "logits=scores", "index"}
	run(t, o)
	type row struct {
		ID     int64     `parquet:"id"`
		Tags   []string  `parquet:"tags,list"`
		Text   *string   `parquet:"text,optional"`
		At     float64   `parquet:"at"`
		Label  string    `parquet:"predicted_label"`
		Scores []float32 `parquet:"scores,list"`
		Index  int32     `parquet:"predicted_index"`
	}
	n := 0
	parts := manifest(t, o.Output).Parts
	for _, p := range parts {
		rows, err := pq.ReadFile[row](filepath.Join(o.Output, p.Name))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			w := want[n]
			if r.ID != int64(n) || len(r.Tags) != n%3 || *r.Text != all[n] || r.At != float64(n)/2 || r.Label != w.Label || !slices.Equal(r.Scores, w.Logits) || int(r.Index) != w.Index {
				t.Fatalf("row %d: %+v", n, r)
			}
			n++
		}
	}
	if n != len(all) || len(parts) < 3 {
		t.Errorf("%d rows in %d parts", n, len(parts))
	}
}

func TestModelsAndEmbeddings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options(filepath.Join(dir, "out"), write(t, filepath.Join(dir, "in.jsonl"), []byte(`{"body":"w7 w30","text_pair":"w8","label":1}`+"\n")))
	o.TextColumn = "body"
	o.Models = []Model{{"a", tiny}, {"b", tiny}}
	o.Columns = Columns{"b.label=of_b", "a.probabilities"}
	run(t, o)
	e, err := infer.Open(tiny, infer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := e.Predict(context.Background(), []infer.Input{{Text: "w7 w30", Pair: "w8"}})
	if err != nil {
		t.Fatal(err)
	}
	probabilities, _ := json.Marshal(p[0].Probabilities)
	if got, want := read(t, o.Output), fmt.Sprintf(`{"body":"w7 w30","text_pair":"w8","label":1,"of_b":%q,"a_probabilities":%s}`, p[0].Label, probabilities)+"\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	o = options(filepath.Join(dir, "embedded"), o.Inputs...)
	o.TextColumn, o.Engine.Embedding = "body", infer.Mean
	run(t, o)
	var row struct{ Embedding []float32 }
	if err := json.Unmarshal([]byte(read(t, o.Output)), &row); err != nil || len(row.Embedding) != 32 {
		t.Errorf("%d numbers, %v", len(row.Embedding), err)
	}
}

// Whoever does which block, and with how many threads, the output is the same bytes.
func TestShards(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := texts(400)
	var inputs []string
	for i, name := range []string{"a.jsonl", "b.jsonl.zst", "c.csv", "d.txt.gz", "e.tsv", "f.parquet", "empty.txt", "g.jsonl.gz"} {
		some := all[:len(all)/(i+1)]
		if strings.HasPrefix(name, "empty") {
			some = nil
		}
		inputs = append(inputs, makeInput(t, filepath.Join(dir, name), some))
	}
	o := options(filepath.Join(dir, "one"), inputs...)
	o.Threads = 1
	r := run(t, o)
	want := contents(t, o.Output)
	for _, n := range []int{2, 3, 8} {
		o.Output = filepath.Join(dir, fmt.Sprint("of", n))
		o.Threads = 3
		rows, parts := int64(0), 0
		for _, i := range rand.Perm(n) {
			o.Shard = settings.Shard{Index: i, Of: n}
			some := run(t, o)
			rows += some.Rows
			parts += some.Parts
			if again := run(t, o); again.Parts != 0 || again.Earlier != some.Parts || again.Complete != some.Complete {
				t.Errorf("shard %v again: %+v after %+v", o.Shard, again, some)
			}
		}
		if rows != r.Rows || parts != r.Parts {
			t.Errorf("%d shards: %d rows in %d parts, want %d in %d", n, rows, parts, r.Rows, r.Parts)
		}
		if got := contents(t, o.Output); !maps.Equal(got, want) {
			t.Errorf("%d shards: other files: %v, want %v", n, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	}
}

// What is stopped at any moment goes on, also as another shard, and ends in the same bytes.
func TestStoppedRunsGoOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options(filepath.Join(dir, "whole"), makeInput(t, filepath.Join(dir, "a.jsonl.zst"), texts(2000)), makeInput(t, filepath.Join(dir, "b.parquet"), texts(500)))
	began := time.Now()
	run(t, o)
	took := time.Since(began)
	want := contents(t, o.Output)
	o.Output = filepath.Join(dir, "stopped")
	stops := 0
	for i := 0; ; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.Int64N(int64(took))))
		if i == 30 {
			cancel()
			ctx, cancel = context.WithCancel(context.Background())
		}
		if o.Shard = (settings.Shard{}); i%3 == 1 {
			o.Shard = settings.Shard{Index: i % 2, Of: 2}
		}
		r, err := Run(ctx, o)
		cancel()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			stops++
			continue
		}
		if r.Complete {
			break
		}
	}
	if got := contents(t, o.Output); !maps.Equal(got, want) {
		t.Errorf("after %d stops: %v, want %v", stops, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// A process that is killed leaves nothing that the next one does not finish.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("SKIVE_SCORE_KILLED"); dir != "" {
		o := options(filepath.Join(dir, "killed"), filepath.Join(dir, "*.jsonl"))
		run(t, o)
		return
	}
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no SIGKILL")
	}
	dir := t.TempDir()
	makeInput(t, filepath.Join(dir, "a.jsonl"), texts(3000))
	o := options(filepath.Join(dir, "whole"), filepath.Join(dir, "*.jsonl"))
	run(t, o)
	want := contents(t, o.Output)
	for range 6 {
		c := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		c.Env = append(os.Environ(), "SKIVE_SCORE_KILLED="+dir)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+rand.IntN(150)) * time.Millisecond)
		c.Process.Kill()
		c.Wait()
	}
	o.Output = filepath.Join(dir, "killed")
	run(t, o)
	if got := contents(t, o.Output); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func TestBadRows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := write(t, filepath.Join(dir, "in.jsonl"), []byte("{\"text\":\"w7\"}\n{\"text\":3}\n\n[]\n{\"text\":\"w8\",\"Text_Pair\":\"w9\"}\n{\"text\":\"w\xff\"}\n{\"a\":1}\n{\"text\":\"w9\"}\n"))
	o := options(filepath.Join(dir, "out"), in)
	o.Block = 1 << 20
	_, err := Run(context.Background(), o)
	var row *RowError
	if !errors.As(err, &row) || err.Error() != in+`: offset 14: "text": expected a string, found 3` {
		t.Fatal(err)
	}
	o.MaxBad = BadRows(4)
	if _, err := Run(context.Background(), o); err == nil || !strings.HasPrefix(err.Error(), "more than 4 bad rows: "+in+`: offset 74: the JSON object has no "text", found "a"`) {
		t.Error(err)
	}
	o.MaxBad = BadShare(0.5)
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "5 of 7 rows are bad, more than 50%") {
		t.Error(err)
	}
	o.MaxBad = BadShare(0.8) // the part is there
	if r := run(t, o); r.Rows != 0 || r.Earlier != 1 || !r.Complete {
		t.Errorf("%+v", r)
	}
	files := contents(t, o.Output)
	var got []string
	for line := range strings.Lines(files["part-00000-000000.errors"]) {
		var e struct {
			File   string
			Offset int64
			Error  string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.File != in {
			t.Errorf("%s: %v", line, err)
		}
		got = append(got, fmt.Sprintf("%d: %s", e.Offset, e.Error))
	}
	want := []string{
		`14: "text": expected a string, found 3`, "26: expected a JSON object", `29: unknown key "Text_Pair", expected "text_pair"`,
		"60: is not valid UTF-8", `74: the JSON object has no "text", found "a"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if d := manifest(t, o.Output); d.Rows != 2 || d.Bad != 5 {
		t.Errorf("%+v", d)
	}
}

// A shard cannot complete what has more bad rows as a whole than it may have.
func TestBadRowsOfOtherShards(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := write(t, filepath.Join(dir, "a.jsonl"), []byte("{\"text\":\"w7\"}\n{\"text\":\"w8\"}\n"))
	bad := write(t, filepath.Join(dir, "b.jsonl"), []byte("{\"text\":\"w7\"}\n{}\n"))
	o := options(filepath.Join(dir, "out"), good, bad)
	o.Block, o.MaxBad = 1<<20, BadShare(0.1)
	for _, shard := range []settings.Shard{{Index: 1, Of: 2}, {Index: 0, Of: 2}, {}} {
		o.Shard = shard
		if r, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "rows are bad, more than 10%") {
			t.Errorf("shard %v: %+v, %v", shard, r, err)
		}
	}
	for most, complete := range map[Bad]bool{BadRows(0): false, BadRows(1): true} {
		o.Shard, o.MaxBad = settings.Shard{}, most
		if r, err := Run(context.Background(), o); (err == nil && r.Complete) != complete {
			t.Errorf("%v: %+v, %v", most, r, err)
		}
	}
}

func TestBadRowsOfTables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rows := []parquetRow{{ID: 1}, {ID: 2, Text: new(string)}}
	var b bytes.Buffer
	if err := pq.Write(&b, rows); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ content, want string }{
		"a.csv":           {"text,b\nw7,1\nw7\nw8,2\n", `a.csv: offset 12: found 1 fields, expected 2`},
		"b.csv":           {"text,b\nw7,1\n\"w7\n", `b.csv: offset 12: extraneous or missing " in quoted-field`},
		"c.tsv":           {"text\tb\nw7\t1\t3\n", `c.tsv: offset 7: found 3 fields, expected 2`},
		"d.parquet":       {b.String(), `d.parquet: row 0: the text is null`},
		"damaged.parquet": {strings.Replace(b.String(), "PAR1", "PAR2", 1), `damaged.parquet: invalid magic header of parquet file: "PAR2"`},
		"e.jsonl":         {`{"text":"` + strings.Repeat("w", 17<<20) + "\"}\n", `e.jsonl: offset 0: is longer than 16 MB`},
		"f.csv":           {"text\n\"" + strings.Repeat("w\n", 9<<20), `f.csv: offset 5: the record is longer than 16 MB: is there a quote that does not end?`},
	} {
		_, err := Run(context.Background(), options(filepath.Join(dir, name+".out"), write(t, filepath.Join(dir, name), []byte(c.content))))
		if err == nil || err.Error() != filepath.Join(dir, c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := makeInput(t, filepath.Join(dir, "in.jsonl"), texts(100))
	out := filepath.Join(dir, "out")
	run(t, options(out, in))
	before := contents(t, out)
	labelled := write(t, filepath.Join(dir, "labelled.csv"), []byte("text,sentiment\nw7,1\n"))
	for name, c := range map[string]struct {
		change func(o *Options)
		want   string
	}{
		"another model":   {func(o *Options) { o.Models[0].Path = "../examples/embed/model.skive" }, "out: the parts are of another model (" + tiny + "), not of ../examples/embed/model.skive as it is now"},
		"another name":    {func(o *Options) { o.Models[0].Name = "x" }, `out: the parts are of a model called "", not "x"`},
		"another setting": {func(o *Options) { o.Engine.MaxLength = 5 }, `out: the parts were made with max-length "0", not "5"`},
		"another block":   {func(o *Options) { o.Block = 1 << 20 }, `out: the parts were made with block "1K", not "1M"`},
		"another input":   {func(o *Options) { o.Inputs = []string{labelled}; o.Columns = Columns{"label"} }, "out: the parts were made with columns"},
		"more inputs":     {func(o *Options) { o.Inputs = append(o.Inputs, labelled) }, "out: the parts are of 1 inputs, "},
		"no model":        {func(o *Options) { o.Models[0].Path = "absent" }, "Models: "},
		"no tokenizer":    {func(o *Options) { o.Models[0].Path = "../infer/testdata/heads/token" }, "Models: ../infer/testdata/heads/token: infer: the model has no tokenizer"},
		"no input":        {func(o *Options) { o.Inputs = []string{filepath.Join(dir, "*.tsv")} }, "Inputs: "},
		"no format":       {func(o *Options) { o.Inputs = []string{write(t, filepath.Join(dir, "in.doc"), nil)} }, "unknown format"},
		"a clash in a table": {func(o *Options) {
			o.Inputs, o.Output, o.Columns = []string{labelled}, filepath.Join(dir, "clash"), Columns{"label=sentiment"}
		}, `labelled.csv: a column "sentiment" is there already`},
		"a clash in JSON": {func(o *Options) {
			o.Output, o.Columns = filepath.Join(dir, "clash2"), Columns{"label=id"}
		}, `in.jsonl: offset 0: a column "id" is there already`},
		"a clash with the text": {func(o *Options) {
			o.Output, o.Columns = filepath.Join(dir, "clash3"), Columns{"label=text"}
		}, `in.jsonl: offset 0: a column "text" is there already`},
		"an input in the output": {func(o *Options) {
			o.Inputs, o.Overwrite = []string{filepath.Join(out, "*.jsonl")}, true
		}, "Inputs: " + filepath.Join(out, "part-00000-000000.jsonl") + ": it is in the output directory"},
		"no such field":  {func(o *Options) { o.Columns = Columns{"score"} }, `Columns: "score", expected FIELD or FIELD=NAME with one of label, probability`},
		"no such column": {func(o *Options) { o.Inputs, o.TextColumn = []string{labelled}, "review" }, `expected the column "review", found "text", "sentiment"`},
		"two names":      {func(o *Options) { o.Columns = Columns{"label=a", "index=a"} }, `Columns: two columns would be called "a"`},
		"an ISA":         {func(o *Options) { o.Engine.DType = "f8" }, `Engine.DType: "f8", expected`},
	} {
		o := options(out, in)
		c.change(&o)
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if !maps.Equal(before, contents(t, out)) {
		t.Error("a refusal changed the output")
	}
	write(t, in, []byte("{\"text\":\"w7\"}\n"))
	var there *checkpoints.ExistsError
	if _, err := Run(context.Background(), options(out, in)); !errors.As(err, &there) || !strings.Contains(err.Error(), in+" has changed") {
		t.Error(err)
	}
	o := options(out, in)
	o.Overwrite = true
	if r := run(t, o); r.Rows != 1 || len(contents(t, out)) != 3 {
		t.Errorf("%+v: %v", r, contents(t, out))
	}
	var column *data.ColumnError
	if _, err := Run(context.Background(), options(filepath.Join(dir, "o"), write(t, filepath.Join(dir, "c.csv"), []byte("text,text2\n")))); !errors.As(err, &column) || column.Option != "PairColumn" {
		t.Error(err)
	}
}

// A part that somebody removed is made again.
func TestRemovedParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options(filepath.Join(dir, "out"), makeInput(t, filepath.Join(dir, "in.txt.gz"), texts(300)))
	run(t, o)
	want := contents(t, o.Output)
	if err := os.Remove(filepath.Join(o.Output, "part-00000-000002.jsonl.gz")); err != nil {
		t.Fatal(err)
	}
	if r := run(t, o); r.Parts != 1 || !r.Complete {
		t.Errorf("%+v", r)
	}
	if got := contents(t, o.Output); !maps.Equal(got, want) {
		t.Errorf("%v", slices.Sorted(maps.Keys(got)))
	}
}

// Memory does not grow with the input.
func TestMemoryIsFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("a hundred megabytes")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "in.jsonl.zst")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	row := fmt.Sprintf(`{"text":"w7 w8","more":%q}`+"\n", strings.Repeat("0123456789", 1000))
	const megabytes = 128
	for range megabytes << 20 / len(row) {
		io.WriteString(z, row)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	o := options(filepath.Join(dir, "out"), path)
	o.Block, o.Compression = 8<<20, none
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	first, most := m.HeapAlloc, uint64(0)
	done := make(chan bool)
	go func() {
		run(t, o)
		close(done)
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(10 * time.Millisecond):
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}
	if grown := int64(most-first) >> 20; grown > 64 {
		t.Errorf("%d MB of heap for %d MB of input", grown, megabytes)
	}
}

func TestSettingsAsText(t *testing.T) {
	t.Parallel()
	o := Defaults()
	for text, want := range map[string]string{"3/8": "3/8", "0/1": "0/1", "8/8": "", "-1/2": "", "1": "", "a/b": ""} {
		err := o.Shard.UnmarshalText([]byte(text))
		if (err == nil) != (want != "") || err == nil && o.Shard.String() != want {
			t.Errorf("%s: %v, %v", text, o.Shard, err)
		}
	}
	for text, want := range map[string]string{"3": "3", "0.5%": "0.5%", "100%": "100%", "101%": "", "0.5": "", "-1": "", "NaN": ""} {
		err := o.MaxBad.UnmarshalText([]byte(text))
		if (err == nil) != (want != "") || err == nil && o.MaxBad.String() != want {
			t.Errorf("%s: %v, %v", text, o.MaxBad, err)
		}
	}
	o = options("out", "in")
	o.Shard, o.Overwrite = settings.Shard{Index: 0, Of: 2}, true
	var wrong *settings.Error
	if err := o.Validate(); !errors.As(err, &wrong) || wrong.Field != "Overwrite" {
		t.Error(err)
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`a,"b`: true, `a,"b"`: false, `a,"b""`: true, `"a,""`: true, `5" disk,b`: false, `"a"b`: false, `"`: true, `""`: false,
	} {
		if got := inQuotes([]byte(text), false); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if !inQuotes([]byte("still\n"), true) || inQuotes([]byte(`end", "b" c`), true) {
		t.Error("a field that goes on")
	}
}

func TestNumbersAreWrittenAsInJSON(t *testing.T) {
	t.Parallel()
	for _, f := range []float32{0, 1, -0.5, 1e-7, 1e-10, 3e21, 1.17549435e-38, 0.1, 16777216} {
		if got := string(appendFloat(nil, f)); got != short(f) {
			t.Errorf("%s, want %s", got, short(f))
		}
	}
}

func TestEveryHeadHasFields(t *testing.T) {
	t.Parallel()
	headtest.Rows(t, fields)
}

// Scoring links no training.
func TestDependencies(t *testing.T) {
	t.Parallel()
	deptest.OnlyWithNet(t, "score", "infer", "checkpoints", "data", "head", "tokenize", "settings", "progress")
}
