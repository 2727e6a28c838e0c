package keeper_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/storetest"
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

// sealed gives a grant of the stock tokens that open.
func sealed(g *keeper.Grant) {
	for purpose, t := range map[keeper.Purpose]*keeper.Token{keeper.PurposeAccess: &g.Access, keeper.PurposeRefresh: &g.Refresh} {
		t.Sealed, _ = clearSealer{}.Seal(context.Background(), secret.New("t"), purpose, string(g.Member))
	}
}

// What stays due although a pass has seen it is read once in that pass: twice as
// much of it is twice the reading, and not four times.
func TestPassReadsABlockedShardOnce(t *testing.T) {
	for what, block := range map[string]struct {
		grant   func(*world, *keeper.Grant)
		control keeper.Control
	}{
		"leased": {grant: func(w *world, g *keeper.Grant) {
			g.Lease = keeper.Lease{ID: "another", Until: w.clock.Now().Add(40 * time.Second)}
		}},
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
			parts := 2 // the latest, and what was due before
			if what == "leased" {
				parts = 1
			}
			if want := parts*keeper.Shards + n/100; store.queries != want {
				t.Errorf("%s, %d: %d queries, want %d", what, n, store.queries, want)
			}
		}
	}
}

// What the index names in vain is read by one pass, and by no other.
func TestPassReadsInVainOnce(t *testing.T) {
	end := t0.Add(90 * day)
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
			g.Refresh.ExpiresAt, g.Access.ExpiresAt, g.CheckedAt = t0, t0.Add(50*day), t0
			g.Announced = keeper.Notice{Days: 1, Deadline: t0}
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

// paced is a LinkedIn that notes when it was asked for a refresh.
type paced struct {
	keeper.Provider
	takes func(n int) time.Duration

	mu sync.Mutex
	at []time.Time
}

func (p *paced) Inspect(context.Context, secret.String) (keeper.Inspection, error) {
	return keeper.Inspection{Active: true}, nil
}

func (p *paced) Refresh(context.Context, secret.String) (keeper.Tokens, error) {
	p.mu.Lock()
	p.at = append(p.at, time.Now())
	n := len(p.at)
	p.mu.Unlock()
	time.Sleep(p.takes(n))
	return keeper.Tokens{Access: secret.New("b"), IssuedAt: time.Now(), ExpiresAt: time.Now().Add(60 * day)}, nil
}

// pacedPass has n grants of one shard refreshed at 100 a second.
func pacedPass(t *testing.T, n int, late time.Duration, takes func(n int) time.Duration) (p *paced, took time.Duration) {
	t.Helper()
	p = &paced{takes: takes}
	w := &world{clock: linkedinsim.NewClock(time.Now().UTC()), store: storetest.NewMemory(time.Now)}
	w.stock(t, n, sealed)
	k, err := keeper.New(keeper.Config{Store: w.store, Desk: w.store, Provider: p, Sealer: clearSealer{}, Rate: 100,
		Sleep: func(_ context.Context, d time.Duration) error { time.Sleep(d + late); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r, err := k.Pass(t.Context(), keeper.Range{From: 0, To: 15})
	if err != nil || r.Done != n {
		t.Fatalf("%+v, %v", r, err)
	}
	return p, time.Since(began)
}

// A pass begins no more grants a second than its rate, and as many although
// timers are late.
func TestPassKeepsToItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, late := range []time.Duration{0, 7 * time.Millisecond, 30 * time.Millisecond} {
			p, took := pacedPass(t, 500, late, func(int) time.Duration { return 0 })
			if took < 4900*time.Millisecond || took > 5200*time.Millisecond {
				t.Errorf("timers %v late: 500 at 100 a second took %v", late, took)
			}
			for i := range p.at[:400] {
				if d := p.at[i+100].Sub(p.at[i]); d < 940*time.Millisecond { // 50 ms may be made good
					t.Fatalf("timers %v late: 100 grants were begun in %v", late, d)
				}
			}
		}
	})
}

// One grant whose LinkedIn takes long holds up no other.
func TestSlowGrantHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, took := pacedPass(t, 350, 0, func(n int) time.Duration {
			if n == 1 {
				return 9 * time.Second
			}
			return 0
		})
		if last := p.at[349].Sub(p.at[0]); last > 4*time.Second || took > 9100*time.Millisecond {
			t.Errorf("the last of 350 began after %v; the pass took %v", last, took)
		}
	})
}

// However much is blocked, and for however long: a notice that is due now goes
// out with the next pass.
func TestBlockedBacklogHidesNoNotice(t *testing.T) {
	for what, control := range map[string]keeper.Control{
		"paused":  {PausedAt: t0},
		"refused": {Breaker: keeper.Breaker{Class: keeper.ClassApplication, Since: t0, Until: t0.Add(time.Second)}}, // it may be probed
	} {
		w := newWorld(t, nil)
		w.calls.before = func(string) error {
			return &keeper.CallError{Class: keeper.ClassApplication}
		}
		control.Rev = "blocked"
		if err := w.store.PutControl(t.Context(), control, ""); err != nil {
			t.Fatal(err)
		}
		n := 0
		w.stock(t, 701, func(g *keeper.Grant) {
			sealed(g)
			g.Due = w.clock.Now().Add(-3 * time.Hour)
			if n++; n == 701 {
				g.Due = w.clock.Now().Add(-time.Minute)
				g.Outbox.Events = []keeper.Event{{ID: "e", Type: keeper.MemberReconnectDue, At: g.Due}}
			}
		})
		w.clock.Advance(time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		begun := 0
		k := w.keeper(t, func(c *keeper.Config) {
			c.Sleep = func(ctx context.Context, _ time.Duration) error {
				if begun++; begun == 100 { // a pass has no time for more
					cancel()
				}
				return ctx.Err()
			}
		})
		r, err := k.Pass(ctx, keeper.Range{From: 0, To: 15})
		if err != nil || w.told(keeper.MemberReconnectDue) != 1 || begun < 100 {
			t.Errorf("%s: %+v, %v; told %d times", what, r, err, w.told(keeper.MemberReconnectDue))
		}
	}
}
