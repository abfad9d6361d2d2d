// Command skive makes Transformer encoders cheap on CPUs: it trains, distills,
// prunes and quantizes them, and serves the result.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/internal/interrupt"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/machine"
	"github.com/skive-ml/skive/internal/mapped"
)

// guide has the parts of help that are not lines of commands and flags.
//
//go:embed guide.yaml
var guide []byte

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	if err := machine.LimitMemory(); err != nil {
		fmt.Fprintf(os.Stderr, "skive: %v\n", err)
		os.Exit(exitFailure)
	}
	code := exitFailure
	if !interrupt.Run(func(ctx context.Context) {
		app := &skive{in: os.Stdin, out: os.Stdout, errs: os.Stderr, alone: true}
		code = app.run(ctx, os.Args[1:])
	}) {
		fmt.Fprintln(os.Stderr, "skive: interrupted")
		os.Exit(exitFailure)
	}
	os.Exit(code)
}

// run executes the command line and returns the exit code.
func (app *skive) run(ctx context.Context, args []string) (code int) {
	// Reading a mapped model file that was cut off faults.
	debug.SetPanicOnFault(true)
	defer func() {
		if r := recover(); r != nil {
			code = exitFailure
			if fault := mapped.Fault(r); fault != nil {
				fmt.Fprintf(app.errs, "skive: %v\n", fault)
				return
			}
			fmt.Fprintf(app.errs, "skive: internal error: %v\n", r)
		}
	}()
	defer app.close()
	root := app.newRoot()
	if len(args) > 1 && args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	root.SetArgs(args)
	var mistake error
	flags.CheckHelp(root, func(err error) { mistake = err })
	c, err := root, flags.CheckCommand(root, args)
	if err == nil {
		c, err = root.ExecuteContextC(ctx)
	}
	if err == nil {
		err = mistake
	}
	if !app.common.started.IsZero() {
		fmt.Fprintf(app.errs, "skive: took %v\n", time.Since(app.common.started).Round(time.Millisecond))
	}
	if err == nil {
		return 0
	}
	err = flags.Locate(c.Flags(), err)
	text := flags.OneLine(err)
	if errors.Is(err, context.Canceled) {
		text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
	}
	fmt.Fprintf(app.errs, "skive: %s%s\n", text, advice(c, args, err))
	var usage flags.Usage
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

func (app *skive) newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "skive",
		Short:         "Make Transformer encoders cheap on CPUs",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       checkpoints.Version + machine.Build(),
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if err := kernels.ISAError(); err != nil {
				return flags.Usage{Err: err}
			}
			if err := flags.CheckValues(c.Flags()); err != nil {
				return err
			}
			if err := flags.CheckTogether(c.Flags()); err != nil {
				return err
			}
			if err := app.common.check(); err != nil {
				return err
			}
			if err := flags.CheckRequired(c); err != nil {
				return err
			}
			if app.common.verbose {
				app.common.started = time.Now()
				fmt.Fprintf(app.errs, "skive %s: --threads %d, %s\n", checkpoints.Version, app.common.threads, compress.ThisMachine())
			}
			return nil
		},
	}
	root.SetIn(app.in)
	root.SetOut(app.out)
	root.SetErr(app.errs)
	root.SetVersionTemplate("skive {{.Version}}\n")
	app.common.register(root)
	root.SetFlagErrorFunc(flags.Unparsed)
	for _, c := range []*cobra.Command{
		app.newCompress(), app.newTrain(), app.newDistill(), app.newPrune(), app.newQuantize(), app.newExport(),
		app.newEval(), app.newPredict(), app.newScore(), app.newServe(), app.newReference(), app.newBench(), app.newInspect(), app.newPull(), app.newData(),
	} {
		flags.CheckArguments(c)
		root.AddCommand(c)
	}
	flags.CheckCommands(root)
	if err := flags.ApplyGuide(root, guide); err != nil {
		panic(err)
	}
	root.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	return root
}
