// Package tool says what becomes of a test whose tool is not installed.
package tool

import (
	"os"
	"testing"
)

// Missing skips the test; where KEEPIN_TEST_REQUIRE is set, as in CI, it fails
// it: a test that was skipped has shown nothing. It does not return. install is
// the command that brings the tool.
func Missing(t testing.TB, name, install string) {
	t.Helper()
	end := t.Skipf
	if os.Getenv("KEEPIN_TEST_REQUIRE") != "" {
		end = t.Fatalf
	}
	end("%s is not installed: run %s", name, install)
}
