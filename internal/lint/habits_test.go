package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

// banned standard packages: where they may not be imported, and what instead.
var banned = []struct {
	prefix  string
	applies func(*source) bool
	instead string
}{
	{"log", func(s *source) bool { return !under(s.dir, "cmd") && !s.test }, "take a *slog.Logger: the package logger is shared state, and its Fatal ends a process that is not the library's"},
	{"math/rand", inCore, "randomness comes into a core as an input, so that a seed replays it"},
	{"crypto/rand", inCore, "identifiers come into a core as inputs"},
	{"os", inCore, "a core does no I/O: return an effect"},
	{"net", inCore, "a core does no I/O: return an effect"},
	{"log/slog", inCore, "a core returns what happened; its shell logs it"},
	{"sync", inCore, "a core is single-threaded: whoever calls it owns it"},
	{"context", inCore, "nothing in a core blocks, so nothing can be cancelled"},
	{"unsafe", func(s *source) bool { return !under(s.dir, "transport", "persistence") && isLibrary(s) }, "only code that talks to the kernel has a reason"},
}

// calls that are banned, by import path and name.
var calls = []struct {
	pkg, name string
	applies   func(*source) bool
	instead   string
}{
	{"time", "Sleep", func(s *source) bool {
		return (s.test || under(s.dir, "e2e")) && !slices.Contains(s.imports(), "testing/synctest")
	}, "wait for a condition with a deadline, tick the core, or use testing/synctest: a sleep is either too short or too long"},
	{"time", "Now", inCore, "time comes into a core as an input"},
	{"time", "Since", inCore, "time comes into a core as an input"},
	{"time", "Until", inCore, "time comes into a core as an input"},
	{"time", "After", inCore, "return a deadline; the shell has the clock"},
	{"time", "AfterFunc", inCore, "return a deadline; the shell has the clock"},
	{"time", "NewTimer", inCore, "return a deadline; the shell has the clock"},
	{"time", "NewTicker", inCore, "return a deadline; the shell has the clock"},
	{"os", "Exit", func(s *source) bool { return !under(s.dir, "cmd") && !s.test }, "return an error: only cmd may end the process"},
	{"log/slog", "SetDefault", anywhere, "pass the logger"},
	{"log/slog", "Default", anywhere, "pass the logger"},
	{"github.com/prometheus/client_golang/prometheus", "MustRegister", anywhere, "registries are passed in: NewMetrics(prometheus.Registerer)"},
	{"github.com/prometheus/client_golang/prometheus", "Register", anywhere, "registries are passed in: NewMetrics(prometheus.Registerer)"},
}

func inCore(s *source) bool    { return slices.Contains(cores, s.dir) && !s.test }
func anywhere(s *source) bool  { return true }
func isLibrary(s *source) bool { return !s.test && !s.generated }

// grabBags are package names that say nothing about what belongs inside.
var grabBags = []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "shared", "base"}

const fileLines = 600 // hard limit; about 400 is the aim

func checkStdlib(s *source, p string) []string {
	for _, b := range banned {
		if (p == b.prefix || strings.HasPrefix(p, b.prefix+"/") && b.prefix != "log") && b.applies(s) {
			return []string{fmt.Sprintf("%s imports %s: %s", s.path, p, b.instead)}
		}
	}
	return nil
}

// checkHabits returns what a file does against the rules, its imports aside.
func checkHabits(s *source) []string {
	var faults []string
	report := func(n ast.Node, format string, args ...any) {
		faults = append(faults, s.at(n)+": "+fmt.Sprintf(format, args...))
	}
	if s.generated {
		return nil
	}
	if name := s.ast.Name.Name; slices.Contains(grabBags, name) || slices.Contains(grabBags, path.Base(s.dir)) {
		report(s.ast.Name, "package %s: name the domain noun, a grab bag grows without end", name)
	}
	if s.lines > fileLines {
		report(s.ast.Name, "%d lines, more than %d: split it by what its parts are about", s.lines, fileLines)
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				report(n, "init: state that fills itself by import cannot be tested or had twice; build it in a constructor")
			}
		case *ast.GoStmt:
			if inCore(s) {
				report(n, "a goroutine in a core: return an effect, its shell owns goroutines")
			}
		case *ast.CallExpr:
			checkCall(s, n, report)
		}
		return true
	})
	return faults
}

func checkCall(s *source, call *ast.CallExpr, report func(ast.Node, string, ...any)) {
	if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "panic" && id.Obj == nil && isLibrary(s) && !under(s.dir, "internal/invariant") {
		report(call, "panic: return an error, or use internal/invariant where only a bug of ours can lead here")
	}
	pkg, name := s.selector(call.Fun)
	for _, b := range calls {
		if pkg == b.pkg && name == b.name && b.applies(s) {
			report(call, "%s.%s: %s", path.Base(pkg), name, b.instead)
		}
	}
}

// checkState returns the package variables that are written after their
// declaration, or exist to be. files are all files of one package.
func checkState(files []*source) []string {
	vars := map[string]*ast.ValueSpec{}
	var faults []string
	for _, s := range files {
		for _, decl := range s.ast.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				vs := spec.(*ast.ValueSpec)
				for _, name := range vs.Names {
					if name.Name != "_" {
						vars[name.Name] = vs
					}
				}
				if pkg, name := s.selector(typeOf(vs)); (pkg == "sync" && name != "Pool") || pkg == "sync/atomic" {
					faults = append(faults, fmt.Sprintf("%s: package variable of type %s.%s guards state that all instances share: put both into a struct", s.at(vs), path.Base(pkg), name))
				}
			}
		}
	}
	for _, s := range files {
		written := func(n ast.Node, e ast.Expr) {
			id := rootIdent(e)
			if id == nil || vars[id.Name] == nil || (id.Obj != nil && id.Obj.Decl != vars[id.Name]) {
				return
			}
			faults = append(faults, fmt.Sprintf("%s: writes package variable %s: state that all instances share breaks parallel tests and second nodes in one process; put it into a struct", s.at(n), id.Name))
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, l := range n.Lhs {
						written(n, l)
					}
				}
			case *ast.IncDecStmt:
				written(n, n.X)
			}
			return true
		})
	}
	return faults
}

// typeOf is the declared type of a variable, or nil.
func typeOf(vs *ast.ValueSpec) ast.Expr {
	switch t := vs.Type.(type) {
	case *ast.IndexExpr: // atomic.Pointer[T]
		return t.X
	default:
		return t
	}
}

// rootIdent is x of x, x.f, x[i] and *x.
func rootIdent(e ast.Expr) *ast.Ident {
	for {
		switch v := e.(type) {
		case *ast.Ident:
			return v
		case *ast.SelectorExpr:
			e = v.X
		case *ast.IndexExpr:
			e = v.X
		case *ast.StarExpr:
			e = v.X
		case *ast.ParenExpr:
			e = v.X
		default:
			return nil
		}
	}
}

func TestHabits(t *testing.T) {
	packages := map[string][]*source{}
	for _, s := range tree(t) {
		for _, fault := range checkHabits(s) {
			t.Error(fault)
		}
		if !s.generated && !s.test {
			packages[s.dir+" "+s.ast.Name.Name] = append(packages[s.dir+" "+s.ast.Name.Name], s)
		}
	}
	for _, files := range packages {
		for _, fault := range checkState(files) {
			t.Error(fault)
		}
	}
}
