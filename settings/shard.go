package settings

import (
	"fmt"
	"strconv"
	"strings"
)

// Shard is share number Index, from 0, of Of equal shares of some work. The zero value means all
// of it.
type Shard struct{ Index, Of int }

// maxShards is the largest number of shares.
const maxShards = 1 << 20

func (s Shard) String() string {
	if s.Of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Index, s.Of)
}

// MarshalText and UnmarshalText write and read the form I/N.
func (s Shard) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s *Shard) UnmarshalText(text []byte) error {
	first, second, _ := strings.Cut(string(text), "/")
	i, err1 := strconv.Atoi(first)
	n, err2 := strconv.Atoi(second)
	if err1 != nil || err2 != nil || i < 0 || i >= n || n > maxShards {
		return fmt.Errorf("%q, expected I/N with I from 0 to N-1, N at most %d", text, maxShards)
	}
	*s = Shard{i, n}
	return nil
}
