package flags

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/settings"
)

type options struct {
	Rate   float64
	Steps  int
	Layers []int
	Cache  settings.Bytes
	Decay  float64
}

func (o *options) table() settings.Table {
	return settings.Table{
		{Name: "lr", Field: "Rate", Value: &o.Rate, Doc: "the rate of {steps}", Want: settings.Unless(o.Rate >= 0, "a rate")},
		{Name: "steps", Field: "Steps", Value: &o.Steps, Doc: "`STEPS` (default all)", NotZero: true},
		{Name: "layers", Field: "Layers", Value: &o.Layers, Doc: "layers (default all)"},
		{Name: "cache", Flag: "cache-max", Field: "Cache", Value: &o.Cache, Doc: "size"},
		{Name: "decay", Field: "Decay", Value: &o.Decay, Doc: "decay", With: []string{"lr"}},
		{Name: "beta", Field: "Beta", Value: new(float64)},
	}
}

func parse(t *testing.T, line string) (*options, *pflag.FlagSet, error) {
	t.Helper()
	o, f := &options{}, pflag.NewFlagSet("", pflag.ContinueOnError)
	Add(f, o.table())
	return o, f, f.Parse(strings.Fields(line))
}

func TestSettingsAreFlags(t *testing.T) {
	t.Parallel()
	o, f, err := parse(t, "--lr 0.5 --steps 3 --layers 1,2 --cache-max 1K")
	if err != nil || o.Rate != 0.5 || o.Steps != 3 || len(o.Layers) != 2 || o.Cache != 1<<10 {
		t.Errorf("%+v, %v", o, err)
	}
	if usage := f.FlagUsages(); strings.Contains(usage, "beta") || strings.Contains(usage, "default 0") || !strings.Contains(usage, "the rate of --steps") {
		t.Errorf("usage:\n%s", usage)
	}
}

func TestErrorsNameTheFlag(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line, want string
		check      func(*options, *pflag.FlagSet) error
	}{
		{"--lr=-1", "--lr: -1, expected a rate", func(o *options, f *pflag.FlagSet) error { return Locate(f, o.table().Check()) }},
		{"", "--cache-max: 7, expected less", func(_ *options, f *pflag.FlagSet) error {
			return Locate(f, fmt.Errorf("train: %w", settings.Wrong("Cache", 7, "less")))
		}},
		{"", "--layers: 9, expected less", func(_ *options, f *pflag.FlagSet) error { return Locate(f, settings.Wrong("Layers[1]", 9, "less")) }},
		{"--steps 0", "--steps: 0, expected more; without the flag it is the default", func(_ *options, f *pflag.FlagSet) error { return CheckValues(f) }},
	} {
		o, f, err := parse(t, c.line)
		if err != nil {
			t.Fatal(err)
		}
		err = c.check(o, f)
		var usage Usage
		if !errors.As(err, &usage) || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.line, err, c.want)
		}
	}
	// What is wrong with more than the value is no error of usage.
	_, f, _ := parse(t, "")
	var usage Usage
	if err := Locate(f, &settings.Error{Field: "Rate", Err: fmt.Errorf("rates: %w", fs.ErrNotExist)}); errors.As(err, &usage) || err.Error() != "--lr: rates: file does not exist" {
		t.Errorf("%v", err)
	}
	if err := Locate(f, settings.Wrong("Beta", 1, "less")); err.Error() != "Beta: 1, expected less" {
		t.Errorf("without a flag: %v", err)
	}
}

// What is wrong in a file may be a line of megabytes.
func TestLongErrors(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 1<<20)
	if got := OneLine(fmt.Errorf("a.txt: %s\nb.txt: bad", long)); len(got) > maxMessage+8 || !strings.HasPrefix(got, "a.txt: ä") || !strings.HasSuffix(got, "ä; b.txt: bad") || !utf8.ValidString(got) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
