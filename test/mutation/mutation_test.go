// Package mutation_test weakens what keeps a sign-in safe, one line at a time, and
// holds the tests to it: each weakening must be noticed by the test that is named
// beside it. The tree is never touched: `go test -overlay` compiles the weakened
// file in its place.
package mutation_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

const root = "../.."

// only picks mutants: make mutate ONLY=csrf.
var only = flag.String("only", "", "a regexp: the mutants to try, by name")

// mutant is one weakening.
type mutant struct {
	name  string
	file  string   // below the root
	edits []string // old, new, old, new, ...; each old stands in the file once
	in    string   // the package whose test notices; "": the file's own
	test  string   // which notices
}

func (m mutant) pkg() string {
	if m.in != "" {
		return m.in
	}
	return filepath.Dir(m.file)
}

// apply is the weakened file.
func (m mutant) apply(source string) (string, error) {
	if len(m.edits) == 0 || len(m.edits)%2 != 0 {
		return "", errors.New("its edits are no pairs")
	}
	for i := 0; i < len(m.edits); i += 2 {
		if n := strings.Count(source, m.edits[i]); n != 1 {
			return "", fmt.Errorf("%s has %d times what it changes, not once: %q", m.file, n, m.edits[i])
		}
		source = strings.Replace(source, m.edits[i], m.edits[i+1], 1)
	}
	if _, err := parser.ParseFile(token.NewFileSet(), m.file, source, 0); err != nil {
		return "", fmt.Errorf("weakened, %w", err)
	}
	return source, nil
}

// TestEveryMutantFitsTheSource is all that `make test` asks: it keeps the list
// true while the code moves.
func TestEveryMutantFitsTheSource(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range mutants() {
		if seen[m.name] {
			t.Errorf("%s is there twice", m.name)
		}
		seen[m.name] = true
		source, err := os.ReadFile(filepath.Join(root, m.file))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := m.apply(string(source)); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		if !slices.Contains(testsOf(t, m.pkg()), m.test) {
			t.Errorf("%s: %s has no %s", m.name, m.pkg(), m.test)
		}
	}
	if len(seen) <= 100 { // as docs/security.md says
		t.Errorf("only %d mutants", len(seen))
	}
}

// testsOf are the tests of a package.
func testsOf(t *testing.T, pkg string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range function.FindAllSubmatch(text, -1) {
			names = append(names, string(match[1]))
		}
	}
	return names
}

// TestEveryMutantIsNoticed runs them: `make mutate`, some minutes.
func TestEveryMutantIsNoticed(t *testing.T) {
	if os.Getenv("KEEPIN_MUTATE") == "" {
		t.Skip("it takes minutes: make mutate")
	}
	pick := regexp.MustCompile(*only)
	picked := slices.DeleteFunc(mutants(), func(m mutant) bool { return !pick.MatchString(m.name) })
	tests := map[string][]string{} // by package
	for _, m := range picked {
		tests[m.pkg()] = append(tests[m.pkg()], m.test)
	}
	inTurns(slices.Collect(maps.Keys(tests)), func(pkg string) {
		if out, failed := goTest(t, pkg, "^("+strings.Join(tests[pkg], "|")+")$"); len(failed) > 0 || !strings.HasPrefix(out, "ok") {
			t.Errorf("%s fails as it is, and so shows nothing: %.2000s", pkg, out)
		}
	})
	if t.Failed() {
		return
	}
	inTurns(picked, func(m mutant) {
		if err := try(t, m); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	})
}

// inTurns does it for each of all, as many at once as there are processors.
func inTurns[T any](all []T, do func(T)) {
	slots := make(chan struct{}, max(1, runtime.NumCPU()))
	var done sync.WaitGroup
	for _, one := range all {
		slots <- struct{}{}
		done.Go(func() {
			defer func() { <-slots }()
			do(one)
		})
	}
	done.Wait()
}

// try weakens, and wants the named test to fail.
func try(t *testing.T, m mutant) error {
	file, err := filepath.Abs(filepath.Join(root, m.file))
	if err != nil {
		return err
	}
	source, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	weak, err := m.apply(string(source))
	if err != nil {
		return err
	}
	dir := t.TempDir()
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{file: filepath.Join(dir, "weak.go")}})
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "weak.go"), []byte(weak), 0o600), os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600)); err != nil {
		return err
	}
	run := func(tests string) (out string, failed []string) {
		return goTest(t, m.pkg(), tests, "-overlay", filepath.Join(dir, "overlay.json"))
	}
	out, failed := run("^" + m.test + "$")
	switch {
	case slices.Contains(failed, m.test):
		return nil
	case !strings.HasPrefix(out, "ok"):
		return fmt.Errorf("it does not run: %.2000s", out)
	}
	if _, failed = run("."); len(failed) > 0 {
		return fmt.Errorf("%s does not notice; %s would", m.test, strings.Join(failed, ", "))
	}
	return fmt.Errorf("it survives: no test of %s notices", m.pkg())
}

// goTest runs tests of a package, and tells which fail.
func goTest(t *testing.T, pkg, tests string, flags ...string) (out string, failed []string) {
	cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"test"}, flags...), "-count", "1", "-timeout", "3m", "-run", tests, "./"+pkg)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "KEEPIN_TEST_REQUIRE=1") // a test that is skipped notices nothing
	text, _ := cmd.CombinedOutput()
	for _, match := range regexp.MustCompile(`(?m)^--- FAIL: (\w+)`).FindAllStringSubmatch(string(text), -1) {
		failed = append(failed, match[1])
	}
	return string(text), failed
}
