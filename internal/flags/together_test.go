package flags

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestFlagsThatGoTogether(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"--decay 1":             "--decay goes with --lr, which is 0",
		"--decay 1 --lr 0":      "--decay goes with --lr, which is 0",
		"--decay 1 --lr 2":      "",
		"--column a":            "--column goes with --file or --drop, which is not given",
		"--other a":             "--other goes with --drop, --lr or --file, which is not given",
		"--column a --file b":   "",
		"--column a --drop 0":   "", // which is a drop
		"--steps 1 --all":       "--all and --steps exclude each other",
		"--steps 1 --all=false": "",
		"--all":                 "",
	} {
		f := pflag.NewFlagSet("", pflag.ContinueOnError)
		Add(f, new(options).table())
		f.String("file", "", "")
		f.String("column", "text", "")
		f.String("other", "", "")
		f.Float64("drop", 0, "")
		f.Bool("all", false, "")
		GoesWith(f, []string{"file", "drop"}, "column")
		GoesWith(f, []string{"drop", "lr", "file"}, "other")
		ZeroCounts(f, "drop")
		Excludes(f, []string{"layers", "steps"}, "all")
		if err := f.Parse(strings.Fields(line)); err != nil {
			t.Fatal(err)
		}
		err := CheckTogether(f)
		var usage Usage
		if want == "" && err != nil || want != "" && (!errors.As(err, &usage) || err.Error() != want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

// A flag that is given counts, else the environment, else a file.
func TestWhereValuesComeFrom(t *testing.T) {
	t.Setenv("PROGRAM_LR", "1")
	t.Setenv("PROGRAM_CACHE_MAX", "1K")
	t.Setenv("PROGRAM_STEPS", "2")
	o, f, err := parse(t, "--steps 3")
	if err != nil {
		t.Fatal(err)
	}
	if err := Environment(f, "PROGRAM"); err != nil || o.Rate != 1 || o.Cache != 1<<10 || o.Steps != 3 {
		t.Errorf("%+v, %v", o, err)
	}
	file := options{Rate: 7, Steps: 7, Decay: 7, Layers: []int{7}}
	if Override(f, file.table(), o.table()); file.Rate != 1 || file.Cache != 1<<10 || file.Steps != 3 || file.Decay != 7 || len(file.Layers) != 1 {
		t.Errorf("%+v", file)
	}
	t.Setenv("PROGRAM_DECAY", "much")
	var usage Usage
	if err := Environment(f, "PROGRAM"); !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), `PROGRAM_DECAY: "much": `) {
		t.Errorf("%v", err)
	}
}
