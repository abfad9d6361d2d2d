package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/internal/machine"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/progress/terminal"
)

// skive is one run of the program: its input and output, and the flags that every command has.
type skive struct {
	in        io.Reader
	out, errs io.Writer
	common    commonFlags
	opened    []*checkpoints.Model
	// alone says that the process does nothing but this run.
	alone bool
}

// commonFlags are the flags that every command has.
type commonFlags struct {
	threads int
	quiet   bool
	verbose bool
	json    bool
	// started is when the command began. With verbose, the command says how long it took.
	started time.Time
}

func (f *commonFlags) register(root *cobra.Command) {
	all := root.PersistentFlags()
	all.IntVar(&f.threads, "threads", machine.CPUs(), "number of threads (default one for each CPU)")
	all.Lookup("threads").DefValue = "0" // help does not show it
	all.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress on standard error")
	all.BoolVarP(&f.verbose, "verbose", "v", false, "show the machine, the time and more detail on standard error")
	all.BoolVar(&f.json, "json", false, "write JSON, and nothing else, on standard output")
}

// maxThreads is the engine's limit.
const maxThreads = 1 << 12

func (f *commonFlags) check() error {
	if f.threads < 1 || f.threads > maxThreads {
		return flags.Usagef("--threads: %d, expected 1 to %d", f.threads, maxThreads)
	}
	return nil
}

// progress returns what is told how work comes along: nothing with --quiet.
func (app *skive) progress() progress.Reporter {
	if app.common.quiet {
		return nil
	}
	return terminal.New(app.errs)
}

// show prints the result of a command: one JSON document with --json, otherwise text.
func (app *skive) show(document any, text func(w io.Writer) error) error {
	if app.common.json {
		return app.printJSON(document)
	}
	return text(app.out)
}

// printJSON prints v as the only document on standard output.
func (app *skive) printJSON(v any) error {
	e := json.NewEncoder(app.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// openCheckpoint opens the model of a flag and reports what reading it left out or made up. The
// model is closed when the program ends.
func (app *skive) openCheckpoint(flag, path string) (*checkpoints.Model, error) {
	m, err := checkpoints.Open(path)
	if err != nil {
		return nil, flags.Named(flag, err)
	}
	app.opened = append(app.opened, m)
	app.printNotes(path, m.Notes)
	return m, nil
}

// close releases the models that were opened.
func (app *skive) close() {
	for _, m := range app.opened {
		m.Close()
	}
}

func (app *skive) printNotes(path string, notes []string) {
	if app.common.quiet {
		return
	}
	for _, note := range notes {
		fmt.Fprintf(app.errs, "skive: %s: %s\n", path, note)
	}
}
