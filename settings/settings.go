// Package settings describes the settings of options once, in a table next to the
// options. What sets, checks, records or prints them follows from the table: flags,
// the keys of recipes, validation, a model's provenance.
package settings

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
)

// A Setting is a row of a Table: a setting of some options as they are at the moment.
type Setting struct {
	// Name is the setting's name in the provenance of a model, on the command line
	// and, with underscores, in recipes.
	Name string
	// Flag is its name on the command line where that is another one.
	Flag string
	// Field is the Go path of the field from the options, such as "BatchSize".
	Field string
	// Doc is its line of help, in which a back-quoted word stands for the value, and
	// {name} for another setting. Go programs alone set what has no Doc: it is neither
	// a flag nor a key.
	Doc string
	// Value points to the field: to a bool, a number, a string, a slice of them, or
	// an encoding.TextUnmarshaler that is a TextMarshaler, too. A number that may be
	// absent is an Optional, and in recipes it may also be a List.
	Value any
	// NotZero says that 0 stands for "not given": nobody may give it.
	NotZero bool
	// Shown says that a recipe has the setting even where it is zero; it may then
	// be given as zero, too.
	Shown bool
	// With names the settings that this one belongs to: where they are all zero, it has
	// no effect.
	With []string
	// Want is what is expected in the place of the value, "" where that is usable.
	Want string
	// Decides says that the value, as the options are, decides the result of a run.
	Decides bool
}

// Text is the value as a record has it.
func (s Setting) Text() string { return fmt.Sprint(s.Get()) }

// Get is the value, of a List the List itself, and of an Optional the number or the word
// for none.
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
		return v.Float() == 0 // -0 is
	case v.Kind() == reflect.Slice:
		return v.Len() == 0
	default:
		return v.IsZero()
	}
}

// Assign takes over the value of a setting of the same type.
func (s Setting) Assign(from Setting) { s.value().Set(from.value()) }

func (s Setting) value() reflect.Value {
	if o, ok := s.Value.(Optional); ok {
		return reflect.ValueOf(o.To).Elem()
	}
	return reflect.ValueOf(s.Value).Elem()
}

// Unless is a Setting's Want: what is expected unless that is so already.
func Unless(ok bool, want string, args ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(want, args...)
}

// NotNegative tells whether v is finite and not negative.
func NotNegative(v float64) bool { return v >= 0 && !math.IsInf(v, 1) }

// A Table is the settings of some options, as they are at the moment.
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

// Record returns the settings that decide the result, by name: what a model's
// provenance has, and what must be the same for a run to go on.
func (t Table) Record() map[string]string {
	record := map[string]string{}
	for _, s := range t {
		if s.Decides {
			record[s.Name] = s.Text()
		}
	}
	return record
}

// Without leaves out the settings of the given names.
func (t Table) Without(names ...string) Table {
	return slices.DeleteFunc(slices.Clone(t), func(s Setting) bool { return slices.Contains(names, s.Name) })
}

// Idle returns what a setting belongs to that has no effect as the options are, nil if
// it has one.
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

// Only leaves out all but the settings of the given names.
func (t Table) Only(names ...string) Table {
	return slices.DeleteFunc(slices.Clone(t), func(s Setting) bool { return !slices.Contains(names, s.Name) })
}

// In is the table of options that are a field of others. The settings' names are those
// in the section called name, or stay if that is "".
func (t Table) In(name, field string) Table {
	t = slices.Clone(t)
	for i := range t {
		if t[i].Field = field + "." + t[i].Field; name != "" {
			t[i].Name = name + "." + t[i].Name
		}
	}
	return t
}

// An Error tells that a setting cannot be carried out.
type Error struct {
	// Field is the Go path of the setting from the options that were given, such as
	// "BatchSize" or "Stages[1].Hidden", or the name of the argument that it is.
	Field string
	// Err says what is wrong with it.
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Field, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Errorf is the *Error of a field.
func Errorf(field, format string, args ...any) error {
	return &Error{field, fmt.Errorf(format, args...)}
}

// Wrong is the *Error of a field whose value is not what is wanted.
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

// In makes the path of an *Error, if err is or wraps one, begin at options that have
// the former ones in the given field.
func In(field string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return &Error{field + "." + e.Field, e.Err}
	}
	return err
}
