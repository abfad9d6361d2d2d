package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/internal/interrupt"
	"github.com/skive-ml/skive/internal/keys"
	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/settings"
)

// serveOptions are the settings of skive serve.
type serveOptions struct {
	serve.Options
	serve.Listening
	model  serve.Model // of each model of the command line, but for name and path
	config string
	log    string
}

// settings are those of the file; flags are all of them but the models.
func (o *serveOptions) settings() settings.Table {
	return append(o.Options.Settings(), o.Listening.Settings()...)
}

// ofEachModel are the settings of models that are flags, too, for all of the command line.
var ofEachModel = []string{"embedding", "prompt", "dtype", "max-length"}

const serveEnvironment = "SKIVE_SERVE_"

func (app *skive) newServe() *cobra.Command {
	o := serveOptions{Options: serve.Defaults(), Listening: serve.DefaultListening()}
	c := &cobra.Command{
		Use:   "serve [NAME=]MODEL...",
		Short: "Answer over HTTP, as clients of TEI, OpenAI, KServe and Triton ask",
		Long: `Serve answers requests over HTTP for one or several models: /embed, /predict, /rerank, /similarity, /tokenize and /info as
text-embeddings-inference does, /v1/embeddings and /v1/models as OpenAI, /v1/rerank as Jina and Cohere, /v2/... as the Open
Inference Protocol. What a request names no model for goes to the first that can do it; /models/NAME/... names one in the
path. /health is 200 once every model has been loaded and tried; /metrics is for Prometheus; / is a page for trying a model.

SIGHUP, or --poll, loads models whose files were replaced (by renaming, as all that skive writes is): no request is lost.

Each setting is a flag, or else a variable of the environment (` + serveEnvironment + `LISTEN for --listen, and so on), or else a key of the
file of --config (listen, ...), which may have a list of models: [{name: ..., path: ..., embedding: mean}]. SIGTERM ends the
server once it has answered what is under way.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error { return app.serve(c, &o, args) },
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "`FILE` of settings in YAML")
	f.StringVar(&o.log, "log", "text", "text or json: the form of the log on standard error; none for no line of each request")
	flags.Add(f, o.settings().Without("models"))
	flags.Add(f, o.model.Settings().Only(ofEachModel...))
	return c
}

func (app *skive) serve(c *cobra.Command, o *serveOptions, args []string) error {
	if err := o.read(c.Flags(), args); err != nil {
		return err
	}
	logger, err := app.serveLog(o.log)
	if err != nil {
		return err
	}
	o.Log = logger
	o.Threads = app.common.threads
	s, err := serve.New(o.Options)
	if wrong := (*settings.Error)(nil); errors.As(err, &wrong) && strings.HasPrefix(wrong.Field, "Models") {
		return flags.Usage{Err: wrong.Err} // of the arguments
	}
	if err != nil {
		return err
	}
	if app.alone { // goroutines of the network do not wait for a batch: the system shares the cores
		runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 4*o.Threads))
	}
	defer interrupt.Hold(c.Context())()
	o.Started = func(addresses []net.Addr) {
		for _, a := range addresses {
			logger.Info("listening", "address", a.Network()+":"+a.String(), "tls", o.TLSCert != "" && a.Network() != "unix")
		}
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGHUP)
	defer signal.Stop(changed)
	go func() {
		for {
			select {
			case <-c.Context().Done():
				return
			case <-changed:
				s.Reload() // which logs its errors
			}
		}
	}()
	return s.Run(c.Context(), o.Listening)
}

// serveLog is where the server's log goes.
func (app *skive) serveLog(form string) (*slog.Logger, error) {
	level := &slog.HandlerOptions{Level: slog.LevelInfo}
	if app.common.verbose {
		level.Level = slog.LevelDebug
	}
	switch {
	case form != "text" && form != "json" && form != "none":
		return nil, flags.Usagef("--log: %q, expected text, json or none", form)
	case app.common.quiet:
		level.Level = slog.LevelWarn
	}
	var h slog.Handler = slog.NewTextHandler(app.errs, level)
	if form == "json" {
		h = slog.NewJSONHandler(app.errs, level)
	}
	if form == "none" {
		h = withoutRequests{h}
	}
	return slog.New(h), nil
}

// withoutRequests leaves out the lines of requests that were answered.
type withoutRequests struct{ slog.Handler }

func (h withoutRequests) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "request" && r.Level <= slog.LevelInfo {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// read takes the settings that no flag gives from the environment, and what that does not
// give from the file.
func (o *serveOptions) read(f *pflag.FlagSet, args []string) error {
	var wrong error
	f.VisitAll(func(flag *pflag.Flag) {
		name := serveEnvironment + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if !ok || flag.Changed || wrong != nil {
			return
		}
		if err := f.Set(flag.Name, value); err != nil {
			wrong = flags.Usagef("%s: %q: %w", name, value, err)
		}
	})
	if wrong != nil {
		return wrong
	}
	given := *o
	if o.config != "" {
		text, err := os.ReadFile(o.config)
		if err != nil {
			return flags.Named("config", err)
		}
		document, err := keys.Parse(o.config, text)
		if err != nil {
			return flags.Usage{Err: flags.Named("config", err)}
		}
		all := o.settings()
		if err := document.Set(all); err != nil {
			return flags.Usage{Err: flags.Named("config", err)}
		}
		for _, s := range given.settings().Without("models") {
			if f.Changed(flags.Name(s)) {
				all.Only(s.Name)[0].Assign(s)
			}
		}
		if len(args) == 0 {
			if err := o.Validate(); err != nil {
				return flags.Usage{Err: document.Locate(err)}
			}
		}
	}
	if len(args) > 0 {
		o.Models = nil
		if err := o.model.Settings().Only(ofEachModel...).Check(); err != nil {
			return err
		}
	}
	for _, name := range ofEachModel {
		if len(args) == 0 && f.Changed(name) {
			return flags.Usagef("--%s goes with models of the command line; those of the file have keys of their own", name)
		}
	}
	for _, arg := range args {
		m := o.model
		if m.Name, m.Path = named(arg); m.Name == "" || m.Path == "" {
			return flags.Usagef("%q, expected MODEL or NAME=MODEL", arg)
		}
		o.Models = append(o.Models, m)
	}
	if len(o.Models) == 0 {
		return flags.Usagef("no model, expected skive serve [NAME=]MODEL..., or models in the file of --config")
	}
	return nil
}

// named divides NAME=MODEL. A model without a name is called as its file or directory is.
func named(arg string) (name, path string) {
	name, path, ok := strings.Cut(arg, "=")
	if _, err := os.Stat(arg); ok && err != nil {
		return name, path
	}
	absolute, err := filepath.Abs(arg)
	if err != nil {
		absolute = arg
	}
	return strings.TrimSuffix(filepath.Base(absolute), ".skive"), arg
}
