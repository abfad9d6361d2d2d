// Package score answers or embeds whole corpora: files in, files out, on one machine or
// on many that share only a file system.
//
// A plan cuts the inputs into blocks, and depends on the inputs alone. The answers to a
// block are a part: a file whose name and bytes follow from the block. It is put in place
// whole, and a manifest that lists all parts comes last. So a block may be done twice,
// after a crash or by two machines. A run that was stopped goes on where it was, and
// shards need no coordination. An output is complete once it has a manifest.
package score

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/measure"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/settings"
)

// Model is a model that answers.
type Model struct {
	// Name begins the names of the columns that the model adds. It is "" for one model
	// alone, whose columns are called predicted_label and the like.
	Name string
	// Path is what checkpoints.Open reads.
	Path string
}

// ParseModel reads an argument of a command line, PATH or NAME=PATH. An argument that
// exists as a path is a path, whatever it looks like.
func ParseModel(arg string) Model {
	name, path, _ := settings.NamedPath(arg)
	return Model{Name: name, Path: path}
}

// Options say what is scored, by which models, and where the answers go. Start from
// Defaults.
type Options struct {
	// Models answer for each row, in one pass.
	Models []Model
	// Inputs are files or patterns of filepath.Match: JSONL, CSV, TSV, Parquet and plain
	// text (.jsonl, .csv, .tsv, .parquet, .txt), all but Parquet also compressed by gzip
	// or zstd.
	Inputs []string
	// Output is a directory. Each part has the format of its input; plain text becomes JSONL.
	Output string
	// Engine are the options of each model. A model without Engine.Embedding whose files
	// say how it makes embeddings gives those. Threads and PadTo are not read.
	Engine infer.Options
	// Threads is the number of instances of each model; 0 stands for as many as there are
	// cores.
	Threads int
	// Shard is the share of the blocks that this call does. The zero value is all.
	Shard settings.Shard
	// TextColumn, PairColumn and ChoicesColumn name the columns or keys of an input:
	// "text", "text_pair" and "choices" where they are "". A second text and choices are
	// read where there are any; those that are named must be there.
	TextColumn, PairColumn, ChoicesColumn string
	// Columns are the answers that are added, in this order. None means those that each
	// model's head has by default.
	Columns Columns
	// Compression of the parts is "none", "gzip" or "zstd"; "" stands for the input's. Pages of
	// Parquet have that of their column in the input.
	Compression string
	// Block is the number of bytes of an input, decompressed, whose rows make a part.
	Block settings.Bytes
	// MaxBad is how many rows may be bad. They go to a file with the part's name and the
	// ending .errors. One row more ends the run.
	MaxBad Bad
	// Overwrite replaces what an earlier run has left.
	Overwrite bool
	// Progress, if not nil, is told how the run comes along.
	Progress progress.Reporter

	// store is where files are; nil for the operating system's.
	store Store
}

// Defaults returns options with blocks of 8 MB and no bad rows.
func Defaults() Options { return Options{Block: 8 << 20} }

// Result is what a run has done.
type Result struct {
	// Rows and Bad are those of this call, Parts how many parts it has written, and Earlier
	// how many of its parts were there before.
	Rows    int64 `json:"rows"`
	Bad     int64 `json:"bad"`
	Parts   int   `json:"parts"`
	Earlier int   `json:"earlier"`
	// Seconds it took, and CPU seconds of the processor.
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds"`
	// Complete says that all parts are there, also those of other shards, and that the
	// manifest lists them.
	Complete bool `json:"complete"`
}

// WriteText writes it for people, in one line.
func (r *Result) WriteText(w io.Writer) error {
	state := "complete: the manifest is written"
	if !r.Complete {
		state = "parts of other shards are missing"
	}
	_, err := fmt.Fprintf(w, "%d rows, %d bad, in %d parts (%d were there), %.1f s, %s\n", r.Rows, r.Bad, r.Parts, r.Earlier, r.Seconds, state)
	return err
}

// Run scores the inputs, or the blocks of one shard, and writes the parts that are not there
// yet. The call that finds all parts there writes the manifest, whichever shard it is. Another
// model, input or setting than that of the parts which are there is a
// *checkpoints.ExistsError that names it; a bad row beyond Options.MaxBad is a *RowError.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	ctx, release, err := checkpoints.Claim(ctx, filepath.Join(o.Output, shardName(o.Shard)))
	if err != nil {
		return nil, err
	}
	defer release()
	p, err := NewPlan(ctx, o)
	if err != nil {
		return nil, err
	}
	s, err := Open(o)
	if err != nil {
		return nil, err
	}
	result, err := p.run(ctx, s)
	return result, errors.Join(err, s.Close())
}

func (p *Plan) run(ctx context.Context, s *Scorer) (*Result, error) {
	if err := p.claim(ctx, s); err != nil {
		return nil, err
	}
	done, err := readProgress(p.o.Output)
	if err != nil {
		return nil, err
	}
	journal, err := openJournal(filepath.Join(p.o.Output, journalName(p.o.Shard)))
	if err != nil {
		return nil, err
	}
	work := p.share(done)
	m := &meter{plan: p, result: Result{Earlier: work.earlier}, bad: work.bad, rows: work.rows, began: time.Now(), cpu: measure.ProcessorTime()}
	m.task = progress.Begin(p.o.Progress, "score (KB of input)", int(work.behind>>10), int((work.behind+work.ahead)>>10))
	m.behind = work.behind
	if err = m.check(false); err == nil {
		err = s.run(ctx, work.tasks, journal, m)
	}
	if err == nil {
		err = m.check(true)
	}
	if err = errors.Join(err, journal.close()); err != nil {
		return nil, err
	}
	m.finish()
	if done, err = readProgress(p.o.Output); err != nil {
		return nil, err
	}
	if parts, ok := p.complete(done); ok {
		if err := p.checkAll(parts); err != nil {
			return nil, err
		}
		err = p.commit(s, parts)
		m.result.Complete = err == nil
	}
	return &m.result, err
}

// claim writes the plan, or compares it with the one that is there.
func (p *Plan) claim(ctx context.Context, s *Scorer) error {
	path := filepath.Join(p.o.Output, planName)
	if p.o.Overwrite {
		if err := clearOutput(ctx, p.o.Output); err != nil {
			return err
		}
	}
	want := p.Manifest(s)
	var there Manifest
	switch err := readJSON(path, &there); {
	case errors.Is(err, os.ErrNotExist):
		parts, err := filepath.Glob(filepath.Join(p.o.Output, "part-*"))
		if err == nil && len(parts) > 0 {
			err = &checkpoints.ExistsError{Path: p.o.Output, What: fmt.Sprintf("there are parts already (%s), and no %s that says of what", filepath.Base(parts[0]), planName)}
		}
		if err != nil {
			return err
		}
		// Shards that begin at the same time write the same bytes.
		return writeShared(path, want)
	case err != nil:
		return err
	}
	if what := there.differs(want); what != "" {
		return &checkpoints.ExistsError{Path: p.o.Output, What: what}
	}
	return nil
}

// clearOutput removes what earlier runs left, unless one of them is under way.
func clearOutput(ctx context.Context, dir string) error {
	part := "part-" + strings.Repeat("[0-9]", 5) + "-" + strings.Repeat("[0-9]", 6) + ".*"
	for _, pattern := range []string{".shard-*.skive-lock", manifestName, planName, ".progress-*", "." + part + ".tmp", part} {
		found, err := filepath.Glob(filepath.Join(globQuote(dir), pattern))
		if err != nil {
			return err
		}
		for _, path := range found {
			if lock, ok := strings.CutSuffix(filepath.Base(path), ".skive-lock"); ok {
				_, release, err := checkpoints.Claim(ctx, filepath.Join(dir, lock[1:]))
				if err != nil {
					return err
				}
				release()
				continue
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// globQuote is a pattern that matches a path alone.
func globQuote(path string) string {
	if os.PathSeparator == '\\' {
		return path // which filepath.Match does not let quote
	}
	return strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`).Replace(path)
}

// meter counts what a run does.
type meter struct {
	plan   *Plan
	task   progress.Task
	result Result
	// bad and rows are those of earlier calls, for the share that may be bad.
	bad, rows int64
	behind    int64 // bytes of inputs
	began     time.Time
	cpu       time.Duration
	told      time.Time
}

// wrote counts rows of a chunk that were written.
func (m *meter) wrote(c *chunk) error {
	m.result.Rows += int64(c.good)
	m.result.Bad += int64(len(c.bad))
	m.behind += c.weight
	if now := time.Now(); now.Sub(m.told) > 200*time.Millisecond {
		m.told = now
		m.task.Set(int(m.behind>>10), m.note())
	}
	if most := m.plan.o.MaxBad; len(c.bad) > 0 && !most.share && float64(m.bad+m.result.Bad) > most.value {
		last := c.bad[max(0, len(c.bad)-int(m.bad+m.result.Bad-int64(most.value)))]
		if most.value == 0 {
			return last
		}
		return fmt.Errorf("more than %v bad rows: %w", most, last)
	}
	return nil
}

// check reports too many bad rows, those of earlier calls included. Of their share a few
// parts at the beginning say little.
func (m *meter) check(end bool) error {
	bad := m.bad + m.result.Bad
	rows := bad + m.rows + m.result.Rows
	if m.plan.o.MaxBad.share && !end && rows < 10000 {
		return nil
	}
	return m.plan.tooBad(bad, rows, 1)
}

// checkAll reports too many bad rows of the whole job, which a shard does not see by itself.
func (p *Plan) checkAll(parts []Part) error {
	var bad, rows int64
	for _, part := range parts {
		bad, rows = bad+part.Bad, rows+part.Bad+part.Rows
	}
	return p.tooBad(bad, rows, max(1, p.o.Shard.Of))
}

// tooBad reports more bad rows than so many processes may have.
func (p *Plan) tooBad(bad, rows int64, processes int) error {
	most := p.o.MaxBad
	limit := most.value * float64(processes)
	if most.share {
		limit = most.value * float64(rows)
	}
	if float64(bad) <= limit {
		return nil
	}
	return fmt.Errorf("%s: %d of %d rows are bad, more than %v; the .errors files beside the parts list them", p.o.Output, bad, rows, most)
}

// note is how fast the run is, and what a million rows cost.
func (m *meter) note() string {
	seconds, rows := time.Since(m.began).Seconds(), float64(m.result.Rows+m.result.Bad)
	if rows == 0 || seconds == 0 {
		return ""
	}
	text := fmt.Sprintf("%.0f rows/s", rows/seconds)
	if cpu := (measure.ProcessorTime() - m.cpu).Hours(); cpu > 0 {
		text += fmt.Sprintf(", %.2g core-hours per million rows", cpu/rows*1e6)
	}
	if m.result.Bad > 0 {
		text += fmt.Sprintf(", %d bad", m.result.Bad)
	}
	return text
}

func (m *meter) finish() {
	m.result.Seconds = time.Since(m.began).Seconds()
	m.result.CPU = (measure.ProcessorTime() - m.cpu).Seconds()
	m.task.Set(int(m.behind>>10), m.note())
	m.task.Finish(m.note())
}

// A RowError tells what is wrong with a row.
type RowError struct {
	// Path is the file. At is the byte, decompressed, at which the row begins, or in Parquet
	// the number of the row, both from 0.
	Path string
	At   int64
	// Numbered says that At is a number of a row.
	Numbered bool
	Err      error
}

func (e *RowError) Error() string {
	return fmt.Sprintf("%s: %s %d: %v", e.Path, e.what(), e.At, e.Err)
}

func (e *RowError) Unwrap() error { return e.Err }

func (e *RowError) what() string {
	if e.Numbered {
		return "row"
	}
	return "offset"
}

// expand lists the files of the inputs, each once, as they sort. None may lie in the output
// directory: a part would be an input of the next call, and an input be replaced.
func expand(patterns []string, output string) ([]string, error) {
	var all []string
	out, _ := os.Stat(output) // nothing lies in one that is not there
	inOutput := map[string]bool{}
	for _, pattern := range patterns {
		found := []string{pattern}
		if _, err := os.Lstat(pattern); err != nil {
			var bad error
			if found, bad = filepath.Glob(pattern); bad != nil {
				return nil, settings.Errorf("Inputs", "%s: %w", pattern, bad)
			}
			if len(found) == 0 {
				return nil, settings.Errorf("Inputs", "%s: %w", pattern, os.ErrNotExist)
			}
		}
		for _, path := range found {
			dir := filepath.Dir(path)
			inside, known := inOutput[dir]
			if !known && out != nil {
				info, err := os.Stat(dir)
				inside = err == nil && os.SameFile(info, out)
				inOutput[dir] = inside
			}
			if inside {
				return nil, settings.Errorf("Inputs", "%s: it is in the output directory, expected another directory for the parts", path)
			}
			all = append(all, filepath.Clean(path))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
