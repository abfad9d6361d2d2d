package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/head"
)

func newData() *cobra.Command {
	c := &cobra.Command{
		Use:   "data",
		Short: "Make, show and convert data sets",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newDataGenerate(), newDataShow(), newDataConvert())
	return c
}

// maxGenerated bounds the examples that are made at once.
const maxGenerated = 1_000_000

func newDataGenerate() *cobra.Command {
	var o reviews.Options
	var output string
	var overwrite bool
	c := &cobra.Command{
		Use:   "generate",
		Short: "Write the embedded task, reviews, as train.jsonl and dev.jsonl",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "output"); err != nil {
				return err
			}
			if o.Train < 1 || o.Train > maxGenerated || o.Dev < 1 || o.Dev > maxGenerated {
				return usagef("--train and --dev: expected 1 to %d examples", maxGenerated)
			}
			files := []string{filepath.Join(output, "train.jsonl"), filepath.Join(output, "dev.jsonl")}
			release, err := claimOutput(c, output, checkOutput, unless(overwrite, func(string) error {
				return errors.Join(checkpoints.CheckFree(files[0]), checkpoints.CheckFree(files[1]))
			}))
			if err != nil {
				return err
			}
			defer release()
			train, dev := reviews.Generate(o)
			for i, set := range []*data.Dataset{train, dev} {
				if err := writeJSONL(files[i], set); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f := c.Flags()
	f.IntVar(&o.Train, "train", 60000, "number of training reviews")
	f.IntVar(&o.Dev, "dev", 3000, "number of development reviews")
	f.Uint64Var(&o.Seed, "seed", 1, "seed")
	f.StringVarP(&output, "output", "o", "", "`DIR` to write to")
	overwriteFlag(f, &overwrite)
	return c
}

func newDataShow() *cobra.Command {
	var task taskFlags
	var limit int
	c := &cobra.Command{
		Use:   "show FILE",
		Short: "Show how many examples a file has of each label, and the first ones",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if limit < 0 {
				return usagef("--limit: %d, expected a number of examples", limit)
			}
			set, err := readUnlabeled(c, &task, args[0])
			if err != nil {
				return err
			}
			counts := map[string]int{}
			for _, e := range set.Examples {
				for _, label := range labelsOf(set, e) {
					counts[label]++
				}
			}
			first := set.Examples[:min(limit, len(set.Examples))]
			if common.json {
				lines := make([]exampleLine, len(first))
				for i, e := range first {
					lines[i] = lineOf(set, e)
				}
				return printJSON(struct {
					Task     string         `json:"task"`
					Examples int            `json:"examples"`
					Labels   map[string]int `json:"labels"`
					First    []exampleLine  `json:"first"`
				}{set.Task.Name, len(set.Examples), counts, lines})
			}
			var b strings.Builder
			fmt.Fprintf(&b, "%s: %d examples\n", set.Task.Name, len(set.Examples))
			labels := append(set.Task.Labels, "")
			if set.Task.Kind.Subject() == head.Choices {
				labels = slices.Sorted(maps.Keys(counts))
			}
			for _, label := range labels {
				if counts[label] > 0 {
					fmt.Fprintf(&b, "  %-16q %d\n", label, counts[label])
				}
			}
			for _, e := range first {
				fmt.Fprintf(&b, "%s\t%s", strings.Join(labelsOf(set, e), "|"), e.Text)
				if e.HasPair {
					fmt.Fprintf(&b, "\t%s", e.Pair)
				}
				for _, choice := range e.Choices {
					fmt.Fprintf(&b, "\t%s", choice)
				}
				b.WriteByte('\n')
			}
			_, err = fmt.Print(b.String())
			return err
		},
	}
	task.register(c.Flags(), false)
	c.Flags().IntVar(&limit, "limit", 5, "examples to show")
	return c
}

func newDataConvert() *cobra.Command {
	var task taskFlags
	var output string
	var overwrite bool
	c := &cobra.Command{
		Use:   "convert FILE",
		Short: "Write a task's file as JSONL for the general task of its kind",
		Long: `Convert writes text, text_pair and label, as the task text reads them; for other kinds of tasks what multilabel,
regression, choice, tokens and mlm read.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := require(c, "output"); err != nil {
				return err
			}
			release, err := claimOutput(c, output, checkOutputFile, unless(overwrite, checkpoints.CheckFree))
			if err != nil {
				return err
			}
			defer release()
			set, err := readUnlabeled(c, &task, args[0])
			if err != nil {
				return err
			}
			return writeJSONL(output, set)
		},
	}
	task.register(c.Flags(), false)
	c.Flags().StringVarP(&output, "output", "o", "", "`FILE` to write")
	overwriteFlag(c.Flags(), &overwrite)
	return c
}

// readUnlabeled reads a file whose examples may lack labels.
func readUnlabeled(c *cobra.Command, task *taskFlags, path string) (*data.Dataset, error) {
	if err := require(c, "task"); err != nil {
		return nil, err
	}
	task.optional = true
	return task.read("", path, nil)
}

// labelsOf names what is true of an example: its class, choice or number, all
// labels that hold, or those of its words. An example without a label has "".
func labelsOf(set *data.Dataset, e data.Example) []string {
	if e.Label < 0 {
		return []string{""}
	}
	return shown[set.Task.Kind].labels(set, e)
}

// truth is how the truth of an example is shown.
type truth struct {
	labels func(set *data.Dataset, e data.Example) []string
	// write puts it into a line of JSONL, as the general task of the kind reads it.
	write func(line *exampleLine, set *data.Dataset, e data.Example)
}

var shown = map[head.Kind]truth{
	head.SingleLabel: {
		func(set *data.Dataset, e data.Example) []string { return []string{set.Task.Labels[e.Label]} },
		func(line *exampleLine, set *data.Dataset, e data.Example) { line.Label = set.Task.Labels[e.Label] },
	},
	head.MultiLabel: {
		namesOf,
		func(line *exampleLine, set *data.Dataset, e data.Example) { line.Label = namesOf(set, e) },
	},
	head.Regression: {
		func(_ *data.Dataset, e data.Example) []string {
			return []string{strconv.FormatFloat(float64(e.Value), 'g', -1, 32)}
		},
		func(line *exampleLine, _ *data.Dataset, e data.Example) { line.Label = e.Value },
	},
	head.MultipleChoice: {
		func(_ *data.Dataset, e data.Example) []string { return []string{strconv.Itoa(e.Label)} },
		func(line *exampleLine, _ *data.Dataset, e data.Example) { line.Label = e.Label },
	},
	head.TokenClassification: {
		namesOf,
		func(line *exampleLine, set *data.Dataset, e data.Example) { line.Labels = namesOf(set, e) },
	},
	head.MaskedLM: {
		func(*data.Dataset, data.Example) []string { return []string{""} },
		func(*exampleLine, *data.Dataset, data.Example) {},
	},
}

// namesOf names the labels of an example or its words, "" for none.
func namesOf(set *data.Dataset, e data.Example) []string {
	labels := []string{}
	for _, l := range e.Labels {
		name := ""
		if l >= 0 {
			name = set.Task.Labels[l]
		}
		labels = append(labels, name)
	}
	return labels
}

func writeJSONL(path string, set *data.Dataset) error {
	return checkpoints.WriteFile(path, func(w io.Writer) error { return encodeJSONL(w, set) })
}

func encodeJSONL(w io.Writer, set *data.Dataset) error {
	encode := json.NewEncoder(w)
	encode.SetEscapeHTML(false)
	for _, e := range set.Examples {
		if err := encode.Encode(lineOf(set, e)); err != nil {
			return err
		}
	}
	return nil
}

// exampleLine is an example as the general task of its kind reads it.
type exampleLine struct {
	Text    string   `json:"text"`
	Pair    *string  `json:"text_pair,omitempty"`
	Choices []string `json:"choices,omitempty"`
	Words   []string `json:"tokens,omitempty"`
	Label   any      `json:"label,omitempty"`
	Labels  []string `json:"labels,omitempty"`
}

func lineOf(set *data.Dataset, e data.Example) exampleLine {
	line := exampleLine{Text: e.Text, Choices: e.Choices, Words: e.Words}
	if e.HasPair {
		line.Pair = &e.Pair
	}
	if e.Label < 0 {
		return line
	}
	shown[set.Task.Kind].write(&line, set, e)
	return line
}
