package keeper

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"time"
)

const (
	nobody    = time.Duration(-1) // need, where no caller waits
	callFor   = 10 * time.Second  // the longest that LinkedIn's answer is waited for
	stepNeeds = 20 * time.Second  // of the deadline, or no call to LinkedIn is begun
)

// Work does the one thing that is due for a grant, if anything is, and returns
// nil when it was done or nothing was to do.
func (k *Keeper) Work(ctx context.Context, id MemberID) error {
	_, err := k.work(ctx, id, nobody, &gate{k: k})
	if errors.Is(err, errNothing) || errors.Is(err, errNotYet) || errors.Is(err, errLeased) {
		return nil
	}
	return err
}

// work begins what is due, or what a caller needs (see Begin), and does it. It
// returns the grant as it was begun with.
func (k *Keeper) work(ctx context.Context, id MemberID, need time.Duration, gate *gate) (Grant, error) {
	if end, ok := ctx.Deadline(); ok && need < 0 && time.Until(end) < stepNeeds {
		return Grant{}, errNotYet
	}
	lease := Lease{ID: rand.Text()}
	var task Task
	probe := false
	g, err := k.update(ctx, id, func(g *Grant) (err error) {
		now, held := k.now(), g.Lease
		lease.Until = now.Add(leaseFor)
		if task, err = g.Begin(now, lease, need); err != nil {
			return err
		}
		if task != TaskAnnounce && !probe {
			if probe, err = gate.pass(ctx, now, task); err != nil {
				return err
			}
		}
		if g.Lease == held {
			return errUnchanged
		}
		return nil
	})
	if err != nil {
		return g, err
	}
	holding := ""
	if g.Lease.ID == lease.ID {
		holding = lease.ID
	}
	switch task {
	case TaskRefresh:
		return g, k.refresh(ctx, g, holding, need, gate)
	case TaskProve:
		return g, k.prove(ctx, g, holding, gate)
	case TaskVerify:
		return g, k.verify(ctx, g, holding, gate)
	default:
		return g, k.announce(ctx, g)
	}
}

// outlive is ctx for what was begun and must be stored although its caller has
// gone. It keeps ctx's deadline: what cannot be stored by then is cut off by the
// end of the function anyway, and who still waits must get an answer before.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	out := context.WithoutCancel(ctx)
	if end, ok := ctx.Deadline(); ok {
		return context.WithDeadline(out, end)
	}
	return out, func() {}
}

// refresh holds the lease: introspect first, one POST, store at once.
func (k *Keeper) refresh(ctx context.Context, g Grant, lease string, need time.Duration, gate *gate) error {
	// What was begun is ended and stored even if the caller goes away: an answer
	// that nobody reads may have been the only one with the new refresh token.
	store, cancel := outlive(ctx)
	defer cancel()
	looked, ins := g.Access, (*Inspection)(nil)
	if now := k.now(); g.Access.live(now) && now.Sub(g.Access.ProvenAt) >= proofAge {
		got, err := k.inspect(ctx, g, looked, gate)
		if err == nil {
			ins = &got
			now, after := k.now(), g
			after.Verified(now, looked, got)
			task, at := after.Next(now)
			done := task != TaskRefresh || at.After(now)
			if need >= 0 {
				t, ok := after.Serving(now)
				done = ok && t.ExpiresAt.Sub(now) >= need
			}
			if done {
				_, err := k.updateFrom(store, g, putTries, func(g *Grant) error {
					g.Verified(now, looked, got)
					return g.Released(lease)
				})
				return overtakenIsFine(err)
			}
		}
	}
	verified := func(g *Grant) {
		if ins != nil {
			g.Verified(k.now(), looked, *ins)
		}
	}
	// Nothing was sent yet: the caller has gone, or this worker stood still for so
	// long (a frozen Lambda) that another may hold the lease before LinkedIn answers.
	if ctx.Err() != nil || g.Lease.Until.Sub(k.now()) < callFor {
		_, err := k.updateFrom(store, g, putTries, func(g *Grant) error { return g.Released(lease) })
		return cmp.Or(overtakenIsFine(err), ErrUnavailable)
	}
	refresh, err := k.unseal(store, gate, g, g.Refresh, PurposeRefresh)
	if err != nil {
		return k.fail(store, g, lease)
	}
	tokens, err := k.Provider.Refresh(store, refresh)
	if err == nil && tokens.Subject != "" && tokens.Subject != g.Subject {
		err = k.another("refresh")
	}
	if err != nil {
		revoked := ins != nil && ins.Status == "revoked"
		return k.refreshFailed(store, g, lease, revoked, err, verified, gate)
	}
	issued, err := k.seal(store, g.Member, tokens)
	for try := 1; err != nil && try < putTries; try++ { // nobody else has these tokens
		_ = k.Sleep(store, 50*time.Millisecond<<try)
		issued, err = k.seal(store, g.Member, tokens)
	}
	if err != nil {
		return k.fail(store, g, lease)
	}
	stored, err := k.updateFrom(store, g, answerTries, func(g *Grant) error {
		verified(g)
		return g.Refreshed(lease, issued)
	})
	k.observe(store, gate, g.Member, "refresh", nil)
	if errors.Is(err, errOvertaken) || errors.Is(err, ErrNotFound) {
		k.Log.Warn("a refresh was overtaken", "member", string(g.Member), "status", string(stored.Status))
		if stored.Status == SignedOut || stored.Status == "" {
			k.revoke(store, g, issued.Access, Token{}, issued.Refresh)
		}
		return nil
	}
	if err == nil {
		k.Log.Info("token refreshed", "member", string(g.Member), "expires_at", issued.Access.ExpiresAt)
	}
	return err
}

func (k *Keeper) refreshFailed(ctx context.Context, g Grant, lease string, revoked bool, failure error, verified func(*Grant), gate *gate) error {
	class, call := ClassOf(failure), CallError{}
	if c, ok := errors.AsType[*CallError](failure); ok {
		call = *c
	}
	k.observe(ctx, gate, g.Member, "refresh", failure)
	if class == ClassMember && !revoked {
		k.refused(ctx, gate, g.Member, &call.Record)
	}
	_, err := k.updateFrom(ctx, g, putTries, func(g *Grant) error {
		now := k.now()
		verified(g)
		switch class {
		case ClassMember:
			return g.Refused(now, lease, gate.braked(now))
		case ClassApplication, ClassBusy:
			return g.Released(lease)
		}
		return g.Failed(now, lease, class, call.RetryAt)
	})
	return cmp.Or(overtakenIsFine(err), failure)
}

// prove makes a real API call with the fresh token, and lets it serve.
func (k *Keeper) prove(ctx context.Context, g Grant, lease string, gate *gate) error {
	store, cancel := outlive(ctx)
	defer cancel()
	fresh := g.Fresh
	clear, err := k.unseal(ctx, gate, g, fresh, PurposeAccess)
	if err != nil {
		return k.fail(store, g, lease)
	}
	unproven := func(g *Grant, now time.Time) error { return g.Unproven(now, lease, fresh) }
	if !fresh.live(k.now()) {
		return k.settle(store, g, lease, nil, unproven)
	}
	who, err := k.Provider.Identify(ctx, clear)
	if err == nil && who.Subject != g.Subject {
		// Whatever this means, the token must not serve.
		err = k.another("userinfo")
		k.observe(store, gate, g.Member, "userinfo", err)
		return cmp.Or(k.settle(store, g, lease, nil, unproven), err)
	}
	k.observe(store, gate, g.Member, "userinfo", err)
	if err == nil && !g.ExchangedAt.IsZero() {
		k.succeeded(store, gate, "exchange", g.ExchangedAt)
	}
	return k.settle(store, g, lease, err, func(g *Grant, now time.Time) error {
		if err == nil {
			return g.Proven(now, lease, fresh, who.Profile)
		}
		return g.Unproven(now, lease, fresh)
	})
}

// verify introspects the access token.
func (k *Keeper) verify(ctx context.Context, g Grant, lease string, gate *gate) error {
	store, cancel := outlive(ctx)
	defer cancel()
	of := g.Access
	ins, err := k.inspect(ctx, g, of, gate)
	if err == nil && !ins.Active && ins.Status != "revoked" && !g.Refresh.live(k.now()) {
		k.refused(store, gate, g.Member, nil)
	}
	return k.settle(store, g, lease, err, func(g *Grant, now time.Time) error {
		g.Verified(now, of, ins)
		if g.Access.same(of) && !g.Access.RefusedAt.IsZero() && !g.Refresh.live(now) {
			return g.Refused(now, lease, gate.braked(now))
		}
		g.release(lease)
		return nil
	})
}

// settle stores how a call without a lease of its own went: done for an answer
// about this token, the trouble of its class otherwise.
func (k *Keeper) settle(ctx context.Context, g Grant, lease string, failure error, done func(*Grant, time.Time) error) error {
	class := ClassOf(failure)
	_, err := k.updateFrom(ctx, g, putTries, func(g *Grant) error {
		switch {
		case class == "", class == ClassMember:
			return done(g, k.now())
		case class == ClassApplication, class == ClassBusy, cancelled(failure):
			if lease == "" {
				return errUnchanged
			}
			return g.Released(lease)
		}
		return g.Failed(k.now(), lease, class, time.Time{})
	})
	return cmp.Or(overtakenIsFine(err), failure)
}

// announce takes the step of the ladder that is due and empties the outbox.
func (k *Keeper) announce(ctx context.Context, g Grant) error {
	now := k.now()
	store, cancel := outlive(ctx)
	defer cancel()
	step := g
	if step.Announce(now); len(step.Outbox.Events) != len(g.Outbox.Events) {
		// The step is stored before anybody is told: a sign-in may have come first.
		var err error
		g, err = k.updateFrom(store, g, putTries, func(g *Grant) error {
			g.Announce(now)
			return nil
		})
		if err != nil {
			return overtakenIsFine(err)
		}
	}
	var sent []Event
	var failure error
	for _, e := range g.Outbox.Events {
		if failure = k.Events(ctx, e); failure != nil {
			k.Log.Warn("an event was not delivered", "type", string(e.Type), "event", e.ID, "error", failure.Error())
			break
		}
		sent = append(sent, e)
	}
	_, err := k.updateFrom(store, g, putTries, func(g *Grant) error {
		if g.Status == "" {
			return ErrNotFound
		}
		g.Announce(now)
		g.Delivered(sent)
		if failure != nil {
			g.Undelivered(now)
		}
		return nil
	})
	return overtakenIsFine(err)
}

// inspect introspects t; g is whose it is.
func (k *Keeper) inspect(ctx context.Context, g Grant, t Token, gate *gate) (Inspection, error) {
	clear, err := k.unseal(ctx, gate, g, t, PurposeAccess)
	if err != nil {
		return Inspection{}, err
	}
	ins, err := k.Provider.Inspect(ctx, clear)
	k.observe(ctx, gate, g.Member, "introspect", err)
	return ins, err
}

// another is an answer of LinkedIn's about somebody else.
func (k *Keeper) another(operation string) error {
	return &CallError{Class: ClassUnknown, Record: Record{Operation: operation, At: k.now(), Problem: "the answer is another member's"}}
}

// fail records a trouble of our own, in which LinkedIn had no part.
func (k *Keeper) fail(ctx context.Context, g Grant, lease string) error {
	_, err := k.updateFrom(ctx, g, putTries, func(g *Grant) error { return g.Failed(k.now(), lease, ClassUnknown, time.Time{}) })
	return cmp.Or(overtakenIsFine(err), ErrUnavailable)
}

func overtakenIsFine(err error) error {
	if errors.Is(err, errOvertaken) || errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
