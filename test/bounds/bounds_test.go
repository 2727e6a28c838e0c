package bounds_test

import (
	"testing"
	"time"

	"github.com/keepin/keepin/test/bounds"
)

// judge is a testing.TB that takes a failure down.
type judge struct {
	testing.TB
	failed bool
}

func (j *judge) Helper()               {}
func (j *judge) Errorf(string, ...any) { j.failed = true }

// work keeps a processor busy.
func work(d time.Duration) {
	for begun := bounds.Worked(); bounds.Worked()-begun < d; {
		_ = make([]int, 10)
	}
}

func TestWhatCostsTooMuchThreeTimesFails(t *testing.T) {
	var kept []byte
	calls := 0
	for name, c := range map[string]struct {
		f      func()
		failed bool
		calls  int
	}{
		"cheap":  {func() {}, false, 1},
		"memory": {func() { kept = make([]byte, 5<<20) }, true, 3},
		"many small": {func() {
			for range 6 << 10 {
				kept = make([]byte, 1<<10)
			}
		}, true, 3},
		"a wait": {func() { time.Sleep(60 * time.Millisecond) }, false, 1},
		"time":   {func() { work(bounds.Life * 6 / 5) }, true, 3},
		"a machine that was busy twice": {func() {
			if calls < 3 {
				kept = make([]byte, 5<<20)
			}
		}, false, 3},
	} {
		j := &judge{TB: t}
		calls = 0
		bounds.Check(j, func() { calls++; c.f() })
		if j.failed != c.failed || calls != c.calls {
			t.Errorf("%s: failed %v after %d calls", name, j.failed, calls)
		}
	}
	_ = kept
}
