// Package flags turns settings into flags of a command line, and reports what is wrong with them
// by the names of the flags. Package keys does the same for documents.
package flags

import (
	"encoding"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/internal/keys"
	"github.com/skive-ml/skive/settings"
)

// Annotations of a flag. They are the paths of the fields that it sets, by which errors find it;
// whether 0 is refused because it would mean "not given", or has a meaning; and the flags of
// which it needs one, or that it excludes.
const (
	fields     = "fields"
	notZero    = "not zero"
	zeroCounts = "zero counts"
	with       = "with"
	excludes   = "excludes"
)

// reference matches another setting in a line of help.
var reference = regexp.MustCompile(`\{([\w-]+)\}`)

// A Usage is an error in how a command was called.
type Usage struct{ Err error }

func (e Usage) Error() string { return e.Err.Error() }
func (e Usage) Unwrap() error { return e.Err }

// Usagef returns a Usage with a formatted text.
func Usagef(format string, args ...any) error { return Usage{fmt.Errorf(format, args...)} }

// Add makes flags of the settings that have a line of help. Their current values are the
// defaults. Flags go with those of the settings to which theirs belong.
func Add(f *pflag.FlagSet, table settings.Table) {
	for _, s := range table {
		if s.Doc == "" {
			continue
		}
		name, doc, short := Name(s), reference.ReplaceAllString(s.Doc, "--$1"), ""
		if name == "output" {
			short = "o"
		}
		switch v := s.Value.(type) {
		case *bool:
			f.BoolVarP(v, name, short, *v, doc)
		case *int:
			f.IntVarP(v, name, short, *v, doc)
		case *uint64:
			f.Uint64VarP(v, name, short, *v, doc)
		case *float64:
			f.Float64VarP(v, name, short, *v, doc)
		case *time.Duration:
			f.DurationVarP(v, name, short, *v, doc)
		case *string:
			f.StringVarP(v, name, short, *v, doc)
		case *[]int:
			f.IntSliceVarP(v, name, short, *v, doc)
		case *[]float64:
			f.Float64SliceVarP(v, name, short, *v, doc)
		case encoding.TextUnmarshaler:
			f.VarP(textFlag{v}, name, short, doc)
		default:
			panic(fmt.Sprintf("--%s: no flag can be a %T", name, v))
		}
		// Help must not print a zero as the default if the line names a default.
		if flag := f.Lookup(name); strings.Contains(doc, "(default ") {
			switch flag.Value.Type() {
			case "string":
			case "intSlice":
				flag.DefValue = "[]"
			default:
				flag.DefValue = "0"
			}
		}
		Sets(f, name, s.Field)
		if s.NotZero {
			RefuseZero(f, name)
		}
		for _, other := range table.Only(s.With...) {
			if other.Doc != "" {
				GoesWith(f, []string{Name(other)}, name)
			}
		}
	}
}

// Name returns the name of a setting on the command line.
func Name(s settings.Setting) string {
	if s.Flag != "" {
		return s.Flag
	}
	return s.Name
}

// Names returns the names of the settings that are flags.
func Names(table settings.Table) (names []string) {
	for _, s := range table {
		if s.Doc != "" {
			names = append(names, Name(s))
		}
	}
	return names
}

// Sets declares which fields a flag sets that is not in a table.
func Sets(f *pflag.FlagSet, name string, paths ...string) {
	f.SetAnnotation(name, fields, paths) // fails only for an unknown flag
}

// RefuseZero refuses 0 for some flags.
func RefuseZero(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f.SetAnnotation(name, notZero, nil)
	}
}

// textFlag is a flag whose value is written as text.
type textFlag struct{ encoding.TextUnmarshaler }

func (t textFlag) Set(s string) error { return t.UnmarshalText([]byte(s)) }
func (t textFlag) String() string     { return fmt.Sprint(t.TextUnmarshaler) }
func (t textFlag) Type() string       { return "string" }

// Of returns the name of the flag that sets a field, or "". A flag with the same name as the
// field needs no annotation.
func Of(all *pflag.FlagSet, path string) string {
	var found string
	all.VisitAll(func(f *pflag.Flag) {
		for _, field := range f.Annotations[fields] {
			if path == field || strings.HasPrefix(path, field+"[") {
				found = f.Name
			}
		}
	})
	if found == "" && all.Lookup(kebab(path)) != nil {
		found = kebab(path)
	}
	return found
}

// kebab returns the name of a flag for a field: max-length for MaxLength.
func kebab(field string) string {
	var b strings.Builder
	for i, r := range field {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// Locate changes an error that is a *settings.Error so that it names the flag. It is a Usage if
// only the value is wrong.
func Locate(all *pflag.FlagSet, err error) error {
	var wrong *settings.Error
	var named *keys.Error // this error already names the key in the file
	if !errors.As(err, &wrong) || errors.As(err, &named) {
		return err
	}
	name := Of(all, wrong.Field)
	switch {
	case name == "":
		return err
	case errors.Unwrap(wrong.Err) != nil:
		return fmt.Errorf("--%s: %w", name, wrong.Err)
	}
	return Usagef("--%s: %w", name, wrong.Err)
}

// CheckValues refuses empty flags, as an unset shell variable makes them: a command would treat
// them as not given. It also refuses 0 where that would mean "not given".
func CheckValues(all *pflag.FlagSet) (err error) {
	all.Visit(func(f *pflag.Flag) {
		_, refused := f.Annotations[notZero]
		if n, e := strconv.ParseFloat(f.Value.String(), 64); err == nil && e == nil && n == 0 && refused {
			err = Usagef("--%s: 0, expected more; without the flag it is the default", f.Name)
		}
		values := []string{f.Value.String()}
		if s, ok := f.Value.(pflag.SliceValue); ok {
			values = s.GetSlice()
		}
		if err == nil && slices.Contains(values, "") {
			err = Usagef("--%s is empty", f.Name)
		}
	})
	return err
}
