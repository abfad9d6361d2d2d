// Package shell writes commands as they are typed in a shell.
package shell

import (
	"regexp"
	"strings"
)

// plainWord is what a shell takes as it is.
var plainWord = regexp.MustCompile(`^[\w./:=,@%+-]+$`)

// Line is a command of a program with its arguments, quoted where they have to be.
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
