package linkedinsim

import (
	"strconv"
	"strings"
	"sync"
	"time"
)

// Clock is the time at LinkedIn. It is safe for concurrent use.
type Clock struct {
	mu      sync.Mutex
	running bool
	at      time.Time     // frozen: the time
	ahead   time.Duration // running: what is added to the wall clock
}

// NewClock is a clock that stands at start until it is advanced.
func NewClock(start time.Time) *Clock { return &Clock{at: start.Round(0).UTC()} }

// RunningClock is a clock that follows the wall clock, plus all it was
// advanced by.
func RunningClock() *Clock { return &Clock{running: true} }

// Now is the time, in UTC and without a monotonic reading.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		return time.Now().Round(0).UTC().Add(c.ahead)
	}
	return c.at
}

// Advance moves the clock by d, back when d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.ahead = c.at.Add(d), c.ahead+d
}

const day = 24 * time.Hour

// parseSpan reads what time.ParseDuration reads, and whole days: "59d".
func parseSpan(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > -100_000 && n < 100_000 {
			return time.Duration(n) * day, nil
		}
	}
	return time.ParseDuration(s)
}

func (c *Clock) frozen() bool { return !c.running }
