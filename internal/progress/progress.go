// Package progress shows how far a long piece of work has come: a bar that
// redraws itself where the output is a terminal, and a sparse sequence of lines
// where it is not (a file, a pipe, a build log).
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/cheggaaa/pb/v3"
	"golang.org/x/term"
)

// LineInterval is the least time between two lines on an output that is not a
// terminal. The first and the last line come whatever the interval.
const LineInterval = 10 * time.Second

const terminalTemplate pb.ProgressBarTemplate = `{{string . "name"}} {{counters . }} {{bar . }} {{percent . }} {{string . "eta"}} {{string . "note"}}`

// A Bar reports the progress of one piece of work. A nil *Bar reports nothing,
// so that callers need no condition for a quiet run. A Bar is safe for
// concurrent use.
type Bar struct {
	mu       sync.Mutex
	w        io.Writer
	name     string
	total    int
	first    int // work that was done before this bar started (a resumed run)
	done     int
	started  time.Time
	printed  time.Time
	finished bool
	bar      *pb.ProgressBar // nil where the output is not a terminal
	now      func() time.Time
}

// New returns a bar for total units of work named name, of which done are
// already behind it. It returns nil, a bar that reports nothing, for a nil
// writer.
func New(w io.Writer, name string, done, total int) *Bar {
	if w == nil {
		return nil
	}
	b := newBar(w, name, done, total, time.Now)
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b.bar = pb.New(total).SetTemplate(terminalTemplate).SetWriter(w).SetRefreshRate(200 * time.Millisecond)
		b.bar.Set("name", name).Set("note", "").Set("eta", "")
		b.bar.SetCurrent(int64(done))
		b.bar.Start()
	}
	return b
}

func newBar(w io.Writer, name string, done, total int, now func() time.Time) *Bar {
	return &Bar{w: w, name: name, total: total, first: done, done: done, started: now(), now: now}
}

// Set reports that done units are complete. note is a short remark shown beside
// the count, such as the current loss.
func (b *Bar) Set(done int, note string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.finished {
		return
	}
	b.done = done
	now := b.now()
	if b.bar != nil {
		b.bar.Set("note", note).Set("eta", b.eta(now)).SetCurrent(int64(done))
		return
	}
	if b.printed.IsZero() || now.Sub(b.printed) >= LineInterval {
		b.line(now, note)
	}
}

// Print writes a line of its own, above the bar on a terminal.
func (b *Bar) Print(line string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil && !b.finished {
		// The bar redraws its line at its next tick.
		fmt.Fprintf(b.w, "\r\x1b[K%s\n", line)
		return
	}
	fmt.Fprintln(b.w, line)
}

// Finish ends the report with a last note. Later calls do nothing.
func (b *Bar) Finish(note string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.finished {
		return
	}
	b.finished = true
	now := b.now()
	if b.bar != nil {
		b.bar.Set("note", note).Set("eta", "in "+short(now.Sub(b.started)))
		b.bar.Finish()
		return
	}
	text := fmt.Sprintf("%s: %d/%d in %s", b.name, b.done, b.total, short(now.Sub(b.started)))
	if note != "" {
		text += ", " + note
	}
	fmt.Fprintln(b.w, text)
}

func (b *Bar) line(now time.Time, note string) {
	b.printed = now
	percent := 100
	if b.total > 0 {
		percent = b.done * 100 / b.total
	}
	text := fmt.Sprintf("%s: %d/%d (%d%%)", b.name, b.done, b.total, percent)
	if eta := b.eta(now); eta != "" {
		text += ", " + eta
	}
	if note != "" {
		text += ", " + note
	}
	fmt.Fprintln(b.w, text)
}

// eta is the time left at the mean speed since the bar started.
func (b *Bar) eta(now time.Time) string {
	did := b.done - b.first
	if did <= 0 || b.total <= b.done {
		return ""
	}
	left := time.Duration(float64(now.Sub(b.started)) * float64(b.total-b.done) / float64(did))
	return "ETA " + short(left)
}

// short rounds a duration to what a person reads.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}
