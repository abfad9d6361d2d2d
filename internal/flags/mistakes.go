package flags

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/settings"
)

// CheckCommands makes the name of an unknown command, or of an unknown subcommand, an error that
// names the nearest one.
func CheckCommands(c *cobra.Command) {
	if !c.HasSubCommands() {
		return
	}
	c.SuggestionsMinimumDistance = 2
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			return Usagef("unknown command %q, did you mean %s %s", args[0], c.CommandPath(), near[0])
		}
		return Usagef("unknown command %q; %s --help lists the commands", args[0], c.CommandPath())
	}
	for _, below := range c.Commands() {
		CheckCommands(below)
	}
}

// CheckHelp calls mistake if a command line asks for help on a command that does not exist. cobra
// would show the help on all commands.
func CheckHelp(root *cobra.Command, mistake func(error)) {
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		if err := c.ValidateArgs(c.Flags().Args()); c.HasSubCommands() && err != nil {
			mistake(err)
			return
		}
		help(c, args)
	})
}

// CheckCommand returns the error of CheckCommands if the arguments of a command line begin with an
// unknown command. cobra reads the flags first, and would only complain about these.
func CheckCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return nil
	}
	if c, _, err := root.Find(args); err != nil || c != root {
		return nil
	}
	return root.ValidateArgs(args[:1])
}

// Unparsed turns an error of pflag into a usage error that says what is expected, or which flag
// may be meant.
func Unparsed(c *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &value):
		f := value.GetFlag()
		if want, ok := wanted[f.Value.Type()]; ok {
			return Usagef("--%s: %q, expected %s", f.Name, value.GetValue(), want)
		}
		return Usagef("--%s: %w", f.Name, errors.Unwrap(value))
	case errors.As(err, &unknown) && len(unknown.GetSpecifiedName()) > 1:
		if near := nearest(c.Flags(), unknown.GetSpecifiedName()); near != "" {
			return Usagef("unknown flag --%s, did you mean --%s", unknown.GetSpecifiedName(), near)
		}
		return Usagef("unknown flag --%s; %s", unknown.GetSpecifiedName(), at(c))
	}
	return Usage{Err: err}
}

// wanted says what flags of a type take. pflag's own errors use Go's terms.
var wanted = map[string]string{
	"int": "a whole number", "uint64": "a whole number, 0 or more", "float64": "a number", "bool": "true or false",
	"duration": "a duration such as 500ms or 2s", "intSlice": "whole numbers separated by commas", "float64Slice": "numbers separated by commas",
}

// nearest returns the flag that a name is probably meant for, or "" if none is similar.
func nearest(all *pflag.FlagSet, name string) string {
	var names []string
	all.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return settings.Nearest(name, names)
}

// at says where to look up the flags of a command.
func at(c *cobra.Command) string { return c.CommandPath() + " --help lists the flags" }
