package settings

import (
	"fmt"
	"slices"
	"strconv"
)

// An Optional is the Value of a setting whose field is a pointer, since 0 is one of its
// values and not "none". Set, it points to another number, so that copies of the options
// keep theirs.
type Optional struct {
	To **float64
	// Absent are the texts that stand for nil: the first is written, and all are read.
	Absent []string
}

func (o Optional) String() string { return fmt.Sprint(Setting{Value: o}.Get()) }

// MarshalText and UnmarshalText write and read the value as String does.
func (o Optional) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

func (o Optional) UnmarshalText(text []byte) error {
	if slices.Contains(o.Absent, string(text)) {
		*o.To = nil
		return nil
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return fmt.Errorf("%q, expected a number or %s", text, o.Absent[0])
	}
	*o.To = &v
	return nil
}
