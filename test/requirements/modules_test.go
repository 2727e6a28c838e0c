package requirements_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/modules.csv")

// licences that a module may have, by words of their text, without commas.
var licences = []struct{ name, words string }{
	{"Apache-2.0", "Apache License Version 2.0"},
	{"MIT", "Permission is hereby granted free of charge"},
	{"BSD-3-Clause", "Neither the name of"},
}

// TestTheModulesThatAreShippedAreListed holds docs/modules.csv, the bill of
// materials, to what the programs link: each module, its version, its licence.
func TestTheModulesThatAreShippedAreListed(t *testing.T) {
	list := "module,version,licence\n"
	for _, m := range linked(t) {
		list += strings.Join([]string{m.path, m.version, m.licence}, ",") + "\n"
	}
	file := filepath.Join(root, "docs", "modules.csv")
	if *update {
		if err := os.WriteFile(file, []byte(list), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != list {
		t.Errorf("docs/modules.csv is not what is linked: go test ./test/requirements -update; want\n%s", list)
	}
}

type linkedModule struct{ path, version, licence string }

// linked asks the go command for the modules of every program that is shipped.
func linked(t *testing.T) (all []linkedModule) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", "lambda.norpc", "-deps", // as sam.mk builds them
		"-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}", "./cmd/...", "./functions/...")
	var stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stderr = root, append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0"), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(lines)
	for _, line := range slices.Compact(lines) {
		field := strings.Split(line, "\t")
		if len(field) != 3 {
			t.Fatalf("go list says %q", line)
		}
		licence, err := licenceOf(field[2])
		if err != nil {
			t.Errorf("%s: %v", field[0], err)
		}
		all = append(all, linkedModule{field[0], field[1], licence})
	}
	return all
}

// licenceOf reads the licence in a module's folder.
func licenceOf(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "LICENSE"))
	if errors.Is(err, fs.ErrNotExist) {
		text, err = os.ReadFile(filepath.Join(dir, "LICENSE.txt"))
	}
	if err != nil {
		return "", err
	}
	words := strings.Join(strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" \t\r\n,", r) }), " ")
	for _, l := range licences {
		if strings.Contains(words, l.words) {
			return l.name, nil
		}
	}
	return "", fmt.Errorf("a licence that is not known: %.100s", words)
}
