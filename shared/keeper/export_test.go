package keeper

import "time"

// What tests see of the inside: the reasons why a transition does not hold, and
// the step of the ladder.
var (
	ErrLeased    = errLeased
	ErrNotYet    = errNotYet
	ErrNothing   = errNothing
	ErrOvertaken = errOvertaken
)

// RungAt is rung.
func (g Grant) RungAt(now time.Time) (int, time.Time) { return g.rung(now) }
