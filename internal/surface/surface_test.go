// Package surface checks what the module shows to other programs.
package surface

import (
	"encoding/json"
	"errors"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/skive-ml/skive/"

// public are the packages that other programs may import, by what the compiler exports
// of them, and their directories. Without the go command there are none.
var public = sync.OnceValues(func() (packages []*types.Package, directories map[string]string) {
	command := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export,Name,Dir", "./...")
	command.Dir = filepath.Join("..", "..")
	out, err := command.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		panic(err)
	}
	exports, directories := map[string]string{}, map[string]string{}
	var paths []string
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ ImportPath, Export, Name, Dir string }
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			panic(err)
		}
		exports[p.ImportPath] = p.Export
		if strings.HasPrefix(p.ImportPath, module) && p.Name != "main" && !strings.Contains(p.ImportPath, "/internal/") {
			paths, directories[p.ImportPath] = append(paths, p.ImportPath), p.Dir
		}
	}
	from := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, errors.New("not exported: " + path)
		}
		return os.Open(exports[path])
	})
	for _, path := range paths {
		p, err := from.Import(path)
		if err != nil {
			panic(err)
		}
		packages = append(packages, p)
	}
	return packages, directories
})

// walker looks for internal types in what a package exports.
type walker struct {
	found func(where string, of *types.TypeName)
	seen  map[types.Type]bool
}

func (w *walker) walk(where string, t types.Type) {
	if t == nil || w.seen[t] {
		return
	}
	w.seen[t] = true
	defer delete(w.seen, t)
	named := func(n *types.TypeName, arguments *types.TypeList) {
		if n.Pkg() != nil && strings.HasPrefix(n.Pkg().Path(), module+"internal/") {
			w.found(where, n)
		}
		for i := range arguments.Len() {
			w.walk(where, arguments.At(i))
		}
	}
	switch t := t.(type) {
	case *types.Alias:
		named(t.Obj(), t.TypeArgs())
		if t.Obj().Pkg() != nil && !strings.HasPrefix(t.Obj().Pkg().Path(), module) {
			return
		}
		w.walk(where, t.Rhs())
	case *types.Named:
		named(t.Obj(), t.TypeArgs())
	case *types.Pointer:
		w.walk(where, t.Elem())
	case *types.Slice:
		w.walk(where, t.Elem())
	case *types.Array:
		w.walk(where, t.Elem())
	case *types.Chan:
		w.walk(where, t.Elem())
	case *types.Map:
		w.walk(where, t.Key())
		w.walk(where, t.Elem())
	case *types.Tuple:
		for i := range t.Len() {
			w.walk(where, t.At(i).Type())
		}
	case *types.Signature:
		w.walk(where, t.Params())
		w.walk(where, t.Results())
	case *types.Struct:
		for i := range t.NumFields() {
			if f := t.Field(i); f.Exported() {
				w.walk(where+"."+f.Name(), f.Type())
			}
		}
	case *types.Interface:
		for i := range t.NumMethods() {
			if m := t.Method(i); m.Exported() {
				w.walk(where+"."+m.Name(), m.Type())
			}
		}
	}
}

// No function, field or method of a public package has a type that other programs cannot
// name.
func TestNoInternalTypesInSignatures(t *testing.T) {
	t.Parallel()
	packages, _ := public()
	if packages == nil {
		t.Skip("no go command")
	}
	for _, p := range packages {
		w := walker{seen: map[types.Type]bool{}, found: func(where string, of *types.TypeName) {
			t.Errorf("%s has the type %s of %s", where, of.Name(), strings.TrimPrefix(of.Pkg().Path(), module))
		}}
		for _, name := range p.Scope().Names() {
			o := p.Scope().Lookup(name)
			if !o.Exported() {
				continue
			}
			where := strings.TrimPrefix(p.Path(), module) + "." + name
			w.walk(where, o.Type())
			n, ok := o.(*types.TypeName)
			if !ok || n.IsAlias() {
				continue
			}
			w.walk(where, o.Type().Underlying())
			for methods, i := types.NewMethodSet(types.NewPointer(o.Type())), 0; i < methods.Len(); i++ {
				if m := methods.At(i).Obj(); m.Exported() {
					w.walk(where+"."+m.Name(), m.Type())
				}
			}
		}
	}
}

// Every public package shows how it is used.
func TestEveryPackageHasAnExample(t *testing.T) {
	t.Parallel()
	_, directories := public()
	if directories == nil {
		t.Skip("no go command")
	}
	for path, dir := range directories {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(text), "\nfunc Example") && strings.Contains(string(text), "Output:")
		}
		if !found {
			t.Errorf("%s has no Example function with its output", strings.TrimPrefix(path, module))
		}
	}
}
