package flags

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/settings"
)

// GoesWith declares that flags have no effect unless one of others has a value. Add does the same
// for settings, by With.
func GoesWith(f *pflag.FlagSet, others []string, names ...string) {
	annotate(f, with, others, names)
}

// ZeroCounts declares that flags have a value even if it is 0, if it was given.
func ZeroCounts(f *pflag.FlagSet, names ...string) { annotate(f, zeroCounts, nil, names) }

// Excludes declares that none of the named flags may be given together with any of the others.
func Excludes(f *pflag.FlagSet, others []string, names ...string) {
	annotate(f, excludes, others, names)
}

// annotate adds to an annotation of flags, which must exist.
func annotate(f *pflag.FlagSet, key string, more, names []string) {
	for _, name := range names {
		f.SetAnnotation(name, key, slices.Concat(f.Lookup(name).Annotations[key], more))
	}
}

// CheckTogether reports a flag that was given without what it goes with, or together with what it
// excludes.
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

// either returns the names of flags of which one is enough.
func either(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return "--" + names[0]
	}
	return "--" + strings.Join(names[:last], ", --") + " or --" + names[last]
}

// hasValue tells whether a flag, given or by default, has a value other than none.
func hasValue(f *pflag.Flag) bool {
	text := f.Value.String()
	n, err := strconv.ParseFloat(text, 64)
	if _, counts := f.Annotations[zeroCounts]; counts && f.Changed {
		return true
	}
	return text != "" && text != "false" && text != "[]" && !(err == nil && n == 0)
}

// Environment sets the flags that were not given from environment variables. Their names are the
// flags' in capitals, after the prefix: PREFIX_MAX_BODY for --max-body.
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

// Override copies the values of the flags that were given over others, such as those of a file.
// The flags belong to the table given, and to has settings of the same names.
func Override(f *pflag.FlagSet, to, given settings.Table) {
	for _, s := range given {
		if f.Changed(Name(s)) {
			to.Only(s.Name)[0].Assign(s)
		}
	}
}
