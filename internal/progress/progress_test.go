package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestLinesAreSparse(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	clock := time.Unix(1000, 0)
	b := newBar(&out, "train", 0, 100, func() time.Time { return clock })
	for step := 1; step <= 100; step++ {
		clock = clock.Add(time.Second)
		b.Set(step, "loss 0.5")
	}
	b.Finish("loss 0.4")
	b.Finish("again")
	b.Set(3, "late")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 11 {
		t.Fatalf("%d lines for 100 s of work, want 11:\n%s", len(lines), out.String())
	}
	if want := "train: 11/100 (11%), ETA 1m29s, loss 0.5"; lines[1] != want {
		t.Errorf("line %q, want %q", lines[1], want)
	}
	if want := "train: 100/100 in 1m40s, loss 0.4"; lines[10] != want {
		t.Errorf("last line %q, want %q", lines[10], want)
	}
}

func TestETACountsOnlyWorkOfThisRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	clock := time.Unix(1000, 0)
	b := newBar(&out, "train", 80, 100, func() time.Time { return clock })
	clock = clock.Add(10 * time.Second)
	b.Set(90, "")
	if want := "train: 90/100 (90%), ETA 10s\n"; out.String() != want {
		t.Errorf("line %q, want %q", out.String(), want)
	}
}

func TestNilBarIsQuiet(t *testing.T) {
	t.Parallel()
	b := New(nil, "train", 0, 10)
	b.Set(1, "")
	b.Print("text")
	b.Finish("")
}

func TestWriterThatIsNoTerminalGetsLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	b := New(&out, "eval", 0, 2)
	b.Set(1, "")
	b.Print("note")
	b.Finish("")
	if got := out.String(); !strings.HasPrefix(got, "eval: 1/2 (50%)") || !strings.Contains(got, "\nnote\n") || strings.Contains(got, "\r") {
		t.Errorf("output %q", got)
	}
}
