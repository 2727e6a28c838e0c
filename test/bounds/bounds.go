// Package bounds holds what fuzzers feed to a bound on time and memory: input
// from a stranger must not cost much, whatever it is.
package bounds

import (
	"runtime/metrics"
	"testing"
	"time"
)

// The most that one call may take. The race detector is given more.
const (
	memory = 4 << 20 // bytes allocated
	life   = 50 * time.Millisecond * slow
)

// Check runs f, and fails the test when it allocates more than 4 MiB or takes
// longer than 50 ms. A machine that is busy with other things is no failure: f
// is run up to three times, and only the third excess counts. It must therefore
// do the same again.
func Check(t testing.TB, f func()) {
	t.Helper()
	var took time.Duration
	var allocated uint64
	for range 3 {
		before, begun := allocations(), time.Now()
		f()
		took, allocated = time.Since(begun), allocations()-before
		if took <= life && allocated <= memory {
			return
		}
	}
	t.Errorf("one call takes %v and %d bytes; %v and %d are allowed", took, allocated, life, memory)
}

// allocations are the bytes that this process has allocated so far.
func allocations() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
