package keeper

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"
)

// errBlocked: breaker or pause.
var errBlocked = errors.New("keeper: refreshes are blocked")

// gate is one worker's view of the control item: read once, written through.
// It is safe for concurrent use.
type gate struct {
	k *Keeper

	mu      sync.Mutex
	loaded  bool
	control Control
}

func (g *gate) read(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.load(ctx)
}

func (g *gate) load(ctx context.Context) error {
	if g.loaded {
		return nil
	}
	c, err := g.k.Desk.Control(ctx)
	if err != nil {
		return err
	}
	g.control, g.loaded = c, true
	return nil
}

// pass lets a call to LinkedIn begin, or says errBlocked. Through a half-open
// breaker one call a minute goes: probe is true when it is this one. A proof
// needs no credentials of the application, so no refusal of those stops it.
func (g *gate) pass(ctx context.Context, now time.Time, task Task) (probe bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.load(ctx); err != nil {
		return false, g.k.storeError("control", err)
	}
	refused := g.control.Breaker.Class == ClassApplication
	switch {
	case task == TaskProve && refused && g.control.PausedAt.IsZero():
		return false, nil
	case g.control.Blocked(now):
		return false, errBlocked
	case !g.control.half(now):
		return false, nil
	}
	old := g.control.Rev
	next := g.control
	next.probe(now)
	next.Rev = rand.Text()
	if err := g.k.Desk.PutControl(ctx, next, old); err != nil {
		g.loaded = false
		return false, errBlocked // another probes, or nobody for a minute
	}
	g.control = next
	return true, nil
}

func (g *gate) braked(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.control.Braked(now)
}

// change applies f, and stores what it changed; on a conflict f runs again on
// the fresh item. It returns the item as it was before and as it is now.
func (g *gate) change(ctx context.Context, f func(*Control) bool) (was, is Control) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for range putTries {
		if err := g.load(ctx); err != nil {
			g.k.Log.Error("the store failed", "operation", "control", "error", err.Error())
			return g.control, g.control
		}
		if is.Rev != "" && g.control.Rev == is.Rev {
			return was, is // our own write, whatever the store had answered
		}
		was, is = g.control, g.control
		if !f(&is) {
			return was, was
		}
		old := is.Rev
		is.Rev = rand.Text()
		err := g.k.Desk.PutControl(ctx, is, old)
		if err == nil {
			g.control = is
			return was, is
		}
		g.loaded = false
		if !errors.Is(err, ErrConflict) && g.k.Sleep(ctx, 50*time.Millisecond) != nil {
			break
		}
	}
	g.k.Log.Error("the store failed", "operation", "put control")
	return was, was
}

// observe logs a failed call with its support record, and lets it, or a
// success, work on breaker, brake and incidents. id is "" where no member is
// known.
func (k *Keeper) observe(ctx context.Context, gate *gate, id MemberID, operation string, err error) {
	ctx, cancel := outlive(ctx)
	defer cancel()
	if err == nil {
		k.succeeded(ctx, gate, operation, time.Time{})
		return
	}
	call, ok := errors.AsType[*CallError](err)
	if !ok {
		call = &CallError{Class: ClassUnknown, Record: Record{Operation: operation, At: k.now(), Problem: "not a call to LinkedIn"}}
	}
	record := call.Record
	k.Log.Warn("linkedin call failed", "operation", operation, "class", string(call.Class), "member", string(id), "record", record)
	if call.Class == ClassMember || cancelled(err) {
		return // says nothing of LinkedIn
	}
	was, is := gate.change(ctx, func(c *Control) bool { return c.failed(k.now(), operation, call.Class, call.RetryAt) })
	k.report(ctx, gate, was, is, &record)
}

// succeeded lets a success at that time, zero for just now, work on breaker,
// brake and incidents.
func (k *Keeper) succeeded(ctx context.Context, gate *gate, operation string, at time.Time) {
	was, is := gate.change(ctx, func(c *Control) bool { return c.succeeded(k.now(), operation, at) })
	k.report(ctx, gate, was, is, nil)
}

// refused lets LinkedIn's refusal of a member work on the brake. record is nil
// where an introspection said so.
func (k *Keeper) refused(ctx context.Context, gate *gate, id MemberID, record *Record) {
	was, is := gate.change(ctx, func(c *Control) bool { return c.refused(k.now(), id) })
	k.report(ctx, gate, was, is, record)
}

// locked lets a token of id's that does not open, or opens, work on the incident
// of that. A worker who has not read the control item learns nothing from one that
// opens: the next pass will.
func (k *Keeper) locked(ctx context.Context, gate *gate, id MemberID, err error) {
	f := func(c *Control) bool { return c.locked(k.now(), id) }
	if err == nil {
		if !gate.lockedOut(id) {
			return
		}
		f = func(c *Control) bool { return c.unlocked(k.now(), id) }
	}
	ctx, cancel := outlive(ctx)
	defer cancel()
	was, is := gate.change(ctx, f)
	k.report(ctx, gate, was, is, nil)
}

func (g *gate) lockedOut(id MemberID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.control.Locked.Members, id)
}

// cancelled reports whether err came of a caller who went away.
func cancelled(err error) bool {
	c, ok := errors.AsType[*CallError](err)
	return ok && c.Record.Problem == "cancelled by the caller"
}
