// Package score answers for corpora and texts with Skive models inside Apache Beam pipelines, on any of
// its runners.
//
// Files is package score of Skive as a transform: blocks of files become parts, which are put in
// place whole, and a manifest comes last. What an engine moves between workers is names and counts,
// never text, and a bundle that it repeats writes the same bytes. Texts is a ParDo for pipelines that
// have texts at hand.
//
// A worker process opens each model once. Models are files that all workers reach, or lie in a bucket of
// a file system that the program links (gs://, s3://).
package score

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/score"
	"github.com/skive-ml/skive/settings"
)

func init() {
	register.DoFn3x1[context.Context, string, func(string), error](&blockFn{})
	register.DoFn3x1[context.Context, []byte, func(*string) bool, error](&commitFn{})
	register.DoFn4x1[context.Context, string, func(string), func(string), error](&textFn{})
	register.Emitter1[string]()
	register.Iter1[string]()
}

// Options are what travels to the workers; see score.Options for each.
type Options struct {
	Models                                []score.Model
	Output                                string
	TextColumn, PairColumn, ChoicesColumn string
	Columns                               []string
	Compression                           string
	// Block is a number of bytes, 0 for the default's.
	Block int64
	// MaxBad is how many rows of a block may be bad, or a share of them such as 0.1%; "" is none.
	MaxBad string
	// Embedding, Prompt, DType and MaxLength mean what they do in infer.Options.
	Embedding, Prompt, DType string
	MaxLength                int
	// Threads is the number of instances of each model in a worker process.
	Threads int
}

func (o *Options) score() (score.Options, error) {
	s := score.Defaults()
	s.Models, s.Output, s.Columns, s.Compression, s.Threads = slices.Clone(o.Models), o.Output, o.Columns, o.Compression, o.Threads
	s.TextColumn, s.PairColumn, s.ChoicesColumn = o.TextColumn, o.PairColumn, o.ChoicesColumn
	s.Engine = infer.Options{Embedding: o.Embedding, Prompt: o.Prompt, DType: o.DType, MaxLength: o.MaxLength}
	if o.Block != 0 {
		s.Block = settings.Bytes(o.Block)
	}
	if o.MaxBad == "" {
		return s, nil
	}
	return s, s.MaxBad.UnmarshalText([]byte(o.MaxBad))
}

// shared are the models of this process: Beam makes a DoFn for each bundle that runs at the same time.
var shared struct {
	sync.Mutex
	scorers map[string]func() (*score.Scorer, error)
}

// scorer opens the models of a job, once for a process.
func scorer(ctx context.Context, o *Options) (*score.Scorer, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	shared.Lock()
	if shared.scorers == nil {
		shared.scorers = map[string]func() (*score.Scorer, error){}
	}
	once := shared.scorers[string(text)]
	if once == nil {
		once = sync.OnceValues(func() (*score.Scorer, error) { return openModels(context.WithoutCancel(ctx), o) })
		shared.scorers[string(text)] = once
	}
	shared.Unlock()
	s, err := once()
	if err != nil { // the next attempt may find what this one did not
		shared.Lock()
		delete(shared.scorers, string(text))
		shared.Unlock()
	}
	return s, err
}

func openModels(ctx context.Context, o *Options) (*score.Scorer, error) {
	s, err := o.score()
	if err != nil {
		return nil, err
	}
	for i := range s.Models {
		if s.Models[i].Path, err = fetch(ctx, s.Models[i].Path); err != nil {
			return nil, err
		}
	}
	return score.Open(s)
}

var (
	rows = beam.NewCounter("skive", "rows")
	bad  = beam.NewCounter("skive", "bad")
)

// Files answers for the rows of files, whose paths or addresses are inputs, and writes parts and a
// manifest into Options.Output, which must hold no parts yet. It looks at the files and opens the models before the pipeline
// runs: what is wrong with them is its error.
func Files(ctx context.Context, s beam.Scope, o Options, inputs []string) error {
	s = s.Scope("skive.Files")
	so, err := o.score()
	if err != nil {
		return err
	}
	so.Inputs = inputs
	if err := so.Validate(); err != nil {
		return err
	}
	if err := (files{}).empty(ctx, o.Output); err != nil {
		return err
	}
	plan, err := score.PlanOf(ctx, files{}, so)
	if err != nil {
		return err
	}
	models, err := scorer(ctx, &o)
	if err != nil {
		return err
	}
	manifest := plan.Manifest(models)
	for i := range manifest.Models { // not where they lie on this machine
		manifest.Models[i].Path = o.Models[i].Path
	}
	var blocks []string
	for _, b := range plan.Blocks() {
		text, err := json.Marshal(b)
		if err != nil {
			return err
		}
		blocks = append(blocks, string(text))
	}
	if len(blocks) == 0 {
		return manifest.Commit(ctx, files{}, o.Output, nil)
	}
	// Reshuffled, so that workers share them.
	shuffled := beam.Reshuffle(s, beam.CreateList(s, blocks))
	parts := beam.ParDo(s, &blockFn{Options: o, Models: manifest.Models}, shuffled)
	beam.ParDo0(s, &commitFn{Output: o.Output, Manifest: manifest}, beam.Impulse(s), beam.SideInput{Input: parts})
	return nil
}

// blockFn makes the parts of a block. Blocks and parts are JSON, since they are few.
type blockFn struct {
	Options Options
	// Models are those that the job was planned with.
	Models []score.ManifestModel

	scorer *score.Scorer
}

func (fn *blockFn) Setup(ctx context.Context) (err error) {
	if fn.scorer, err = scorer(ctx, &fn.Options); err != nil {
		return err
	}
	for i, sum := range fn.scorer.Checksums() {
		if m := fn.Models[i]; sum != m.Checksum {
			return fmt.Errorf("%s: another model on this worker than where the job began", m.Path)
		}
	}
	return nil
}

func (fn *blockFn) ProcessElement(ctx context.Context, text string, emit func(string)) error {
	var b score.Block
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return err
	}
	parts, err := fn.scorer.Score(ctx, files{}, b)
	if err != nil {
		return err
	}
	for _, p := range parts {
		text, err := json.Marshal(p)
		if err != nil {
			return err
		}
		rows.Inc(ctx, p.Rows)
		bad.Inc(ctx, p.Bad)
		emit(string(text))
	}
	return nil
}

// commitFn writes the manifest when all parts are there.
type commitFn struct {
	Output   string
	Manifest *score.Manifest
}

func (fn *commitFn) ProcessElement(ctx context.Context, _ []byte, each func(*string) bool) error {
	var parts []score.Part
	for text := ""; each(&text); {
		var p score.Part
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return err
		}
		parts = append(parts, p)
	}
	return fn.Manifest.Commit(ctx, files{}, fn.Output, parts)
}

// batch is how many texts are answered together at most.
const batch = 256

// Texts answers for texts: a PCollection<string> becomes one of JSON objects with the key text and
// the answers, in any order, and one of those that could not be answered, with the keys text and error.
// Output and the settings of files are not read.
func Texts(s beam.Scope, o Options, texts beam.PCollection) (answers, failed beam.PCollection) {
	return beam.ParDo2(s.Scope("skive.Texts"), &textFn{Options: o}, texts)
}

type textFn struct {
	Options Options

	scorer *score.Scorer
	texts  []string
}

func (fn *textFn) Setup(ctx context.Context) (err error) {
	fn.scorer, err = scorer(ctx, &fn.Options)
	return err
}

func (fn *textFn) StartBundle(context.Context, func(string), func(string)) { fn.texts = fn.texts[:0] }

func (fn *textFn) ProcessElement(ctx context.Context, text string, emit, failed func(string)) error {
	fn.texts = append(fn.texts, text)
	if len(fn.texts) < batch {
		return nil
	}
	return fn.FinishBundle(ctx, emit, failed)
}

// FinishBundle answers for what has gathered.
func (fn *textFn) FinishBundle(ctx context.Context, emit, failed func(string)) error {
	defer func() { fn.texts = fn.texts[:0] }()
	lines, wrong, err := fn.scorer.Texts(ctx, fn.texts)
	if err != nil {
		return err
	}
	for i, line := range lines {
		if wrong[i] == nil {
			rows.Inc(ctx, 1)
			emit(string(line))
			continue
		}
		bad.Inc(ctx, 1)
		text, err := json.Marshal(map[string]string{"text": strings.ToValidUTF8(fn.texts[i], "\ufffd"), "error": wrong[i].Error()})
		if err != nil {
			return err
		}
		failed(string(text))
	}
	return nil
}

// EndWithParent ends a worker when the process that started it does: Beam's boot leaves them behind when it is
// killed. Call it before beam.Init.
func EndWithParent() {
	worker := slices.ContainsFunc(os.Args[1:], func(arg string) bool {
		name, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		return name == "worker" && value != "false"
	})
	parent := os.Getppid()
	if !worker || parent == 1 {
		return // in a container the parent is the first process
	}
	go func() {
		for os.Getppid() == parent {
			time.Sleep(time.Second)
		}
		os.Exit(1)
	}()
}
