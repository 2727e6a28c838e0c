package bench_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/keepin/keepin/test/lambdahost"
)

// rounds is how often each thing is measured, in turn with what it is compared
// with: what else the machine does meanwhile falls on both.
const rounds = 9

// row is one line of the table: a figure, and the most (or, with atLeast, the
// least) that it may be.
type row struct {
	id, what string
	ratios   []float64 // one of each round; nil: not measured, what says why
	budget   float64
	atLeast  bool
	unit     string // "" is a ratio
}

func (r row) median() float64 { return median(r.ratios) }

func (r row) met() bool {
	if r.atLeast {
		return r.median() >= r.budget
	}
	return r.median() <= r.budget
}

func (r row) String() string {
	if r.ratios == nil {
		return fmt.Sprintf("%-4s %-88s not measured here", r.id, r.what)
	}
	verdict, sign, best := "pass", "<=", slices.Min(r.ratios)
	if r.atLeast {
		sign, best = ">=", slices.Max(r.ratios)
	}
	if !r.met() {
		verdict = "MISS"
	}
	digits := 2
	if r.unit == "B" || r.unit == "calls" {
		digits = 0
	}
	show := func(x float64) string { return strconv.FormatFloat(x, 'f', digits, 64) + " " + cmp.Or(r.unit, "x") }
	return fmt.Sprintf("%-4s %-88s %10s, best %10s, budget %s %s: %s", r.id, r.what, show(r.median()), show(best), sign, show(r.budget), verdict)
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// quickest is the shortest of n runs of each of two things in turn, as a ratio:
// what else the machine does only makes a run longer.
func quickest(n int, a, b func() time.Duration) float64 {
	shortest := [2]time.Duration{time.Hour, time.Hour}
	for range n {
		shortest[0], shortest[1] = min(shortest[0], a()), min(shortest[1], b())
	}
	raw(shortest)
	return float64(shortest[0]) / float64(shortest[1])
}

// cpu is what a process has used.
func cpu(t testing.TB, pid int) time.Duration {
	t.Helper()
	used, err := lambdahost.CPU(pid)
	must(t, err)
	return used
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// raw shows what was measured, for whoever looks into a ratio.
func raw(what ...any) {
	if os.Getenv("KEEPIN_BENCH_RAW") != "" {
		fmt.Println(append([]any{"raw"}, what...)...)
	}
}
