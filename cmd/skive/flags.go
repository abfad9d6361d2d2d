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

// skive is one run of the program: where it reads and writes, and the flags that every command
// has.
type skive struct {
	in        io.Reader
	out, errs io.Writer
	common    commonFlags
	opened    []*checkpoints.Model
	// alone says that nothing but this run is in the process.
	alone bool
}

// commonFlags are the flags that every command has.
type commonFlags struct {
	threads int
	quiet   bool
	verbose bool
	json    bool
	// started is when the command began, where verbose tells how long it took.
	started time.Time
}

func (f *commonFlags) register(root *cobra.Command) {
	all := root.PersistentFlags()
	all.IntVar(&f.threads, "threads", machine.CPUs(), "number of threads (default one for each CPU)")
	all.Lookup("threads").DefValue = "0" // which help leaves out
	all.BoolVarP(&f.quiet, "quiet", "q", false, "no progress on standard error")
	all.BoolVarP(&f.verbose, "verbose", "v", false, "the machine and the time on standard error, and more detail")
	all.BoolVar(&f.json, "json", false, "JSON on standard output, and nothing else there")
}

// maxThreads is the engine's bound.
const maxThreads = 1 << 12

func (f *commonFlags) check() error {
	if f.threads < 1 || f.threads > maxThreads {
		return flags.Usagef("--threads: %d, expected 1 to %d", f.threads, maxThreads)
	}
	return nil
}

// progress is who hears how long work comes along: nobody with --quiet.
func (app *skive) progress() progress.Reporter {
	if app.common.quiet {
		return nil
	}
	return terminal.New(app.errs)
}

// show writes what a command found: as one JSON document with --json, else as text.
func (app *skive) show(document any, text func(w io.Writer) error) error {
	if app.common.json {
		return app.printJSON(document)
	}
	return text(app.out)
}

// printJSON writes v as the one document on standard output.
func (app *skive) printJSON(v any) error {
	e := json.NewEncoder(app.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// openCheckpoint opens the model of a flag and tells what reading it left out or
// made up. It is closed when the program ends.
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
