package settings

import (
	"fmt"
	"slices"
	"strconv"
)

// An Optional is the Value of a setting whose field is a pointer, because 0 is a value of its own
// and does not mean "none". Setting it replaces the pointer, so copies of the options keep their
// number.
type Optional struct {
	To **float64
	// Absent lists the texts that stand for nil. The first is written, and all are read.
	Absent []string
}

func (o Optional) String() string { return fmt.Sprint(Setting{Value: o}.Get()) }

// MarshalText and UnmarshalText write and read the form of String.
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
