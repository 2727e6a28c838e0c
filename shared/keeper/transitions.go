package keeper

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	secondLook    = time.Minute      // a grant is ended by a second refusal, at least this much after the first
	callerRetry   = 30 * time.Second // a caller in need may try this often, whatever the back-off
	refreshLife   = 365 * day        // of a refresh token that came without an end (LinkedIn: Programmatic Refresh Tokens)
	keepReconnect = 90 * day         // a grant that died is kept
	keepSignedOut = 30 * day         // a signed-out one is kept
	outboxSize    = 16
)

// The reasons why a transition does not hold.
var (
	errLeased    = errors.New("keeper: another worker holds the lease")
	errNotYet    = errors.New("keeper: not yet")
	errNothing   = errors.New("keeper: nothing to do")
	errOvertaken = errors.New("keeper: a sign-in, a logout or another worker came first")
)

// Issued is what LinkedIn issued, sealed. Refresh is zero when there was none.
type Issued struct {
	Access, Refresh Token
	Scopes          []string
	ByCode          bool
}

// SignIn records that the member went through the consent page. Generation is
// used only where the grant has none yet: a logout has left its own. A live and
// undoubted access token of the same scopes goes on serving until the new one
// is proven (another set of scopes voids it at LinkedIn). A refresh in flight is
// fenced out. An old refresh token stays where none was issued.
func (g *Grant) SignIn(now time.Time, generation string, id Identity, in Issued) {
	if g.State(now) != StateActive && g.State(now) != StatePending || g.Status == "" {
		*g = Grant{Member: g.Member, Generation: g.Generation, Outbox: g.Outbox, Rev: g.Rev}
		g.tell(Event{Type: MemberConnected, At: now}, in.Access.IssuedAt.String())
	}
	g.Generation = cmp.Or(g.Generation, generation)
	g.averted()
	old, _ := g.Serving(now)
	g.Access, g.Fresh = Token{}, in.Access
	if in.Scopes == nil || slices.Equal(in.Scopes, g.Scopes) {
		g.Access = old
	} else {
		g.Scopes = in.Scopes
	}
	if !in.Refresh.IsZero() {
		g.Refresh = in.Refresh
		if g.Refresh.ExpiresAt.IsZero() {
			g.Refresh.ExpiresAt = g.Refresh.IssuedAt.Add(refreshLife)
		}
	} else if !g.Refresh.RefusedAt.IsZero() {
		g.Refresh = Token{}
	}
	g.Subject, g.Profile, g.Status = id.Subject, id.Profile, Active
	g.Lease, g.Trouble, g.VerifiedAt = Lease{}, Trouble{}, time.Time{}
	g.ExchangedAt = time.Time{}
	if in.ByCode {
		g.ExchangedAt = in.Access.IssuedAt
	}
	g.ExpiresAt = time.Time{}
}

// SignOut destroys everything but the item itself, whatever lease is held.
func (g *Grant) SignOut(now time.Time, generation string) error {
	if g.Status == SignedOut {
		return errNothing
	}
	g.averted()
	outbox := g.Outbox
	*g = Grant{Member: g.Member, Generation: generation, Status: SignedOut, Outbox: outbox, Rev: g.Rev, ExpiresAt: now.Add(keepSignedOut)}
	g.tell(Event{Type: MemberSignedOut, At: now}, generation)
	return nil
}

// Begin decides what may be done now, and takes the lease for it where it needs
// one: a refresh always, and whatever a caller waits for. need is the life that
// a waiting caller needs of a token; negative: nobody waits, do what is due.
// errLeased, errNotYet and errNothing say why not.
func (g *Grant) Begin(now time.Time, lease Lease, need time.Duration) (Task, error) {
	task, at := g.Next(now)
	if need >= 0 {
		task, at = g.wanted(now, need)
	}
	switch {
	case task == TaskNone:
		return TaskNone, errNothing
	case task == TaskAnnounce && !at.After(now):
		return task, nil
	case g.Lease.Until.After(now):
		return TaskNone, errLeased
	case at.After(now):
		return TaskNone, errNotYet
	}
	if task == TaskRefresh || need >= 0 {
		g.Lease = lease
	}
	return task, nil
}

// wanted is what brings a caller a token with need left, and from when on it
// may be tried.
func (g Grant) wanted(now time.Time, need time.Duration) (Task, time.Time) {
	if t, ok := g.Serving(now); g.Status != Active || ok && t.ExpiresAt.Sub(now) >= need && !g.unsure(now) {
		return TaskNone, time.Time{}
	}
	try := now
	if !g.Trouble.At.IsZero() {
		try = g.Trouble.At.Add(callerRetry)
	}
	switch {
	case g.Fresh.live(now):
		if g.Fresh.RefusedAt.IsZero() {
			return TaskProve, try
		}
		g.Trouble.RetryAt = time.Time{}
		return TaskProve, later(try, g.proveAt())
	case g.Refresh.live(now):
		// A token that was issued just now and is still too short: no other will be longer.
		return TaskRefresh, later(try, g.Access.IssuedAt.Add(callerRetry))
	case g.Access.live(now):
		return TaskVerify, try
	}
	return TaskNone, time.Time{}
}

// holds reports whether a worker may still write what it was told.
func (g *Grant) holds(lease string) bool {
	return g.Status == Active && lease != "" && g.Lease.ID == lease
}

// release frees the lease if it is this one; "" is none.
func (g *Grant) release(lease string) {
	if lease != "" && g.Lease.ID == lease {
		g.Lease = Lease{}
	}
}

// Refreshed records LinkedIn's answer: the new token waits in Fresh, the refresh
// token is the new one or stays. errOvertaken unless the lease is still held: a
// sign-in, a logout or a later worker has decided otherwise.
func (g *Grant) Refreshed(lease string, in Issued) error {
	if !g.holds(lease) {
		return errOvertaken
	}
	g.Fresh, g.ExchangedAt = in.Access, time.Time{}
	end := g.Refresh.ExpiresAt
	if !in.Refresh.IsZero() {
		g.Refresh = in.Refresh
	}
	if g.Refresh.ExpiresAt.IsZero() {
		g.Refresh.ExpiresAt = end
	}
	g.Refresh.RefusedAt = time.Time{}
	if in.Scopes != nil {
		g.Scopes = in.Scopes
	}
	// Where the last token was never honoured, this one has yet to do better.
	if g.Trouble.Class == ClassUnknown {
		g.Trouble.At, g.Trouble.RetryAt = time.Time{}, time.Time{}
	} else {
		g.Trouble = Trouble{}
	}
	g.release(lease)
	return nil
}

// Proven records that a real API call honoured the fresh token: it serves from
// now on. errOvertaken when the grant has another fresh token by now.
func (g *Grant) Proven(now time.Time, lease string, fresh Token, p Profile) error {
	if g.Status != Active || fresh.IsZero() || !g.Fresh.same(fresh) {
		return errOvertaken
	}
	g.Access, g.Fresh = g.Fresh, Token{}
	g.Access.ProvenAt, g.Access.RefusedAt = now, time.Time{}
	g.VerifiedAt, g.ExchangedAt = now, time.Time{}
	g.Profile.merge(p)
	g.Trouble = Trouble{}
	g.release(lease)
	return nil
}

// Unproven records that an API call refused the fresh token. A young one is
// asked about again; an older one is dropped, and a refresh is due: after a
// while that grows each time, for it may be the API that is ill. Where it was
// the last token, it stays as a doubted one for introspection to judge.
func (g *Grant) Unproven(now time.Time, lease string, fresh Token) error {
	if g.Status != Active || fresh.IsZero() || !g.Fresh.same(fresh) {
		return errOvertaken
	}
	g.release(lease)
	if now.Sub(g.Fresh.IssuedAt) < proofAge && g.Fresh.live(now) {
		g.Fresh.RefusedAt = now
		return nil
	}
	switch {
	case g.Refresh.live(now) && g.Fresh.live(now):
		g.trouble(now, ClassUnknown, func(n int) time.Duration { return backoff(n, g.Member) })
	case !g.Refresh.live(now) && !g.Access.good(now):
		g.Access = g.Fresh
		g.Access.RefusedAt = now
	}
	g.Fresh = Token{}
	return nil
}

// Check claims one introspection that a caller asked for: at most one a minute.
func (g *Grant) Check(now time.Time) error {
	if g.Status != Active || now.Sub(g.CheckedAt) < time.Minute && !g.CheckedAt.After(now) {
		return errNothing
	}
	g.CheckedAt = now
	return nil
}

// Verified records what introspection said of a token; the grant may have
// another one by now, then nothing changes. A token that is not active is
// doubted from its first such answer on; one younger than 5 minutes is not.
func (g *Grant) Verified(now time.Time, of Token, ins Inspection) {
	t := &g.Access
	if g.Fresh.same(of) {
		t = &g.Fresh
	}
	if g.Status != Active || of.IsZero() || !t.same(of) {
		return
	}
	g.CheckedAt = now
	if ins.Active {
		if ins.ExpiresAt.After(now) && ins.ExpiresAt.Sub(t.ExpiresAt).Abs() > sameEnd {
			t.ExpiresAt = ins.ExpiresAt
		}
		g.VerifiedAt = now
		if t == &g.Access {
			t.ProvenAt, t.RefusedAt = now, time.Time{}
		}
		// The trouble of a refresh that is due is not over: it must wait longer each time.
		well := *g
		well.Trouble = Trouble{}
		if at := well.refreshAt(now); at.IsZero() || at.After(now) {
			g.Trouble = Trouble{}
		}
		return
	}
	if t == &g.Access && now.Sub(t.IssuedAt) >= proofAge {
		if ins.Status == "expired" {
			t.ExpiresAt = earlier(t.ExpiresAt, now)
		}
		if t.RefusedAt.IsZero() {
			t.RefusedAt = now
		}
	}
}

// Refused records that LinkedIn refuses the grant itself: the refresh token, or,
// where none lives, the access token by introspection. While a good access
// token lives, everything is kept. Where it is dead too, a second refusal at
// least a minute after the first ends the grant, unless braked: then it may be
// LinkedIn that is ill.
func (g *Grant) Refused(now time.Time, lease string, braked bool) error {
	if lease != "" && !g.holds(lease) || g.Status != Active {
		return errOvertaken
	}
	g.release(lease)
	evidence := &g.Refresh
	if !g.Refresh.live(now) && !g.Access.IsZero() {
		evidence = &g.Access
	}
	first := evidence.RefusedAt
	if first.IsZero() {
		evidence.RefusedAt, first = now, now
	}
	alive := g.Access.good(now) || g.Fresh.live(now)
	if !alive && !braked && now.Sub(first) >= secondLook {
		g.die(now, "revoked")
		return nil
	}
	g.trouble(now, ClassMember, func(n int) time.Duration {
		return [...]time.Duration{time.Minute, time.Hour, 6 * time.Hour, day}[min(n-1, 3)]
	})
	if alive {
		g.Trouble.RetryAt = earlier(g.Trouble.RetryAt, later(g.Access.ExpiresAt, g.Fresh.ExpiresAt))
	}
	return nil
}

// Failed records that a call brought no usable answer: 1 minute, then twice as
// long each time, up to 6 hours, with the member's own jitter.
func (g *Grant) Failed(now time.Time, lease string, class Class, retryAt time.Time) error {
	if lease != "" && !g.holds(lease) || g.Status != Active {
		return errOvertaken
	}
	g.release(lease)
	g.trouble(now, class, func(n int) time.Duration { return backoff(n, g.Member) })
	if retryAt.After(g.Trouble.RetryAt) {
		g.Trouble.RetryAt = earlier(retryAt, now.Add(6*time.Hour))
	}
	return nil
}

// Released gives the lease back and changes nothing else: the trouble is not
// the member's.
func (g *Grant) Released(lease string) error {
	if !g.holds(lease) {
		return errOvertaken
	}
	g.release(lease)
	return nil
}

// Announce takes the step of the ladder that is due, into the outbox, and ends
// a grant whose every token has ended.
func (g *Grant) Announce(now time.Time) {
	if g.Status != Active {
		return
	}
	if !g.end().After(now) {
		g.die(now, "expired")
		return
	}
	days, at := g.rung(now)
	if days == 0 || at.After(now) {
		return
	}
	deadline := g.ReconnectBy()
	g.Announced = Notice{Days: days, Deadline: deadline}
	left := int((deadline.Sub(now) + day - 1) / day)
	g.tell(Event{Type: MemberReconnectDue, At: now, Days: left, ReconnectBy: deadline},
		fmt.Sprint(g.Generation, days, deadline.Truncate(day).Unix()))
}

// averted drops the notices that wait: their deadline is no more, and who has
// just signed in, or out, must not be asked to.
func (g *Grant) averted() {
	g.Outbox.Events = slices.DeleteFunc(slices.Clone(g.Outbox.Events), func(e Event) bool { return e.Type == MemberReconnectDue })
	if len(g.Outbox.Events) == 0 {
		g.Outbox.Events = nil
	}
}

// Delivered drops the events that were sent.
func (g *Grant) Delivered(sent []Event) {
	if len(sent) == 0 {
		return
	}
	g.Outbox.Events = slices.DeleteFunc(slices.Clone(g.Outbox.Events), func(e Event) bool {
		return slices.ContainsFunc(sent, func(s Event) bool { return s.ID == e.ID })
	})
	if len(g.Outbox.Events) == 0 {
		g.Outbox.Events = nil
	}
	g.Outbox.Count, g.Outbox.RetryAt = 0, time.Time{}
}

// Undelivered puts the next try off: a minute, then twice as long, up to 6 hours.
func (g *Grant) Undelivered(now time.Time) {
	g.Outbox.Count++
	g.Outbox.RetryAt = now.Add(backoff(g.Outbox.Count, g.Member))
}

// die ends the grant: the member must consent again. Dead tokens are not kept.
func (g *Grant) die(now time.Time, reason string) {
	g.tell(Event{Type: MemberReconnectRequired, At: now, Reason: reason}, g.Generation+g.end().String())
	g.Status = Reconnect
	g.Access, g.Fresh, g.Refresh = Token{}, Token{}, Token{}
	g.Lease, g.Trouble = Lease{}, Trouble{}
	g.ExpiresAt = now.Add(keepReconnect)
}

// trouble counts a failure; another class starts anew.
func (g *Grant) trouble(now time.Time, class Class, wait func(n int) time.Duration) {
	if g.Trouble.Class != class {
		g.Trouble = Trouble{Class: class, Since: now}
	}
	g.Trouble.Count++
	g.Trouble.At, g.Trouble.RetryAt = now, now.Add(wait(g.Trouble.Count))
}

// tell puts e into the outbox. What makes it this event and no other decides
// its id, so that a duplicate has the same one.
func (g *Grant) tell(e Event, what string) {
	e.Subject = string(g.Member)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", e.Type, g.Member, what))
	e.ID = base64.RawURLEncoding.EncodeToString(sum[:16])
	if slices.ContainsFunc(g.Outbox.Events, func(o Event) bool { return o.ID == e.ID }) {
		return
	}
	g.Outbox.Events = append(slices.Clone(g.Outbox.Events), e)
	if over := len(g.Outbox.Events) - outboxSize; over > 0 {
		g.Outbox.Events = g.Outbox.Events[over:]
	}
}

// merge takes what is said; what is not said stays.
func (p *Profile) merge(q Profile) {
	p.Name, p.Picture, p.Email = cmp.Or(q.Name, p.Name), cmp.Or(q.Picture, p.Picture), cmp.Or(q.Email, p.Email)
}

// doubled is 1 minute doubled n-1 times, at most 6 hours.
func doubled(n int) time.Duration {
	return min(time.Minute<<max(0, min(n-1, 9)), 6*time.Hour)
}

// backoff is doubled, less up to a quarter of it by the member's own jitter.
func backoff(n int, id MemberID) time.Duration {
	d := doubled(n)
	return d - time.Duration(float64(d/4)*float64(id.hash()>>11)/(1<<53))
}
