package kernels

import (
	"errors"
	"strings"
	"testing"
)

func TestStartLevel(t *testing.T) {
	defer func(e *ISAErr) { isaErr = e }(isaErr)
	best := Available()[len(Available())-1]
	for _, l := range Available() {
		isaErr = nil
		if got := startLevel(l.String()); got != l || ISAError() != nil {
			t.Errorf("%s: level %v, error %v", l, got, ISAError())
		}
	}
	for _, value := range []string{"sse", "AVX2", "avx512fp16"} {
		isaErr = nil
		if got := startLevel(value); got != best {
			t.Errorf("%s: level %v, want the best, %v", value, got, best)
		}
		var e *ISAErr
		if err := ISAError(); !errors.As(err, &e) || e.Value != value || !strings.Contains(err.Error(), "SKIVE_ISA="+value) {
			t.Errorf("%s: error %v", value, ISAError())
		}
	}
	isaErr = nil
	if got := startLevel(""); got != best || ISAError() != nil {
		t.Errorf("unset: level %v, error %v", got, ISAError())
	}
}

func TestUseRestores(t *testing.T) {
	was := Current()
	restore := Use(Generic)
	if Current() != Generic {
		t.Error("the level is not the one asked for")
	}
	restore()
	if Current() != was {
		t.Error("the level is not restored")
	}
}

// eachLevel runs f at every level but the reference.
func eachLevel(t *testing.T, f func(t *testing.T)) {
	for _, l := range Available()[1:] {
		t.Run(l.String(), func(t *testing.T) {
			defer Use(l)()
			f(t)
		})
	}
}
