// Package settings describes the settings of options once, in a table next to the options.
// Everything that sets, checks, records or prints them uses this table: flags, the keys of
// recipes, validation, a model's provenance.
package settings

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
)

// A Setting is a row of a Table: a setting with its current value.
type Setting struct {
	// Name is the setting's name in a model's provenance, on the command line, and, with
	// underscores, in recipes.
	Name string
	// Flag is the name on the command line if it differs from Name.
	Flag string
	// Field is the Go path of the field, starting at the options, such as "BatchSize".
	Field string
	// Doc is the line of help. A back-quoted word in it stands for the value, and {name} for
	// another setting. A setting without Doc is neither a flag nor a key; only Go programs can
	// set it.
	Doc string
	// Value points to the field. It is a bool, a number, a string, a slice of these, or an
	// encoding.TextUnmarshaler that is also a TextMarshaler. A number that may be absent is an
	// Optional. In recipes it may also be a List.
	Value any
	// NotZero says that 0 means "not given" and cannot be given.
	NotZero bool
	// Shown says that a recipe has the setting even if it is zero. Zero may then be given, too.
	Shown bool
	// With names the settings to which this one belongs. If all of them are zero, it has no
	// effect.
	With []string
	// Want says what is expected instead of the value. It is "" if the value is usable.
	Want string
	// Decides says that the value affects the result of a run, with the other options as they
	// are.
	Decides bool
}

// Text returns the value in the form of records.
func (s Setting) Text() string { return fmt.Sprint(s.Get()) }

// Get returns the value: for a List the List itself, for an Optional the number or the word for
// none.
func (s Setting) Get() any {
	switch v := s.Value.(type) {
	case List:
		return v
	case Optional:
		if *v.To == nil {
			return v.Absent[0]
		}
		return **v.To
	}
	return s.value().Interface()
}

// IsZero tells whether the value is zero, absent, or an empty list.
func (s Setting) IsZero() bool {
	if l, ok := s.Value.(List); ok {
		return l.Len() == 0
	}
	switch v := s.value(); {
	case v.CanFloat():
		return v.Float() == 0 // also -0, which is not zero for reflect
	case v.Kind() == reflect.Slice:
		return v.Len() == 0
	default:
		return v.IsZero()
	}
}

// Assign copies the value of a setting of the same type.
func (s Setting) Assign(from Setting) { s.value().Set(from.value()) }

func (s Setting) value() reflect.Value {
	if o, ok := s.Value.(Optional); ok {
		return reflect.ValueOf(o.To).Elem()
	}
	return reflect.ValueOf(s.Value).Elem()
}

// Unless returns the Want of a Setting: "" if ok, and otherwise what is expected.
func Unless(ok bool, want string, args ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(want, args...)
}

// NotNegative tells whether v is finite and not negative.
func NotNegative(v float64) bool { return v >= 0 && !math.IsInf(v, 1) }

// A Table holds the settings of some options with their current values.
type Table []Setting

// Check reports the first setting that is not usable, as an *Error.
func (t Table) Check() error {
	for _, s := range t {
		if s.Want != "" {
			return Wrong(s.Field, s.Get(), s.Want)
		}
	}
	return nil
}

// Record returns the settings that affect the result, by name. A model's provenance has them, and
// a run can only continue if they are unchanged.
func (t Table) Record() map[string]string {
	record := map[string]string{}
	for _, s := range t {
		if s.Decides {
			record[s.Name] = s.Text()
		}
	}
	return record
}

// Without returns the table without the named settings.
func (t Table) Without(names ...string) Table {
	return slices.DeleteFunc(slices.Clone(t), func(s Setting) bool { return slices.Contains(names, s.Name) })
}

// Idle returns the settings to which a setting belongs if it has no effect with the current
// options, and nil if it has one.
func (t Table) Idle(s Setting) Table {
	var of Table
	for _, other := range t {
		if slices.Contains(s.With, other.Name) {
			if !other.IsZero() {
				return nil
			}
			of = append(of, other)
		}
	}
	return of
}

// Only returns the table with only the named settings.
func (t Table) Only(names ...string) Table {
	return slices.DeleteFunc(slices.Clone(t), func(s Setting) bool { return !slices.Contains(names, s.Name) })
}

// In returns the table for options that are a field of other options. The settings are put into
// the section called name; their names stay if that is "".
func (t Table) In(name, field string) Table {
	t = slices.Clone(t)
	for i := range t {
		if t[i].Field = field + "." + t[i].Field; name != "" {
			t[i].Name = name + "." + t[i].Name
		}
	}
	return t
}

// An Error tells that a setting is not usable.
type Error struct {
	// Field is the Go path of the setting, starting at the given options, such as "BatchSize" or
	// "Stages[1].Hidden". For an argument it is the argument's name.
	Field string
	// Err says what is wrong with it.
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Field, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an *Error of a field.
func Errorf(field, format string, args ...any) error {
	return &Error{field, fmt.Errorf(format, args...)}
}

// Wrong returns an *Error of a field whose value is not what is wanted.
func Wrong(field string, value any, want string, args ...any) error {
	form := "%v, expected %s"
	if reflect.ValueOf(value).Kind() == reflect.String {
		form = "%q, expected %s"
	}
	if len(args) > 0 {
		want = fmt.Sprintf(want, args...)
	}
	return Errorf(field, form, value, want)
}

// In extends the path of an *Error, if err is or wraps one, for options that contain the former
// options in the given field.
func In(field string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return &Error{field + "." + e.Field, e.Err}
	}
	return err
}
