package keeper_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

// reads counts what a pass reads of a store.
type reads struct {
	keeper.Store
	queries, names, gets, puts int
}

func (r *reads) Due(ctx context.Context, shard int, after keeper.Nominee, before time.Time, limit int) ([]keeper.Nominee, error) {
	due, err := r.Store.Due(ctx, shard, after, before, limit)
	r.queries++
	r.names += len(due)
	return due, err
}

func (r *reads) Get(ctx context.Context, id keeper.MemberID) (keeper.Grant, error) {
	r.gets++
	return r.Store.Get(ctx, id)
}

func (r *reads) Put(ctx context.Context, g keeper.Grant, old string) error {
	r.puts++
	return r.Store.Put(ctx, g, old)
}

// stock stores n grants of shard 3, each as it is at the world's clock but for
// what change does to it.
func (w *world) stock(t *testing.T, n int, change func(*keeper.Grant)) {
	t.Helper()
	for i := 0; n > 0; i++ {
		id := keeper.NewMemberID("77keepin", fmt.Sprint("stock-", i))
		if id.Shard() != 3 {
			continue
		}
		now := w.clock.Now()
		issued := now.Add(-55 * day)
		g := keeper.Grant{Member: id, Subject: fmt.Sprint("stock-", i), Status: keeper.Active, Generation: "g", Rev: rand.Text(),
			Access:     keeper.Token{Sealed: []byte("a"), IssuedAt: issued, ExpiresAt: issued.Add(60 * day), ProvenAt: issued},
			Refresh:    keeper.Token{Sealed: []byte("r"), IssuedAt: issued, ExpiresAt: issued.Add(365 * day)},
			VerifiedAt: issued, CheckedAt: now.Add(-time.Hour), Due: now.Add(-time.Minute)}
		change(&g)
		if err := w.store.Put(t.Context(), g, ""); err != nil {
			t.Fatal(err)
		}
		n--
	}
}

// What stays due although a pass has seen it is read once in that pass: twice as
// much of it is twice the reading, and not four times.
func TestPassReadsABlockedShardOnce(t *testing.T) {
	for what, block := range map[string]struct {
		grant   func(*world, *keeper.Grant)
		control keeper.Control
	}{
		"leased":  {grant: func(w *world, g *keeper.Grant) { g.Lease = keeper.Lease{ID: "another", Until: w.clock.Now().Add(40 * time.Second)} }},
		"paused":  {control: keeper.Control{PausedAt: t0}},
		"refused": {control: keeper.Control{Breaker: keeper.Breaker{Class: keeper.ClassApplication, Since: t0, Until: t0.Add(1000 * day)}}},
	} {
		for _, n := range []int{0, 100, 750, 1500} {
			w := newWorld(t, nil)
			w.stock(t, n, func(g *keeper.Grant) {
				if block.grant != nil {
					block.grant(w, g)
				}
			})
			block.control.Rev = "blocked"
			if err := w.store.PutControl(t.Context(), block.control, ""); err != nil {
				t.Fatal(err)
			}
			store := &reads{Store: w.store}
			k := w.keeper(t, func(c *keeper.Config) { c.Store = store })
			r, err := k.Pass(t.Context(), keeper.Range{From: 0, To: 15})
			if err != nil || r.Skipped != n || r.Done+r.Failed > 0 {
				t.Errorf("%s, %d: %+v, %v", what, n, r, err)
			}
			if store.names != n || store.gets != n || store.puts != 0 {
				t.Errorf("%s, %d: %d names and %d grants read, %d written", what, n, store.names, store.gets, store.puts)
			}
			if want := keeper.Shards + n/100; store.queries != want {
				t.Errorf("%s, %d: %d queries, want %d", what, n, store.queries, want)
			}
		}
	}
}

// What the index names in vain is read by one pass, and by no other.
func TestPassReadsInVainOnce(t *testing.T) {
	w := newWorld(t, nil)
	end := w.clock.Now().Add(90 * day)
	for what, c := range map[string]struct {
		change func(*keeper.Grant)
		after  time.Duration
		left   bool
	}{
		// It died, and for 90 days nobody could be told.
		"ended": {func(g *keeper.Grant) {
			*g = keeper.Grant{Member: g.Member, Rev: g.Rev, Generation: "g", Status: keeper.Reconnect, Due: end.Add(-time.Hour), ExpiresAt: end,
				Outbox: keeper.Outbox{Events: []keeper.Event{{ID: "e", At: t0}}, Count: 9, RetryAt: end.Add(-time.Hour)}}
		}, 91 * day, false},
		"never due": {func(g *keeper.Grant) {
			*g = keeper.Grant{Member: g.Member, Rev: g.Rev, Generation: "g", Status: keeper.SignedOut, Due: g.Due}
		}, 0, true},
		// A refresh was due, and by then the refresh token had ended.
		"due later": {func(g *keeper.Grant) {
			g.Refresh.ExpiresAt, g.Access.ExpiresAt, g.CheckedAt = w.clock.Now(), w.clock.Now().Add(50*day), w.clock.Now()
			g.Announced = keeper.Notice{Days: 1, Deadline: w.clock.Now()}
		}, 0, true},
	} {
		w := newWorld(t, nil)
		var id keeper.MemberID
		w.stock(t, 1, func(g *keeper.Grant) { c.change(g); id = g.Member })
		w.clock.Advance(c.after)
		store := &reads{Store: w.store}
		k := w.keeper(t, func(cfg *keeper.Config) { cfg.Store = store })
		for pass, want := range []reads{{names: 1, gets: 1, puts: 1}, {}} {
			*store = reads{Store: w.store}
			r, err := k.Pass(t.Context(), keeper.Range{From: 0, To: 15})
			if err != nil || r.Done+r.Failed > 0 {
				t.Errorf("%s, pass %d: %+v, %v", what, pass+1, r, err)
			}
			if store.names != want.names || store.gets != want.gets || store.puts != want.puts {
				t.Errorf("%s, pass %d: %d names and %d grants read, %d written, want %d, %d and %d",
					what, pass+1, store.names, store.gets, store.puts, want.names, want.gets, want.puts)
			}
		}
		if _, err := w.store.Get(t.Context(), id); (err == nil) != c.left {
			t.Errorf("%s: afterwards: %v", what, err)
		}
	}
}
