package surface

import (
	"errors"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

//go:generate go test -run TestDependencies -write .

var write = flag.Bool("write", false, "write the lists of dependencies instead of comparing them")

// bans are modules that a package must not link, with the reason. The packages' own tests
// ban more.
var bans = map[string]map[string]string{
	"infer": {
		"gorgonia.org":             "services do not carry a framework for training",
		"github.com/spf13":         "flags belong to programs",
		"google.golang.org/grpc":   "a program without gRPC does not link it",
		"github.com/goccy/go-yaml": "an engine reads no configuration",
	},
	"cmd/skive": {
		"google.golang.org/api":  "models are fetched by HTTP alone",
		"github.com/apache/beam": "transforms for Beam are a module of their own",
	},
}

// What a binary or package links beside the standard library is a list in testdata, so that a
// new dependency is seen in review. The lists are those of Linux on amd64 without cgo.
func TestDependencies(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"cmd/skive", "infer", "serve"} {
		c := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{$.ImportPath}}{{end}}{{end}}", "./"+path)
		c.Dir = filepath.Join("..", "..")
		c.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
		out, err := c.Output()
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip("no go command")
		}
		if err != nil {
			t.Fatal(err)
		}
		packages := map[string][]string{} // by module
		for line := range strings.Lines(string(out)) {
			module, pkg, found := strings.Cut(strings.TrimSpace(line), " ")
			if !found {
				continue
			}
			for banned, reason := range bans[path] {
				if strings.HasPrefix(pkg, banned) {
					t.Errorf("%s links %s: %s", path, pkg, reason)
				}
			}
			packages[module] = append(packages[module], pkg)
		}
		list := ""
		for _, module := range slices.Sorted(maps.Keys(packages)) {
			slices.Sort(packages[module])
			list += module + "\n  " + strings.Join(packages[module], "\n  ") + "\n"
		}
		file := filepath.Join("testdata", "dependencies", strings.ReplaceAll(path, "/", "-")+".txt")
		if *write {
			if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(list), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		committed, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ReplaceAll(string(committed), "\r\n", "\n") != list {
			t.Errorf("%s links other packages than %s says; if that is meant, go generate ./internal/surface writes the list:\n%s", path, file, list)
		}
	}
}
