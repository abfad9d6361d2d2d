package progress

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// logger writes records as text without their time.
func logger(to *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestRecordsAreSparse(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	clock := time.Unix(1000, 0)
	task := begin(logger(&out), "train", 0, 100, func() time.Time { return clock })
	for step := 1; step <= 100; step++ {
		clock = clock.Add(time.Second)
		task.Set(step, "loss 0.5")
	}
	task.Finish("loss 0.4")
	task.Finish("again")
	task.Set(3, "late")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 11 {
		t.Fatalf("%d records for 100 s of work, want 11:\n%s", len(lines), out.String())
	}
	if want := `level=INFO msg="train: 11/100 (11%), ETA 1m29s, loss 0.5" work=train done=11 total=100 note="loss 0.5"`; lines[1] != want {
		t.Errorf("record %s, want %s", lines[1], want)
	}
	if want := `level=INFO msg="train: 100/100 in 1m40s, loss 0.4" work=train done=100 total=100 note="loss 0.4"`; lines[10] != want {
		t.Errorf("last record %s, want %s", lines[10], want)
	}
}

func TestETACountsOnlyWorkOfThisRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	clock := time.Unix(1000, 0)
	task := begin(logger(&out), "train", 80, 100, func() time.Time { return clock })
	clock = clock.Add(10 * time.Second)
	task.Set(90, "")
	if want := `msg="train: 90/100 (90%), ETA 10s"`; !strings.Contains(out.String(), want) {
		t.Errorf("record %s, want %s", out.String(), want)
	}
}

func TestNobodyHears(t *testing.T) {
	t.Parallel()
	task := Begin(nil, "train", 0, 10)
	task.Set(1, "")
	task.Finish("")
	Logger(nil).Info("text")
}
