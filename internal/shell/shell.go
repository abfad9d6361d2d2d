// Package shell writes commands as one types them in a shell.
package shell

import (
	"regexp"
	"strings"
)

// plainWord matches words that need no quotes.
var plainWord = regexp.MustCompile(`^[\w./:=,@%+-]+$`)

// Line returns a program's command with its arguments, quoted where needed.
func Line(program string, args []string) string {
	line := program
	for _, arg := range args {
		if !plainWord.MatchString(arg) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		line += " " + arg
	}
	return line
}
