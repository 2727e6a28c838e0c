// Package requirements holds docs/requirements.csv to the code: every
// requirement has one line, and what a line names as its proof exists.
package requirements_test

import (
	"encoding/csv"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func TestEveryRequirementHasItsProof(t *testing.T) {
	f, err := os.Open(filepath.Join(root, "docs", "requirements.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, mistake := range check(f, testNames(t)) {
		t.Error(mistake)
	}
}

// ids are all requirements: of the sign-in, and of the JavaScript SDK's members.
func ids() []string {
	var all []string
	for i := range 124 {
		all = append(all, fmt.Sprintf("N-%03d", i+1))
	}
	for i := range 12 {
		all = append(all, fmt.Sprintf("J-%d", i+1))
	}
	return all
}

// notProved are the proofs that are none: the line says why.
var notProved = regexp.MustCompile(`^(not applicable|not yet): \S`)

// check tells what is wrong with a file of id, source, how, test. The last is
// names of tests, separated by spaces, or begins as notProved has it.
func check(file io.Reader, tests map[string]bool) (mistakes []string) {
	wrong := func(format string, args ...any) { mistakes = append(mistakes, fmt.Sprintf(format, args...)) }
	r := csv.NewReader(file)
	r.FieldsPerRecord = 4
	lines, err := r.ReadAll()
	if err != nil {
		return []string{err.Error()}
	}
	if len(lines) == 0 || !slices.Equal(lines[0], []string{"id", "source", "how", "test"}) {
		return []string{"the first line is not id,source,how,test"}
	}
	known := ids()
	times := map[string]int{}
	for _, line := range lines[1:] {
		id, source, how, proof := line[0], line[1], line[2], line[3]
		times[id]++
		if !slices.Contains(known, id) {
			wrong("%s: there is no such requirement", id)
		}
		if strings.TrimSpace(source) == "" || strings.TrimSpace(how) == "" {
			wrong("%s: no source, or not how it is met", id)
		}
		if notProved.MatchString(proof) {
			continue
		}
		names := strings.Fields(proof)
		if len(names) == 0 {
			wrong("%s: no test", id)
		}
		for _, name := range names {
			if !tests[name] {
				wrong("%s: there is no test %s", id, name)
			}
		}
	}
	for _, id := range known {
		if times[id] != 1 {
			wrong("%s: %d lines", id, times[id])
		}
	}
	return mistakes
}

// testNames are all tests and fuzz targets, and the cases of the end-to-end
// suite as OneMachine/NAME.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	suite, err := os.ReadFile(filepath.Join(root, "test", "e2e", "e2e.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t\t\{"(\w+)", (?:true|false), \w+\},`).FindAllSubmatch(suite, -1) {
		names["OneMachine/"+string(m[1])] = true
	}
	return names
}

// TestMistakesAreFound breaks a good file once in each way.
func TestMistakesAreFound(t *testing.T) {
	good := "id,source,how,test\n"
	for _, id := range ids() {
		good += id + ",RFC 1,so,TestA FuzzB\n"
	}
	tests := map[string]bool{"TestA": true, "FuzzB": true, "OneMachine/C": true}
	for name, c := range map[string]struct{ old, new, want string }{
		"nothing":            {"", "", ""},
		"a case of a suite":  {"N-007,RFC 1,so,TestA FuzzB", "N-007,RFC 1,so,OneMachine/C", ""},
		"not applicable":     {"N-007,RFC 1,so,TestA FuzzB", "N-007,RFC 1,so,not applicable: there is none", ""},
		"not yet":            {"N-007,RFC 1,so,TestA FuzzB", "N-007,RFC 1,so,not yet: issue 6", ""},
		"a missing id":       {"N-124,RFC 1,so,TestA FuzzB\n", "", "N-124: 0 lines"},
		"a missing J":        {"J-1,RFC 1,so,TestA FuzzB\n", "", "J-1: 0 lines"},
		"an id twice":        {"N-008,", "N-007,", "N-007: 2 lines"},
		"an unknown id":      {"J-12,", "J-13,", "J-13: there is no such requirement"},
		"an id misspelt":     {"N-001,", "N-1,", "N-1: there is no such requirement"},
		"an unknown test":    {"N-007,RFC 1,so,TestA FuzzB", "N-007,RFC 1,so,TestA TestB", "N-007: there is no test TestB"},
		"a test's beginning": {"N-007,RFC 1,so,TestA FuzzB", "N-007,RFC 1,so,Test", "N-007: there is no test Test"},
		"no test":            {"N-007,RFC 1,so,TestA FuzzB", "N-007,RFC 1,so,", "N-007: no test"},
		"no reason":          {"N-007,RFC 1,so,TestA FuzzB", "N-007,RFC 1,so,not yet:", "N-007: there is no test not"},
		"no source":          {"N-007,RFC 1,", "N-007,,", "N-007: no source, or not how it is met"},
		"no how":             {"N-007,RFC 1,so", "N-007,RFC 1,", "N-007: no source, or not how it is met"},
		"another first line": {"id,source,how,test", "id,source,test,how", "the first line is not id,source,how,test"},
		"a comma too many":   {"N-007,RFC 1,so", "N-007,RFC 1,so,so", "wrong number of fields"},
	} {
		got := check(strings.NewReader(strings.Replace(good, c.old, c.new, 1)), tests)
		if found := strings.Join(got, "\n"); !strings.Contains(found, c.want) || (c.want == "") != (found == "") {
			t.Errorf("%s: got %q, want %q", name, found, c.want)
		}
	}
}

// TestTheThreatModelNamesTestsThatExist: docs/security.md shows by tests, too.
func TestTheThreatModelNamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	named := regexp.MustCompile("`((?:Test|Fuzz|OneMachine/)\\w+)`").FindAllSubmatch(text, -1)
	for _, m := range named {
		if !tests[string(m[1])] {
			t.Errorf("there is no test %s", m[1])
		}
	}
	if len(named) < 30 {
		t.Errorf("only %d tests are named", len(named))
	}
}
