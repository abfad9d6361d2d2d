package serve

import (
	"context"
	"io"
	"log/slog"

	"github.com/skive-ml/skive/settings"
)

// requestLine is the message of the line that each request is worth.
const requestLine = "request"

// NewLog returns a logger for Options.Log that writes to w, in the form "text" or "json";
// "none" is text without a line for each request that was answered. Another form is a
// *settings.Error.
func NewLog(w io.Writer, form string, level slog.Leveler) (*slog.Logger, error) {
	o := &slog.HandlerOptions{Level: level}
	switch form {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	case "none":
		return slog.New(withoutRequests{slog.NewTextHandler(w, o)}), nil
	}
	return nil, settings.Wrong("log", form, "text, json or none")
}

// withoutRequests leaves out the lines of requests that were answered.
type withoutRequests struct{ slog.Handler }

func (h withoutRequests) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == requestLine && r.Level <= slog.LevelInfo {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h withoutRequests) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withoutRequests{h.Handler.WithAttrs(attrs)}
}

func (h withoutRequests) WithGroup(name string) slog.Handler {
	return withoutRequests{h.Handler.WithGroup(name)}
}
