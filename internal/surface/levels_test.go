package surface

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// room is the first column of a row of the table of packages.
var room = regexp.MustCompile("(?m)^\\| `([a-z/]+)` \\|")

// Imports point one way: a package imports only those of its own row and of the rows above, in the
// table of docs/architecture.md. Examples have no row, nor have internal packages that no
// other imports, since they are there for tests.
func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	var rooms []string
	for _, row := range room.FindAllStringSubmatch(string(text), -1) {
		rooms = append(rooms, row[1])
	}
	// level is the row of a package's room, -1 if it has none: of checkpoints/hub its own,
	// of data/reviews that of data.
	level := func(path string) int {
		for {
			if i := slices.Index(rooms, path); i >= 0 {
				return i
			}
			above := strings.LastIndexByte(path, '/')
			if above < 0 {
				return -1
			}
			path = path[:above]
		}
	}
	command := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	command.Dir = root
	out, err := command.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no go command")
	}
	if err != nil {
		t.Fatal(err)
	}
	imports := map[string][]string{}
	imported := map[string]bool{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, i := range p.Imports {
			if i, ours := strings.CutPrefix(i, module); ours {
				imports[path], imported[i] = append(imports[path], i), true
			}
		}
	}
	for path, of := range imports {
		if strings.HasPrefix(path, "examples/") || strings.HasPrefix(path, "internal/") && !imported[path] {
			continue
		}
		own := level(path)
		if own < 0 {
			t.Errorf("%s: no row in the table of docs/architecture.md", path)
		}
		for _, i := range of {
			if level(i) > own {
				t.Errorf("%s imports %s, which docs/architecture.md has below it", path, i)
			}
		}
	}
	for path := range imported {
		if level(path) < 0 {
			t.Errorf("%s: no row in the table of docs/architecture.md", path)
		}
	}
}
