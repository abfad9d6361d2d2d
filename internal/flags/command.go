package flags

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// CheckArguments turns cobra's complaints about the arguments of a command and its subcommands
// into usage errors that say what is expected. It also refuses empty arguments.
func CheckArguments(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			if err != nil && !c.HasSubCommands() && strings.HasPrefix(err.Error(), "unknown command") {
				err = fmt.Errorf("unexpected argument %q", args[0]) // cobra.NoArgs calls it a command
			}
			if err == nil && slices.Contains(args, "") {
				err = errors.New("an argument is empty")
			}
			if err != nil {
				return Usagef("%w; usage: %s", err, c.UseLine())
			}
			return nil
		}
	}
	for _, below := range c.Commands() {
		CheckArguments(below)
	}
}

// Require reports the first of the named flags that is missing.
func Require(c *cobra.Command, names ...string) error {
	for _, name := range names {
		if !c.Flags().Changed(name) {
			return Usagef("--%s is required; %s", name, at(c))
		}
	}
	return nil
}

// RequireOne reports that none of the named flags is given.
func RequireOne(c *cobra.Command, names ...string) error {
	if slices.ContainsFunc(names, c.Flags().Changed) {
		return nil
	}
	return Usagef("%s is required; %s", either(names), at(c))
}

// Named adds the flag to an error, if it is one.
func Named(flag string, err error) error {
	if err == nil || flag == "" {
		return err
	}
	return fmt.Errorf("--%s: %w", flag, err)
}

// maxMessage is how many bytes of an error are printed. The faulty part of a file may be a line
// of megabytes.
const maxMessage = 2000

// OneLine returns the text of an error in one line; joined errors have one line each.
func OneLine(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if len(text) <= maxMessage {
		return text
	}
	half := maxMessage / 2
	return strings.ToValidUTF8(text[:half], "") + " ... " + strings.ToValidUTF8(text[len(text)-half:], "")
}
