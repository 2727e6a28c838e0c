package keeper

import "time"

// Task is one thing to do for one grant.
type Task int

// What a grant may need. TaskAnnounce tells the application: the rungs of the
// ladder, the end of a grant, and whatever waits in the outbox.
const (
	TaskNone Task = iota
	TaskRefresh
	TaskProve
	TaskVerify
	TaskAnnounce
)

const (
	day         = 24 * time.Hour
	proveAfter  = time.Minute     // a sweep proves a token this long after it was issued
	verifyEvery = 7 * day         // each grant is introspected this often
	sameEnd     = time.Minute     // two ends this close are one: a refresh would move nothing
	askAgain    = 2 * time.Second // the first wait after a fresh token was refused
)

// rungs of the ladder of notices, in days before the deadline.
var rungs = [...]int{30, 14, 7, 3, 1}

// Next is what g needs first, and when: the time may have passed. What the
// application is to be told goes first once it is due: other work may be blocked
// for long. The zero time comes with TaskNone: nothing, ever. Next does not look
// at the lease: what was begun and not ended is still due.
func (g Grant) Next(now time.Time) (Task, time.Time) {
	task, at := TaskNone, time.Time{}
	consider := func(t Task, when time.Time) {
		if !when.IsZero() && (task == TaskNone || when.Before(at)) {
			task, at = t, when
		}
	}
	if len(g.Outbox.Events) > 0 {
		consider(TaskAnnounce, later(g.Outbox.Events[0].At, g.Outbox.RetryAt))
	}
	if g.Status == Active && !g.end().After(now) {
		consider(TaskAnnounce, g.end())
	} else if g.Status == Active {
		_, when := g.rung(now)
		consider(TaskAnnounce, earlier(when, g.end()))
		if !at.After(now) {
			return task, at
		}
		consider(TaskProve, g.proveAt())
		consider(TaskRefresh, g.refreshAt(now))
		consider(TaskVerify, g.verifyAt(now))
	}
	return task, at
}

// refreshAt: when 5/6 of the newest access token's life is over, earlier by a
// jitter of up to 1/30 of it; at once where that token is gone or refused; never
// while no refresh can move the end, nor before the time to retry.
func (g Grant) refreshAt(now time.Time) time.Time {
	if !g.Refresh.live(now) {
		return time.Time{}
	}
	t := g.newest()
	at := now
	switch {
	case t.IsZero() || g.Fresh.IsZero() && !t.RefusedAt.IsZero():
	case g.Refresh.ExpiresAt.Sub(t.ExpiresAt) <= sameEnd:
		return time.Time{}
	default:
		life := t.ExpiresAt.Sub(t.IssuedAt)
		jitter := time.Duration(float64(life/30) * float64(g.Member.hash()>>11) / (1 << 53))
		at = t.IssuedAt.Add(life/6*5 - jitter).Truncate(time.Microsecond)
	}
	return later(at, g.Trouble.RetryAt)
}

// proveAt: a minute after the fresh token was issued; once refused, after as
// long again as it is old (2 s, 4 s, 8 s, ...), and at the age where a refusal
// is final.
func (g Grant) proveAt() time.Time {
	t := g.Fresh
	switch {
	case t.IsZero():
		return time.Time{}
	case t.RefusedAt.IsZero():
		return later(t.IssuedAt.Add(proveAfter), g.Trouble.RetryAt)
	}
	again := t.RefusedAt.Add(max(askAgain, t.RefusedAt.Sub(t.IssuedAt)))
	if final := t.IssuedAt.Add(proofAge); t.RefusedAt.Before(final) {
		again = earlier(again, final)
	}
	return later(again, g.Trouble.RetryAt)
}

// verifyAt: 7 days after the last introspection, or after the token was issued.
// A doubted token that no live refresh token stands behind is looked at again
// when its trouble says so: a second look ends the grant.
func (g Grant) verifyAt(now time.Time) time.Time {
	if !g.Access.live(now) || !g.Fresh.IsZero() {
		return time.Time{}
	}
	if !g.Access.RefusedAt.IsZero() {
		if g.Refresh.live(now) {
			return time.Time{} // a refresh is due
		}
		return later(g.Access.RefusedAt.Add(secondLook), g.Trouble.RetryAt)
	}
	at := later(later(g.CheckedAt, g.Access.IssuedAt).Add(verifyEvery), g.Trouble.RetryAt)
	if !at.Before(g.Access.ExpiresAt) {
		return time.Time{} // it ends before
	}
	return at
}

// rung is the nearest rung of the ladder that has passed and was not sent, or
// else the next one to come, and its time; 0 when none is left.
func (g Grant) rung(now time.Time) (days int, at time.Time) {
	deadline := g.ReconnectBy()
	sent := g.Announced.Days
	if d := g.Announced.Deadline.Sub(deadline).Abs(); sent == 0 || d > day/2 {
		sent = rungs[0] + 1 // nothing was said of this deadline
	}
	for _, r := range rungs {
		when := deadline.Add(-time.Duration(r) * day)
		if r >= sent {
			continue
		}
		if when.After(now) {
			if days == 0 {
				return r, when
			}
			break
		}
		days, at = r, when
	}
	if days == 0 {
		return 0, g.end()
	}
	return days, at
}
