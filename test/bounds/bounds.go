// Package bounds holds what fuzzers feed to a bound on time and memory: input
// from a stranger must not cost much, whatever it is.
package bounds

import (
	"runtime/metrics"
	"syscall"
	"testing"
	"time"
)

// The most that one call may take. The race detector is given more.
const (
	memory = 4 << 20 // bytes allocated
	life   = 50 * time.Millisecond * slow
)

// Check runs f, and fails the test when it allocates more than 4 MiB or takes
// more than 50 ms of the processors: what it waits for is not counted. A process
// that does other things too is no failure: f is run up to three times, and only
// the third excess counts. It must therefore do the same again.
func Check(t testing.TB, f func()) {
	t.Helper()
	var took time.Duration
	var allocated uint64
	for range 3 {
		before, begun := allocations(), worked()
		f()
		took, allocated = worked()-begun, allocations()-before
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

// worked is how long the processors have worked for this process.
func worked() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
