package flags

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/settings"
)

// GoesWith says that flags have no effect unless one of others has a value: what Add
// says of settings by their With.
func GoesWith(f *pflag.FlagSet, others []string, names ...string) {
	annotate(f, with, others, names)
}

// ZeroCounts says that flags have a value where they are 0, if that was given.
func ZeroCounts(f *pflag.FlagSet, names ...string) { annotate(f, zeroCounts, nil, names) }

// Excludes says that none of some flags may be given beside one of others.
func Excludes(f *pflag.FlagSet, others []string, names ...string) {
	annotate(f, excludes, others, names)
}

// annotate adds to what is said of flags, which are there.
func annotate(f *pflag.FlagSet, key string, more, names []string) {
	for _, name := range names {
		f.SetAnnotation(name, key, slices.Concat(f.Lookup(name).Annotations[key], more))
	}
}

// CheckTogether reports a flag that was given without what it goes with, or beside what
// it excludes.
func CheckTogether(all *pflag.FlagSet) (err error) {
	all.Visit(func(f *pflag.Flag) {
		if err != nil || f.Value.String() == "false" {
			return
		}
		for _, name := range f.Annotations[excludes] {
			if all.Changed(name) && all.Lookup(name).Value.String() != "false" {
				err = Usagef("--%s and --%s exclude each other", f.Name, name)
				return
			}
		}
		if of := f.Annotations[with]; len(of) > 0 && !slices.ContainsFunc(of, func(name string) bool { return hasValue(all.Lookup(name)) }) {
			missing, first := "0", all.Lookup(of[0])
			if _, counts := first.Annotations[zeroCounts]; counts || slices.Contains([]string{"string", "bool"}, first.Value.Type()) {
				missing = "not given"
			}
			err = Usagef("--%s goes with %s, which is %s", f.Name, either(of), missing)
		}
	})
	return err
}

// either names flags of which one is enough.
func either(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return "--" + names[0]
	}
	return "--" + strings.Join(names[:last], ", --") + " or --" + names[last]
}

// hasValue tells whether a flag, given or by default, says more than nothing.
func hasValue(f *pflag.Flag) bool {
	text := f.Value.String()
	n, err := strconv.ParseFloat(text, 64)
	if _, counts := f.Annotations[zeroCounts]; counts && f.Changed {
		return true
	}
	return text != "" && text != "false" && text != "[]" && !(err == nil && n == 0)
}

// Environment sets the flags that were not given from the variables of the environment
// that are called as they are, in capitals and after the prefix: PREFIX_MAX_BODY for
// --max-body.
func Environment(f *pflag.FlagSet, prefix string) (err error) {
	f.VisitAll(func(flag *pflag.Flag) {
		name := prefix + "_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if !ok || flag.Changed || err != nil {
			return
		}
		if wrong := f.Set(flag.Name, value); wrong != nil {
			err = Usagef("%s: %q: %w", name, value, wrong)
		}
	})
	return err
}

// Override puts the values of the flags that were given in the place of others, such as
// those of a file. The flags are those of the table given, and to has settings of the
// same names.
func Override(f *pflag.FlagSet, to, given settings.Table) {
	for _, s := range given {
		if f.Changed(Name(s)) {
			to.Only(s.Name)[0].Assign(s)
		}
	}
}
