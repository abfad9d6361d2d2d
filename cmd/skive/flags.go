package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/machine"
)

// common are the flags that every command has.
var common commonFlags

type commonFlags struct {
	threads int
	quiet   bool
	verbose bool
	json    bool
	// started is when the command began, where verbose tells how long it took.
	started time.Time
}

func (f *commonFlags) register(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.IntVar(&f.threads, "threads", machine.CPUs(), "number of threads")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress on standard error")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "the machine and the time on standard error, and more detail")
	flags.BoolVar(&f.json, "json", false, "one JSON document on standard output and nothing else there")
}

// maxThreads is the engine's bound.
const maxThreads = 1 << 12

func (f *commonFlags) check() error {
	if f.threads < 1 || f.threads > maxThreads {
		return usagef("--threads: %d, expected 1 to %d", f.threads, maxThreads)
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

// ofFlag names the flag that an error, if it is one, comes from.
func ofFlag(flag string, err error) error {
	if err == nil || flag == "" {
		return err
	}
	return fmt.Errorf("--%s: %w", flag, err)
}

// checkOutput tries to write in the output directory of a flag, so that one that takes
// nothing is found out before the work and not after it.
func checkOutput(flag, dir string) error {
	if err := tryWriting(dir); err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	return nil
}

// tryWriting makes a file in a directory that may not be there yet. It leaves
// nothing.
func tryWriting(dir string) error {
	var made []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Lstat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		made = append(made, d)
	}
	defer func() {
		for _, d := range made {
			os.Remove(d)
		}
	}()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".skive-trial-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// cacheDir is the directory of the user's cache for what can be made anew, "" where
// nothing can be kept there: it says so, and which flag names another place.
func cacheDir(what, flag string) string {
	cache, err := os.UserCacheDir()
	if err == nil {
		cache = filepath.Join(cache, "skive")
		err = tryWriting(cache)
	}
	if err != nil {
		if !common.quiet {
			fmt.Fprintf(os.Stderr, "skive: %s are not kept: %v; --%s names another directory\n", what, err, flag)
		}
		return ""
	}
	return cache
}

// checkOutputFile is checkOutput for an output that is a file.
func checkOutputFile(flag, path string) error {
	switch info, err := os.Stat(path); {
	case err != nil:
	case info.IsDir():
		return fmt.Errorf("--%s: %s is a directory, expected the name of a file", flag, path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("--%s: %s is not a regular file", flag, path)
	}
	return checkOutput(flag, filepath.Dir(path))
}

// openCheckpoint opens the model of a flag and tells what reading it left out or
// made up.
func openCheckpoint(flag, path string) (*checkpoints.Model, error) {
	m, err := checkpoints.Open(path)
	if err != nil {
		return nil, ofFlag(flag, err)
	}
	printNotes(path, m.Notes)
	return m, nil
}

func printNotes(path string, notes []string) {
	if common.quiet {
		return
	}
	for _, note := range notes {
		fmt.Fprintf(os.Stderr, "skive: %s: %s\n", path, note)
	}
}
