package head

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// No package asks which head it has before it: what follows from a head is a fact of
// it or a row of the package's table, so that a new head is found by none that was
// forgotten.
func TestHeadsAreNotCompared(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, name := range []string{"SingleLabel", "MultiLabel", "Regression", "MultipleChoice", "TokenClassification", "MaskedLM"} {
		names[name] = true
	}
	isKind := func(e ast.Expr) bool {
		s, ok := e.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		x, ok := s.X.(*ast.Ident)
		return ok && x.Name == "head" && names[s.Sel.Name]
	}
	files, found := token.NewFileSet(), 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || path != ".." && strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || filepath.Dir(path) == filepath.Join("..", "head") {
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			var compared []ast.Expr
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op == token.EQL || n.Op == token.NEQ {
					compared = []ast.Expr{n.X, n.Y}
				}
			case *ast.CaseClause:
				compared = n.List
			case *ast.KeyValueExpr:
				if isKind(n.Key) {
					found++
				}
			}
			for _, e := range compared {
				if isKind(e) {
					t.Errorf("%s compares a head: let it ask for a fact of the head, or have a row for it in a table", files.Position(e.Pos()))
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("no table was found")
	}
}
