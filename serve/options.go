package serve

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/settings"
)

// Options configure a Server. The zero value of each field means its default.
type Options struct {
	// Models are the models to serve. A request that names none goes to the first that
	// can do what it asks for.
	Models []Model
	// Threads is how many batches a model computes at the same time, of one thread
	// each; 0 stands for the number of cores.
	Threads int
	// MaxConcurrent is how many inputs may be under way; requests beyond that are
	// refused with 429. 0 stands for 512.
	MaxConcurrent int
	// MaxClientBatch is how many inputs a request may have; 0 stands for 32.
	MaxClientBatch int
	// MaxBatchTokens is how many tokens are computed together; 0 stands for
	// infer.PoolOptions' number.
	MaxBatchTokens int
	// MaxBody is the size of a request's body; 0 stands for 2 MB.
	MaxBody settings.Bytes
	// Timeout is how long a request may take before it is answered with 504; 0 stands for 30 s.
	Timeout Duration
	// RefuseLong refuses texts that are too long for a model where the request does
	// not say whether to cut them.
	RefuseLong bool
	// APIKeys are the keys that a request may bear. Without any, everybody may ask.
	APIKeys List
	// CORS are the origins whose pages may ask, "*" for all.
	CORS List
	// Poll is the time between two looks at the models' files. A file that has changed is
	// loaded and takes the place of the model that is served. 0 means never.
	Poll Duration
	// Repository lets requests load models anew and unload them.
	Repository bool
	// Pprof adds the profiles of runtime/pprof under /debug/pprof/.
	Pprof bool
	// Tracer makes a span for each request that computes, with spans for tokenizing,
	// waiting and computing below it. Its parent is the span that the request's
	// traceparent names. nil makes none. Package otlp has a provider.
	Tracer trace.TracerProvider
	// Log gets a line for each request, and for what becomes of the models; nil stands for none.
	Log *slog.Logger
}

// Model is a model that is served.
type Model struct {
	// Name is what requests call it.
	Name string
	// Path is what infer.OpenPool reads.
	Path string
	// Embedding, Prompt, DType and MaxLength mean what they do in infer.Options. An encoder
	// whose files say how it makes embeddings (infer.OfModel) needs no Embedding.
	Embedding, Prompt, DType string
	MaxLength                int
	// Stride, if positive, divides texts that are too long into windows of the maximum
	// length, of which each shares so many tokens with the next. A request may ask for
	// something else.
	Stride int
	// Shadow names another model to which a share of the requests is sent as well.
	// Metrics count how alike its answers are. ShadowShare is from 0 to 1, and 0 means
	// all.
	Shadow      string
	ShadowShare float64
}

// Defaults returns the options of a server that is given none.
func Defaults() Options {
	var o Options
	o.fill()
	return o
}

func (o *Options) fill() {
	orElse(&o.MaxConcurrent, 512)
	orElse(&o.MaxClientBatch, 32)
	orElse(&o.MaxBody, 2_000_000)
	orElse(&o.Timeout, Duration(30*time.Second))
}

func orElse[T comparable](x *T, otherwise T) {
	var zero T
	if *x == zero {
		*x = otherwise
	}
}

// Validate reports the first setting that is not usable, as a *settings.Error.
func (o *Options) Validate() error {
	if err := o.Settings().Check(); err != nil {
		return err
	}
	if len(o.Models) == 0 {
		return settings.Errorf("Models", "there are none, expected at least one")
	}
	names := map[string]bool{}
	for i := range o.Models {
		m := &o.Models[i]
		if err := m.Settings().Check(); err != nil {
			return settings.In(fmt.Sprintf("Models[%d]", i), err)
		}
		if names[m.Name] {
			return settings.Errorf(fmt.Sprintf("Models[%d].Name", i), "%q is the name of two models", m.Name)
		}
		names[m.Name] = true
	}
	for i := range o.Models {
		if m := &o.Models[i]; m.Shadow != "" && (m.Shadow == m.Name || !names[m.Shadow]) {
			return settings.Errorf(fmt.Sprintf("Models[%d].Shadow", i), "%q, expected the name of another model", m.Shadow)
		}
	}
	return nil
}

// Settings returns the fields as a table of settings.
func (o *Options) Settings() settings.Table {
	const positive = "a positive number"
	return settings.Table{
		{Name: "models", Field: "Models", Value: settings.ListOf(&o.Models, (*Model).Settings), Doc: "models to serve"},
		{Name: "max-concurrent", Field: "MaxConcurrent", Value: &o.MaxConcurrent, NotZero: true,
			Doc:  "largest number of `INPUTS` in progress; more are refused with 429",
			Want: settings.Unless(o.MaxConcurrent >= o.MaxClientBatch && o.MaxConcurrent > 0, "at least the largest request, %d inputs", o.MaxClientBatch)},
		{Name: "max-client-batch", Field: "MaxClientBatch", Value: &o.MaxClientBatch, NotZero: true,
			Doc: "largest number of `INPUTS` in a request", Want: settings.Unless(o.MaxClientBatch > 0, positive)},
		{Name: "max-batch-tokens", Field: "MaxBatchTokens", Value: &o.MaxBatchTokens, NotZero: true,
			Doc: "largest number of `TOKENS` that are computed together (default 512)", Want: settings.Unless(o.MaxBatchTokens >= 0, positive)},
		{Name: "max-body", Field: "MaxBody", Value: &o.MaxBody,
			Doc: "largest `SIZE` of a request's body", Want: settings.Unless(o.MaxBody > 0, "a size such as 2M")},
		{Name: "timeout", Field: "Timeout", Value: &o.Timeout,
			Doc: "`TIME` that a request may take, such as 30s, before it is answered with 504", Want: settings.Unless(o.Timeout > 0, "a positive time")},
		{Name: "refuse-long", Field: "RefuseLong", Value: &o.RefuseLong,
			Doc: "refuse texts that are too long for the model, unless a request asks to cut them"},
		{Name: "api-key", Field: "APIKeys", Value: &o.APIKeys,
			Doc: "`KEYS`, with commas between them, of which a request must have one (better given in the environment or a file)"},
		{Name: "cors", Field: "CORS", Value: &o.CORS,
			Doc: "`ORIGINS` whose pages may send requests, with commas between them; * for all"},
		{Name: "poll", Field: "Poll", Value: &o.Poll,
			Doc:  "`TIME` between checks of the models' files, such as 10s; changed files are loaded (default never; SIGHUP checks once)",
			Want: settings.Unless(o.Poll >= 0, "a positive time")},
		{Name: "repository", Field: "Repository", Value: &o.Repository,
			Doc: "let requests load models again and unload them (/v2/repository/models/NAME/load)"},
		{Name: "pprof", Field: "Pprof", Value: &o.Pprof, Doc: "profiles of the running program at /debug/pprof/"},
	}
}

// Settings returns the fields as a table of settings.
func (m *Model) Settings() settings.Table {
	return settings.Table{
		{Name: "name", Field: "Name", Value: &m.Name, Doc: "`NAME` by which requests call it",
			Want: settings.Unless(m.Name != "", "a name")},
		{Name: "path", Field: "Path", Value: &m.Path, Doc: "`MODEL`", Want: settings.Unless(m.Path != "", "a model's path")},
		{Name: "embedding", Field: "Embedding", Value: &m.Embedding,
			Doc: "mean, cls or model: embeddings instead of labels (default model where the model's modules.json says how)"},
		{Name: "prompt", Field: "Prompt", Value: &m.Prompt,
			Doc: "`NAME` of the model's prompt to put before each text, none for none (default its default_prompt_name)"},
		{Name: "dtype", Field: "DType", Value: &m.DType, Doc: "f32, fp16, bf16 or int8 (default as stored)"},
		{Name: "max-length", Field: "MaxLength", Value: &m.MaxLength, NotZero: true,
			Doc:  "largest number of `TOKENS` in a text (default the model's maximum, for embeddings its max_seq_length)",
			Want: settings.Unless(m.MaxLength >= 0, "a positive number")},
		{Name: "stride", Field: "Stride", Value: &m.Stride, NotZero: true,
			Doc:  "divide texts that are too long into windows that share this number of `TOKENS` (default: they are cut)",
			Want: settings.Unless(m.Stride >= 0, "a positive number")},
		{Name: "shadow", Field: "Shadow", Value: &m.Shadow, Doc: "`NAME` of another model that also gets requests, to compare its answers"},
		{Name: "shadow-share", Field: "ShadowShare", Value: &m.ShadowShare, NotZero: true, With: []string{"shadow"}, Doc: "share of the requests for the shadow, above 0 and up to 1 (default all)",
			Want: settings.Unless(m.ShadowShare >= 0 && m.ShadowShare <= 1, "a number above 0, at most 1")},
	}
}

// pool is how a model is opened. The server bounds what waits; the pool has room for
// warming up beside it.
func (o *Options) pool(m *Model, embedding string) infer.PoolOptions {
	return infer.PoolOptions{
		Options:   infer.Options{Embedding: embedding, Prompt: m.Prompt, DType: m.DType, MaxLength: m.MaxLength},
		Instances: o.Threads, MaxBatch: o.MaxBatchTokens, MaxQueue: o.MaxConcurrent + max(o.Threads, runtime.NumCPU()),
	}
}

// Duration is a time whose text is such as "30s".
type Duration time.Duration

// String is the text of the time, "" for none.
func (d Duration) String() string {
	if d == 0 {
		return ""
	}
	return time.Duration(d).String()
}

// MarshalText and UnmarshalText write and read a time as String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d *Duration) UnmarshalText(text []byte) error {
	t, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no time, expected one such as 30s", text)
	}
	*d = Duration(t)
	return nil
}

// List is a list of words whose text has commas between them.
type List []string

// String is the text of the list.
func (l List) String() string { return strings.Join(l, ",") }

// MarshalText and UnmarshalText write and read a list as String does.
func (l List) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

func (l *List) UnmarshalText(text []byte) error {
	*l = nil
	for word := range strings.SplitSeq(string(text), ",") {
		if word = strings.TrimSpace(word); word != "" {
			*l = append(*l, word)
		}
	}
	return nil
}

// SplitModel divides an argument of a command line, PATH or NAME=PATH. An argument that
// exists as a path is a path, whatever it looks like. A model without a name is called
// like its file or directory, without the extension of Skive's files.
func SplitModel(arg string) (name, path string, err error) {
	name, path, named := settings.NamedPath(arg)
	if !named {
		absolute, err := filepath.Abs(arg)
		if err != nil {
			absolute = arg
		}
		name = strings.TrimSuffix(filepath.Base(absolute), checkpoints.Extension)
	}
	if name == "" || path == "" {
		return "", "", fmt.Errorf("%q, expected MODEL or NAME=MODEL", arg)
	}
	return name, path, nil
}
