package keeper

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"
)

const (
	batch    = 100              // grants taken from a shard at once
	passEnds = 10 * time.Second // before its deadline
	catchUp  = 50 * time.Millisecond
)

// Range is a range of shards, both ends included: {0, 15} is all.
type Range struct{ From, To int }

// Report is what a pass did.
type Report struct {
	Done    int           // grants worked on without trouble
	Failed  int           // grants whose work failed
	Skipped int           // named by the index, and nothing to do
	Lag     time.Duration // how late the latest of them was
	Blocked bool          // breaker or pause stopped refreshes
	Open    int           // incidents that were open at its end
}

// Pass does all that is due in shards, the longest due first, until 10 seconds
// before ctx's deadline. Overlapping passes are harmless. A grant is tried once
// in a pass.
func (k *Keeper) Pass(ctx context.Context, shards Range) (Report, error) {
	if shards.From < 0 || shards.To >= Shards || shards.From > shards.To {
		return Report{}, errors.New("keeper: pass: shards are 0 to 15")
	}
	p := &pass{k: k, gate: &gate{k: k}, slots: make(chan struct{}, k.Workers), seen: make(map[MemberID]bool)}
	if err := p.gate.read(ctx); err != nil {
		return Report{}, k.storeError("pass", err)
	}
	k.tellIncidents(ctx, p.gate)
	var failed error
	// What becomes due meanwhile is the next pass's, so that this one has an end.
	now := k.now()
	parts := []part{{before: now}}
	if c := p.gate.control; !c.PausedAt.IsZero() || c.Breaker != (Breaker{}) {
		// Then what is due may be more than one pass can look at, and none of it moves.
		// The latest comes first: among it are the notices, which nothing blocks.
		recent := now.Add(-time.Hour)
		parts = []part{{Nominee{Due: recent}, now}, {before: recent.Add(-time.Microsecond)}}
	}
	n := shards.To - shards.From + 1
	for _, part := range parts {
		for i := 0; i < n && p.time(ctx); i++ {
			s := shards.From + (int(now.Unix()/60%Shards)+i)%n // each pass begins at another
			failed = errors.Join(failed, p.shard(ctx, s, part))
		}
	}
	p.begun.Wait()
	was, is := p.gate.change(ctx, func(c *Control) bool { return c.forget(k.now()) })
	k.report(ctx, p.gate, was, is, nil)
	p.report.Blocked, p.report.Open = is.Blocked(k.now()), len(is.Open)
	return p.report, failed
}

type pass struct {
	k     *Keeper
	gate  *gate
	slots chan struct{}
	begun sync.WaitGroup
	seen  map[MemberID]bool
	next  time.Time // when the next grant's turn is

	mu     sync.Mutex
	report Report
}

// time reports whether there is time to begin one more.
func (p *pass) time(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() == nil && (!ok || time.Until(end) > passEnds+stepNeeds/2)
}

// part is what is due behind a nominee and not after a time.
type part struct {
	after  Nominee
	before time.Time
}

// shard begins all that is due in a part of a shard. Its error is the index's. It
// reads on behind what it has seen: much of that may stay due, leased or blocked.
func (p *pass) shard(ctx context.Context, shard int, part part) error {
	for {
		due, err := p.k.Store.Due(ctx, shard, part.after, part.before, batch)
		if err != nil {
			return p.k.storeError("due", err)
		}
		for _, n := range due {
			if p.seen[n.Member] {
				continue
			}
			p.seen[n.Member] = true
			if !p.time(ctx) || p.pace(ctx) != nil {
				return nil
			}
			p.slots <- struct{}{}
			p.begun.Go(func() {
				defer func() { <-p.slots }()
				p.one(ctx, n.Member)
			})
		}
		if len(due) < batch {
			return nil
		}
		part.after = due[batch-1]
	}
}

// pace waits for the next grant's turn. What a late timer had held up is made
// good, a longer wait for a free worker is not.
func (p *pass) pace(ctx context.Context) error {
	turn := time.Second / time.Duration(p.k.Rate)
	now := p.k.now()
	p.next = later(p.next, now.Add(-catchUp))
	wait := min(p.next.Sub(now), turn)
	p.next = p.next.Add(turn)
	if wait <= 0 {
		return ctx.Err()
	}
	return p.k.Sleep(ctx, wait)
}

func (p *pass) one(ctx context.Context, id MemberID) {
	g, err := p.k.work(ctx, id, nobody, p.gate)
	if errors.Is(err, errNothing) || errors.Is(err, errNotYet) {
		p.k.tidy(ctx, g)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.report.Done++
	case errors.Is(err, errNothing), errors.Is(err, errNotYet), errors.Is(err, errLeased), errors.Is(err, ErrNotFound), errors.Is(err, errBlocked):
		p.report.Skipped++
	default:
		p.report.Failed++
	}
	if err == nil && !g.Due.IsZero() {
		p.report.Lag = max(p.report.Lag, p.k.now().Sub(g.Due))
	}
}

// tidy moves a grant that the index named in vain to where it belongs there, or
// else each pass would read it again: one that nothing is due for any more, or
// that has ended (a store may take days to remove it). Where the write fails, the
// next pass comes by.
func (k *Keeper) tidy(ctx context.Context, g Grant) {
	now := k.now()
	switch {
	case g.Member == "": // nobody looked
	case g.Rev == "":
		// Put takes what has ended for nothing; what this leaves has ended too (by
		// anybody's clock), and is never due.
		_ = k.Store.Put(ctx, Grant{Member: g.Member, ExpiresAt: now.Add(-day), Rev: rand.Text()}, "")
	case !g.Due.IsZero() && !g.Due.After(now):
		_, _ = k.updateFrom(ctx, g, 1, func(*Grant) error { return nil })
	}
}
