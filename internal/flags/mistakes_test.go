package flags

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// program has a command with flags of several types, and one with commands below it.
func program() *cobra.Command {
	run := func(*cobra.Command, []string) error { return nil }
	root := &cobra.Command{Use: "skive", RunE: run, SilenceErrors: true, SilenceUsage: true}
	train := &cobra.Command{Use: "train", Short: "Train a model", RunE: run, Args: cobra.NoArgs}
	train.Flags().String("model", "", "`MODEL` to train")
	train.Flags().Int("heads", 0, "heads")
	train.Flags().Float64("lr", 0, "rate")
	train.Flags().Duration("grace", 0, "time")
	data := &cobra.Command{Use: "data", RunE: run, SuggestFor: []string{"convert"}}
	data.AddCommand(&cobra.Command{Use: "show", RunE: run})
	root.AddCommand(train, data)
	root.SetFlagErrorFunc(Unparsed)
	CheckArguments(root)
	CheckCommands(root)
	return root
}

func TestMistypedNames(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"trian":                  `unknown command "trian", did you mean skive train`,
		"convert":                `unknown command "convert", did you mean skive data`,
		"data shwo":              `unknown command "shwo", did you mean skive data show`,
		"nonsense":               `unknown command "nonsense"; skive --help lists the commands`,
		"train x.csv":            `unexpected argument "x.csv"; usage: skive train [flags]`,
		"train --modle x":        `unknown flag --modle, did you mean --model`,
		"train --mod x":          `unknown flag --mod, did you mean --model`,
		"train --nonsense":       `unknown flag --nonsense; skive train --help lists the flags`,
		"train --heads 0.5":      `--heads: "0.5", expected a whole number`,
		"train --lr fast":        `--lr: "fast", expected a number`,
		"train --grace soon":     `--grace: "soon", expected a duration such as 500ms or 2s`,
		"train --heads 1 --lr 2": "",
	} {
		root := program()
		root.SetArgs(strings.Fields(line))
		err := root.Execute()
		var usage Usage
		if want == "" && err != nil || want != "" && (!errors.As(err, &usage) || err.Error() != want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

func TestHelpOnCommandsThatDoNotExist(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"trian --help":     `unknown command "trian", did you mean skive train`,
		"data shwo --help": `unknown command "shwo", did you mean skive data show`,
		"train x --help":   "",
		"data --help":      "",
		"--help":           "",
	} {
		root, got := program(), ""
		CheckHelp(root, func(err error) { got = err.Error() })
		var out strings.Builder
		root.SetOut(&out)
		root.SetArgs(strings.Fields(line))
		if err := root.Execute(); err != nil || got != want || (out.Len() > 0) != (want == "") {
			t.Errorf("%s: %q, %v, %q, want %s", line, got, err, out.String(), want)
		}
	}
}

func TestGuide(t *testing.T) {
	t.Parallel()
	root := program()
	err := ApplyGuide(root, []byte(`
titles: [Make a model]
groups:
  - {title: Model, names: [model, heads]}
commands:
  train: {group: Make a model, required: [model], sometimes: {lr: required with --heads}, moved: {heads: Shape}, examples: skive train --model m}
`))
	if err != nil {
		t.Fatal(err)
	}
	train, _, _ := root.Find([]string{"train"})
	usage := train.UsageString()
	for _, want := range []string{"Examples:\n  skive train --model m\n", "Model:\n      --model MODEL   MODEL to train (required)\n", "rate (required with --heads)"} {
		if !strings.Contains(usage, want) {
			t.Errorf("no %q in:\n%s", want, usage)
		}
	}
	if list := root.UsageString(); !strings.Contains(list, "Make a model:\n  train") {
		t.Errorf("commands:\n%s", list)
	}
	if err := CheckRequired(train); err == nil || err.Error() != "--model is required; skive train --help lists the flags" {
		t.Errorf("without --model: %v", err)
	}
	for text, want := range map[string]string{
		"commands: {nothing: {examples: x}}":     "nothing: no such command",
		"commands: {train: {required: [other]}}": `train: no such flag -other`,
		"comands: {}":                            "unknown field",
	} {
		if err := ApplyGuide(program(), []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
