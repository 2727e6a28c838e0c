package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/storetest"
)

// life is one random history of one member: two workers, callers, sign-ins and
// logouts, with a LinkedIn and a store that are ill in every way.
type life struct {
	*world
	t  *rapid.T
	tb testing.TB
	id keeper.MemberID

	rotate, refresh bool
	signIns         int
	signedOut       bool      // a logout was answered, and no sign-in begun since
	tamperedAt      time.Time // tokens of before may be revoked
	lies            int       // how often LinkedIn may have refused a good token since the sign-in
	lossy           bool      // a rotated refresh token may be lost
	generations     map[string]bool
	answers         map[time.Time]bool // when LinkedIn's refreshed tokens were issued
	refreshed       bool               // one of them serves, or has served
	count           func(string)
}

// simActions, each as often as it is named.
var simActions = strings.Fields(`sweep sweep sweep sweep sweep sweep wait wait wait wait wait wait
	sweep sweep token token token token token token hook hook hook hook hook hook hook hook fault fault clear clear
	store store store store store store store sign-in sign-out inspect tamper`)

func (l *life) do(action string) {
	ctx := context.Background()
	defer func() {
		switch r := recover(); r {
		case nil:
		case died{}:
			l.count("crash")
			l.lossy = l.lossy || l.rotate
		default:
			panic(r)
		}
	}()
	switch action {
	case "sweep":
		// A pass, without its goroutines: what the index names is worked on.
		due, _ := l.store.Due(ctx, l.id.Shard(), keeper.Nominee{}, l.clock.Now(), 1)
		for _, n := range due {
			if l.Work(ctx, n.Member) == nil {
				l.count("sweep")
			}
		}
	case "wait":
		l.clock.Advance(rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, 46 * time.Second, time.Minute, time.Minute,
			5 * time.Minute, time.Hour, 6 * time.Hour, day, 9 * day, 48 * day, 48 * day}).Draw(l.t, "for"))
	case "token":
		out := l.signedOut
		token, g, err := l.Token(ctx, l.id, rapid.SampledFrom([]time.Duration{0, time.Minute, day}).Draw(l.t, "need"))
		switch {
		case err == nil:
			l.count("token")
			if out && l.signedOut { // and no sign-in came in the middle
				l.t.Fatalf("a token after the logout")
			}
			if state := l.truth(token); state != "active" && g.Access.IssuedAt.After(l.tamperedAt) {
				l.t.Fatalf("a caller was given a token that is %q at LinkedIn", state)
			}
		case errors.Is(err, keeper.ErrReconnect):
			l.count("token: reconnect")
			if s := g.State(l.clock.Now()); s == keeper.StateActive && !g.Refresh.IsZero() {
				l.t.Fatalf("asked to consent again in state %s", s)
			}
		case errors.Is(err, keeper.ErrUnavailable):
			l.count("token: try again")
		case errors.Is(err, keeper.ErrNotFound):
			l.count("token: not found")
		default:
			l.t.Fatalf("Token: %v", err)
		}
	case "inspect":
		_, _ = l.Inspect(ctx, l.id)
	case "sign-in":
		l.signInNow()
	case "sign-out":
		before := l.signIns
		if l.SignOut(ctx, l.id) == nil {
			l.count("sign-out")
			l.signedOut = l.signIns == before // else one came in the middle
		}
	case "tamper":
		how := rapid.SampledFrom([]func(string) error{l.sim.RemoveApp, l.sim.RevokeAccess, l.sim.RevokeRefresh}).Draw(l.t, "how")
		if rapid.IntRange(0, 3).Draw(l.t, "really") == 0 {
			l.tamperedAt = l.clock.Now()
			_ = how("ada")
			l.clock.Advance(time.Second)
			l.count("tampered")
		}
	case "fault":
		f := linkedinsim.Fault{
			Kind: rapid.SampledFrom([]linkedinsim.Kind{linkedinsim.AnswerStatus, linkedinsim.AnswerStatus, linkedinsim.ResetBefore, linkedinsim.ResetAfter,
				linkedinsim.Truncate, linkedinsim.WrongSecret, linkedinsim.RefuseRefresh, linkedinsim.NoExpiresIn, linkedinsim.ForeignTokenType}).Draw(l.t, "kind"),
			Endpoint: rapid.SampledFrom([]linkedinsim.Endpoint{linkedinsim.TokenEndpoint, linkedinsim.TokenEndpoint, linkedinsim.IntrospectEndpoint, linkedinsim.UserinfoEndpoint}).Draw(l.t, "endpoint"),
			Times:    rapid.SampledFrom([]int{1, 1, 3, 0}).Draw(l.t, "times"),
		}
		if f.Kind == linkedinsim.AnswerStatus {
			f.Status = rapid.SampledFrom([]int{500, 503, 429, 404}).Draw(l.t, "status")
		}
		l.lossy = l.lossy || l.rotate // an answer that cannot be read had the new refresh token
		if f.Kind == linkedinsim.RefuseRefresh && f.Times == 0 {
			l.lies = many
		} else if f.Kind == linkedinsim.RefuseRefresh {
			l.lies += f.Times
		}
		if err := l.sim.Fault(f); err != nil {
			l.t.Fatal(err)
		}
	case "clear":
		l.sim.Clear()
	case "store":
		op := rapid.SampledFrom(strings.Fields("Put Put Put Put Get Get PutControl PutControl PutControl PutControl PutControl PutControl PutControl Control Control Due")).Draw(l.t, "op")
		n := 1
		if op == "Put" || op == "Get" {
			n = rapid.IntRange(1, 3).Draw(l.t, "n")
		}
		how := rapid.SampledFrom(strings.Fields("fails loses crashes waits")).Draw(l.t, "how")
		meanwhile := rapid.SampledFrom(strings.Fields("sign-in sign-out sweep")).Draw(l.t, "meanwhile")
		l.store.Before = func(o string) (bool, error) {
			if o != op {
				return true, nil
			}
			if n--; n != 0 {
				return true, nil
			}
			l.count("store " + how + " at " + op)
			switch how {
			case "crashes":
				l.store.Before = nil
				panic(died{})
			case "waits": // and something else comes first
				l.store.Before = nil
				l.do(meanwhile)
				return true, nil
			}
			return how == "loses", errStore
		}
	case "hook":
		l.hook()
	}
}

// hook lets something happen in the middle of the next call to LinkedIn.
func (l *life) hook() {
	at := rapid.SampledFrom(strings.Fields("refresh refresh refresh refresh userinfo userinfo introspect introspect")).Draw(l.t, "at")
	what := rapid.SampledFrom(strings.Fields("sign-out sign-in sweep sweep token token crash crash sleep sleep")).Draw(l.t, "what")
	side := rapid.SampledFrom([]string{"before", "after"}).Draw(l.t, "side")
	f := func(op string) error {
		if op != at {
			return nil
		}
		l.calls.before, l.calls.after = nil, nil
		l.count(what + " " + side + " " + op)
		l.lossy = l.lossy || l.rotate && op == "refresh"
		switch what {
		case "crash":
			panic(died{})
		case "sleep":
			l.clock.Advance(rapid.SampledFrom([]time.Duration{10 * time.Second, 46 * time.Second, time.Hour}).Draw(l.t, "asleep"))
			l.do("sweep")
		default:
			l.do(what)
		}
		return nil
	}
	if side == "before" {
		l.calls.before = f
	} else {
		l.calls.after = f
	}
}

func (l *life) signInNow() {
	ctx := context.Background()
	to, err := l.client.AuthCodeURL(ctx, keeper.Authorization{State: secret.New("state"), IssuedAt: l.clock.Now()})
	if err != nil {
		l.t.Fatal(err)
	}
	back, err := l.sim.Authorize(to, "ada")
	if err != nil {
		l.t.Fatal(err)
	}
	_, code, _ := strings.Cut(back, "code=")
	code, _, _ = strings.Cut(code, "&")
	id, tokens, err := l.client.Exchange(ctx, secret.New(code), keeper.Authorization{State: secret.New("state"), IssuedAt: l.clock.Now()})
	if err != nil {
		l.Observe(ctx, "exchange", err)
		l.count("sign-in failed")
		return
	}
	l.signedOut = false
	if _, err := l.SignIn(ctx, storetest.Seen(ctx, l.Store, id.Member()), id, tokens); err == nil {
		l.count("sign-in")
		l.signedOut = false // a logout may have come in the middle
		l.signIns++
		l.lies, l.lossy = l.liesLeft(), false
	}
}

const many = 1000

// liesLeft is how often LinkedIn will still refuse whatever refresh token.
func (l *life) liesLeft() (n int) {
	for _, f := range l.sim.Faults() {
		if f.Kind == linkedinsim.RefuseRefresh && f.Times == 0 {
			return many
		} else if f.Kind == linkedinsim.RefuseRefresh {
			n += f.Times
		}
	}
	return n
}

// truth is the state of a token at LinkedIn; "" where it does not know it.
func (l *life) truth(s secret.String) string {
	for _, g := range l.sim.Grants() {
		for _, t := range g.Tokens {
			if t.Fingerprint == s.Fingerprint() {
				return t.State
			}
		}
	}
	return ""
}

func (l *life) open(t keeper.Token, p keeper.Purpose) secret.String {
	s, _ := clearSealer{}.Open(context.Background(), t.Sealed, p, string(l.id))
	return s
}

// stored is the grant, whatever ails the store.
func (l *life) stored() (keeper.Grant, error) {
	before := l.store.Before
	l.store.Before = nil
	defer func() { l.store.Before = before }()
	return l.store.Get(context.Background(), l.id)
}

// begun looks at the grant before a call to LinkedIn. A fresh token that is older
// than a lease was there when the worker began: it is to be proven, not replaced.
func (l *life) begun(operation string) {
	g, err := l.stored()
	if age := l.clock.Now().Sub(g.Fresh.IssuedAt); err == nil && operation == "refresh" && age > 46*time.Second && age < time.Hour {
		l.t.Fatalf("refreshed though a fresh token waits: %s", brief(g))
	}
}

// check looks at the grant after an action; was is what it was before.
func (l *life) check(was keeper.Grant) keeper.Grant {
	g, err := l.stored()
	if err != nil {
		return keeper.Grant{}
	}
	if l.signedOut && g.Status != keeper.SignedOut {
		l.t.Fatalf("after the logout: %s", brief(g))
	}
	if g.Status != keeper.Active && (!g.Access.IsZero() || !g.Fresh.IsZero() || !g.Refresh.IsZero() || g.Lease.ID != "") {
		l.t.Fatalf("something is left: %s", brief(g))
	}
	if g.Generation != was.Generation {
		if l.generations[g.Generation] {
			l.t.Fatalf("generation %s returned", g.Generation)
		}
		l.generations[g.Generation] = true
	}
	if g.Status == keeper.Reconnect && was.Status == keeper.Active {
		l.count("reconnect")
		if state := l.truth(l.open(was.Refresh, keeper.PurposeRefresh)); state == "active" && l.lies < 2 && !l.lossy {
			l.t.Fatalf("asked to consent again although the refresh token is good: %s", brief(was))
		}
		if s, ok := was.Serving(l.clock.Now()); ok && l.truth(l.open(s, keeper.PurposeAccess)) == "active" {
			l.t.Fatalf("asked to consent again although the access token is good: %s", brief(was))
		}
	}
	if g.Status == keeper.Active && l.refresh && g.Refresh.IsZero() {
		l.t.Fatalf("the refresh token is gone: %s", brief(g))
	}
	if g.Status == keeper.Active && l.refresh && !l.lossy && g.Refresh.IssuedAt.After(l.tamperedAt) {
		if state := l.truth(l.open(g.Refresh, keeper.PurposeRefresh)); state != "active" && g.Refresh.ExpiresAt.After(l.clock.Now()) {
			l.t.Fatalf("the stored refresh token is %q at LinkedIn", state)
		}
	}
	if g.Access.IssuedAt.After(was.Access.IssuedAt) && !was.Access.IsZero() {
		l.count("promoted")
	}
	l.refreshed = l.refreshed || l.answers[g.Access.IssuedAt]
	return g
}

// end clears every trouble and looks whether the member is well a day later.
func (l *life) end(last keeper.Grant) {
	l.sim.Clear()
	l.store.Before, l.calls.before, l.calls.after = nil, nil, nil
	for _, d := range []time.Duration{46 * time.Second, time.Minute, time.Minute, 5 * time.Minute, 5 * time.Minute, time.Minute, time.Hour,
		6 * time.Hour, 6 * time.Minute, 18 * time.Hour, time.Minute, 6 * time.Minute, time.Minute, time.Minute} {
		l.clock.Advance(d)
		l.pass(l.tb)
	}
	g, err := l.store.Get(context.Background(), l.id)
	l.refreshed = l.refreshed || l.answers[g.Access.IssuedAt]
	if errors.Is(err, keeper.ErrNotFound) && last.Status != keeper.Active {
		l.count("end: gone")
		return
	}
	if err != nil {
		l.t.Fatal(err)
	}
	if len(g.Outbox.Events) != 0 {
		l.t.Fatalf("untold: %s", brief(g))
	}
	if g.Status != keeper.Active || l.lossy || !g.Refresh.IssuedAt.After(l.tamperedAt) || g.ReconnectBy().Sub(l.clock.Now()) < 2*day {
		l.count("end: " + string(g.Status))
		return
	}
	token, g, err := l.Token(context.Background(), l.id, time.Minute)
	if err != nil || l.truth(token) != "active" || !g.Access.ExpiresAt.After(l.clock.Now()) {
		l.t.Fatalf("a day after the last trouble: %v, %s", err, brief(g))
	}
	l.count("end: served")
}

// TestRandomLives lives 20,000 lives, or with -rapid.checks another number, on
// two goroutines that share nothing: the race detector has nothing to find here.
func TestRandomLives(t *testing.T) {
	checks(t, map[bool]string{false: "10000", true: "500"}[testing.Short()])
	var mu sync.Mutex
	hits, n := map[string]int{}, 0
	t.Run("all", func(t *testing.T) {
		for part := range 2 {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				mine, lives := map[string]int{}, 0
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					n += lives
					for what, times := range mine {
						hits[what] += times
					}
				}()
				rapid.Check(t, func(rt *rapid.T) {
					lives++
					live(t, rt, func(what string) { mine[what]++ })
				})
			})
		}
	})
	t.Logf("%d histories: %v", n, hits)
	if t.Failed() {
		return
	}
	atLeast := map[string]int{"a refresh came to its end": n * 3 / 10, "token": n, "sign-in": n, "sign-out": n / 4, "end: served": n / 4,
		"token: try again": n / 10, "crash": n / 25, "tampered": n / 20, "reconnect": n / 100, "promoted": n / 4}
	// Of 20,000 histories at least 100 come to each of these.
	for _, op := range strings.Fields("Get Put Control PutControl Due") {
		for _, how := range strings.Fields("fails loses crashes waits") {
			atLeast["store "+how+" at "+op] = n / 200
		}
	}
	for _, op := range strings.Fields("refresh introspect userinfo") {
		for _, side := range strings.Fields("before after") {
			for _, what := range strings.Fields("crash sleep sweep token sign-in sign-out") {
				atLeast[what+" "+side+" "+op] = n / 200
			}
		}
	}
	for what, times := range atLeast {
		if hits[what] < times {
			t.Errorf("%s: %d times in %d histories, want %d: the histories are too tame", what, hits[what], n, times)
		}
	}
}

// live is one life, from a sign-in to a day after the last trouble.
func live(t *testing.T, rt *rapid.T, count func(string)) {
	l := &life{t: rt, tb: t, generations: map[string]bool{}, answers: map[time.Time]bool{}, count: count}
	l.refresh = rapid.IntRange(0, 4).Draw(rt, "refresh") > 0
	l.rotate = rapid.IntRange(0, 3).Draw(rt, "rotate") == 0
	delay := rapid.SampledFrom([]time.Duration{0, 0, 3 * time.Second, 5*time.Minute - time.Second}).Draw(rt, "delay")
	l.world = newWorld(t, func(a *linkedinsim.App) { a.Refresh = l.refresh })
	l.sim.SetSwitches(func(s *linkedinsim.Switches) { s.Rotate, s.PropagationDelay, s.RevokeEndpoint = l.rotate, delay, true })
	l.id = keeper.NewMemberID("77keepin", linkedinsim.Subject("77keepin", "ada"))
	l.calls.begun = l.begun
	l.calls.good = func(operation string) {
		if operation == "refresh" {
			l.answers[l.clock.Now()] = true
		}
	}
	l.do("sign-in")
	g := l.check(keeper.Grant{})
	l.do("sweep")
	l.clock.Advance(time.Minute)
	l.do("sweep")
	// Most begin where a refresh is near, or the access token has ended.
	l.clock.Advance(rapid.SampledFrom([]time.Duration{0, 46 * day, 50 * day, 50 * day, 50 * day, 59 * day, 61 * day}).Draw(rt, "begin"))
	l.do("sweep")
	for range rapid.SampledFrom([]int{20, 30, 40}).Draw(rt, "steps") {
		l.do(rapid.SampledFrom(simActions).Draw(rt, "action"))
		g = l.check(g)
	}
	l.end(g)
	if l.refreshed {
		l.count("a refresh came to its end")
	}
}
