package settings

import (
	"os"
	"strings"
)

// NamedPath divides an argument of a command line: PATH, or NAME=PATH, and says which it
// is. What is there is a path, whatever its name.
func NamedPath(arg string) (name, path string, named bool) {
	name, path, named = strings.Cut(arg, "=")
	if _, missing := os.Stat(arg); !named || missing == nil {
		return "", arg, false
	}
	return name, path, true
}
