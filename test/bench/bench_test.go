// Package bench_test holds keepin to its budgets: what docs/performance.md says
// of each. What does not depend on the machine is held by every run of the
// tests; the ratios by `make bench`.
package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/keepin/keepin/test/lambdahost"
)

// TestBench prints the table. A missed budget fails it only where
// KEEPIN_BENCH_STRICT is set.
func TestBench(t *testing.T) {
	if os.Getenv("KEEPIN_BENCH") == "" {
		t.Skip("skipped: KEEPIN_BENCH is not set (make bench)")
	}
	l := build(t)
	fmt.Printf("%s, %s/%s, %d CPUs; medians of %d rounds in turn with what they are compared with; DynamoDB is a stub that answers at once, over TLS\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), rounds)
	var missed []string
	for _, measure := range []func() []row{
		func() []row { return []row{coldStarts(t, l)} },
		func() []row { return coldTotals(t, l) },
		func() []row { return warm(t, l) },
		func() []row { return sizes(t) },
		func() []row { return items(t) },
		func() []row { return calls(t) },
		func() []row { return []row{oneMachine(t)} },
	} {
		for _, r := range measure() {
			fmt.Println(r)
			if r.ratios != nil && !r.met() {
				missed = append(missed, r.id)
			}
		}
	}
	if len(missed) > 0 && os.Getenv("KEEPIN_BENCH_STRICT") != "" {
		t.Errorf("missed: %s", strings.Join(slices.Compact(missed), ", "))
	}
}

// sizes are T10 for both architectures: of the request functions, the largest.
func sizes(t *testing.T) (rows []row) {
	for _, arch := range []string{"arm64", "amd64"} {
		t.Run(arch, func(t *testing.T) {
			t.Setenv("GOARCH", arch)
			dir := filepath.Join(binaries, arch)
			largest, which := 0.0, ""
			for _, name := range names {
				if name == "refresh" {
					continue
				}
				must(t, lambdahost.Build(t.Context(), dir, name, "../../functions/"+name))
				if mb := size(t, filepath.Join(dir, name, "bootstrap")); mb > largest {
					largest, which = mb, name
				}
			}
			rows = append(rows, row{id: "T10", what: "largest stripped request function, " + arch + ": " + which, ratios: []float64{largest}, budget: 9, unit: "MB"})
		})
	}
	return rows
}

func items(t *testing.T) []row {
	two, three, read := itemSizes(t)
	return []row{
		{id: "T12", what: "a grant's item with two tokens of 350 characters", ratios: []float64{float64(two)}, budget: 1536, unit: "B"},
		{id: "T12", what: "with three of 1,000", ratios: []float64{float64(three)}, budget: 4096, unit: "B"},
		{id: "T13", what: "bytes that a validation beside ten sessions reads: one read request unit", ratios: []float64{float64(read)}, budget: 4096, unit: "B"},
	}
}

func calls(t *testing.T) (rows []row) {
	made := tableCalls(t)
	for _, r := range callBudgets() {
		ops := made[r.route]
		rows = append(rows, row{id: "T13", what: fmt.Sprintf("DynamoDB calls of %s: %s", r.route, strings.Join(ops, " ")), ratios: []float64{float64(len(ops))}, budget: float64(r.most), unit: "calls"})
	}
	return rows
}
