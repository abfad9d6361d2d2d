package settings

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes is a number of bytes, written like "500M" or "4G".
type Bytes int64

func (b Bytes) String() string {
	n, unit := int64(b), ""
	for _, larger := range []string{"K", "M", "G", "T"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, larger
	}
	return strconv.FormatInt(n, 10) + unit
}

// MarshalText and UnmarshalText write and read the form of String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.ToUpper(string(text))
	digits := strings.TrimRight(s, "KMGTIB")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit, ok := map[string]int64{"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}[strings.TrimSuffix(strings.TrimSuffix(s[len(digits):], "B"), "I")]
	if err != nil || !ok || n < 0 || n > 1<<62/max(unit, 1) {
		return fmt.Errorf("%q, expected a number of bytes such as 500M or 4G", text)
	}
	*b = Bytes(n * unit)
	return nil
}
