package checkpoints

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteText writes the description for people, and with tensors a line for each tensor.
func (info *Info) WriteText(to io.Writer, tensors bool) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	format := info.Format
	if info.FormatVersion > 0 {
		format += fmt.Sprintf(" version %d", info.FormatVersion)
	}
	fmt.Fprintf(w, "format\t%s, weights in %s\n", format, info.Weights)
	if cfg := info.Config; cfg != nil {
		fmt.Fprintf(w, "architecture\t%s\n", info.Architecture)
		fmt.Fprintf(w, "vocabulary, positions, types\t%d, %d, %d\n", cfg.VocabSize, cfg.MaxPositions, cfg.TypeVocabSize)
		fmt.Fprintf(w, "hidden size, head width\t%d, %d\n", cfg.HiddenSize, cfg.HeadDim)
		if cfg.ProjectsEmbeddings() {
			fmt.Fprintf(w, "embedding size\t%d\n", cfg.EmbeddingWidth())
		}
		fmt.Fprintf(w, "labels\t%q\n", cfg.Labels)
		fmt.Fprintf(w, "dtype\t%s\n", info.DType)
	}
	fmt.Fprintf(w, "parameters\t%d\n", info.Parameters)
	fmt.Fprintf(w, "bytes\t%d (%d on disk)\n", info.Bytes, info.FileBytes)
	fmt.Fprintf(w, "checksums\t%s\n", info.Checksums)
	for _, name := range slices.Sorted(maps.Keys(info.State)) {
		switch v := info.State[name].(type) {
		case []any:
			fmt.Fprintf(w, "%s\t%d entries\n", name, len(v))
		default:
			fmt.Fprintf(w, "%s\t%s\n", name, value(v))
		}
	}
	for i, l := range info.Layers {
		fmt.Fprintf(w, "layer %d\t", i)
		if l.Heads > 0 {
			fmt.Fprintf(w, "%d heads, %d feed-forward units, ", l.Heads, l.Intermediate)
		}
		fmt.Fprintf(w, "%d parameters, %d bytes", l.Parameters, l.Bytes)
		if len(l.DTypes) > 0 {
			fmt.Fprintf(w, ", %s", strings.Join(l.DTypes, " and "))
		}
		fmt.Fprintln(w)
		for _, name := range slices.Sorted(maps.Keys(l.InputScales)) {
			fmt.Fprintf(w, "  %s\tinput scale %.4g\n", name, l.InputScales[name])
		}
	}
	for _, s := range info.Provenance {
		fmt.Fprintf(w, "made by\t%s %s, %s\n", s.Name, s.Version, s.Time.Format("2006-01-02 15:04"))
		if len(s.Settings) > 0 {
			fmt.Fprintf(w, "  settings\t%s\n", pairs(s.Settings))
		}
		if len(s.Measured) > 0 {
			fmt.Fprintf(w, "  measured\t%s\n", pairs(s.Measured))
		}
	}
	for _, note := range info.Notes {
		fmt.Fprintf(w, "note\t%s\n", note)
	}
	if tensors {
		for _, t := range info.Tensors {
			fmt.Fprintf(w, "%s\t%s %v, CRC-32C %s\n", t.Name, t.DType, t.Shape, t.CRC32C)
		}
	}
	return w.Flush()
}

// pairs formats a map, ordered by name.
func pairs[V any](all map[string]V) string {
	var text []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		text = append(text, name+" "+value(all[name]))
	}
	return strings.Join(text, ", ")
}

// value formats a value of a record for people; a map becomes a list of pairs.
func value(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "(" + pairs(v) + ")"
	case string:
		if v == "" {
			return `""`
		}
	}
	return fmt.Sprint(v)
}

// WriteText writes the differences for people.
func (differences Differences) WriteText(to io.Writer) error {
	if len(differences) == 0 {
		_, err := fmt.Fprintln(to, "no difference")
		return err
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	or := func(s string) string {
		if s == "" {
			return "none"
		}
		return s
	}
	for _, d := range differences {
		fmt.Fprintf(w, "%s\t%s\t%s", d.What, or(d.A), or(d.B))
		if d.Largest != nil {
			fmt.Fprintf(w, "\tdiffers by up to %.3g", *d.Largest)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}
