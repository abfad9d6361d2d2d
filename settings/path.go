package settings

import (
	"os"
	"strings"
)

// NamedPath splits an argument of a command line, PATH or NAME=PATH, and tells which it is. An
// argument that exists as a path is a path, whatever it looks like.
func NamedPath(arg string) (name, path string, named bool) {
	name, path, named = strings.Cut(arg, "=")
	if _, missing := os.Stat(arg); !named || missing == nil {
		return "", arg, false
	}
	return name, path, true
}
