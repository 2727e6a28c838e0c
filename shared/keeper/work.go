package keeper

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
)

const (
	nobody    = time.Duration(-1) // need, where no caller waits
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
		return Grant{}, ErrUnavailable
	}
	lease := Lease{ID: rand.Text()}
	var task Task
	g, err := k.update(ctx, id, func(g *Grant) (err error) {
		now, held := k.now(), g.Lease
		lease.Until = now.Add(leaseFor)
		if task, err = g.Begin(now, lease, need); err != nil {
			return err
		}
		if task != TaskAnnounce {
			if err := gate.pass(ctx, now, task); err != nil {
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

// refresh holds the lease: introspect first, one POST, store at once.
func (k *Keeper) refresh(ctx context.Context, g Grant, lease string, need time.Duration, gate *gate) error {
	// What LinkedIn answers is stored even if the caller goes away.
	store := context.WithoutCancel(ctx)
	looked, ins := g.Access, (*Inspection)(nil)
	if now := k.now(); g.Access.live(now) && now.Sub(g.Access.ProvenAt) >= proofAge {
		got, err := k.inspect(ctx, g, g.Access, gate)
		if err == nil {
			ins = &got
			g.Verified(k.now(), looked, got)
			now := k.now()
			task, at := g.Next(now)
			done := task != TaskRefresh || at.After(now)
			if need >= 0 {
				t, ok := g.Serving(now)
				done = ok && t.ExpiresAt.Sub(now) >= need
			}
			if done {
				_, err := k.update(store, g.Member, func(g *Grant) error {
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
	refresh, err := k.Sealer.Open(ctx, g.Refresh.Sealed, PurposeRefresh, string(g.Member))
	if err != nil {
		k.Log.Error("a token does not open", "member", string(g.Member), "error", err.Error())
		return k.fail(store, g.Member, lease, ClassUnknown, time.Time{})
	}
	tokens, err := k.Provider.Refresh(ctx, refresh)
	if err == nil && tokens.Subject != "" && tokens.Subject != g.Subject {
		err = &CallError{Class: ClassUnknown, Record: Record{Operation: "refresh", At: k.now(), Problem: "the answer is another member's"}}
	}
	if err != nil {
		revoked := ins != nil && ins.Status == "revoked"
		return k.refreshFailed(store, g, lease, revoked, err, verified, gate)
	}
	issued, err := k.seal(store, g.Member, tokens)
	if err != nil {
		return k.fail(store, g.Member, lease, ClassUnknown, time.Time{})
	}
	stored, err := k.update(store, g.Member, func(g *Grant) error {
		verified(g)
		return g.Refreshed(lease, issued)
	})
	k.observe(store, gate, g.Member, "refresh", nil)
	if errors.Is(err, errOvertaken) || errors.Is(err, ErrNotFound) {
		k.Log.Warn("a refresh was overtaken", "member", string(g.Member), "status", string(stored.Status))
		if stored.Status == SignedOut || stored.Status == "" {
			k.revoke(store, Grant{Member: g.Member}, Token{}, issued.Access, Token{})
		}
		return nil
	}
	return err
}

func (k *Keeper) refreshFailed(ctx context.Context, g Grant, lease string, revoked bool, failure error, verified func(*Grant), gate *gate) error {
	class, retryAt := ClassOf(failure), time.Time{}
	if c, ok := errors.AsType[*CallError](failure); ok {
		retryAt = c.RetryAt
	}
	if class == ClassMember && !revoked {
		gate.refused(ctx, g.Member)
	}
	k.observe(ctx, gate, g.Member, "refresh", failure)
	_, err := k.update(ctx, g.Member, func(g *Grant) error {
		now := k.now()
		verified(g)
		switch class {
		case ClassMember:
			return g.Refused(now, lease, gate.braked(now))
		case ClassApplication, ClassBusy:
			return g.Released(lease)
		}
		return g.Failed(now, lease, class, retryAt)
	})
	if err := overtakenIsFine(err); err != nil {
		return err
	}
	return failure
}

// prove makes a real API call with the fresh token, and lets it serve.
func (k *Keeper) prove(ctx context.Context, g Grant, lease string, gate *gate) error {
	store := context.WithoutCancel(ctx)
	fresh := g.Fresh
	clear, err := k.Sealer.Open(ctx, fresh.Sealed, PurposeAccess, string(g.Member))
	if err != nil {
		k.Log.Error("a token does not open", "member", string(g.Member), "error", err.Error())
		return k.fail(store, g.Member, lease, ClassUnknown, time.Time{})
	}
	var who Identity
	if fresh.live(k.now()) {
		who, err = k.Provider.Identify(ctx, clear)
	} else {
		err = &CallError{Class: ClassMember, Record: Record{Operation: "userinfo", At: k.now(), Problem: "the token has ended"}}
	}
	if err == nil && who.Subject != g.Subject {
		err = &CallError{Class: ClassUnknown, Record: Record{Operation: "userinfo", At: k.now(), Problem: "the answer is another member's"}}
	}
	k.observe(store, gate, g.Member, "userinfo", err)
	return k.settle(store, g.Member, lease, err, func(g *Grant, now time.Time) error {
		if err == nil {
			return g.Proven(now, lease, fresh, who.Profile)
		}
		return g.Unproven(now, lease, fresh)
	})
}

// verify introspects the access token.
func (k *Keeper) verify(ctx context.Context, g Grant, lease string, gate *gate) error {
	store := context.WithoutCancel(ctx)
	of := g.Access
	ins, err := k.inspect(ctx, g, of, gate)
	if err == nil && !ins.Active && ins.Status != "revoked" && g.Refresh.IsZero() {
		gate.refused(store, g.Member)
	}
	return k.settle(store, g.Member, lease, err, func(g *Grant, now time.Time) error {
		g.Verified(now, of, ins)
		if g.Access.same(of) && !g.Access.RefusedAt.IsZero() && g.Refresh.IsZero() {
			return g.Refused(now, lease, gate.braked(now))
		}
		g.release(lease)
		return nil
	})
}

// settle stores how a call without a lease of its own went: done for an answer
// about this token, the trouble of its class otherwise.
func (k *Keeper) settle(ctx context.Context, id MemberID, lease string, failure error, done func(*Grant, time.Time) error) error {
	class := ClassOf(failure)
	_, err := k.update(ctx, id, func(g *Grant) error {
		switch class {
		case "", ClassMember:
			return done(g, k.now())
		case ClassApplication, ClassBusy:
			if lease == "" {
				return errUnchanged
			}
			return g.Released(lease)
		}
		return g.Failed(k.now(), lease, class, time.Time{})
	})
	if err := overtakenIsFine(err); err != nil {
		return err
	}
	return failure
}

// announce takes the step of the ladder that is due and empties the outbox.
func (k *Keeper) announce(ctx context.Context, g Grant) error {
	now := k.now()
	g.Announce(now)
	var sent []Event
	var failure error
	for _, e := range g.Outbox.Events {
		if failure = k.Events(ctx, e); failure != nil {
			k.Log.Warn("an event was not delivered", "type", string(e.Type), "event", e.ID, "error", failure.Error())
			break
		}
		sent = append(sent, e)
	}
	_, err := k.update(context.WithoutCancel(ctx), g.Member, func(g *Grant) error {
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
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// inspect introspects t; g is whose it is.
func (k *Keeper) inspect(ctx context.Context, g Grant, t Token, gate *gate) (Inspection, error) {
	clear, err := k.Sealer.Open(ctx, t.Sealed, PurposeAccess, string(g.Member))
	if err != nil {
		k.Log.Error("a token does not open", "member", string(g.Member), "error", err.Error())
		return Inspection{}, err
	}
	ins, err := k.Provider.Inspect(ctx, clear)
	k.observe(context.WithoutCancel(ctx), gate, g.Member, "introspect", err)
	return ins, err
}

func (k *Keeper) fail(ctx context.Context, id MemberID, lease string, class Class, retryAt time.Time) error {
	_, err := k.update(ctx, id, func(g *Grant) error { return g.Failed(k.now(), lease, class, retryAt) })
	if err := overtakenIsFine(err); err != nil {
		return err
	}
	return ErrUnavailable
}

func overtakenIsFine(err error) error {
	if errors.Is(err, errOvertaken) || errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
