package keeper

import (
	"slices"
	"time"
)

// proofAge is how old a token is when it counts as honoured everywhere although
// no call has shown it: LinkedIn's new tokens may be refused for up to 5 minutes.
const proofAge = 5 * time.Minute

// State is a grant as an application sees it.
type State string

// What a grant looks like from outside. StatePending: the access token is dead
// or doubted, and keepin is still at work; the member is signed in all the same.
const (
	StateActive    State = "active"
	StatePending   State = "pending"
	StateReconnect State = "reconnect"
	StateSignedOut State = "signed_out"
)

// State is what g is worth at now. A grant whose every token has ended is
// StateReconnect, whether or not a pass has noticed yet.
func (g Grant) State(now time.Time) State {
	switch {
	case g.Status == SignedOut:
		return StateSignedOut
	case g.Status == Reconnect || !g.end().After(now):
		return StateReconnect
	case !g.AccessEnd(now).IsZero():
		return StateActive
	}
	return StatePending
}

// AccessEnd is when the newest live access token ends, proven or not; zero when
// there is none.
func (g Grant) AccessEnd(now time.Time) time.Time {
	var end time.Time
	if g.Access.good(now) {
		end = g.Access.ExpiresAt
	}
	if g.Fresh.live(now) && g.Fresh.ExpiresAt.After(end) {
		end = g.Fresh.ExpiresAt
	}
	return end
}

// Serving is the token that callers are given: a proven fresh one, else the old
// one while it lives. ok is false when there is none.
func (g Grant) Serving(now time.Time) (t Token, ok bool) {
	if g.Status != Active {
		return Token{}, false
	}
	if g.Fresh.live(now) && g.Fresh.proven(now) {
		return g.Fresh, true
	}
	if g.Access.good(now) {
		return g.Access, true
	}
	return Token{}, false
}

// unsure reports whether a sign-in brought a token that nobody has tried yet. The
// old one may serve meanwhile; but the member may have come back because it was
// revoked, so a caller has the new one tried first.
func (g Grant) unsure(now time.Time) bool {
	return g.VerifiedAt.IsZero() && g.Fresh.live(now) && g.Fresh.RefusedAt.IsZero() && !g.Fresh.proven(now)
}

// ReconnectBy is when the member must have consented again: the refresh
// token's fixed end, or the access token's where there is no refresh token. A
// refusal does not move it: LinkedIn may refuse everybody for a while, and nobody
// must be asked to consent for that.
func (g Grant) ReconnectBy() time.Time {
	if g.Refresh.IsZero() {
		return later(g.Access.ExpiresAt, g.Fresh.ExpiresAt)
	}
	return g.end()
}

// Covers reports whether every scope was granted.
func (g Grant) Covers(scopes []string) bool {
	for _, s := range scopes {
		if !slices.Contains(g.Scopes, s) {
			return false
		}
	}
	return true
}

// end is when the last token of any kind ends.
func (g Grant) end() time.Time {
	return later(later(g.Access.ExpiresAt, g.Fresh.ExpiresAt), g.Refresh.ExpiresAt)
}

// newest is the access token issued last; zero when there is none.
func (g Grant) newest() Token {
	if !g.Fresh.IsZero() {
		return g.Fresh
	}
	return g.Access
}

// canGive reports whether some token has, doubted or not, or a refresh may bring
// one with, so much of its life left.
func (g Grant) canGive(now time.Time, left time.Duration) bool {
	return g.end().Sub(now) >= left
}

// IsZero reports whether there is no token.
func (t Token) IsZero() bool { return t.IssuedAt.IsZero() }

// live: not past its end.
func (t Token) live(now time.Time) bool { return !t.IsZero() && t.ExpiresAt.After(now) }

// good: live, and not refused since it was last honoured.
func (t Token) good(now time.Time) bool { return t.live(now) && t.RefusedAt.IsZero() }

// proven: LinkedIn has honoured it, or it is old enough and was never refused.
func (t Token) proven(now time.Time) bool {
	return t.RefusedAt.IsZero() && (!t.ProvenAt.IsZero() || now.Sub(t.IssuedAt) >= proofAge)
}

// same reports whether t and u are one token.
func (t Token) same(u Token) bool {
	return t.IssuedAt.Equal(u.IssuedAt) && string(t.Sealed) == string(u.Sealed)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
