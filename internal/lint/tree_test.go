package lint

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/rookery-im/rookery"

// source is one parsed Go file.
type source struct {
	path      string // relative to the root, with slashes
	dir       string // its folder, "." for the root
	test      bool   // a test, or of a package for tests such as storetest
	generated bool
	lines     int
	fset      *token.FileSet
	ast       *ast.File
}

// imports are the import paths of the file.
func (s *source) imports() []string {
	var paths []string
	for _, spec := range s.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

// at is where a node stands, for people.
func (s *source) at(n ast.Node) string {
	pos := s.fset.Position(n.Pos())
	return s.path + ":" + strconv.Itoa(pos.Line)
}

// selector returns "pkg", "Name" where the expression is pkg.Name and pkg is
// an import of this file, by its import path.
func (s *source) selector(e ast.Expr) (importPath, name string) {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok || x.Obj != nil {
		return "", ""
	}
	for _, spec := range s.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		local := path.Base(p)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		if local == x.Name {
			return p, sel.Sel.Name
		}
	}
	return "", ""
}

// under says whether dir is one of the folders or below one.
func under(dir string, folders ...string) bool {
	for _, f := range folders {
		if f == "..." || dir == f || strings.HasPrefix(dir, f+"/") {
			return true
		}
	}
	return false
}

func parseSource(name string, text []byte) (*source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	return &source{
		path: name, dir: path.Dir(name),
		test:      strings.HasSuffix(name, "_test.go") || strings.HasSuffix(path.Dir(name), "test"),
		generated: ast.IsGenerated(file),
		lines:     bytes.Count(text, []byte("\n")),
		fset:      fset, ast: file,
	}, nil
}

// skipped are folders that hold no code of ours, or none that is kept.
var skipped = map[string]bool{"bin": true, "data": true, "zz": true, "testdata": true, "node_modules": true}

// tree parses every Go file of the repository.
func tree(t *testing.T) []*source {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var files []*source
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != root && (skipped[d.Name()] || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil && p != root {
				return filepath.SkipDir // a module of its own, such as a comparison of engines
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		file, err := parseSource(filepath.ToSlash(rel), text)
		if err != nil {
			return err
		}
		files = append(files, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d Go files below %s: the walk is broken", len(files), root)
	}
	return files
}
