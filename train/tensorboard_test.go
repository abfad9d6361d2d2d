package train

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// writeEvents writes what testdata/tensorboard_goldens.py does.
func writeEvents(t *testing.T, dir string) []byte {
	t.Helper()
	l, err := openEvents(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMicro(1700000000_250000)
	l.now = func() time.Time { return at }
	// The first event was written when the file was opened.
	l.w.Reset(l.f)
	for _, err := range []error{
		l.keep(0),
		l.step(Record{Step: 1, Loss: 0.6875, Losses: map[string]float64{"cross_entropy": 0.6875}, LR: 5e-5, GradNorm: 2.5, Tokens: 300}),
		l.evaluation(Evaluation{Step: 300, Metrics: map[string]float64{"accuracy": 0.75, "loss": 0.5}}),
		l.close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, EventsFile))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes are those of TensorBoard's own writer.
func TestEventsAreTensorBoards(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/events.tfevents")
	if err != nil {
		t.Fatal(err)
	}
	if got := writeEvents(t, t.TempDir()); !bytes.Equal(got, want) {
		t.Errorf("event file\n%q, want\n%q", got, want)
	}
}

// A resumed run keeps the events that it has behind it, and nothing torn.
func TestEventsOfAResumedRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := writeEvents(t, dir)
	head, first := 40, len(all)
	for n := head; n < len(all); {
		_, size := readRecord(all[n:])
		if n += size; first == len(all) {
			first = n
		}
	}
	for _, c := range []struct {
		file        []byte
		steps, kept int
	}{{all, 300, len(all)}, {all, 299, first}, {all[:len(all)-1], 300, first}, {all, 1, first}, {all[:first-1], 5, head}} {
		if got := keepEvents(c.file, c.steps); got != c.kept {
			t.Errorf("%d bytes up to step %d: %d kept, want %d", len(c.file), c.steps, got, c.kept)
		}
	}
	l, err := openEvents(dir, 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, EventsFile)); err != nil || !bytes.Equal(b, all[:first]) {
		t.Errorf("%d bytes are left for 7 steps, want %d; error %v", len(b), first, err)
	}
}

func FuzzKeepEvents(f *testing.F) {
	b, err := os.ReadFile("testdata/events.tfevents")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, 300)
	f.Fuzz(func(t *testing.T, b []byte, steps int) {
		if n := keepEvents(b, steps); n < 0 || n > len(b) || keepEvents(b[:n], steps) != n {
			t.Errorf("%d of %d bytes are kept", n, len(b))
		}
	})
}
