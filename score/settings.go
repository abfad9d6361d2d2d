package score

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/settings"
)

// Settings returns the fields as a table of settings.
func (o *Options) Settings() settings.Table {
	engine := o.Engine.Settings().Without("threads", "pad-to").In("", "Engine")
	for i := range engine {
		engine[i].Decides = engine[i].Name != "no-mmap"
		if engine[i].Name == "prompt" {
			engine[i].With = nil // the files of a model may say that it embeds
		}
	}
	return append(engine, settings.Table{
		{Name: "threads", Field: "Threads", Value: &o.Threads,
			Want: settings.Unless(o.Threads >= 0 && o.Threads <= infer.MaxInstances, "1 to %d, or 0 for all cores", infer.MaxInstances)},
		{Name: "shard", Field: "Shard", Value: &o.Shard,
			Doc: "`I/N`: do share I (from 0) of N of the work; other processes with the same output do the others"},
		{Name: "text-column", Field: "TextColumn", Value: &o.TextColumn, Decides: true,
			Doc: "`NAME` of the column or key with the text (default text)"},
		{Name: "pair-column", Field: "PairColumn", Value: &o.PairColumn, Decides: true,
			Doc: "`NAME` of the column or key with the second text (default text_pair, if there is one)"},
		{Name: "choices-column", Field: "ChoicesColumn", Value: &o.ChoicesColumn, Decides: true,
			Doc: "`NAME` of the column or key with the list of choices (default choices, if there is one)"},
		{Name: "columns", Field: "Columns", Value: &o.Columns, Decides: true,
			Doc: "fields to add, as `FIELD[=NAME],...`, with several models MODEL.FIELD[=NAME] (default the head's main fields)"},
		{Name: "compression", Field: "Compression", Value: &o.Compression, Decides: true,
			Doc:  "compression of the parts: none, gzip or zstd (default the input's)",
			Want: settings.Unless(slices.Contains([]string{"", none, gzipped, zstandard}, o.Compression), "none, gzip or zstd")},
		{Name: "block", Field: "Block", Value: &o.Block, Decides: true,
			Doc: "bytes of input, decompressed, for each part", Want: settings.Unless(o.Block > 0, "a number of bytes above 0")},
		{Name: "max-bad", Field: "MaxBad", Value: &o.MaxBad,
			Doc: "number of `ROWS`, or a share such as 0.1%, that may be bad; they go to .errors files, and one more ends the run"},
		{Name: "overwrite", Field: "Overwrite", Value: &o.Overwrite, Doc: "replace existing output"},
	}...)
}

// Validate reports options that are not usable, as a *settings.Error.
func (o *Options) Validate() error {
	if err := o.Settings().Check(); err != nil {
		return err
	}
	switch {
	case len(o.Models) == 0:
		return settings.Errorf("Models", "expected a model")
	case len(o.Inputs) == 0:
		return settings.Errorf("Inputs", "expected a file or a pattern")
	case o.Output == "":
		return settings.Errorf("Output", "expected a directory")
	case o.Overwrite && o.Shard.Of > 1:
		return settings.Errorf("Overwrite", "does not go with a shard, which would remove the parts of the others")
	}
	names := map[string]bool{}
	for i, m := range o.Models {
		switch {
		case m.Name == "" && len(o.Models) > 1:
			return settings.Errorf("Models", "%s: several models need names, expected NAME=MODEL", m.Path)
		case names[m.Name]:
			return settings.Errorf("Models", "two models are called %q", m.Name)
		case strings.ContainsAny(m.Name, ",.="):
			return settings.Wrong(fmt.Sprintf("Models[%d]", i), m.Name, "a name without comma, point and equals sign")
		}
		names[m.Name] = true
	}
	return nil
}

// share is a shard's number and how many there are.
func share(s settings.Shard) (index, of int) { return s.Index, max(1, s.Of) }

func shardName(s settings.Shard) string {
	i, n := share(s)
	return fmt.Sprintf("shard-%d-of-%d", i, n)
}

func journalName(s settings.Shard) string {
	i, n := share(s)
	return fmt.Sprintf(".progress-%d-of-%d.jsonl", i, n)
}

// Bad bounds the rows that cannot be answered: a number of them, or a share. The zero
// value is none.
type Bad struct {
	value float64
	share bool
}

// BadRows returns a bound that is a number of rows, BadShare one that is a share from 0
// to 1.
func BadRows(n int64) Bad        { return Bad{float64(n), false} }
func BadShare(share float64) Bad { return Bad{share, true} }

func (b Bad) String() string {
	if b.share {
		return strconv.FormatFloat(100*b.value, 'g', -1, 64) + "%"
	}
	return strconv.FormatFloat(b.value, 'f', -1, 64)
}

// MarshalText and UnmarshalText write and read a number of rows, or a share as a percentage.
func (b Bad) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

func (b *Bad) UnmarshalText(text []byte) error {
	digits, share := strings.CutSuffix(string(text), "%")
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || !(v >= 0) || share && v > 100 || !share && (v != math.Trunc(v) || v > 1<<53) {
		return fmt.Errorf("%q, expected a number of rows, or a share such as 0.1%%", text)
	}
	if share {
		v /= 100
	}
	*b = Bad{v, share}
	return nil
}

// Columns are the fields of answers that are added, each as FIELD or FIELD=NAME. With
// several models they are MODEL.FIELD or MODEL.FIELD=NAME.
type Columns []string

func (c Columns) String() string { return strings.Join(c, ",") }

// MarshalText and UnmarshalText write and read a list with commas.
func (c Columns) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func (c *Columns) UnmarshalText(text []byte) error {
	*c = nil
	if len(text) > 0 {
		*c = strings.Split(string(text), ",")
	}
	return nil
}
