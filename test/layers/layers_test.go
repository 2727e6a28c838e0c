// Package layers_test holds the code to the house rules that need no judgement:
// which package imports which, and what code does only in some places.
package layers_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// TestLayers walks every Go file of the module.
func TestLayers(t *testing.T) {
	c := newChecker()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			nested, _ := filepath.Glob(filepath.Join(name, "go.mod"))
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules" || len(nested) > 0) {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") {
			return c.add(rel, name, nil)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.check()
	for _, s := range c.found {
		t.Error(s)
	}
	for _, s := range c.stale() {
		t.Errorf("rules_test.go: nothing needs it any more: %s", s)
	}
	if len(c.files) < 50 {
		t.Errorf("only %d files: is the walk whole?", len(c.files))
	}
}

// TestProgramsLinkOnlyWhatTheyUse asks the go command what each program links.
func TestProgramsLinkOnlyWhatTheyUse(t *testing.T) {
	for _, rule := range linksOnly {
		for _, program := range rule.programs {
			linked := linkedBy(t, program)
			used := func(may string) bool {
				return slices.ContainsFunc(linked, func(dep string) bool { return dep == module+may || within(dep, may) })
			}
			for _, dep := range linked {
				ours, isOurs := strings.CutPrefix(dep, module)
				known := func(may string) bool { return ours == may || !isOurs && within(dep, may) }
				switch standard := !strings.Contains(strings.Split(dep, "/")[0], "."); {
				case ours == program:
				case dep == "html/template" || dep == "text/template":
					t.Errorf("%s links %s: with it the linker drops no method (docs/performance.md)", program, dep)
				case !standard && !slices.ContainsFunc(rule.links, known):
					t.Errorf("%s links %s: %s", program, dep, rule.because)
				}
			}
			for _, may := range rule.links {
				if !used(may) {
					t.Errorf("rules_test.go: %s does not link %s", program, may)
				}
			}
		}
	}
}

// linkedBy are the packages of a program, as sam.mk builds it.
func linkedBy(t *testing.T, program string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags", "lambda.norpc", "-deps", "./"+program)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr = root, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, stderr.String())
	}
	return strings.Fields(string(out))
}

// checker holds the files of the module against the rules.
type checker struct {
	fset  *token.FileSet
	files []file
	vars  map[string]map[string]bool // folder -> its package variables
	found []string
	used  map[string]bool // exceptions that something needed
}

type file struct {
	path, folder string
	ast          *ast.File
	test         bool
}

func newChecker() *checker {
	return &checker{fset: token.NewFileSet(), vars: map[string]map[string]bool{}, used: map[string]bool{}}
}

// add parses a file: name is read when src is nil.
func (c *checker) add(rel, name string, src any) error {
	f, err := parser.ParseFile(c.fset, name, src, parser.ParseComments)
	if err != nil {
		return fmt.Errorf("parse %s: %w", rel, err)
	}
	folder := path.Dir(rel)
	c.files = append(c.files, file{rel, folder, f, strings.HasSuffix(rel, "_test.go") || strings.HasPrefix(rel, "test/")})
	if c.vars[folder] == nil {
		c.vars[folder] = map[string]bool{}
	}
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
			for _, s := range g.Specs {
				for _, n := range s.(*ast.ValueSpec).Names {
					c.vars[folder][n.Name] = n.Name != "_"
				}
			}
		}
	}
	return nil
}

func (c *checker) check() {
	for _, f := range c.files {
		for word, because := range neverAnywhere {
			ast.Inspect(f.ast, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && id.Name == word {
					c.report(f, n, word+": "+because)
				}
				return true
			})
		}
		c.imports(f)
		if f.test {
			continue
		}
		c.declarations(f)
		c.uses(f)
		if strings.HasPrefix(f.path, "functions/") {
			if n := c.fset.File(f.ast.Pos()).LineCount(); n > 30 || path.Base(f.path) != "main.go" || f.ast.Name.Name != "main" {
				c.report(f, f.ast, "a function is one main.go of at most 30 lines: what it does stands in shared/")
			}
		}
	}
}

func (c *checker) report(f file, n ast.Node, text string) {
	c.found = append(c.found, fmt.Sprintf("%s:%d: %s", f.path, c.fset.Position(n.Pos()).Line, text))
}

// imports holds a file against mayImport and onlyIn. What a test imports is its
// own affair, but for assertion libraries and the like.
func (c *checker) imports(f file) {
	known := f.test
	for _, spec := range f.ast.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		for _, rule := range onlyIn {
			if (imported == rule.imports || !rule.alone && within(imported, rule.imports)) && (!f.test || rule.tests) && !c.allowed(f, rule.imports, rule.packages) {
				c.report(f, spec, "imports "+imported+": "+rule.because)
			}
		}
	}
	if f.test {
		return
	}
	for _, rule := range mayImport {
		if !slices.Contains(rule.packages, f.folder) {
			continue
		}
		known = true
		for _, spec := range f.ast.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			rel, ours := strings.CutPrefix(imported, module)
			if ours && !slices.Contains(rule.imports, rel) && (!slices.Contains(rule.imports, "*") || !strings.HasPrefix(rel, "shared/")) {
				c.report(f, spec, "imports "+rel+": "+rule.because)
			}
		}
	}
	if !known {
		c.report(f, f.ast, "the package has no line in rules_test.go")
	}
}

// declarations finds init, and package variables that are or hold state.
func (c *checker) declarations(f file) {
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				c.report(f, d, "init: a package does nothing by being linked")
			}
		case *ast.GenDecl:
			if d.Tok != token.VAR {
				continue
			}
			for _, s := range d.Specs {
				v := s.(*ast.ValueSpec)
				embedded := len(v.Values) == 0 && (directive(d.Doc) || directive(v.Doc))
				if v.Names[0].Name != "_" && !embedded && (len(v.Values) == 0 || slices.ContainsFunc(v.Values, isState)) {
					c.report(f, v, "var "+v.Names[0].Name+": package state; errors, tables and regular expressions are the only variables")
				}
			}
		}
	}
}

func directive(g *ast.CommentGroup) bool {
	return g != nil && slices.ContainsFunc(g.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// isState: the value can change behind a constant name.
func isState(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CallExpr:
		if _, conversion := e.Fun.(*ast.ArrayType); conversion {
			return false
		}
		return !slices.Contains(startsAs, name(e.Fun))
	case *ast.CompositeLit:
		return strings.HasPrefix(name(e.Type), "sync.") || strings.HasPrefix(name(e.Type), "atomic.")
	case *ast.UnaryExpr:
		return e.Op == token.AND
	case *ast.BasicLit, *ast.BinaryExpr, *ast.SelectorExpr, *ast.FuncLit:
		return false
	}
	return true
}

// uses finds names of notUsed, writes to package variables, and goroutines.
func (c *checker) uses(f file) {
	called := map[ast.Expr]bool{}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			called[n.Fun] = true
			if id, ok := n.Fun.(*ast.Ident); ok {
				c.use(f, n, id.Name, true)
				if (id.Name == "delete" || id.Name == "clear") && c.isPackageVar(f, n.Args[0]) {
					c.report(f, n, "changes a package variable")
				}
			}
		case *ast.SelectorExpr:
			c.use(f, n, name(n), called[n])
			if _, ours := n.X.(*ast.Ident); !ours || !imported(f, name(n.X)) {
				c.use(f, n, "."+n.Sel.Name, called[n])
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if n.Tok != token.DEFINE && c.isPackageVar(f, left) {
					c.report(f, n, "changes a package variable")
				}
			}
		case *ast.IncDecStmt:
			if c.isPackageVar(f, n.X) {
				c.report(f, n, "changes a package variable")
			}
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && (isSecret(n.X) || isSecret(n.Y)) {
				c.report(f, n, n.Op.String()+" of a secret: Equal compares in constant time")
			}
		case *ast.UnaryExpr:
			if n.Op == token.AND && c.isPackageVar(f, n.X) {
				c.report(f, n, "hands out the address of a package variable")
			}
		case *ast.GoStmt:
			if !strings.HasPrefix(f.path, "cmd/") {
				c.report(f, n, "go: no goroutine outlives a request; sync.WaitGroup.Go shows that somebody waits")
			}
		}
		return true
	})
}

// isSecret: a call of Reveal.
func isSecret(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	return ok && strings.HasSuffix(name(call.Fun), ".Reveal")
}

func (c *checker) use(f file, n ast.Node, used string, called bool) {
	for _, rule := range notUsed {
		if slices.Contains(rule.names, used) && (called || !rule.call) && !c.allowed(f, rule.names[0], rule.but) {
			c.report(f, n, strings.TrimPrefix(used, ".")+": "+rule.because)
		}
	}
}

// allowed reports whether places name f, and remembers that the one was needed.
func (c *checker) allowed(f file, rule string, places []string) bool {
	for _, p := range places {
		folder, below := strings.CutSuffix(p, "/...")
		if p == f.folder || p == f.path || below && within(f.folder, folder) {
			c.used[rule+" in "+p] = true
			return true
		}
	}
	return false
}

// stale are exceptions for files and packages of shared/ that nothing needed.
func (c *checker) stale() []string {
	var out []string
	see := func(rule string, places []string) {
		for _, p := range places {
			if strings.HasPrefix(p, "shared/") && strings.HasSuffix(p, ".go") && !c.used[rule+" in "+p] {
				out = append(out, rule+" in "+p)
			}
		}
	}
	for _, r := range onlyIn {
		see(r.imports, r.packages)
	}
	for _, r := range notUsed {
		see(r.names[0], r.but)
	}
	return out
}

// isPackageVar follows x.y[i] to x, and asks whether that is a variable of the
// package rather than of a function.
func (c *checker) isPackageVar(f file, e ast.Expr) bool {
	for {
		switch x := e.(type) {
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.Ident:
			if !c.vars[f.folder][x.Name] {
				return false
			}
			if x.Obj == nil { // of another file of the package
				return true
			}
			_, spec := x.Obj.Decl.(*ast.ValueSpec)
			return spec && slices.ContainsFunc(f.ast.Decls, func(d ast.Decl) bool {
				return d.Pos() <= x.Obj.Pos() && x.Obj.Pos() < d.End() && isGen(d)
			})
		default:
			return false
		}
	}
}

func isGen(d ast.Decl) bool { _, ok := d.(*ast.GenDecl); return ok }

// imported reports whether x is the name of an import of f.
func imported(f file, x string) bool {
	return slices.ContainsFunc(f.ast.Imports, func(s *ast.ImportSpec) bool {
		if s.Name != nil {
			return s.Name.Name == x
		}
		p, _ := strconv.Unquote(s.Path.Value)
		return path.Base(p) == x
	})
}

func name(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return name(e.X) + "." + e.Sel.Name
	}
	return ""
}

// within reports whether p is the package or folder below, or lies in it.
func within(p, below string) bool { return p == below || strings.HasPrefix(p, below+"/") }

// TestEachRuleFinds breaks every kind of rule once, beside code that may stand.
func TestEachRuleFinds(t *testing.T) {
	for _, test := range []struct{ path, src, want string }{
		{"shared/keeper/x.go", `import "` + module + `shared/bolt"`, "imports shared/bolt"},
		{"shared/web/x.go", `import "` + module + `shared/dynamo"`, "imports shared/dynamo"},
		{"shared/dynamo/x.go", `import "` + module + `shared/bolt"`, "imports shared/bolt"},
		{"shared/util/x.go", ``, "no line"},
		{"shared/keeper/x.go", `import "net/http"`, "imports net/http"},
		{"shared/keeper/x.go", `import "net/http/cookiejar"`, "imports net/http/cookiejar"},
		{"shared/keeper/x.go", `import "net/url"`, ""},
		{"shared/web/x.go", `import "github.com/aws/smithy-go"`, "imports github.com/aws/smithy-go"},
		{"shared/seal/x.go", `import "math/rand/v2"`, "imports math/rand/v2"},
		{"shared/seal/x_test.go", `import "github.com/stretchr/testify/require"`, "testing alone"},
		{"shared/seal/x_test.go", `import "math/rand/v2"`, ""},
		{"shared/seal/x.go", `import "log"`, "log/slog"},
		{"shared/seal/x.go", `import "log/slog"`, ""},
		{"shared/seal/x.go", `func init() {}`, "init:"},
		{"shared/seal/x.go", `type t struct{}; func (t) init() {}`, ""},
		{"shared/seal/x.go", `var n int`, "package state"},
		{"shared/seal/x.go", `var m = make(map[string]int)`, "package state"},
		{"shared/seal/x.go", `var p = &x{}`, "package state"},
		{"shared/seal/x.go", `var mu = sync.Mutex{}`, "package state"},
		{"shared/seal/x.go", `var now = time.Now()`, "package state"},
		{"shared/seal/x.go", `var a, b = 1, new(int)`, "package state"},
		{"shared/seal/x.go", `var e = errors.New("x"); var _ I = T{}; var b = []byte("x")` + "\n//go:embed x\nvar f embed.FS", ""},
		{"shared/seal/x.go", `var t = []int{1}; func f() { t[0] = 2 }`, "changes a package variable"},
		{"shared/seal/x.go", `var n = 1; func f() { n++ }`, "changes a package variable"},
		{"shared/seal/x.go", `var n = 1; func f() { g(&n) }`, "the address"},
		{"shared/seal/x.go", `var m = map[int]int{}; func f() { delete(m, 1) }`, "changes a package variable"},
		{"shared/seal/x.go", `var n = 1; func f() { n := 2; n = 3; _ = n }`, ""},
		{"shared/seal/x.go", `var n = 1; func f(n int) { var m = n; n, m = m, n }`, ""},
		{"shared/seal/x.go", `import "time"; func f() { g(time.Now()) }`, "clock is handed in"},
		{"shared/seal/x.go", `import "time"; func f() { now = time.Now }`, ""},
		{"shared/seal/x.go", `import "time"; func f() { time.Since(t) }`, "clock is handed in"},
		{"shared/seal/x.go", `import "os"; func f() { os.Getenv("x") }`, "environment"},
		{"shared/seal/x.go", `import "os"; func f() { g(os.Getenv) }`, "environment"},
		{"shared/app/x.go", `import "os"; func f() { os.Getenv("x") }`, ""},
		{"shared/app/x.go", `import "os"; func f() { os.Exit(1) }`, "main decides"},
		{"functions/logout/main.go", `import "log"; func f() { log.Fatal(1) }`, "main decides"},
		{"cmd/keepin/x.go", `import "os"; func f() { os.Exit(1) }`, ""},
		{"shared/seal/x.go", `func f() { panic(1) }`, "panic:"},
		{"shared/keeper/x.go", `func f(s T) { s.Reveal() }`, "Reveal:"},
		{"shared/keeper/x.go", `func f() { g.h().Reveal() }`, "Reveal:"},
		{"shared/web/members.go", `func f(s T) { s.Reveal() }`, ""},
		{"shared/web/login.go", `func f(s T) { g(s.Reveal) }`, "Reveal:"},
		{"shared/session/x.go", `func f(s, t T) bool { return s.x.Reveal() == t }`, "constant time"},
		{"shared/session/x.go", `func f(s, t T) bool { return t != s.Reveal() }`, "constant time"},
		{"shared/session/x.go", `func f(s, t T) bool { return s.Equal(t) }`, ""},
		{"shared/web/x.go", `import "net/http"; func f() { http.DefaultClient.Do(r) }`, "a deadline"},
		{"shared/web/x.go", `import "log/slog"; func f() { slog.Info("x") }`, "handed in"},
		{"shared/web/x.go", `func f() { go g() }`, "outlives"},
		{"shared/web/x_test.go", `var c = tls.Config{InsecureSkipVerify: true}`, "certificates"},
		{"test/e2e/x.go", `var n int; func f() { time.Now() }`, ""},
		{"functions/logout/other.go", ``, "one main.go"},
		{"functions/logout/main.go", strings.Repeat("\n", 31), "at most 30 lines"},
	} {
		c := newChecker()
		pkg := path.Base(path.Dir(test.path))
		if strings.HasPrefix(test.path, "functions/") {
			pkg = "main"
		}
		src := "package " + pkg + ";" + test.src // semicolons part declarations as well as lines do
		if err := c.add(test.path, test.path, src); err != nil {
			t.Errorf("%s: %v", test.src, err)
			continue
		}
		c.check()
		found := strings.Join(c.found, "\n")
		if test.want == "" && found != "" || test.want != "" && !strings.Contains(found, test.want) {
			t.Errorf("%s: %s: got %q, want %q", test.path, test.src, found, test.want)
		}
	}
}
