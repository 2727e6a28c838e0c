// Package limits_test holds docs/limits.md to the code: each figure on that page
// names where it stands.
package limits_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

const root = "../.."

var row = regexp.MustCompile("(?m)^\\| .* \\| ([^|]+) \\| `([^`:]+):([^`]+)` \\|$")

func TestEveryFigureOnThePageIsTheCodes(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/limits.md"))
	must(t, err)
	rows := row.FindAllStringSubmatch(string(page), -1)
	if len(rows) < 40 {
		t.Fatalf("only %d figures were found on the page: is its form another?", len(rows))
	}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| ") && line != "| what | figure | where |\n" && !row.MatchString(line) {
			t.Errorf("%q names no figure and its place", line)
		}
	}
	for _, r := range rows {
		says, file, name := r[1], r[2], r[3]
		want, err := figure(says)
		if err != nil {
			t.Errorf("%s:%s: %q: %v", file, name, says, err)
			continue
		}
		got, err := read(file, name)
		if err != nil {
			t.Errorf("%s:%s: %v", file, name, err)
		} else if got != want {
			t.Errorf("%s:%s is %d, and %s on the page", file, name, got, says)
		}
	}
}

// TestEveryWaitIsOnThePage: a deadline of a package that calls out is on the
// page, or is said here to be none.
func TestEveryWaitIsOnThePage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/limits.md"))
	must(t, err)
	const none = "maxLifetime leeway keysLifetime devSweepEvery"
	found := map[string]bool{}
	for _, dir := range []string{"shared/linkedin", "shared/dynamo", "shared/secrets", "shared/events", "shared/awsenv", "shared/awsjson", "shared/web", "shared/lambdahttp", "shared/app", "cmd/keepin"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		must(t, err)
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") || strings.HasSuffix(f, "clock_lambdahost.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
			must(t, err)
			for _, d := range parsed.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.CONST {
					continue
				}
				for _, s := range g.Specs {
					v := s.(*ast.ValueSpec)
					if len(v.Values) != 1 || !isDuration(v.Values[0]) {
						continue
					}
					name := v.Names[0].Name
					found[name] = true
					here := dir + "/" + filepath.Base(f) + ":" + name + "`"
					if !strings.Contains(string(page), here) && !slices.Contains(strings.Fields(none), name) {
						t.Errorf("%s is not on docs/limits.md", strings.TrimSuffix(here, "`"))
					}
				}
			}
		}
	}
	for _, name := range strings.Fields(none) {
		if !found[name] {
			t.Errorf("%s is said to be none, and is not there", name)
		}
	}
}

// TestTheWaitsFitIntoEachOther: what must be longer than another is.
func TestTheWaitsFitIntoEachOther(t *testing.T) {
	get := func(file, name string) time.Duration {
		v, err := read(file, name)
		must(t, err)
		return time.Duration(v)
	}
	call := get("shared/linkedin/client.go", "defaultTimeout")
	if known := get("shared/keeper/work.go", "callFor"); known != call {
		t.Errorf("the keeper believes that a call takes %v at most, and it may take %v", known, call)
	}
	if lease := get("shared/keeper/keeper.go", "leaseFor"); lease < 4*call {
		t.Errorf("the lease of %v is shorter than four calls of %v", lease, call)
	}
	if one, all := get("shared/linkedin/client.go", "revokeTimeout"), get("shared/keeper/keeper.go", "revokeFor"); one > all {
		t.Errorf("one revocation has %v, all of them %v", one, all)
	}
	answer := get("shared/lambdahttp/lambdahttp.go", "answerNeeds")
	if f := get("template.yaml", "ValidateFunction.Timeout"); get("shared/dynamo/dynamo.go", "c.Timeout") > f-answer {
		t.Errorf("validate has %v, too little for a read of the table", f)
	}
	signIn := call + get("shared/linkedin/client.go", "extraTimeout")
	if f := get("template.yaml", "CallbackFunction.Timeout"); signIn > f-answer || signIn > get("shared/web/callback.go", "signInTime") {
		t.Errorf("callback has %v, too little for a sign-in of %v", f, signIn)
	}
}

// figure reads "10 s", "5 min" or "32": nanoseconds, or the number.
func figure(s string) (int64, error) {
	number, unit, _ := strings.Cut(s, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, err
	}
	of := map[string]time.Duration{"": 1, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour}[unit]
	if of == 0 {
		return 0, fmt.Errorf("no unit is named %q", unit)
	}
	return n * int64(of), nil
}

// read is the one value that name is given in file: a constant, a field, or a
// variable, there or ("f.Name") in the function f; of template.yaml a resource's
// property, or a parameter's.
func read(file, name string) (int64, error) {
	if file == "template.yaml" {
		return readTemplate(name)
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, 0)
	if err != nil {
		return 0, err
	}
	var in ast.Node = parsed
	if f, inside, ok := strings.Cut(name, "."); ok {
		for _, d := range parsed.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Name.Name == f {
				in, name = d, inside
			}
		}
	}
	values := map[int64]bool{}
	note := func(lhs, rhs ast.Expr) {
		if as(lhs) != name {
			return
		}
		if v, ok := value(rhs); ok {
			values[v] = true
		}
	}
	ast.Inspect(in, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for i, id := range n.Names {
				if i < len(n.Values) {
					note(id, n.Values[i])
				}
			}
		case *ast.AssignStmt:
			for i := range n.Lhs {
				if len(n.Rhs) == len(n.Lhs) {
					note(n.Lhs[i], n.Rhs[i])
				}
			}
		case *ast.KeyValueExpr:
			note(n.Key, n.Value)
		}
		return true
	})
	if len(values) != 1 {
		return 0, fmt.Errorf("it has %d values there, not one", len(values))
	}
	for v := range values {
		return v, nil
	}
	return 0, nil
}

// as is how an expression is written: "name" or "x.name".
func as(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return as(e.X) + "." + e.Sel.Name
	}
	return ""
}

var units = map[string]time.Duration{"time.Millisecond": time.Millisecond, "time.Second": time.Second, "time.Minute": time.Minute, "time.Hour": time.Hour}

// value is that of a constant expression as this code has them. Of x << n for a
// variable n it is x: the first of a row.
func value(e ast.Expr) (int64, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		v, err := strconv.ParseInt(e.Value, 0, 64)
		return v, err == nil
	case *ast.SelectorExpr:
		v, ok := units[as(e)]
		return int64(v), ok
	case *ast.BinaryExpr:
		x, ok := value(e.X)
		if !ok {
			return 0, false
		}
		y, ok := value(e.Y)
		switch {
		case e.Op == token.SHL && !ok:
			return x, true
		case e.Op == token.SHL:
			return x << y, true
		case e.Op == token.MUL && ok:
			return x * y, true
		}
	}
	return 0, false
}

func isDuration(e ast.Expr) bool {
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && units[as(s)] != 0 {
			found = true
		}
		return true
	})
	return found
}

func readTemplate(name string) (int64, error) {
	raw, err := os.ReadFile(filepath.Join(root, "template.yaml"))
	if err != nil {
		return 0, err
	}
	var doc struct {
		Parameters map[string]map[string]yaml.Node `yaml:"Parameters"`
		Resources  map[string]struct {
			Properties map[string]yaml.Node `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return 0, err
	}
	id, property, _ := strings.Cut(name, ".")
	node, unit := doc.Parameters[id][property], int64(1)
	if r, ok := doc.Resources[id]; ok {
		node = r.Properties[property]
	}
	if property == "Timeout" {
		unit = int64(time.Second)
	}
	n, err := strconv.ParseInt(node.Value, 10, 64)
	return n * unit, err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
