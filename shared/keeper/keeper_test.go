package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/storetest"
)

var errStore = errors.New("the table is not there")

// fault makes the n-th call of a store's method fail: lost is "stored, but the
// answer was lost", else nothing was stored. It tells whether it came to that.
func (w *world) fault(method string, n int, lost bool) (struck func() bool) {
	var calls atomic.Int64
	w.store.Before = func(op string) (bool, error) {
		if op != method || calls.Add(1) != int64(n) {
			return true, nil
		}
		return lost, errStore
	}
	return func() bool { w.store.Before = nil; return calls.Load() >= int64(n) }
}

// advance moves the clock in steps, with a pass after each.
func (w *world) advance(t testing.TB, d, step time.Duration) {
	t.Helper()
	for ; d > 0; d -= step {
		w.clock.Advance(min(d, step))
		w.pass(t)
	}
}

// settle is the first two passes after a sign-in: the event, and the proof.
func (w *world) settle(t testing.TB) {
	t.Helper()
	w.pass(t)
	w.advance(t, time.Minute, time.Minute)
}

// brief is a grant without its tokens' bytes.
func brief(g keeper.Grant) string {
	g = copied(g)
	for _, t := range []*keeper.Token{&g.Access, &g.Fresh, &g.Refresh} {
		t.Sealed = nil
	}
	return fmt.Sprintf("%+v", g)
}

// grant is what the store holds.
func (w *world) grant(t testing.TB, id keeper.MemberID) keeper.Grant {
	t.Helper()
	g, err := w.store.Get(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// serves fails unless a caller gets a token that LinkedIn honours.
func (w *world) serves(t testing.TB, id keeper.MemberID) secret.String {
	t.Helper()
	token, _, err := w.Token(context.Background(), id, time.Minute)
	if err != nil {
		t.Fatalf("at %v: no token: %v", w.clock.Now(), err)
	}
	if !w.live(t, token) {
		t.Fatalf("at %v: LinkedIn does not honour the token", w.clock.Now())
	}
	return token
}

func (w *world) incidents(t testing.TB) []keeper.Incident {
	t.Helper()
	all, err := w.store.Incidents(context.Background(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// members are five people.
func members() []linkedinsim.Member {
	var all []linkedinsim.Member
	for _, key := range []string{"m1", "m2", "m3", "m4", "m5"} {
		all = append(all, linkedinsim.Member{Key: key, Name: key, LoggedIn: true})
	}
	return all
}

func (w *world) signInAll(t testing.TB) (ids []keeper.MemberID) {
	t.Helper()
	for _, m := range members() {
		if err := w.sim.AddMember(m); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, w.signIn(t, m.Key).Member)
	}
	return ids
}

// Every write that fails, in both forms, in everything that a Keeper does:
// LinkedIn is asked as often as without it, and nothing is lost.
func TestFailedWriteNeverCallsLinkedInAgain(t *testing.T) {
	work := func(w *world, id keeper.MemberID) error { return w.Work(context.Background(), id) }
	later := func(d time.Duration) func(*testing.T, *world) {
		return func(t *testing.T, w *world) { w.settle(t); w.clock.Advance(d) }
	}
	lookedAt := func(g keeper.Grant) bool { return g.VerifiedAt.Equal(g.CheckedAt) && !g.VerifiedAt.IsZero() }
	proven := func(g keeper.Grant) bool {
		return g.Fresh.IsZero() && !g.Access.ProvenAt.IsZero() && g.Lease.ID == ""
	}
	for _, c := range []struct {
		what  string
		begin func(*testing.T, *world)
		do    func(*world, keeper.MemberID) error
		holds func(keeper.Grant) bool
	}{
		{"announce", func(*testing.T, *world) {}, work,
			func(g keeper.Grant) bool { return g.Outbox.Events == nil }},
		{"prove", func(t *testing.T, w *world) { w.pass(t); w.clock.Advance(time.Minute) }, work, proven},
		{"verify", later(7 * day), work, lookedAt},
		{"inspect", later(day), func(w *world, id keeper.MemberID) error {
			_, err := w.Inspect(context.Background(), id)
			return err
		}, lookedAt},
		{"refresh", func(t *testing.T, w *world) { later(50*day)(t, w); w.pass(t) }, work,
			func(g keeper.Grant) bool { return g.Fresh.IssuedAt.After(g.Access.IssuedAt) && g.Lease.ID == "" }},
		{"refresh and proof for a caller", later(70 * day), func(w *world, id keeper.MemberID) error {
			_, _, err := w.Token(context.Background(), id, 0)
			return err
		}, proven},
		{"refused", func(t *testing.T, w *world) { later(50*day)(t, w); w.pass(t); _ = w.sim.RevokeRefresh("ada") },
			func(w *world, id keeper.MemberID) error {
				if err := work(w, id); keeper.ClassOf(err) != keeper.ClassMember {
					return fmt.Errorf("not refused: %w", err)
				}
				return nil
			},
			func(g keeper.Grant) bool {
				return !g.Refresh.RefusedAt.IsZero() && g.Trouble.Count == 1 && g.Lease.ID == ""
			}},
		{"sign out", func(t *testing.T, w *world) { w.settle(t) },
			func(w *world, id keeper.MemberID) error { return w.SignOut(context.Background(), id) },
			func(g keeper.Grant) bool {
				return g.Status == keeper.SignedOut && g.Refresh.IsZero() && len(g.Outbox.Events) == 1
			}},
	} {
		run := func(method string, n int, lost bool) (calls int, struck bool) {
			w := newWorld(t, nil)
			id := w.signIn(t, "ada").Member
			c.begin(t, w)
			before, tell := w.sim.Count(linkedinsim.EveryEndpoint), len(w.events)
			over := w.fault(method, n, lost)
			err := c.do(w, id)
			struck = over()
			calls = w.sim.Count(linkedinsim.EveryEndpoint) - before
			if g := w.grant(t, id); err != nil || !c.holds(g) {
				t.Errorf("%s, %s %d, lost %t: %v, %s", c.what, method, n, lost, err, brief(g))
			}
			if c.what == "announce" && len(w.events)-tell != 1 {
				t.Errorf("announce, %s %d, lost %t: told %d times", method, n, lost, len(w.events)-tell)
			}
			return calls, struck
		}
		want, _ := run("none", 0, false)
		cases := 0
		for _, f := range []struct {
			method string
			lost   bool
		}{{"Put", false}, {"Put", true}, {"PutControl", false}, {"PutControl", true}, {"PutIncident", false}} {
			for n := 1; ; n++ {
				calls, struck := run(f.method, n, f.lost)
				if !struck {
					break
				}
				cases++
				if calls != want {
					t.Errorf("%s, %s %d, lost %t: LinkedIn was called %d times, want %d", c.what, f.method, n, f.lost, calls, want)
				}
			}
		}
		if cases < 2 {
			t.Errorf("%s: only %d faults struck", c.what, cases)
		}
	}
}

func TestFailedWriteLosesNoSignIn(t *testing.T) {
	for _, lost := range []bool{false, true} {
		w := newWorld(t, nil)
		over := w.fault("Put", 1, lost)
		id := w.signIn(t, "ada").Member
		if !over() {
			t.Fatal("the fault did not strike")
		}
		if g := w.grant(t, id); len(g.Outbox.Events) != 1 {
			t.Errorf("lost %t: told %+v", lost, g.Outbox.Events)
		}
		w.serves(t, id)
		if n := w.sim.Count(linkedinsim.TokenEndpoint); n != 1 {
			t.Errorf("lost %t: %d token calls", lost, n)
		}
	}
}

// A store that fails for long is not LinkedIn's business: the old token serves,
// and the refresh is made once it is well again.
func TestRefreshOutlivesAStoreThatIsDown(t *testing.T) {
	w := newWorld(t, nil)
	id := w.signIn(t, "ada").Member
	w.settle(t)
	w.clock.Advance(51 * day)
	w.pass(t) // the weekly look
	var refreshed atomic.Bool
	var puts atomic.Int64
	w.calls.after = func(op string) error {
		if op == "refresh" {
			refreshed.Store(true)
		}
		return nil
	}
	w.store.Before = func(op string) (bool, error) {
		if op == "Put" && refreshed.Load() && puts.Add(1) <= 11 {
			return false, errStore
		}
		return true, nil
	}
	before := w.sim.Count(linkedinsim.TokenEndpoint)
	w.pass(t)
	if n := w.sim.Count(linkedinsim.TokenEndpoint) - before; n != 1 || puts.Load() < 11 {
		t.Errorf("%d token calls over %d puts, want 1", n, puts.Load())
	}
	if g := w.grant(t, id); g.Fresh.IsZero() {
		t.Error("what LinkedIn issued was lost")
	}
	w.serves(t, id)
}

// TestNoStoreIsTriedPastTheDeadline: who waits must get an answer before the
// function ends, although what LinkedIn issued is not stored.
func TestNoStoreIsTriedPastTheDeadline(t *testing.T) {
	w := newWorld(t, nil)
	id := w.signIn(t, "ada").Member
	w.settle(t)
	w.clock.Advance(61 * day)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	puts := 0
	w.config.Sleep = func(ctx context.Context, _ time.Duration) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
			return nil
		}
	}
	waiting := w.keeper(t, nil)
	w.calls.after = func(op string) error {
		if op == "refresh" {
			<-ctx.Done()
			w.store.Before = func(op string) (bool, error) {
				if op != "Put" {
					return true, nil
				}
				puts++
				return false, errStore
			}
		}
		return nil
	}
	if _, _, err := waiting.Token(ctx, id, 0); !errors.Is(err, keeper.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if puts > 1 {
		t.Errorf("the store was tried %d times when nobody could wait any more", puts)
	}
	w.calls.after, w.store.Before = nil, nil
	w.clock.Advance(time.Hour)
	w.serves(t, id)
}

func TestNothingIsAskedWhileTheStoreIsDown(t *testing.T) {
	w := newWorld(t, nil)
	id := w.signIn(t, "ada").Member
	w.clock.Advance(51 * day)
	for _, method := range []string{"Get", "Put", "Control"} {
		before := w.sim.Count(linkedinsim.EveryEndpoint)
		w.store.Before = func(op string) (bool, error) { return op != method, map[bool]error{true: errStore}[op == method] }
		if err := w.Work(t.Context(), id); method != "Control" && !errors.Is(err, keeper.ErrUnavailable) && err != nil {
			t.Errorf("%s: %v", method, err)
		}
		_, _, err := w.Token(t.Context(), id, 30*day)
		if method == "Get" && !errors.Is(err, keeper.ErrUnavailable) {
			t.Errorf("%s: %v", method, err)
		}
		if method != "Get" && err != nil {
			t.Errorf("%s: the live token was not served: %v", method, err)
		}
		if n := w.sim.Count(linkedinsim.EveryEndpoint) - before; n != 0 && method != "Control" {
			t.Errorf("%s fails: LinkedIn was called %d times", method, n)
		}
		w.store.Before = nil
	}
}

func TestLogoutWinsOverRefreshInFlight(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		for _, again := range []bool{false, true} { // the member signs in again before the answer comes
			w := newWorld(t, nil)
			w.sim.SetSwitches(func(s *linkedinsim.Switches) { s.Rotate, s.RevokeEndpoint = rotate, true })
			id := w.signIn(t, "ada").Member
			w.clock.Advance(70 * day)
			w.calls.after = func(op string) error {
				if op == "refresh" {
					w.calls.after = nil
					if err := w.SignOut(t.Context(), id); err != nil {
						t.Error(err)
					}
					if again {
						w.signIn(t, "ada")
					}
				}
				return nil
			}
			token, _, err := w.Token(t.Context(), id, 0)
			g := w.grant(t, id)
			if again {
				if err != nil || g.Status != keeper.Active || !w.live(t, token) {
					t.Errorf("rotate %t: signed in again: %v, %s", rotate, err, brief(g))
				}
				continue
			}
			if !errors.Is(err, keeper.ErrNotFound) || !token.IsZero() {
				t.Errorf("rotate %t: a token after the logout: %v", rotate, err)
			}
			if g.Status != keeper.SignedOut || !g.Access.IsZero() || !g.Fresh.IsZero() || !g.Refresh.IsZero() {
				t.Errorf("rotate %t: the refresh brought it back: %s", rotate, brief(g))
			}
			for _, tok := range w.sim.Grants()[0].Tokens {
				if tok.State == "active" {
					t.Errorf("rotate %t: a %s token is alive at LinkedIn", rotate, tok.Kind)
				}
			}
		}
	}
}

func TestSignInWinsOverRefreshInFlight(t *testing.T) {
	w := newWorld(t, nil)
	w.sim.SetSwitches(func(s *linkedinsim.Switches) { s.RevokeEndpoint = true })
	id := w.signIn(t, "ada").Member
	w.settle(t)
	w.clock.Advance(70 * day)
	w.calls.after = func(op string) error {
		if op == "refresh" {
			w.calls.after = nil
			w.signIn(t, "ada")
		}
		return nil
	}
	if err := w.Work(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := w.Work(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	g := w.grant(t, id)
	if g.Refresh.ExpiresAt.Sub(t0) < 430*day {
		t.Errorf("the sign-in's refresh token was lost: %+v", g.Refresh)
	}
	if w.sim.Count(linkedinsim.RevokeEndpoint) != 0 {
		t.Error("a token was revoked although the member is signed in")
	}
	w.serves(t, id)
}

// A sign-in's write was stored and its answer lost; the member signs out on
// another device before the sign-in looks.
func TestLogoutWinsOverSignInThatIsRetried(t *testing.T) {
	w := newWorld(t, nil)
	id := keeper.NewMemberID("77keepin", linkedinsim.Subject("77keepin", "ada"))
	puts := 0
	w.store.Before = func(op string) (bool, error) {
		if op == "Put" {
			if puts++; puts == 1 {
				return true, errStore
			}
		}
		return true, nil
	}
	w.config.Sleep = func(ctx context.Context, _ time.Duration) error { return w.SignOut(ctx, id) }
	signingIn := w.keeper(t, nil)
	_, err := signingIn.SignIn(t.Context(), keeper.Grant{}, keeper.Identity{ClientID: "77keepin", Subject: linkedinsim.Subject("77keepin", "ada")},
		keeper.Tokens{Access: secret.New("a"), IssuedAt: w.clock.Now(), ExpiresAt: w.clock.Now().Add(day)})
	if !errors.Is(err, keeper.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if g := w.grant(t, id); g.Status != keeper.SignedOut {
		t.Errorf("the member is signed in after the logout: %s", brief(g))
	}
}

// A sign-in that was told what there is reads nothing; where that is out of date
// by then, it reads.
func TestSignInReadsWhatItHasNotSeen(t *testing.T) {
	w := newWorld(t, nil)
	id := keeper.NewMemberID("77keepin", linkedinsim.Subject("77keepin", "ada"))
	reads := 0
	w.store.Before = func(op string) (bool, error) {
		if op == "Get" {
			reads++
		}
		return true, nil
	}
	signIn := func(what string, seen keeper.Grant, want int) keeper.Grant {
		t.Helper()
		reads = 0
		g, err := w.SignIn(t.Context(), seen, keeper.Identity{ClientID: "77keepin", Subject: linkedinsim.Subject("77keepin", "ada")},
			keeper.Tokens{Access: secret.New("a"), IssuedAt: w.clock.Now(), ExpiresAt: w.clock.Now().Add(day)})
		if err != nil || reads != want {
			t.Errorf("%s: %d reads, %v; want %d", what, reads, err, want)
		}
		return g
	}
	first := signIn("nobody is there", keeper.Grant{Member: id}, 0)
	second := signIn("somebody is there", first, 0)
	if second.Generation != first.Generation {
		t.Error("the sessions before are void")
	}
	for what, seen := range map[string]keeper.Grant{"not seen": {}, "seen another member": {Member: "another", Rev: "r", Generation: "another"}, "seen before": first, "seen when there was none": {Member: id}} {
		if g := signIn(what, seen, 1); g.Generation != first.Generation || g.Member != id {
			t.Errorf("%s: the sessions before are void: %s", what, brief(g))
		}
	}
}

// A logout's write was stored and its answer lost; the member signs in before
// the logout looks again. Both logouts need a generation of their own, or the
// sessions in between would live again.
func TestLogoutThatIsRetriedHasAGenerationOfItsOwn(t *testing.T) {
	w := newWorld(t, nil)
	id := w.signIn(t, "ada").Member
	var between keeper.Grant
	w.config.Sleep = func(ctx context.Context, _ time.Duration) error { between = w.signIn(t, "ada"); return nil }
	out := w.keeper(t, nil)
	over := w.fault("Put", 1, true)
	if err := out.SignOut(t.Context(), id); err != nil || !over() {
		t.Fatal(err)
	}
	if g := w.grant(t, id); g.Status != keeper.SignedOut || g.Generation == between.Generation || between.Generation == "" {
		t.Errorf("signed out as generation %q; sessions in between have %q", g.Generation, between.Generation)
	}
}

// 50 callers in one moment of virtual time, with a LinkedIn of 150 ms.
func TestManyCallersMakeOneTokenCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, err := linkedinsim.New(linkedinsim.Config{URL: "http://sim.test", Key: simKey})
		if err != nil {
			t.Fatal(err)
		}
		app := linkedinsim.DefaultApp()
		client, err := linkedin.New(linkedin.Config{LinkedInURL: "http://sim.test", APIURL: "http://sim.test", Issuer: "http://sim.test/oauth",
			RedirectURL: app.RedirectURLs[0], Scopes: []string{"openid"}, Transport: http.RoundTripper(sim),
			Credentials: func(context.Context, bool) (linkedin.Credentials, error) {
				return linkedin.Credentials{ClientID: app.ClientID, Secret: secret.New(app.Secret)}, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{sim: sim, client: client, clock: linkedinsim.RunningClock(), store: storetest.NewMemory(nil)}
		w.calls = &calls{Provider: client, before: func(string) error { time.Sleep(150 * time.Millisecond); return nil }}
		w.config = keeper.Config{Store: w.store, Desk: w.store, Provider: w.calls, Sealer: clearSealer{}}
		w.Keeper = w.keeper(t, nil)
		id := w.signIn(t, "ada").Member
		time.Sleep(60 * day) // the access token ends
		before := sim.Count(linkedinsim.TokenEndpoint)
		workers := []*keeper.Keeper{w.Keeper, w.keeper(t, nil), w.keeper(t, nil)}
		begun := time.Now()
		var all sync.WaitGroup
		var mu sync.Mutex
		got := map[string]int{}
		for i := range 50 {
			all.Go(func() {
				token, _, err := workers[i%3].Token(t.Context(), id, time.Minute)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
				got[token.Reveal()]++
			})
		}
		all.Wait()
		if n := sim.Count(linkedinsim.TokenEndpoint) - before; n != 1 {
			t.Errorf("%d token calls, want 1", n)
		}
		if n := sim.Count(linkedinsim.UserinfoEndpoint); n != 1 {
			t.Errorf("%d proofs, want 1", n)
		}
		if len(got) != 1 || time.Since(begun) > 3*time.Second {
			t.Errorf("%d different tokens, after %v", len(got), time.Since(begun))
		}
	})
}

// LinkedIn's API refuses each new token for 5 minutes.
func TestNoCallerSeesTheRefusalOfAFreshToken(t *testing.T) {
	for _, delay := range []time.Duration{5 * time.Second, time.Minute, 5*time.Minute - time.Second} {
		w := newWorld(t, nil)
		w.sim.SetSwitches(func(s *linkedinsim.Switches) { s.PropagationDelay = delay })
		id := w.signIn(t, "ada").Member
		begun, refreshes, waited := w.clock.Now(), w.sim.Count(linkedinsim.TokenEndpoint), 0
		check := func(mustServe bool) {
			token, _, err := w.Token(t.Context(), id, time.Minute)
			switch {
			case err == nil && !w.live(t, token):
				t.Fatalf("delay %v, %v after the beginning: a caller was given a token that LinkedIn refuses", delay, w.clock.Now().Sub(begun))
			case err != nil && (mustServe || !errors.Is(err, keeper.ErrUnavailable)):
				t.Fatalf("delay %v, %v after the beginning: %v", delay, w.clock.Now().Sub(begun), err)
			case err != nil:
				waited++
			}
		}
		for w.clock.Now().Sub(begun) < 7*time.Minute { // right after the sign-in there is no other token
			check(w.clock.Now().Sub(begun) > delay+15*time.Second && w.clock.Now().Sub(begun) > 5*time.Minute)
			w.clock.Advance(7 * time.Second)
		}
		for w.clock.Now().Sub(begun) < 120*day {
			if w.grant(t, id).Fresh.IsZero() {
				w.advance(t, 6*time.Hour, 6*time.Hour)
			} else {
				w.advance(t, 30*time.Second, 30*time.Second)
			}
			check(true)
		}
		w.clock.Advance(70 * day) // nobody swept: the old token is dead when a caller comes
		for since := w.clock.Now(); w.clock.Now().Sub(since) < 7*time.Minute; w.clock.Advance(7 * time.Second) {
			check(w.clock.Now().Sub(since) > 5*time.Minute+15*time.Second)
		}
		if n := w.sim.Count(linkedinsim.TokenEndpoint) - refreshes; n != 3 {
			t.Errorf("delay %v: %d refreshes, want 3", delay, n)
		}
		if waited == 0 {
			t.Errorf("delay %v: nobody had to wait: the fault did not strike", delay)
		}
	}
}

func TestOutageOfSevenDaysLosesNobody(t *testing.T) {
	for _, from := range []time.Duration{46 * day, 57 * day} { // over the day of the refresh; over the token's end
		w := newWorld(t, nil)
		ids := w.signInAll(t)
		if from > 50*day {
			w.advance(t, day, time.Hour)
			w.clock.Advance(from - day) // nobody swept
		} else {
			w.advance(t, from, 6*time.Hour)
		}
		if err := w.sim.Fault(linkedinsim.Fault{Kind: linkedinsim.AnswerStatus, Status: 503}); err != nil {
			t.Fatal(err)
		}
		before := w.sim.Count(linkedinsim.TokenEndpoint)
		for range 7 * 24 {
			w.advance(t, time.Hour, 10*time.Minute)
			for _, id := range ids {
				if _, _, err := w.Token(t.Context(), id, 0); err != nil && !errors.Is(err, keeper.ErrUnavailable) {
					t.Fatalf("during the outage: %v", err)
				}
			}
		}
		// A sweep: 1, 2, 4, ... minutes, then each 4.5 to 6 hours; a caller once an hour here.
		if n := w.sim.Count(linkedinsim.TokenEndpoint) - before; n > 5*(24*7+45) {
			t.Errorf("from %v: %d token calls during the outage", from, n)
		}
		w.sim.Clear()
		w.advance(t, 6*time.Hour+10*time.Minute, 10*time.Minute)
		for _, id := range ids {
			w.serves(t, id)
		}
		if n := w.told(keeper.MemberReconnectRequired) + w.told(keeper.MemberReconnectDue); n != 0 {
			t.Errorf("from %v: %d members were asked", from, n)
		}
		all := w.incidents(t)
		if len(all) != 1 || all[0].Cause != "outage" || all[0].ClosedAt.IsZero() || len(all[0].Records) != 3 {
			t.Errorf("from %v: incidents %+v", from, all)
		}
		if o, c := w.told(keeper.IncidentOpened), w.told(keeper.IncidentClosed); o != 1 || c != 1 {
			t.Errorf("from %v: told of %d openings and %d closings", from, o, c)
		}
	}
}

func TestWrongSecretForADay(t *testing.T) {
	w := newWorld(t, nil)
	ids := w.signInAll(t)
	w.advance(t, day, time.Hour)
	w.clock.Advance(50 * day)
	if err := w.sim.Fault(linkedinsim.Fault{Kind: linkedinsim.WrongSecret}); err != nil {
		t.Fatal(err)
	}
	before, passes := w.sim.Count(linkedinsim.TokenEndpoint), 0
	for range 24 * 60 {
		w.advance(t, time.Minute, time.Minute)
		passes++
		for _, id := range ids {
			w.serves(t, id)
		}
	}
	if n := w.sim.Count(linkedinsim.TokenEndpoint) - before; n > passes+1 {
		t.Errorf("%d token calls in %d minutes, want one a minute", n, passes)
	}
	for _, id := range ids {
		if g := w.grant(t, id); g.Trouble != (keeper.Trouble{}) || !g.Refresh.RefusedAt.IsZero() || g.Status != keeper.Active {
			t.Errorf("a member was touched: %s", brief(g))
		}
	}
	if all := w.incidents(t); len(all) != 1 || all[0].Cause != "application" || !all[0].ClosedAt.IsZero() || len(all[0].Records) != 3 {
		t.Errorf("incidents %+v", all)
	}
	w.sim.Clear()
	w.advance(t, 5*time.Minute, time.Minute)
	for _, id := range ids {
		if g := w.grant(t, id); g.Access.IssuedAt.Before(t0.Add(50 * day)) {
			t.Errorf("not refreshed: %s", brief(g))
		}
	}
	if all := w.incidents(t); len(all) != 1 || all[0].ClosedAt.IsZero() {
		t.Errorf("incidents %+v", all)
	}
	if o, c := w.told(keeper.IncidentOpened), w.told(keeper.IncidentClosed); o != 1 || c != 1 || w.told(keeper.MemberReconnectRequired) != 0 {
		t.Errorf("told of %d openings and %d closings", o, c)
	}
}

func TestSignInPassesAnOpenBreakerAndItsProofClosesIt(t *testing.T) {
	w := newWorld(t, nil)
	id := w.signIn(t, "ada").Member
	w.clock.Advance(61 * day)
	before := w.signIn(t, "grace").Member
	w.clock.Advance(time.Second)
	if err := w.sim.Fault(linkedinsim.Fault{Kind: linkedinsim.WrongSecret, Times: 4}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Token(t.Context(), id, 0); !errors.Is(err, keeper.ErrUnavailable) {
		t.Fatal(err)
	}
	w.sim.Clear()
	w.serves(t, before) // its proof needs no secret, and says nothing of one
	w.clock.Advance(time.Second)
	other := w.signIn(t, "linus").Member
	if _, _, err := w.Token(t.Context(), id, 0); !errors.Is(err, keeper.ErrUnavailable) {
		t.Errorf("a refresh went through the open breaker: %v", err)
	}
	w.serves(t, other)
	w.serves(t, id)
	if all := w.incidents(t); len(all) != 1 || all[0].ClosedAt.IsZero() {
		t.Errorf("incidents %+v", all)
	}
}

// The proof of a token that a code was exchanged for, and of no other, ends what
// such an exchange would have ended.
func TestOnlyTheProofOfAnExchangedTokenEndsTheTroubleOfExchanges(t *testing.T) {
	w := newWorld(t, nil)
	w.Observe(t.Context(), "exchange", &keeper.CallError{Class: keeper.ClassUnknown, Record: keeper.Record{Operation: "exchange"}})
	open := func(what string, want bool) {
		t.Helper()
		if all := w.incidents(t); len(all) != 1 || all[0].ClosedAt.IsZero() != want {
			t.Errorf("%s: incidents %+v", what, all)
		}
	}
	id, tokens := w.consent(t, "ada")
	tokens.ByCode = false
	w.serves(t, w.keep(t, id, tokens).Member)
	open("by the SDK", true)

	w.advance(t, 51*day, time.Hour)
	if g := w.grant(t, id.Member()); !g.Access.IssuedAt.After(t0.Add(40 * day)) {
		t.Fatalf("not refreshed: %s", brief(g))
	}
	open("refreshed and proven", true)

	// A code's token that LinkedIn never honours, and the refresh that comes for it.
	refuses := w.keeper(t, func(c *keeper.Config) {
		c.Provider = &calls{Provider: c.Provider, after: func(op string) error {
			if op == "userinfo" {
				return &keeper.CallError{Class: keeper.ClassMember, Record: keeper.Record{Operation: op}}
			}
			return nil
		}}
	})
	early := w.signIn(t, "linus").Member
	for range 8 {
		w.clock.Advance(time.Minute)
		_ = refuses.Work(t.Context(), early)
	}
	w.advance(t, 20*time.Minute, time.Minute)
	if g := w.grant(t, early); !g.Access.IssuedAt.After(t0.Add(51 * day)) {
		t.Fatalf("not refreshed: %s", brief(g))
	}
	open("refreshed since", true)

	grace := w.signIn(t, "grace").Member
	if _, err := w.Inspect(t.Context(), grace); err != nil {
		t.Fatal(err)
	}
	open("looked at", true)
	w.serves(t, grace)
	open("by a code", false)
}

// What has gone wrong again since the exchange is not over for its sake.
func TestAProofEndsNothingThatIsYounger(t *testing.T) {
	w := newWorld(t, nil)
	failed := func(operation string, class keeper.Class) {
		w.Observe(t.Context(), operation, &keeper.CallError{Class: class, Record: keeper.Record{Operation: operation}})
	}
	ended := func() (n int) {
		for _, i := range w.incidents(t) {
			if !i.ClosedAt.IsZero() {
				n++
			}
		}
		return n
	}
	id, tokens := w.consent(t, "ada")
	w.keep(t, id, tokens)
	for range 5 {
		w.clock.Advance(5 * time.Minute)
		failed("refresh", keeper.ClassOutage)
	}
	w.serves(t, id.Member())
	if len(w.incidents(t)) != 1 || ended() != 0 {
		t.Errorf("an outage of refreshes is over: %+v", w.incidents(t))
	}

	failed("refresh", keeper.ClassApplication)
	id, tokens = w.consent(t, "grace")
	w.keep(t, id, tokens)
	w.clock.Advance(2 * time.Minute)
	failed("refresh", keeper.ClassApplication)
	w.serves(t, id.Member())
	if len(w.incidents(t)) != 2 || ended() != 0 {
		t.Errorf("LinkedIn has refused the application since: %+v", w.incidents(t))
	}
	w.clock.Advance(time.Second)
	w.serves(t, w.signIn(t, "linus").Member)
	if ended() != 1 {
		t.Errorf("the application is not well again: %+v", w.incidents(t))
	}
}

func TestRefusesEverybodyForADay(t *testing.T) {
	for _, dead := range []bool{false, true} {
		w := newWorld(t, nil)
		ids := w.signInAll(t)
		w.advance(t, day, time.Hour)
		if dead {
			w.clock.Advance(65 * day)
		} else {
			w.clock.Advance(49*day + time.Hour)
		}
		if err := w.sim.Fault(linkedinsim.Fault{Kind: linkedinsim.RefuseRefresh}); err != nil {
			t.Fatal(err)
		}
		for range 24 {
			w.Observe(t.Context(), "exchange", nil) // people sign in all the same
			w.advance(t, time.Hour, time.Minute)
		}
		for _, id := range ids {
			if g := w.grant(t, id); g.Status != keeper.Active || g.Refresh.IsZero() {
				t.Errorf("dead %t: a member was lost: %s", dead, brief(g))
			}
		}
		if all := w.incidents(t); len(all) != 1 || all[0].Cause != "brake" || len(all[0].Records) == 0 || !all[0].ClosedAt.IsZero() {
			t.Errorf("dead %t: incidents %+v", dead, all)
		}
		w.sim.Clear()
		w.advance(t, day+time.Hour, time.Minute)
		for _, id := range ids {
			w.serves(t, id)
			if g := w.grant(t, id); g.Access.IssuedAt.Before(t0.Add(50 * day)) {
				t.Errorf("dead %t: not refreshed since: %s", dead, brief(g))
			}
		}
		if all := w.incidents(t); len(all) != 1 || all[0].ClosedAt.IsZero() || w.told(keeper.MemberReconnectRequired) != 0 {
			t.Errorf("dead %t: incidents %+v", dead, all)
		}
	}
}

func TestRevokedRefreshTokenIsAskedAgainUntilTheAccessTokenEnds(t *testing.T) {
	w := newWorld(t, nil)
	id := w.signIn(t, "ada").Member
	w.advance(t, day, time.Hour)
	if err := w.sim.RevokeRefresh("ada"); err != nil {
		t.Fatal(err)
	}
	var asked []time.Time
	w.calls.before = func(op string) error {
		if op == "refresh" {
			asked = append(asked, w.clock.Now())
		}
		return nil
	}
	for w.clock.Now().Before(t0.Add(60*day - time.Hour)) {
		w.advance(t, time.Hour, time.Hour)
		w.serves(t, id)
	}
	if w.told(keeper.MemberReconnectRequired) != 0 {
		t.Fatal("the member was asked while the access token lives")
	}
	if n := len(asked); n < 10 || n > 16 {
		t.Errorf("asked %d times in 10 days", n)
	}
	w.advance(t, 2*time.Hour, time.Minute)
	if g := w.grant(t, id); g.Status != keeper.Reconnect || w.told(keeper.MemberReconnectRequired) != 1 {
		t.Errorf("%s", brief(g))
	}
	if n := len(asked); asked[n-1].Sub(asked[0]) < time.Minute {
		t.Error("one refusal ended the grant")
	}
	if w.told(keeper.MemberReconnectDue) != 0 { // a refusal alone asks nobody to consent
		t.Errorf("%d notices", w.told(keeper.MemberReconnectDue))
	}
}

func TestRevokedGrantNeedsTwoRefusalsAMinuteApart(t *testing.T) {
	w := newWorld(t, nil)
	id := w.signIn(t, "ada").Member
	w.clock.Advance(61 * day)
	if err := w.sim.RevokeRefresh("ada"); err != nil {
		t.Fatal(err)
	}
	var asked []time.Time
	w.calls.before = func(op string) error {
		if op == "refresh" {
			asked = append(asked, w.clock.Now())
		}
		return nil
	}
	for ; w.grant(t, id).Status == keeper.Active; w.clock.Advance(5 * time.Second) {
		_, _, _ = w.Token(t.Context(), id, 0)
		if len(asked) > 10 {
			t.Fatal("it never ends")
		}
	}
	if n := len(asked); n != 3 || asked[1].Sub(asked[0]) != 30*time.Second || asked[2].Sub(asked[0]) != time.Minute {
		t.Errorf("asked %v", asked)
	}
	if _, _, err := w.Token(t.Context(), id, 0); !errors.Is(err, keeper.ErrReconnect) {
		t.Errorf("got %v", err)
	}
}

func TestMemberWithoutRefreshTokenIsToldInTime(t *testing.T) {
	w := newWorld(t, func(a *linkedinsim.App) { a.Refresh = false })
	id := w.signIn(t, "ada").Member
	for w.clock.Now().Before(t0.Add(60*day - time.Hour)) {
		w.advance(t, time.Hour, time.Hour)
		w.serves(t, id)
	}
	w.advance(t, 2*time.Hour, time.Minute)
	var got []string
	for _, e := range w.events {
		got = append(got, strings.TrimPrefix(fmt.Sprintf("%s %d %s", e.Type, e.Days, e.Reason), "keepin.member."))
	}
	want := []string{"connected 0 ", "reconnect_due 30 ", "reconnect_due 14 ", "reconnect_due 7 ", "reconnect_due 3 ", "reconnect_due 1 ", "reconnect_required 0 expired"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := w.sim.Count(linkedinsim.TokenEndpoint); n != 1 {
		t.Errorf("%d token calls, want the sign-in's", n)
	}
	w.signIn(t, "ada")
	w.advance(t, time.Hour, time.Minute)
	w.serves(t, id)
}

func TestMemberWhoRemovedTheAppIsNoticedWithinAWeek(t *testing.T) {
	for _, refresh := range []bool{true, false} {
		w := newWorld(t, func(a *linkedinsim.App) { a.Refresh = refresh })
		id := w.signIn(t, "ada").Member
		w.advance(t, 10*day, time.Hour)
		if err := w.sim.RemoveApp("ada"); err != nil {
			t.Fatal(err)
		}
		w.advance(t, 7*day+time.Hour, 10*time.Minute)
		if g := w.grant(t, id); g.Status != keeper.Reconnect || w.told(keeper.MemberReconnectRequired) != 1 {
			t.Errorf("refresh %t: %s", refresh, brief(g))
		}
		if all := w.incidents(t); len(all) != 0 {
			t.Errorf("refresh %t: incidents %+v", refresh, all)
		}
	}
}

// The member removes the app at LinkedIn and comes back: no caller is given the
// token of before.
func TestReturnOfAMemberWhoRemovedTheApp(t *testing.T) {
	w := newWorld(t, nil)
	id := w.signIn(t, "ada").Member
	w.settle(t)
	w.clock.Advance(3 * day)
	if err := w.sim.RemoveApp("ada"); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Second)
	w.signIn(t, "ada")
	w.serves(t, id)
	if n := w.sim.Count(linkedinsim.TokenEndpoint); n != 2 {
		t.Errorf("%d token calls", n)
	}
}

// A doubted token that no refresh token stands behind: 503 until a second look,
// not 409, and all is well when LinkedIn takes it back.
func TestDoubtedTokenGetsASecondLook(t *testing.T) {
	w := newWorld(t, func(a *linkedinsim.App) { a.Refresh = false })
	id := w.signIn(t, "ada").Member
	w.advance(t, 7*day-time.Hour, time.Hour)
	inspect := &lying{Provider: w.calls, inspection: &keeper.Inspection{Status: "revoked"}}
	k := w.keeper(t, func(c *keeper.Config) { c.Provider = inspect })
	w.clock.Advance(2 * time.Hour)
	if err := k.Work(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if g := w.grant(t, id); g.Access.RefusedAt.IsZero() || g.State(w.clock.Now()) != keeper.StatePending {
		t.Fatalf("not doubted: %s", brief(g))
	}
	if _, _, err := k.Token(t.Context(), id, 0); !errors.Is(err, keeper.ErrUnavailable) {
		t.Errorf("a doubted token: %v, want ErrUnavailable", err)
	}
	inspect.inspection = nil
	w.clock.Advance(time.Minute)
	if err := k.Work(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.serves(t, id)
}

// lying answers every introspection with one of its own.
type lying struct {
	keeper.Provider
	inspection *keeper.Inspection
}

func (l *lying) Inspect(ctx context.Context, s secret.String) (keeper.Inspection, error) {
	if l.inspection != nil {
		return *l.inspection, nil
	}
	return l.Provider.Inspect(ctx, s)
}

func TestDailyQuotaIsWaitedFor(t *testing.T) {
	w := newWorld(t, nil)
	ids := w.signInAll(t)
	w.advance(t, day, time.Hour)
	w.sim.SetSwitches(func(s *linkedinsim.Switches) { s.RefreshQuota = 2 })
	before := w.sim.Count(linkedinsim.TokenEndpoint)
	w.clock.Advance(50 * day) // five are due, two a day may
	w.advance(t, 3*day, 10*time.Minute)
	for _, id := range ids {
		if g := w.grant(t, id); g.Access.IssuedAt.Before(t0.Add(50*day)) || g.Trouble != (keeper.Trouble{}) {
			t.Errorf("%s", brief(g))
		}
	}
	if n := w.sim.Count(linkedinsim.TokenEndpoint) - before; n > 5+3 {
		t.Errorf("%d token calls for 5 members and 3 days", n)
	}
}

// What LinkedIn says of its limits stands until then, whatever was under way; that
// it refuses the application is the worse of two troubles.
func TestAClosedQuotaIsNotOpenedByACallUnderWay(t *testing.T) {
	w := newWorld(t, nil)
	control := func() keeper.Control {
		t.Helper()
		c, err := w.store.Control(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	until := w.clock.Now().Add(5 * time.Hour)
	tooMany := &keeper.CallError{Class: keeper.ClassBusy, RetryAt: until}
	w.Observe(t.Context(), "refresh", tooMany)
	w.Observe(t.Context(), "refresh", nil)
	if c := control(); !c.Blocked(until.Add(-time.Second)) || c.Blocked(until) {
		t.Errorf("the breaker is %+v, want it open until %v", c.Breaker, until)
	}
	w.clock.Advance(5 * time.Hour)
	w.Observe(t.Context(), "refresh", nil)
	if c := control(); c.Breaker != (keeper.Breaker{}) {
		t.Errorf("after a success the breaker is %+v", c.Breaker)
	}
	w.Observe(t.Context(), "refresh", &keeper.CallError{Class: keeper.ClassApplication})
	w.Observe(t.Context(), "refresh", tooMany)
	if c := control(); c.Breaker.Class != keeper.ClassApplication {
		t.Errorf("the breaker is %+v, want %s", c.Breaker, keeper.ClassApplication)
	}
}

// The token endpoint alone is down: introspection, which works, must not make
// the back-off begin anew.
func TestBackOffGrowsThoughIntrospectionWorks(t *testing.T) {
	w := newWorld(t, nil)
	w.signIn(t, "ada")
	w.settle(t)
	w.clock.Advance(50 * day)
	if err := w.sim.Fault(linkedinsim.Fault{Kind: linkedinsim.AnswerStatus, Status: 503, Endpoint: linkedinsim.TokenEndpoint}); err != nil {
		t.Fatal(err)
	}
	before := w.sim.Count(linkedinsim.TokenEndpoint)
	w.advance(t, 2*day, time.Minute)
	if n := w.sim.Count(linkedinsim.TokenEndpoint) - before; n < 10 || n > 25 {
		t.Errorf("%d token calls in two days", n)
	}
	if all := w.incidents(t); len(all) != 1 || all[0].Cause != "outage" {
		t.Errorf("incidents %+v", all)
	}
}

// LinkedIn's API refuses every token for a week, and nothing else is wrong.
func TestIllAPICostsFewRefreshes(t *testing.T) {
	w := newWorld(t, nil)
	id := w.signIn(t, "ada").Member
	w.advance(t, 47*day, time.Hour)
	before := w.sim.Count(linkedinsim.TokenEndpoint)
	w.calls.after = func(op string) error {
		if op == "userinfo" {
			return &keeper.CallError{Class: keeper.ClassMember, Record: keeper.Record{Operation: op}}
		}
		return nil
	}
	w.clock.Advance(3 * day)
	w.advance(t, 7*day, 5*time.Minute)
	if n := w.sim.Count(linkedinsim.TokenEndpoint) - before; n > 50 || n < 5 {
		t.Errorf("%d refreshes in a week", n)
	}
	w.serves(t, id)
	w.calls.after = nil
	w.advance(t, day, 5*time.Minute)
	if g := w.grant(t, id); !g.Fresh.IsZero() || g.Access.IssuedAt.Before(t0.Add(50*day)) {
		t.Errorf("not well again: %s", brief(g))
	}
}

// userinfo names somebody else: whatever it means, that token must not serve.
func TestTokenOfAnotherMemberNeverServes(t *testing.T) {
	w := newWorld(t, nil)
	id := w.signIn(t, "ada").Member
	if err := w.sim.Fault(linkedinsim.Fault{Kind: linkedinsim.OtherSubject}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		w.advance(t, time.Minute, time.Minute)
		if token, _, err := w.Token(t.Context(), id, 0); err == nil {
			t.Fatalf("after %v: a token serves that userinfo says is another's: %s", w.clock.Now().Sub(t0), token.Fingerprint())
		}
	}
	if all := w.incidents(t); len(all) == 0 || all[0].Cause != "unknown:userinfo" {
		t.Errorf("incidents %+v", all)
	}
	w.sim.Clear()
	w.advance(t, 7*time.Hour, 5*time.Minute)
	w.serves(t, id)
}

func TestInspectAsksOnceAMinute(t *testing.T) {
	w := newWorld(t, nil)
	id := w.signIn(t, "ada").Member
	before := w.sim.Count(linkedinsim.IntrospectEndpoint)
	for i := range 10 {
		g, err := w.Inspect(t.Context(), id)
		if err != nil || g.VerifiedAt.IsZero() {
			t.Fatalf("%d: %v, %s", i, err, brief(g))
		}
	}
	if n := w.sim.Count(linkedinsim.IntrospectEndpoint) - before; n != 1 {
		t.Errorf("%d introspections in a minute", n)
	}
	w.clock.Advance(time.Minute)
	_, _ = w.Inspect(t.Context(), id)
	if n := w.sim.Count(linkedinsim.IntrospectEndpoint) - before; n != 2 {
		t.Errorf("%d introspections in two minutes", n)
	}
	w.clock.Advance(time.Minute)
	if err := w.sim.Fault(linkedinsim.Fault{Kind: linkedinsim.AnswerStatus, Status: 500}); err != nil {
		t.Fatal(err)
	}
	if g, err := w.Inspect(t.Context(), id); err != nil || g.VerifiedAt.Equal(w.clock.Now()) {
		t.Errorf("LinkedIn is down: %v, verified at %v", err, g.VerifiedAt)
	}
	w.sim.Clear()
	if err := w.SignOut(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, id := range []keeper.MemberID{id, ada} {
		if _, err := w.Inspect(t.Context(), id); !errors.Is(err, keeper.ErrNotFound) {
			t.Errorf("signed out or unknown: %v", err)
		}
	}
}

func TestEventsOutliveADeadWebhook(t *testing.T) {
	w := newWorld(t, nil)
	tries := 0
	w.refuse = func(keeper.Event) error { tries++; return errors.New("the webhook is dead") }
	id := w.signIn(t, "ada").Member
	w.advance(t, 3*day, time.Minute)
	if tries > 25 {
		t.Errorf("%d deliveries tried in 3 days", tries)
	}
	if len(w.events) != 0 || len(w.grant(t, id).Outbox.Events) != 1 {
		t.Fatalf("events %v, outbox %v", w.events, w.grant(t, id).Outbox)
	}
	w.serves(t, id) // nothing else waits for the webhook
	w.refuse = nil
	over := w.fault("Put", 1, false) // delivered, and the note of it fails
	w.config.Sleep = func(context.Context, time.Duration) error { return errStore }
	w.clock.Advance(6 * time.Hour)
	if err := w.keeper(t, nil).Work(t.Context(), id); !errors.Is(err, keeper.ErrUnavailable) || !over() {
		t.Fatalf("got %v", err)
	}
	w.advance(t, time.Minute, time.Minute)
	if len(w.events) != 2 || w.events[0].ID != w.events[1].ID || w.told(keeper.MemberConnected) != 1 {
		t.Errorf("events %+v", w.events)
	}
	if w.grant(t, id).Outbox.Events != nil {
		t.Error("the outbox is not empty")
	}
}

// A notice that waits for a webhook must not come after the sign-in, or the
// logout, that it asks for no more.
func TestAnAvertedNoticeIsNeverSent(t *testing.T) {
	for _, out := range []bool{false, true} {
		w := newWorld(t, func(a *linkedinsim.App) { a.Refresh = false })
		id := w.signIn(t, "ada").Member
		w.settle(t)
		w.refuse = func(keeper.Event) error { return errors.New("the webhook is dead") }
		w.advance(t, 31*day, time.Hour)
		if waits := w.grant(t, id).Outbox.Events; len(waits) != 1 || waits[0].Type != keeper.MemberReconnectDue {
			t.Fatalf("what waits is %v", waits)
		}
		if out {
			if err := w.SignOut(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		} else {
			w.signIn(t, "ada")
		}
		w.refuse = nil
		w.advance(t, day, time.Hour)
		if w.told(keeper.MemberReconnectDue) != 0 || out != (w.told(keeper.MemberSignedOut) == 1) || w.grant(t, id).Outbox.Events != nil {
			t.Errorf("signed out %t: told %v", out, w.events)
		}
	}
}

func TestIncidentEventsOutliveADeadWebhook(t *testing.T) {
	w := newWorld(t, nil)
	id := w.signIn(t, "ada").Member
	w.settle(t)
	w.clock.Advance(50 * day)
	w.pass(t) // the weekly look
	w.events = nil
	w.refuse = func(keeper.Event) error { return errors.New("the webhook is dead") }
	if err := w.sim.Fault(linkedinsim.Fault{Kind: linkedinsim.WrongSecret}); err != nil {
		t.Fatal(err)
	}
	_ = w.Work(t.Context(), id)
	w.sim.Clear()
	w.advance(t, 3*time.Minute, time.Minute)
	if len(w.events) != 0 {
		t.Fatalf("events %v", w.events)
	}
	w.refuse = nil
	w.keeper(t, nil) // another process
	w.advance(t, time.Minute, time.Minute)
	if w.told(keeper.IncidentOpened) != 1 || w.told(keeper.IncidentClosed) != 1 {
		t.Errorf("events %+v", w.events)
	}
}

// PutControl was stored and its answer lost: the incident is stored and told of
// once, with its record.
func TestIncidentIsKeptThoughTheAnswerWasLost(t *testing.T) {
	for _, lost := range []bool{false, true} {
		w := newWorld(t, nil)
		id := w.signIn(t, "ada").Member
		w.settle(t)
		w.clock.Advance(50 * day)
		if err := w.sim.Fault(linkedinsim.Fault{Kind: linkedinsim.WrongSecret}); err != nil {
			t.Fatal(err)
		}
		over := w.fault("PutControl", 1, lost)
		_ = w.Work(t.Context(), id)
		if !over() {
			t.Fatal("the fault did not strike")
		}
		if all := w.incidents(t); len(all) != 1 || len(all[0].Records) == 0 || w.told(keeper.IncidentOpened) != 1 {
			t.Errorf("lost %t: incidents %+v, told of %d", lost, all, w.told(keeper.IncidentOpened))
		}
	}
}

// T9 of performance.md: 3 calls to LinkedIn, 2 reads and 3 writes of the grant.
func TestRefreshCostsWhatItMay(t *testing.T) {
	w := newWorld(t, nil)
	w.signIn(t, "ada")
	w.settle(t)
	w.clock.Advance(47 * day)
	w.pass(t) // the weekly look
	w.clock.Advance(4 * day)
	table, linkedIn := map[string]int{}, w.sim.Count(linkedinsim.EveryEndpoint)
	var mu sync.Mutex
	w.store.Before = func(op string) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		table[op]++
		return true, nil
	}
	w.advance(t, 2*time.Minute, time.Minute)
	w.store.Before = nil
	if n := w.sim.Count(linkedinsim.EveryEndpoint) - linkedIn; n != 3 {
		t.Errorf("%d calls to LinkedIn, want 3", n)
	}
	if table["Get"] > 2 || table["Put"] > 3 || table["PutControl"] != 0 {
		t.Errorf("the table was called %v", table)
	}
}

func TestPassIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory(nil)
		slow := &slow{}
		k, err := keeper.New(keeper.Config{Store: store, Desk: store, Provider: slow, Sealer: clearSealer{}, Workers: 8, Rate: 1000})
		if err != nil {
			t.Fatal(err)
		}
		const n = 2000
		for i := range n {
			if _, err := k.SignIn(t.Context(), keeper.Grant{}, keeper.Identity{ClientID: "app", Subject: fmt.Sprint(i)}, keeper.Tokens{Access: secret.New("a"),
				IssuedAt: time.Now(), ExpiresAt: time.Now().Add(60 * day), Refresh: secret.New("r"), RefreshExpiresAt: time.Now().Add(365 * day)}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(61 * day)
		for range 2 { // notices, and tokens that have ended unproven
			if _, err := k.Pass(t.Context(), keeper.Range{From: 0, To: 15}); err != nil {
				t.Fatal(err)
			}
		}
		slow.most, slow.calls = 0, 0
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		begun := time.Now()
		r, err := k.Pass(ctx, keeper.Range{From: 0, To: 15})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 38*time.Second || took > 50*time.Second {
			t.Errorf("the pass took %v of its 60 s", took)
		}
		if slow.most > 8 || slow.most < 8 {
			t.Errorf("%d calls at once, want 8", slow.most)
		}
		if r.Failed != 0 || r.Done == 0 || r.Done != slow.calls || r.Done >= n {
			t.Errorf("%+v, %d calls", r, slow.calls)
		}
	})
}

// slow takes a second for each refresh and counts.
type slow struct {
	mu        sync.Mutex
	now, most int
	calls     int
	keeper.Provider
}

func (s *slow) Refresh(context.Context, secret.String) (keeper.Tokens, error) {
	s.mu.Lock()
	s.now++
	s.calls++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	time.Sleep(time.Second)
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
	return keeper.Tokens{Access: secret.New("b"), IssuedAt: time.Now(), ExpiresAt: time.Now().Add(60 * day)}, nil
}

func TestPassSkipsWhatItMayNotDo(t *testing.T) {
	w := newWorld(t, nil)
	ids := w.signInAll(t)
	w.advance(t, day, time.Hour)
	w.clock.Advance(50 * day)
	for _, id := range ids {
		g := w.grant(t, id)
		old := g.Rev
		g.Lease, g.Rev = keeper.Lease{ID: "another", Until: w.clock.Now().Add(45 * time.Second)}, "leased"
		if err := w.store.Put(t.Context(), g, old); err != nil {
			t.Fatal(err)
		}
	}
	var gets atomic.Int64
	w.store.Before = func(op string) (bool, error) {
		if op == "Get" {
			gets.Add(1)
		}
		return true, nil
	}
	if r := w.pass(t); r.Skipped != 5 || r.Done != 0 || gets.Load() != 5 {
		t.Errorf("leased grants: %+v, %d reads", r, gets.Load())
	}
	w.store.Before = nil
	w.clock.Advance(time.Minute)
	if err := w.store.PutControl(t.Context(), keeper.Control{PausedAt: t0, Rev: "p"}, controlRev(t, w)); err != nil {
		t.Fatal(err)
	}
	before := w.sim.Count(linkedinsim.EveryEndpoint)
	if r := w.pass(t); r.Skipped != 5 || !r.Blocked || w.sim.Count(linkedinsim.EveryEndpoint) != before {
		t.Errorf("paused: %+v", r)
	}
	if err := w.store.PutControl(t.Context(), keeper.Control{Rev: "q"}, "p"); err != nil {
		t.Fatal(err)
	}
	if r := w.pass(t); r.Done != 5 || r.Blocked {
		t.Errorf("resumed: %+v", r)
	}
	for _, bad := range []keeper.Range{{From: -1, To: 3}, {From: 0, To: 16}, {From: 4, To: 3}} {
		if _, err := w.Pass(t.Context(), bad); err == nil {
			t.Errorf("%+v is a range", bad)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	w.clock.Advance(60 * day)
	if r, err := w.Pass(ctx, keeper.Range{From: 0, To: 15}); err != nil || r != (keeper.Report{}) {
		t.Errorf("15 s before the deadline: %+v, %v", r, err)
	}
}

func controlRev(t *testing.T, w *world) string {
	t.Helper()
	c, err := w.store.Control(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c.Rev
}

// Notices go out although refreshes are blocked for long.
func TestPauseHidesNoNotice(t *testing.T) {
	w := newWorld(t, func(a *linkedinsim.App) { a.Refresh = true })
	w.sim.SetSwitches(func(s *linkedinsim.Switches) { s.RefreshLifetime = 85 * day })
	w.signIn(t, "ada")
	w.advance(t, 40*day, time.Hour)
	if err := w.store.PutControl(t.Context(), keeper.Control{PausedAt: w.clock.Now(), Rev: "p"}, controlRev(t, w)); err != nil {
		t.Fatal(err)
	}
	w.advance(t, 44*day+12*time.Hour, time.Hour)
	if n := w.told(keeper.MemberReconnectDue); n != 5 {
		t.Errorf("%d notices, want 5", n)
	}
}

// A caller who goes away neither aborts the token call nor counts against anybody.
func TestCallerWhoGoesAwayLosesNothing(t *testing.T) {
	w := newWorld(t, nil)
	w.sim.SetSwitches(func(s *linkedinsim.Switches) { s.Rotate = true })
	id := w.signIn(t, "ada").Member
	w.pass(t)
	w.clock.Advance(61 * day)
	ctx, cancel := context.WithCancel(t.Context())
	w.calls.before = func(op string) error {
		if op == "refresh" {
			cancel()
		}
		return nil
	}
	_, _, _ = w.Token(ctx, id, 0)
	if g := w.grant(t, id); g.Fresh.IsZero() || g.Lease.ID != "" {
		t.Errorf("the answer was lost: %s", brief(g))
	}
	ctx, cancel = context.WithCancel(t.Context())
	w.calls.before = func(op string) error {
		if op == "userinfo" {
			cancel()
		}
		return nil
	}
	_, _, _ = w.Token(ctx, id, 0)
	if g := w.grant(t, id); g.Trouble != (keeper.Trouble{}) || g.Lease.ID != "" {
		t.Errorf("the cancelled proof counts: %s", brief(g))
	}
	w.calls.before = nil
	w.serves(t, id)
	if len(w.incidents(t)) != 0 {
		t.Error("an incident")
	}
}

// A caller asks for more than LinkedIn ever gives.
func TestGreedyCallerCostsOneRefreshIn30Seconds(t *testing.T) {
	w := newWorld(t, nil)
	w.sim.SetSwitches(func(s *linkedinsim.Switches) { s.AccessLifetime = 10 * time.Minute })
	id := w.signIn(t, "ada").Member
	before := w.sim.Count(linkedinsim.TokenEndpoint)
	for range 120 {
		if _, _, err := w.Token(t.Context(), id, time.Hour); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(time.Second)
	}
	if n := w.sim.Count(linkedinsim.TokenEndpoint) - before; n > 4 {
		t.Errorf("%d token calls in 2 minutes", n)
	}
}
