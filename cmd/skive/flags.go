package main

import (
	"encoding/json"
	"io"
	"os"
	"runtime"

	"github.com/spf13/cobra"
)

// common are the flags that every command has.
var common commonFlags

type commonFlags struct {
	threads int
	quiet   bool
	verbose bool
	json    bool
}

func (f *commonFlags) register(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.IntVar(&f.threads, "threads", runtime.GOMAXPROCS(0), "number of threads")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress on standard error")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "more detail on standard error")
	flags.BoolVar(&f.json, "json", false, "one JSON document on standard output and nothing else there")
}

func (f *commonFlags) check() error {
	if f.threads < 1 {
		return usagef("--threads: %d is not a number of threads, expected 1 or more", f.threads)
	}
	return nil
}

// progress is where progress goes.
func (f *commonFlags) progress() io.Writer {
	if f.quiet {
		return io.Discard
	}
	return os.Stderr
}

// printJSON writes v as the one document on standard output.
func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// require says which of the named flags is missing.
func require(c *cobra.Command, names ...string) error {
	for _, name := range names {
		if !c.Flags().Changed(name) {
			return usagef("--%s is required; skive %s --help lists the flags", name, c.Name())
		}
	}
	return nil
}
