package keeper

import (
	"context"
	"crypto/rand"
	"errors"
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
	claimed bool // this worker is the probe
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
// breaker one refresh a minute goes.
func (g *gate) pass(ctx context.Context, now time.Time, task Task) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.load(ctx); err != nil {
		return g.k.storeError("control", err)
	}
	if g.claimed {
		return nil
	}
	if g.control.Blocked(now) {
		return errBlocked
	}
	if !g.control.half(now) {
		return nil
	}
	if task == TaskProve {
		return errBlocked
	}
	old := g.control.Rev
	next := g.control
	next.probe(now)
	next.Rev = rand.Text()
	if err := g.k.Desk.PutControl(ctx, next, old); err != nil {
		return errBlocked // another probes
	}
	g.control, g.claimed = next, true
	return nil
}

func (g *gate) braked(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.control.Braked(now)
}

func (g *gate) refused(ctx context.Context, id MemberID) {
	g.change(ctx, func(c *Control) bool { return c.refused(g.k.now(), id) })
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
		if !errors.Is(err, ErrConflict) {
			if g.k.Sleep(ctx, 50*time.Millisecond) != nil {
				break
			}
		}
	}
	return was, was
}

// observe logs a failed call with its support record, and lets it, or a
// success, work on breaker, brake and incidents. id is "" where no member is
// known.
func (k *Keeper) observe(ctx context.Context, gate *gate, id MemberID, operation string, err error) {
	ctx = context.WithoutCancel(ctx)
	if err == nil {
		was, is := gate.change(ctx, func(c *Control) bool { return c.succeeded(k.now(), operation) })
		k.report(ctx, gate, was, is, nil)
		return
	}
	call, ok := errors.AsType[*CallError](err)
	if !ok {
		call = &CallError{Class: ClassUnknown, Record: Record{Operation: operation, At: k.now(), Problem: "not a call to LinkedIn"}}
	}
	record := call.Record
	k.Log.Warn("linkedin call failed", "operation", operation, "class", string(call.Class), "member", string(id), "record", record)
	if call.Class == ClassMember {
		was, is := gate.change(ctx, func(*Control) bool { return false })
		k.report(ctx, gate, was, is, nil)
		return
	}
	if record.Problem == "cancelled by the caller" {
		return // says nothing of LinkedIn
	}
	was, is := gate.change(ctx, func(c *Control) bool { return c.failed(k.now(), operation, call.Class, call.RetryAt) })
	k.report(ctx, gate, was, is, &record)
}
