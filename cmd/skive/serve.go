package main

import (
	"errors"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/internal/interrupt"
	"github.com/skive-ml/skive/internal/keys"
	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/serve/grpcserver"
	"github.com/skive-ml/skive/serve/otlp"
	"github.com/skive-ml/skive/settings"
)

// serveOptions are the settings of skive serve.
type serveOptions struct {
	serve.Options
	serve.Listening
	model  serve.Model // for each model on the command line, except for name and path
	config string
	log    string
	otlp   string // collector of spans
}

// settings returns the settings of the file. flags returns all of them except the models.
func (o *serveOptions) settings() settings.Table {
	return slices.Concat(o.Options.Settings(), o.Listening.Settings(), settings.Table{
		{Name: "otlp-endpoint", Field: "otlp", Value: &o.otlp,
			Doc: "`URL` of an OpenTelemetry collector for traces, such as http://localhost:4318 (default $" + otlp.EndpointVariable + ", else none)"},
	})
}

// ofEachModel lists the settings of models that are also flags, for all models on the command
// line.
var ofEachModel = []string{"embedding", "prompt", "dtype", "max-length", "stride"}

// serveEnvironment is the prefix of the environment variables for flags.
const serveEnvironment = "SKIVE_SERVE"

func (app *skive) newServe() *cobra.Command {
	o := serveOptions{Options: serve.Defaults(), Listening: serve.DefaultListening()}
	c := &cobra.Command{
		Use:   "serve [NAME=]MODEL...",
		Short: "Answer over HTTP, as clients of TEI, OpenAI, KServe and Triton ask",
		Long: `Serve answers requests over HTTP for one or several models: /embed, /embed_all, /embed_sparse, /predict, /rerank,
/similarity, /tokenize, /decode and /info like text-embeddings-inference (TEI), /fill_mask for masked language
models, /v1/embeddings and /v1/models like OpenAI, /v1/rerank like Jina and Cohere, /v2/... as in the Open Inference
Protocol. With --grpc-listen it also takes the Open Inference Protocol and TEI's services over gRPC.

A request that names no model goes to the first that can answer it; /models/NAME/... names one in the path.
/openapi.json describes every route. /health is 200 once every model is loaded and tried, /metrics is for Prometheus,
and / is a page for trying a model.

SIGHUP, or --poll, loads models whose files were replaced (by renaming, as skive replaces files); no request is lost.
SIGTERM ends the server after it has answered the requests in progress.

Each setting is a flag. If the flag is not given, an environment variable counts (` + serveEnvironment + `_LISTEN for --listen, and
so on), and then a key in the file of --config (listen, ...). The file may have a list of models: [{name: ..., path:
..., embedding: mean}].`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error { return app.serve(c, &o, args) },
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "`FILE` of settings in YAML")
	f.StringVar(&o.log, "log", "text", "format of the log on standard error: text or json; none leaves out the lines for requests")
	flags.Add(f, o.settings().Without("models"))
	flags.Add(f, o.model.Settings().Only(ofEachModel...))
	return c
}

func (app *skive) serve(c *cobra.Command, o *serveOptions, args []string) (err error) {
	if err := flags.Environment(c.Flags(), serveEnvironment); err != nil {
		return err
	}
	if err := o.readConfig(c.Flags(), args); err != nil {
		return err
	}
	if err := o.readModels(c.Flags(), args); err != nil {
		return err
	}
	if o.Log, err = serve.NewLog(app.errs, o.log, app.logLevel()); err != nil {
		return err
	}
	tracer, stop, err := otlp.New(c.Context(), o.otlp, o.Log)
	if err != nil {
		return flags.Usagef("--otlp-endpoint: %w", err)
	}
	defer stop()
	o.Tracer = tracer
	o.Threads, o.Reload = app.common.threads, []os.Signal{syscall.SIGHUP}
	s, err := serve.New(o.Options)
	if wrong := (*settings.Error)(nil); errors.As(err, &wrong) && strings.HasPrefix(wrong.Field, "Models") {
		return flags.Usage{Err: wrong.Err} // from the arguments
	}
	if err != nil {
		return err
	}
	if app.alone { // the network need not wait for a batch: the system shares the cores
		runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 4*o.Threads))
	}
	defer interrupt.Hold(c.Context())()
	if len(o.GRPCAddresses) > 0 {
		o.GRPC = grpcserver.New(s)
	}
	return s.Run(c.Context(), o.Listening)
}

// logLevel returns the level from which the log has lines.
func (app *skive) logLevel() slog.Level {
	switch {
	case app.common.quiet:
		return slog.LevelWarn
	case app.common.verbose:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// readConfig reads settings that no flag gives from the file of --config. Models on the command
// line replace the file's.
func (o *serveOptions) readConfig(f *pflag.FlagSet, args []string) error {
	if o.config == "" {
		return nil
	}
	text, err := bounded.ReadFile(o.config, bounded.Document)
	if err != nil {
		return flags.Named("config", err)
	}
	given := *o
	document, err := keys.Parse(o.config, text)
	if err == nil {
		err = document.Set(o.settings())
	}
	if err != nil {
		return flags.Usage{Err: flags.Named("config", err)}
	}
	flags.Override(f, o.settings(), given.settings().Without("models"))
	if len(args) > 0 {
		return nil
	}
	if err := o.Validate(); err != nil {
		return flags.Usage{Err: document.Locate(err)}
	}
	return nil
}

// readModels reads the models on the command line, if there are any.
func (o *serveOptions) readModels(f *pflag.FlagSet, args []string) error {
	for _, name := range ofEachModel {
		if len(args) == 0 && f.Changed(name) {
			return flags.Usagef("--%s is for models on the command line; models in the file have keys of their own", name)
		}
	}
	if len(args) == 0 && len(o.Models) == 0 {
		return flags.Usagef("no model, expected skive serve [NAME=]MODEL..., or models in the file of --config")
	}
	if len(args) == 0 {
		return nil
	}
	if err := o.model.Settings().Only(ofEachModel...).Check(); err != nil {
		return err
	}
	o.Models = nil
	for _, arg := range args {
		m := o.model
		var err error
		if m.Name, m.Path, err = serve.SplitModel(arg); err != nil {
			return flags.Usage{Err: err}
		}
		o.Models = append(o.Models, m)
	}
	return nil
}
