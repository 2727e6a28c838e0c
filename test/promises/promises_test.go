// Package promises holds docs/promises.md to the code: what it names exists.
package promises_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

func TestEveryPromiseNamesCodeAndTestsThatExist(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "promises.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	ids := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || !regexp.MustCompile(`^ ([BK]\d+) $`).MatchString(cells[1]) {
			continue
		}
		id := strings.TrimSpace(cells[1])
		ids[id] = true
		if strings.Contains(cells[3], "not built yet") {
			continue
		}
		code, proofs := quoted(cells[3]), quoted(cells[4])
		if len(code) == 0 || len(proofs) == 0 {
			t.Errorf("%s names %d files and %d tests", id, len(code), len(proofs))
		}
		for _, f := range code {
			if _, err := os.Stat(filepath.Join(root, f)); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
		for _, name := range proofs {
			if !tests[name] {
				t.Errorf("%s: there is no test %s", id, name)
			}
		}
	}
	for _, id := range strings.Fields("B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 K1 K2 K3 K4 K5 K6 K7 K8 K9") {
		if !ids[id] {
			t.Errorf("%s has no line", id)
		}
	}
}

func quoted(cell string) (names []string) {
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		names = append(names, m[1])
	}
	return names
}

// testNames are all tests, and the cases of the end-to-end suite as OneMachine/NAME.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`)
	suite := regexp.MustCompile(`(?m)^\t\t\{"(\w+)", (?:true|false), \w+\},`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && path != root {
				return filepath.SkipDir
			}
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, "_test.go") {
			for _, m := range function.FindAllSubmatch(text, -1) {
				names[string(m[1])] = true
			}
		}
		if strings.HasSuffix(path, filepath.Join("test", "e2e", "e2e.go")) {
			for _, m := range suite.FindAllSubmatch(text, -1) {
				names["OneMachine/"+string(m[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 100 {
		t.Fatalf("only %d tests were found", len(names))
	}
	return names
}
