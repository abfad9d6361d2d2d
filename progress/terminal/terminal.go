// Package terminal shows people how far long work has come. On a terminal this is a bar that
// redraws itself, elsewhere (a file, a pipe, a build log) a line from time to time. Events have
// lines of their own.
package terminal

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/cheggaaa/pb/v3"
	"golang.org/x/term"

	"github.com/skive-ml/skive/internal/pace"
	"github.com/skive-ml/skive/progress"
)

// New returns a Reporter that writes to w.
func New(w io.Writer) progress.Reporter {
	t := &terminal{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return t
	}
	return progress.Log(t.Logger())
}

type terminal struct {
	mu    sync.Mutex
	w     io.Writer
	drawn int // lines of bars on the screen
}

func (t *terminal) Logger() *slog.Logger { return slog.New(handler{t}) }

const template pb.ProgressBarTemplate = `{{string . "name"}} {{counters . }} {{bar . }} {{percent . }} {{string . "eta"}} {{string . "note"}}`

func (t *terminal) Begin(name string, done, total int) progress.Task {
	b := &bar{terminal: t, pace: pace.Pace{First: done, Total: total, Started: time.Now()}}
	b.bar = pb.New(total).SetTemplate(template).SetWriter(t.w).SetRefreshRate(200 * time.Millisecond)
	b.bar.Set("name", name).Set("note", "").Set("eta", "")
	b.bar.SetCurrent(int64(done))
	t.count(1)
	b.bar.Start()
	return b
}

func (t *terminal) count(more int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drawn += more
}

type bar struct {
	*terminal
	pace pace.Pace

	mu       sync.Mutex
	bar      *pb.ProgressBar
	finished bool
}

func (b *bar) Set(done int, note string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.finished {
		b.bar.Set("note", note).Set("eta", b.pace.Left(done, time.Now())).SetCurrent(int64(done))
	}
}

func (b *bar) Finish(note string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.finished {
		return
	}
	b.finished = true
	b.bar.Set("note", note).Set("eta", b.pace.Taken(time.Now()))
	b.bar.Finish()
	b.count(-1)
}

// handler writes the sentences of records as lines, above a bar if there is one.
type handler struct{ t *terminal }

func (h handler) Handle(_ context.Context, r slog.Record) error {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	line := r.Message + "\n"
	if h.t.drawn > 0 {
		line = "\r\x1b[K" + line // the bar redraws itself at its next tick
	}
	_, err := io.WriteString(h.t.w, line)
	return err
}

func (h handler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (h handler) WithAttrs([]slog.Attr) slog.Handler               { return h }
func (h handler) WithGroup(string) slog.Handler                    { return h }
