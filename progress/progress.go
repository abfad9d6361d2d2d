// Package progress lets the packages of Skive report how far long work has come and what happens
// on the way. They report to a Reporter in their options, or to nobody if it is nil. Log makes a
// Reporter from a logger, and package terminal makes one for people.
package progress

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/skive-ml/skive/internal/pace"
)

// A Reporter is told about long work. It is safe for concurrent use.
type Reporter interface {
	// Begin reports that a piece of work of total units begins, of which done are finished
	// already. The returned Task is told about the rest.
	Begin(name string, done, total int) Task
	// Logger returns the logger for events, which are sentences.
	Logger() *slog.Logger
}

// A Task is told how a piece of work comes along. It is safe for concurrent use.
type Task interface {
	// Set reports that done units are finished. The note is a short remark beside the number,
	// such as the current loss.
	Set(done int, note string)
	// Finish reports that the work has ended. Later calls have no effect.
	Finish(note string)
}

// Begin is r.Begin. If r is nil, nothing is reported.
func Begin(r Reporter, name string, done, total int) Task {
	if r == nil {
		return unheard{}
	}
	return r.Begin(name, done, total)
}

// Logger is r.Logger. If r is nil, nothing is reported.
func Logger(r Reporter) *slog.Logger {
	if r == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Logger()
}

type unheard struct{}

func (unheard) Set(int, string) {}
func (unheard) Finish(string)   {}

// Interval is the shortest time between two records of a piece of work, except for the first and
// the last.
const Interval = 10 * time.Second

// Log returns a Reporter that writes to a logger. Its records have the level Info, a sentence,
// and the attributes work, done and total, and note if there is one.
func Log(l *slog.Logger) Reporter { return logged{l} }

type logged struct{ logger *slog.Logger }

func (l logged) Logger() *slog.Logger { return l.logger }

func (l logged) Begin(name string, done, total int) Task {
	return begin(l.logger, name, done, total, time.Now)
}

func begin(l *slog.Logger, name string, done, total int, now func() time.Time) *task {
	return &task{logger: l, name: name, pace: pace.Pace{First: done, Total: total, Started: now()}, done: done, now: now}
}

type task struct {
	mu       sync.Mutex
	logger   *slog.Logger
	name     string
	pace     pace.Pace
	done     int
	told     time.Time
	finished bool
	now      func() time.Time
}

func (t *task) Set(done int, note string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if t.done = done; t.finished || !t.told.IsZero() && now.Sub(t.told) < Interval {
		return
	}
	t.told = now
	percent, total := 100, t.pace.Total
	if total > 0 {
		percent = done * 100 / total
	}
	text := fmt.Sprintf("%s: %d/%d (%d%%)", t.name, done, total, percent)
	if left := t.pace.Left(done, now); left != "" {
		text += ", " + left
	}
	t.tell(text, note)
}

func (t *task) Finish(note string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.finished {
		return
	}
	t.finished = true
	t.tell(fmt.Sprintf("%s: %d/%d %s", t.name, t.done, t.pace.Total, t.pace.Taken(t.now())), note)
}

func (t *task) tell(text, note string) {
	attrs := []slog.Attr{slog.String("work", t.name), slog.Int("done", t.done), slog.Int("total", t.pace.Total)}
	if note != "" {
		text += ", " + note
		attrs = append(attrs, slog.String("note", note))
	}
	t.logger.LogAttrs(context.Background(), slog.LevelInfo, text, attrs...)
}
