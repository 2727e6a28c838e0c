package tool_test

import (
	"fmt"
	"testing"

	"github.com/keepin/keepin/test/tool"
)

// judge is a testing.TB that takes its end down.
type judge struct {
	testing.TB
	end string
}

func (j *judge) Helper()                           {}
func (j *judge) Skipf(format string, args ...any)  { j.end = "skipped: " + fmt.Sprintf(format, args...) }
func (j *judge) Fatalf(format string, args ...any) { j.end = "failed: " + fmt.Sprintf(format, args...) }

func TestAMissingToolFailsOnlyWhereItIsRequired(t *testing.T) {
	for required, want := range map[string]string{"": "skipped", "1": "failed", "true": "failed"} {
		t.Setenv("KEEPIN_TEST_REQUIRE", required)
		j := &judge{TB: t}
		tool.Missing(j, "a hammer", "test/setup.sh")
		if j.end != want+": a hammer is not installed: run test/setup.sh" {
			t.Errorf("KEEPIN_TEST_REQUIRE=%s: %s", required, j.end)
		}
	}
}
