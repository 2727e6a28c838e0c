package keeper_test

import (
	"errors"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keepin/keepin/shared/keeper"
)

const day = 24 * time.Hour

// t0 is when the grants of these tests begin.
var t0 = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const ada = keeper.MemberID("AAAAAAAAAAAAAAAAAAAAAA")

func token(name string, issued, end time.Time) keeper.Token {
	return keeper.Token{Sealed: []byte(name), IssuedAt: issued, ExpiresAt: end}
}

// grant is a good one, half a year before its end: a proven access token of 60
// days and a refresh token of a year, both of t0.
func grant(changes ...func(*keeper.Grant)) keeper.Grant {
	g := keeper.Grant{
		Member: ada, Subject: "sub", Generation: "g1", Status: keeper.Active, Scopes: []string{"openid", "profile"},
		Access:  token("access", t0, t0.Add(60*day)),
		Refresh: token("refresh", t0, t0.Add(365*day)),
		Rev:     "r1",
	}
	g.Access.ProvenAt = t0.Add(time.Minute)
	for _, change := range changes {
		change(&g)
	}
	return g
}

type change = func(*keeper.Grant)

func noRefresh(g *keeper.Grant) { g.Refresh = keeper.Token{} }
func noAccess(g *keeper.Grant)  { g.Access = keeper.Token{} }
func leased(g *keeper.Grant)    { g.Lease = keeper.Lease{ID: "L", Until: t0.Add(1000 * day)} }
func doubted(at time.Duration) change {
	return func(g *keeper.Grant) { g.Access.RefusedAt = t0.Add(at) }
}
func refused(at time.Duration) change {
	return func(g *keeper.Grant) { g.Refresh.RefusedAt = t0.Add(at) }
}
func status(s keeper.Status) change {
	return func(g *keeper.Grant) {
		*g = keeper.Grant{Member: g.Member, Generation: g.Generation, Status: s, Rev: g.Rev}
	}
}
func fresh(at time.Duration) change {
	return func(g *keeper.Grant) { g.Fresh = token("fresh", t0.Add(at), t0.Add(at+60*day)) }
}
func freshRefused(issued, at time.Duration) change {
	return func(g *keeper.Grant) { fresh(issued)(g); g.Fresh.RefusedAt = t0.Add(at) }
}
func retry(at, until time.Duration) change {
	return func(g *keeper.Grant) {
		g.Trouble = keeper.Trouble{Class: keeper.ClassOutage, Count: 1, Since: t0.Add(at), At: t0.Add(at), RetryAt: t0.Add(until)}
	}
}
func announced(days int, deadline time.Duration) change {
	return func(g *keeper.Grant) { g.Announced = keeper.Notice{Days: days, Deadline: t0.Add(deadline)} }
}
func told(at time.Duration) change {
	return func(g *keeper.Grant) {
		g.Outbox.Events = []keeper.Event{{ID: "e", Type: keeper.MemberConnected, At: t0.Add(at)}}
	}
}

// verified: introspected then, so that the weekly look is out of the way.
func verified(at time.Duration) change {
	return func(g *keeper.Grant) { g.CheckedAt, g.VerifiedAt = t0.Add(at), t0.Add(at) }
}

func TestNextIsTheEarliestThingToDo(t *testing.T) {
	never := time.Duration(-1)
	for _, c := range []struct {
		what string
		g    keeper.Grant
		now  time.Duration
		task keeper.Task
		at   time.Duration
	}{
		{"the zero grant", keeper.Grant{}, 0, keeper.TaskNone, never},
		{"signed out", grant(status(keeper.SignedOut)), 0, keeper.TaskNone, never},
		{"signed out, not told", grant(status(keeper.SignedOut), told(time.Hour)), 0, keeper.TaskAnnounce, time.Hour},
		{"to be reconnected", grant(status(keeper.Reconnect)), 0, keeper.TaskNone, never},
		{"to be reconnected, not told", grant(status(keeper.Reconnect), told(0)), 0, keeper.TaskAnnounce, 0},
		{"new", grant(), 0, keeper.TaskVerify, 7 * day},
		{"looked at", grant(verified(day)), day, keeper.TaskVerify, 8 * day},
		{"a look after the end of the token is none", grant(verified(58*day), noRefresh, announced(3, 60*day)), 58 * day, keeper.TaskAnnounce, 59 * day},
		{"the ladder of a token without refresh", grant(verified(29*day), noRefresh), 29 * day, keeper.TaskAnnounce, 30 * day},
		{"unproven", grant(fresh(0)), 0, keeper.TaskProve, time.Minute},
		{"refused at once", grant(freshRefused(0, 0)), time.Second, keeper.TaskProve, 2 * time.Second},
		{"refused at 2 s", grant(freshRefused(0, 2*time.Second)), 2 * time.Second, keeper.TaskProve, 4 * time.Second},
		{"refused at 64 s", grant(freshRefused(0, 64*time.Second)), 64 * time.Second, keeper.TaskProve, 128 * time.Second},
		{"refused at 4 min: next when a refusal is final", grant(freshRefused(0, 4*time.Minute)), 4 * time.Minute, keeper.TaskProve, 5 * time.Minute},
		{"refused at 6 min", grant(freshRefused(0, 6*time.Minute)), 6 * time.Minute, keeper.TaskProve, 12 * time.Minute},
		{"unproven in trouble", grant(fresh(0), retry(0, time.Hour)), 0, keeper.TaskProve, time.Hour},
		{"refused refresh token: after its back-off", grant(verified(55*day), refused(50*day), retry(50*day, 56*day), announced(7, 60*day)), 55 * day, keeper.TaskRefresh, 56 * day},
		{"doubted with a refresh token: refresh now", grant(doubted(10*day), verified(10*day)), 11 * day, keeper.TaskRefresh, 11 * day},
		{"doubted without: a second look", grant(doubted(10*day), verified(10*day), noRefresh), 10 * day, keeper.TaskVerify, 10*day + time.Minute},
		{"doubted, back-off", grant(doubted(10*day), verified(10*day), noRefresh, retry(10*day, 11*day)), 10 * day, keeper.TaskVerify, 11 * day},
		{"doubted, and the refresh token has ended", grant(doubted(9*day), verified(9*day), announced(1, 60*day), func(g *keeper.Grant) { g.Refresh.ExpiresAt = t0.Add(8 * day) }), 9 * day, keeper.TaskVerify, 9*day + time.Minute},
		{"no access token: refresh now", grant(noAccess), day, keeper.TaskRefresh, day},
		{"ended access token: refresh was due", grant(verified(59*day), announced(1, 365*day)), 61 * day, keeper.TaskRefresh, never},
		{"ends meet: no refresh, no loop", grant(verified(359*day), announced(7, 365*day), func(g *keeper.Grant) {
			g.Access = token("a", t0.Add(340*day), t0.Add(365*day-time.Second))
		}), 359 * day, keeper.TaskAnnounce, 362 * day},
		{"the end", grant(verified(364*day), announced(1, 365*day)), 365 * day, keeper.TaskAnnounce, 365 * day},
		{"a notice that is due goes before a refresh that was due first", grant(verified(55*day), told(56*day)), 57 * day, keeper.TaskAnnounce, 56 * day},
		{"a notice that waits for its retry does not", grant(verified(55*day), told(56*day), func(g *keeper.Grant) { g.Outbox.RetryAt = t0.Add(58 * day) }), 57 * day, keeper.TaskRefresh, never},
		{"the lease changes nothing", grant(fresh(0), leased), 0, keeper.TaskProve, time.Minute},
	} {
		task, at := c.g.Next(t0.Add(c.now))
		want := t0.Add(c.at)
		if c.at == never {
			want = time.Time{}
			if c.task == keeper.TaskRefresh { // at 5/6 of the life, less the jitter
				want = at
				if at.Before(t0.Add(48*day)) || at.After(t0.Add(50*day)) {
					t.Errorf("%s: a refresh at %v", c.what, at.Sub(t0))
				}
			}
		}
		if task != c.task || !at.Equal(want) {
			t.Errorf("%s: got %v at day %v, want %v at %v", c.what, task, at.Sub(t0), c.task, c.at)
		}
	}
}

func TestRefreshesAreSpreadOverTwoDays(t *testing.T) {
	first, last := 60*day, time.Duration(0)
	for i := range 2000 {
		g := grant(verified(49*day), func(g *keeper.Grant) { g.Member = keeper.NewMemberID("app", fmt.Sprint(i)) })
		task, at := g.Next(t0.Add(50 * day))
		if task != keeper.TaskRefresh {
			t.Fatalf("member %d: %v is due", i, task)
		}
		if _, again := g.Next(t0.Add(50 * day)); !again.Equal(at) || !at.Equal(at.Truncate(time.Microsecond)) {
			t.Fatalf("member %d: the time is not the member's own, or is too exact: %v", i, at)
		}
		first, last = min(first, at.Sub(t0)), max(last, at.Sub(t0))
	}
	if first < 48*day || first > 48*day+time.Hour || last > 50*day || last < 50*day-time.Hour {
		t.Errorf("refreshes from day %v to %v, want 48 to 50", first.Hours()/24, last.Hours()/24)
	}
}

func TestLadder(t *testing.T) {
	short := func(g *keeper.Grant) { noRefresh(g); g.Access.ExpiresAt = t0.Add(20 * day) }
	for _, c := range []struct {
		what string
		g    keeper.Grant
		now  time.Duration
		days int
		at   time.Duration
	}{
		{"far away", grant(), 0, 30, 335 * day},
		{"30 days before", grant(), 335 * day, 30, 335 * day},
		{"sent", grant(announced(30, 365*day)), 335 * day, 14, 351 * day},
		{"slept through two: the nearest", grant(announced(30, 365*day)), 359 * day, 7, 358 * day},
		{"slept through all", grant(), 364*day + time.Hour, 1, 364 * day},
		{"all sent: the end", grant(announced(1, 365*day)), 364*day + time.Hour, 0, 365 * day},
		{"begins below the first rung: one", grant(short), 0, 30, -10 * day},
		{"and then the next", grant(short, announced(30, 20*day)), 0, 14, 6 * day},
		{"another deadline has a ladder of its own", grant(announced(1, 200*day)), 0, 30, 335 * day},
		{"seconds are no other deadline", grant(announced(7, 365*day+time.Minute)), 359 * day, 3, 362 * day},
		{"refused: nothing moves", grant(refused(0)), 0, 30, 335 * day},
	} {
		days, at := c.g.RungAt(t0.Add(c.now))
		if days != c.days || at.Sub(t0) != c.at {
			t.Errorf("%s: got %d at %v, want %d at %v", c.what, days, at.Sub(t0), c.days, c.at)
		}
	}
}

func TestStateAndReconnectBy(t *testing.T) {
	for _, c := range []struct {
		what  string
		g     keeper.Grant
		now   time.Duration
		state keeper.State
		by    time.Duration
	}{
		{"good", grant(), 0, keeper.StateActive, 365 * day},
		{"no refresh token", grant(noRefresh), 0, keeper.StateActive, 60 * day},
		{"access token ended", grant(), 60 * day, keeper.StatePending, 365 * day},
		{"doubted", grant(doubted(0)), 0, keeper.StatePending, 365 * day},
		{"doubted, without refresh token", grant(doubted(0), noRefresh), 0, keeper.StatePending, 60 * day},
		{"fresh only", grant(noAccess, fresh(0)), 0, keeper.StateActive, 365 * day},
		{"fresh and refused", grant(noAccess, freshRefused(0, 0)), 0, keeper.StateActive, 365 * day},
		{"refresh token refused", grant(refused(0)), 0, keeper.StateActive, 365 * day},
		{"refresh token refused, fresh one longer", grant(refused(0), fresh(day)), 0, keeper.StateActive, 365 * day},
		{"at the end", grant(), 365 * day, keeper.StateReconnect, 365 * day},
		{"just before", grant(), 365*day - 1, keeper.StatePending, 365 * day},
		{"no refresh token, at the end", grant(noRefresh), 60 * day, keeper.StateReconnect, 60 * day},
	} {
		if got := c.g.State(t0.Add(c.now)); got != c.state {
			t.Errorf("%s: state %v, want %v", c.what, got, c.state)
		}
		if got := c.g.ReconnectBy(); got.Sub(t0) != c.by {
			t.Errorf("%s: reconnect by %v, want %v", c.what, got.Sub(t0), c.by)
		}
	}
	for s, want := range map[keeper.Status]keeper.State{"": keeper.StateReconnect, keeper.SignedOut: keeper.StateSignedOut, keeper.Reconnect: keeper.StateReconnect} {
		if got := grant(status(s)).State(t0); got != want {
			t.Errorf("%q: state %v, want %v", s, got, want)
		}
	}
}

func TestServing(t *testing.T) {
	for _, c := range []struct {
		what string
		g    keeper.Grant
		now  time.Duration
		want string
	}{
		{"good", grant(), 0, "access"},
		{"just before its end", grant(), 60*day - 1, "access"},
		{"at its end", grant(), 60 * day, ""},
		{"doubted", grant(doubted(0)), 0, ""},
		{"an unproven fresh one waits", grant(fresh(0)), 5*time.Minute - 1, "access"},
		{"at 5 minutes it is proven", grant(fresh(0)), 5 * time.Minute, "fresh"},
		{"but not when a call said otherwise", grant(freshRefused(0, time.Minute)), 6 * time.Minute, "access"},
		{"unproven, and no other", grant(noAccess, fresh(0)), time.Minute, ""},
		{"signed out", grant(status(keeper.SignedOut)), 0, ""},
		{"signed out with a token left", grant(func(g *keeper.Grant) { g.Status = keeper.SignedOut }), 0, ""},
		{"an ended fresh one", grant(fresh(-61 * day)), 0, "access"},
	} {
		got, ok := c.g.Serving(t0.Add(c.now))
		if string(got.Sealed) != c.want || ok != (c.want != "") {
			t.Errorf("%s: serves %q, want %q", c.what, got.Sealed, c.want)
		}
	}
}

func TestBegin(t *testing.T) {
	nobody := time.Duration(-1)
	due := verified(55 * day) // and a refresh since day 50
	short := func(g *keeper.Grant) { g.Access.ExpiresAt = t0.Add(60*day - 30*time.Second) }
	for _, c := range []struct {
		what  string
		g     keeper.Grant
		now   time.Duration
		need  time.Duration
		task  keeper.Task
		err   error
		lease bool
	}{
		{"the zero grant", keeper.Grant{}, 0, nobody, keeper.TaskNone, keeper.ErrNothing, false},
		{"the zero grant, a caller", keeper.Grant{}, 0, 0, keeper.TaskNone, keeper.ErrNothing, false},
		{"nothing due", grant(), 0, nobody, keeper.TaskNone, keeper.ErrNotYet, false},
		{"nothing wanted", grant(), 0, time.Hour, keeper.TaskNone, keeper.ErrNothing, false},
		{"refresh", grant(due), 55 * day, nobody, keeper.TaskRefresh, nil, true},
		{"leased", grant(due, leased), 55 * day, nobody, keeper.TaskNone, keeper.ErrLeased, false},
		{"leased, a caller", grant(leased), 60 * day, 0, keeper.TaskNone, keeper.ErrLeased, false},
		{"the lease has run out", grant(due, func(g *keeper.Grant) { g.Lease = keeper.Lease{ID: "old", Until: t0.Add(55 * day)} }), 55 * day, nobody, keeper.TaskRefresh, nil, true},
		{"a proof by the sweep needs no lease", grant(fresh(0)), time.Minute, nobody, keeper.TaskProve, nil, false},
		{"not yet", grant(fresh(0)), time.Minute - 1, nobody, keeper.TaskNone, keeper.ErrNotYet, false},
		{"a proof for a caller", grant(fresh(0), noAccess), 0, 0, keeper.TaskProve, nil, true},
		{"a proof again, for a caller, back-off or not", grant(freshRefused(0, 0), noAccess, retry(0, 6*time.Hour)), 30 * time.Second, 0, keeper.TaskProve, nil, true},
		{"but not within the wait", grant(freshRefused(0, 0), noAccess), time.Second, 0, keeper.TaskNone, keeper.ErrNotYet, false},
		{"notices need no lease, whoever holds it", grant(told(0), leased), 0, nobody, keeper.TaskAnnounce, nil, false},
		{"back-off", grant(due, retry(55*day, 56*day)), 55*day + time.Minute, nobody, keeper.TaskNone, keeper.ErrNotYet, false},
		{"a caller within 30 s", grant(retry(60*day, 61*day)), 60*day + 30*time.Second - 1, 0, keeper.TaskNone, keeper.ErrNotYet, false},
		{"a caller after 30 s, back-off or not", grant(retry(60*day, 61*day)), 60*day + 30*time.Second, 0, keeper.TaskRefresh, nil, true},
		{"a caller who needs more than is left", grant(), 59 * day, 2 * day, keeper.TaskRefresh, nil, true},
		{"a token of just now will not get longer", grant(short), 29 * time.Second, 60 * day, keeper.TaskNone, keeper.ErrNotYet, false},
		{"after 30 s it may", grant(short), 30 * time.Second, 60 * day, keeper.TaskRefresh, nil, true},
		{"no refresh token, doubted: look again", grant(doubted(day), noRefresh), day, 0, keeper.TaskVerify, nil, true},
		{"no refresh token, too short", grant(noRefresh, doubted(0)), 60 * day, 0, keeper.TaskNone, keeper.ErrNothing, false},
		{"signed out", grant(status(keeper.SignedOut)), 0, 0, keeper.TaskNone, keeper.ErrNothing, false},
	} {
		before := c.g
		lease := keeper.Lease{ID: "mine", Until: t0.Add(c.now + 45*time.Second)}
		task, err := c.g.Begin(t0.Add(c.now), lease, c.need)
		if task != c.task || !errors.Is(err, c.err) || (c.g.Lease == lease) != c.lease {
			t.Errorf("%s: got %v, %v, lease %q; want %v, %v, lease taken %t", c.what, task, err, c.g.Lease.ID, c.task, c.err, c.lease)
		}
		before.Lease, c.g.Lease = keeper.Lease{}, keeper.Lease{}
		if !reflect.DeepEqual(before, c.g) {
			t.Errorf("%s: more than the lease changed", c.what)
		}
	}
}

var identity = keeper.Identity{ClientID: "app", Subject: "sub", Profile: keeper.Profile{Name: "Ada"}}

func TestSignIn(t *testing.T) {
	now := t0.Add(10 * day)
	all := keeper.Issued{Access: token("new", now, now.Add(60*day)), Refresh: token("new refresh", now, now.Add(365*day)), Scopes: []string{"openid", "profile"}}
	without := all
	without.Refresh = keeper.Token{}
	more := all
	more.Scopes = []string{"email", "openid", "profile"}
	unsaid := all
	unsaid.Refresh.ExpiresAt, unsaid.Scopes = time.Time{}, nil
	for _, c := range []struct {
		what                    string
		g                       keeper.Grant
		in                      keeper.Issued
		access, refresh         string
		generation              string
		connected               bool
		scopes                  int
		refreshEnd, announcedIn time.Duration
	}{
		{"first", keeper.Grant{Member: ada}, all, "", "new refresh", "g9", true, 2, 375 * day, 0},
		{"after a logout", grant(status(keeper.SignedOut)), all, "", "new refresh", "g1", true, 2, 375 * day, 0},
		{"after the end", grant(status(keeper.Reconnect)), all, "", "new refresh", "g1", true, 2, 375 * day, 0},
		{"every token has ended, and nobody noticed", grant(noRefresh, func(g *keeper.Grant) { g.Access.ExpiresAt = now }), all, "", "new refresh", "g1", true, 2, 375 * day, 0},
		{"again", grant(leased, retry(0, day), announced(30, 365*day)), all, "access", "new refresh", "g1", false, 2, 375 * day, 365 * day},
		{"again, and the old one is doubted", grant(doubted(0)), all, "", "new refresh", "g1", false, 2, 375 * day, 0},
		{"again, and the old one is a fresh one", grant(fresh(9 * day)), all, "fresh", "new refresh", "g1", false, 2, 375 * day, 0},
		{"without a refresh token: the old one stays", grant(), without, "access", "refresh", "g1", false, 2, 365 * day, 0},
		{"unless it is refused", grant(refused(0)), without, "access", "", "g1", false, 2, 0, 0},
		{"other scopes void the old token", grant(), more, "", "new refresh", "g1", false, 3, 375 * day, 0},
		{"no end said: a year; no scopes said: the old", grant(), unsaid, "access", "new refresh", "g1", false, 2, 375 * day, 0},
	} {
		g := c.g
		g.SignIn(now, "g9", identity, c.in)
		if string(g.Access.Sealed) != c.access || string(g.Fresh.Sealed) != "new" || string(g.Refresh.Sealed) != c.refresh {
			t.Errorf("%s: access %q, fresh %q, refresh %q", c.what, g.Access.Sealed, g.Fresh.Sealed, g.Refresh.Sealed)
		}
		if g.Generation != c.generation || len(g.Scopes) != c.scopes {
			t.Errorf("%s: generation %q, scopes %q", c.what, g.Generation, g.Scopes)
		}
		if c.refresh != "" && g.Refresh.ExpiresAt.Sub(t0) != c.refreshEnd {
			t.Errorf("%s: the refresh token ends on %v", c.what, g.Refresh.ExpiresAt)
		}
		if g.Status != keeper.Active || g.Subject != "sub" || g.Profile.Name != "Ada" || g.Member != ada || g.Rev != c.g.Rev {
			t.Errorf("%s: %+v", c.what, g)
		}
		if g.Lease != (keeper.Lease{}) || g.Trouble != (keeper.Trouble{}) || !g.VerifiedAt.IsZero() || !g.ExpiresAt.IsZero() {
			t.Errorf("%s: lease, trouble, verified or end is left: %+v", c.what, g)
		}
		if got := len(g.Outbox.Events) == 1 && g.Outbox.Events[0].Type == keeper.MemberConnected; got != c.connected {
			t.Errorf("%s: told %v", c.what, g.Outbox.Events)
		}
		if !g.Announced.Deadline.IsZero() && g.Announced.Deadline.Sub(t0) != c.announcedIn {
			t.Errorf("%s: announced %v", c.what, g.Announced)
		}
	}
}

func TestSignOutLeavesNothing(t *testing.T) {
	now := t0.Add(day)
	g := grant(fresh(0), leased, retry(0, day), told(0))
	g.Profile = keeper.Profile{Name: "Ada"}
	if err := g.SignOut(now, "g2"); err != nil {
		t.Fatal(err)
	}
	want := keeper.Grant{Member: ada, Generation: "g2", Status: keeper.SignedOut, Rev: "r1", ExpiresAt: now.Add(30 * day), Outbox: g.Outbox}
	if !reflect.DeepEqual(g, want) {
		t.Errorf("got %+v", g)
	}
	if n := len(g.Outbox.Events); n != 2 || g.Outbox.Events[1].Type != keeper.MemberSignedOut || g.Outbox.Events[1].Subject != string(ada) {
		t.Errorf("told %+v", g.Outbox.Events)
	}
	if err := g.SignOut(now, "g3"); !errors.Is(err, keeper.ErrNothing) || g.Generation != "g2" {
		t.Errorf("again: %v, generation %s", err, g.Generation)
	}
}

func TestRefreshed(t *testing.T) {
	now := t0.Add(50 * day)
	in := keeper.Issued{Access: token("new", now, now.Add(60*day)), Refresh: token("rotated", now, time.Time{}), Scopes: []string{"openid"}}
	g := grant(leased, refused(49*day), retry(49*day, 51*day))
	if err := g.Refreshed("L", in); err != nil {
		t.Fatal(err)
	}
	if string(g.Access.Sealed) != "access" || string(g.Fresh.Sealed) != "new" {
		t.Errorf("access %q, fresh %q", g.Access.Sealed, g.Fresh.Sealed)
	}
	if string(g.Refresh.Sealed) != "rotated" || !g.Refresh.ExpiresAt.Equal(t0.Add(365*day)) || !g.Refresh.RefusedAt.IsZero() {
		t.Errorf("the refresh token: %+v", g.Refresh)
	}
	if g.Lease != (keeper.Lease{}) || g.Trouble != (keeper.Trouble{}) || !slices.Equal(g.Scopes, in.Scopes) {
		t.Errorf("lease %v, trouble %v, scopes %v", g.Lease, g.Trouble, g.Scopes)
	}

	g = grant(leased, refused(49*day))
	if err := g.Refreshed("L", keeper.Issued{Access: in.Access}); err != nil || string(g.Refresh.Sealed) != "refresh" || !g.Refresh.RefusedAt.IsZero() || len(g.Scopes) != 2 {
		t.Errorf("without a refresh token: %v, %+v", err, g)
	}
	for what, g := range map[string]keeper.Grant{
		"another's lease": grant(func(g *keeper.Grant) { leased(g); g.Lease.ID = "other" }),
		"no lease":        grant(),
		"signed out":      grant(status(keeper.SignedOut)),
		"signed in again": func() keeper.Grant { g := grant(leased); g.SignIn(now, "", identity, in); return g }(),
		"ended":           grant(leased, func(g *keeper.Grant) { g.Status = keeper.Reconnect }),
	} {
		for _, lease := range []string{"L", ""} {
			if err := g.Refreshed(lease, in); !errors.Is(err, keeper.ErrOvertaken) {
				t.Errorf("%s, lease %q: %v", what, lease, err)
			}
		}
	}
}

func TestProvenAndUnproven(t *testing.T) {
	at := func(d time.Duration) time.Time { return t0.Add(d) }
	g := grant(fresh(50*day), leased, retry(0, day), func(g *keeper.Grant) { g.Profile = keeper.Profile{Name: "Old", Email: "old@example.com"} })
	f := g.Fresh
	if err := g.Proven(at(50*day), "L", f, keeper.Profile{Name: "New"}); err != nil {
		t.Fatal(err)
	}
	if string(g.Access.Sealed) != "fresh" || !g.Fresh.IsZero() || !g.Access.ProvenAt.Equal(at(50*day)) || !g.VerifiedAt.Equal(at(50*day)) ||
		g.Trouble != (keeper.Trouble{}) || g.Lease != (keeper.Lease{}) || g.Profile != (keeper.Profile{Name: "New", Email: "old@example.com"}) {
		t.Errorf("proven: %+v", g)
	}
	for what, g := range map[string]keeper.Grant{"none": grant(), "another": grant(fresh(51 * day)), "signed out": grant(status(keeper.SignedOut))} {
		if err := g.Proven(at(50*day), "", f, keeper.Profile{}); !errors.Is(err, keeper.ErrOvertaken) {
			t.Errorf("%s: proven: %v", what, err)
		}
		if err := g.Unproven(at(50*day), "", f); !errors.Is(err, keeper.ErrOvertaken) {
			t.Errorf("%s: unproven: %v", what, err)
		}
	}
	var zero keeper.Token
	if g := grant(); !errors.Is(g.Proven(t0, "", zero, keeper.Profile{}), keeper.ErrOvertaken) || !errors.Is(g.Unproven(t0, "", zero), keeper.ErrOvertaken) {
		t.Error("no token at all was proven")
	}

	for _, c := range []struct {
		what           string
		g              keeper.Grant
		now            time.Duration
		access, fresh  string
		doubts, backed bool
	}{
		{"young: asked again", grant(fresh(0)), 5*time.Minute - 1, "access", "fresh", false, false},
		{"old: dropped, and after a while a refresh", grant(fresh(0)), 5 * time.Minute, "access", "", false, true},
		{"old, no other, refresh token", grant(fresh(0), noAccess), 5 * time.Minute, "", "", false, true},
		{"old, no other, no refresh token: introspection judges", grant(fresh(0), noAccess, noRefresh), 5 * time.Minute, "fresh", "", true, false},
		{"old, no refresh token, another is good", grant(fresh(0), noRefresh), 5 * time.Minute, "access", "", false, false},
		{"ended: dropped", grant(fresh(-60 * day)), 0, "access", "", false, false},
	} {
		g := c.g
		if err := g.Unproven(at(c.now), "", g.Fresh); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if string(g.Access.Sealed) != c.access || string(g.Fresh.Sealed) != c.fresh || g.Access.RefusedAt.IsZero() == c.doubts || g.Trouble.RetryAt.After(at(c.now)) != c.backed {
			t.Errorf("%s: access %+v, fresh %+v, trouble %+v", c.what, g.Access, g.Fresh, g.Trouble)
		}
		if c.fresh != "" && !g.Fresh.RefusedAt.Equal(at(c.now)) {
			t.Errorf("%s: not marked", c.what)
		}
	}

	// An API that refuses every token costs fewer refreshes each time.
	g = grant()
	var waits []time.Duration
	now := at(50 * day)
	for range 5 {
		g.Lease = keeper.Lease{ID: "L"}
		if err := g.Refreshed("L", keeper.Issued{Access: token(now.String(), now, now.Add(60*day))}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(5 * time.Minute)
		if err := g.Unproven(now, "", g.Fresh); err != nil {
			t.Fatal(err)
		}
		waits = append(waits, g.Trouble.RetryAt.Sub(now))
	}
	if !slices.IsSorted(waits) || waits[4] < 10*time.Minute {
		t.Errorf("waits %v do not grow", waits)
	}
}

func TestVerified(t *testing.T) {
	now := t0.Add(30 * day)
	active := keeper.Inspection{Active: true, Status: "active"}
	g := grant(doubted(29*day), retry(29*day, 31*day))
	g.Verified(now, g.Access, active)
	if !g.Access.RefusedAt.IsZero() || !g.Access.ProvenAt.Equal(now) || !g.VerifiedAt.Equal(now) || !g.CheckedAt.Equal(now) || g.Trouble != (keeper.Trouble{}) {
		t.Errorf("active: %+v", g)
	}
	g = grant(retry(50*day, 52*day))
	g.Verified(t0.Add(51*day), g.Access, active)
	if g.Trouble == (keeper.Trouble{}) {
		t.Error("a good access token ended the trouble of a refresh that is due")
	}
	for what, c := range map[string]struct{ said, want time.Time }{
		"seconds":        {t0.Add(60*day - 59*time.Second), t0.Add(60 * day)},
		"earlier":        {t0.Add(40 * day), t0.Add(40 * day)},
		"later":          {t0.Add(61 * day), t0.Add(61 * day)},
		"past, nonsense": {now, t0.Add(60 * day)},
		"not said":       {time.Time{}, t0.Add(60 * day)},
	} {
		g := grant()
		g.Verified(now, g.Access, keeper.Inspection{Active: true, ExpiresAt: c.said})
		if !g.Access.ExpiresAt.Equal(c.want) {
			t.Errorf("end %s: got %v", what, g.Access.ExpiresAt)
		}
	}
	g = grant()
	g.Verified(now, g.Access, keeper.Inspection{Status: "revoked"})
	g.Verified(now.Add(time.Hour), g.Access, keeper.Inspection{Status: "revoked"})
	if !g.Access.RefusedAt.Equal(now) || !g.Access.ExpiresAt.Equal(t0.Add(60*day)) || !g.VerifiedAt.IsZero() {
		t.Errorf("revoked: %+v", g)
	}
	g = grant()
	if g.Verified(now, g.Access, keeper.Inspection{Status: "expired"}); !g.Access.ExpiresAt.Equal(now) {
		t.Errorf("expired: ends %v", g.Access.ExpiresAt)
	}
	g = grant()
	if g.Verified(t0.Add(5*time.Minute-1), g.Access, keeper.Inspection{Status: "revoked"}); !g.Access.RefusedAt.IsZero() {
		t.Error("a token younger than 5 minutes was doubted")
	}
	g = grant(fresh(30 * day))
	if g.Verified(now, g.Fresh, active); !g.VerifiedAt.Equal(now) || !g.Access.ProvenAt.Equal(t0.Add(time.Minute)) || !g.Fresh.ProvenAt.IsZero() {
		t.Errorf("an introspection proves no fresh token: %+v", g)
	}
	for what, g := range map[string]keeper.Grant{"another token": grant(), "signed out": grant(status(keeper.SignedOut)), "zero": {}} {
		before := g
		if g.Verified(now, token("gone", t0, now), active); !reflect.DeepEqual(g, before) {
			t.Errorf("%s: something changed", what)
		}
	}
}

func TestRefused(t *testing.T) {
	const end = 60 * day
	for _, c := range []struct {
		what   string
		g      keeper.Grant
		now    time.Duration
		braked bool
		dies   bool
		wait   time.Duration
	}{
		{"the access token lives: all is kept", grant(), 50 * day, false, false, time.Minute},
		{"whatever was before", grant(refused(50 * day)), 55 * day, false, false, time.Minute},
		{"dead: the first refusal", grant(), end, false, false, time.Minute},
		{"a second within the minute", grant(refused(end)), end + time.Minute - 1, false, false, time.Minute},
		{"a second after a minute", grant(refused(end)), end + time.Minute, false, true, 0},
		{"braked", grant(refused(end)), end + day, true, false, time.Minute},
		{"doubted is dead", grant(doubted(0), refused(0)), time.Hour, false, true, 0},
		{"a fresh one lives", grant(doubted(0), refused(0), fresh(0)), time.Hour, false, false, time.Minute},
		{"not beyond the access token's end", grant(), end - time.Second, false, false, time.Second},
		{"no refresh token: the first inactive look", grant(noRefresh, doubted(day)), day, false, false, time.Minute},
		{"the second", grant(noRefresh, doubted(day)), day + time.Minute, false, true, 0},
		{"the second, and the refresh token has ended", grant(doubted(2*day), func(g *keeper.Grant) { g.Refresh.ExpiresAt = t0.Add(day) }), 2*day + time.Minute, false, true, 0},
	} {
		g := c.g
		now := t0.Add(c.now)
		if err := g.Refused(now, "", c.braked); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if dead := g.Status == keeper.Reconnect; dead != c.dies {
			t.Errorf("%s: dead %t", c.what, dead)
		}
		if c.dies {
			if !g.Access.IsZero() || !g.Refresh.IsZero() || !g.ExpiresAt.Equal(now.Add(90*day)) ||
				len(g.Outbox.Events) != 1 || g.Outbox.Events[0].Type != keeper.MemberReconnectRequired || g.Outbox.Events[0].Reason != "revoked" {
				t.Errorf("%s: %+v", c.what, g)
			}
			continue
		}
		if got := g.Trouble.RetryAt.Sub(now); got != c.wait || g.Trouble.Class != keeper.ClassMember {
			t.Errorf("%s: asked again after %v, want %v", c.what, got, c.wait)
		}
		if !c.g.Refresh.IsZero() && g.Refresh.RefusedAt.IsZero() && g.Access.RefusedAt.IsZero() {
			t.Errorf("%s: the refusal is not marked", c.what)
		}
	}

	g := grant(func(g *keeper.Grant) { g.Access.ExpiresAt = t0.Add(1000 * day) })
	var waits []time.Duration
	for range 6 {
		if err := g.Refused(t0, "", false); err != nil {
			t.Fatal(err)
		}
		waits = append(waits, g.Trouble.RetryAt.Sub(t0))
	}
	if want := []time.Duration{time.Minute, time.Hour, 6 * time.Hour, day, day, day}; !slices.Equal(waits, want) {
		t.Errorf("asked again after %v, want %v", waits, want)
	}
}

func TestFailedWaitsLongerEachTime(t *testing.T) {
	g := grant()
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360} {
		if err := g.Failed(t0, "", keeper.ClassOutage, time.Time{}); err != nil {
			t.Fatal(err)
		}
		wait, want := g.Trouble.RetryAt.Sub(t0), want*time.Minute
		if wait > want || wait < want*3/4 || g.Trouble.Count != i+1 || !g.Trouble.Since.Equal(t0) {
			t.Errorf("failure %d: %v, want 3/4 to all of %v; %+v", i+1, wait, want, g.Trouble)
		}
	}
	if err := g.Failed(t0, "", keeper.ClassUnknown, t0.Add(time.Hour)); err != nil || g.Trouble.Count != 1 || !g.Trouble.RetryAt.Equal(t0.Add(time.Hour)) {
		t.Errorf("another class, and LinkedIn says when: %v, %+v", err, g.Trouble)
	}
	if err := g.Failed(t0, "", keeper.ClassUnknown, t0.Add(1000*day)); err != nil || !g.Trouble.RetryAt.Equal(t0.Add(6*time.Hour)) {
		t.Errorf("LinkedIn says nonsense: %v, %+v", err, g.Trouble)
	}
	a, b := grant(), grant(func(g *keeper.Grant) { g.Member = keeper.NewMemberID("app", "b") })
	_, _ = a.Failed(t0, "", keeper.ClassOutage, time.Time{}), b.Failed(t0, "", keeper.ClassOutage, time.Time{})
	if a.Trouble.RetryAt.Equal(b.Trouble.RetryAt) {
		t.Error("two members wait equally long")
	}
	for what, g := range map[string]keeper.Grant{"another's lease": grant(func(g *keeper.Grant) { leased(g); g.Lease.ID = "M" }), "signed out": grant(status(keeper.SignedOut))} {
		if !errors.Is(g.Failed(t0, "L", keeper.ClassOutage, t0), keeper.ErrOvertaken) || !errors.Is(g.Refused(t0, "L", false), keeper.ErrOvertaken) || !errors.Is(g.Released("L"), keeper.ErrOvertaken) {
			t.Errorf("%s: not overtaken", what)
		}
	}
	if g := grant(leased); g.Released("L") != nil || g.Lease != (keeper.Lease{}) || !reflect.DeepEqual(g, grant()) {
		t.Errorf("released: %+v", g)
	}
}

func TestCheckIsClaimedOnceAMinute(t *testing.T) {
	g := grant()
	for _, c := range []struct {
		at   time.Duration
		want error
	}{{0, nil}, {0, keeper.ErrNothing}, {time.Minute - 1, keeper.ErrNothing}, {time.Minute, nil}, {-time.Hour, nil /* the clock went back */}} {
		if err := g.Check(t0.Add(c.at)); !errors.Is(err, c.want) {
			t.Errorf("at %v: %v, want %v", c.at, err, c.want)
		}
	}
	if g := grant(status(keeper.SignedOut)); !errors.Is(g.Check(t0), keeper.ErrNothing) {
		t.Error("a signed-out grant was checked")
	}
}

func TestAnnounce(t *testing.T) {
	g := grant()
	if g.Announce(t0.Add(335*day - 1)); g.Outbox.Events != nil {
		t.Errorf("too early: %v", g.Outbox.Events)
	}
	at := t0.Add(351*day + time.Hour)
	g.Announce(at)
	want := keeper.Event{Type: keeper.MemberReconnectDue, Subject: string(ada), At: at, Days: 14, ReconnectBy: t0.Add(365 * day)}
	if len(g.Outbox.Events) != 1 {
		t.Fatalf("told %v", g.Outbox.Events)
	}
	want.ID = g.Outbox.Events[0].ID
	if g.Outbox.Events[0] != want || want.ID == "" {
		t.Errorf("got %+v, want %+v", g.Outbox.Events[0], want)
	}
	if g.Announce(at.Add(time.Hour)); len(g.Outbox.Events) != 1 {
		t.Errorf("told twice: %v", g.Outbox.Events)
	}
	again := grant()
	if again.Announce(at.Add(time.Hour)); again.Outbox.Events[0].ID != want.ID {
		t.Error("a duplicate has another id")
	}
	if g.Announce(t0.Add(365 * day)); g.Status != keeper.Reconnect || len(g.Outbox.Events) != 2 || g.Outbox.Events[1].Reason != "expired" {
		t.Errorf("at the end: %+v", g)
	}
	late := grant(refused(0)) // the access token has ended, the refresh token has not
	if late.Announce(t0.Add(61 * day)); late.Status != keeper.Active || late.Outbox.Events != nil || late.Announced.Days != 0 {
		t.Errorf("refused, and long before the end: %+v", late)
	}
	out := grant(status(keeper.SignedOut))
	if out.Announce(t0.Add(1000 * day)); out.Status != keeper.SignedOut || out.Outbox.Events != nil {
		t.Errorf("signed out: %+v", out)
	}
}

func TestOutbox(t *testing.T) {
	g := grant()
	for i := range 20 {
		g.SignIn(t0, "", identity, keeper.Issued{Access: token("a", t0.Add(time.Duration(i)), t0.Add(day))})
		if err := g.SignOut(t0, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(g.Outbox.Events); n != 16 || g.Outbox.Events[15].Type != keeper.MemberSignedOut {
		t.Errorf("%d events", n)
	}
	ids := map[string]bool{}
	for _, e := range g.Outbox.Events {
		ids[e.ID] = true
	}
	if len(ids) != 16 {
		t.Errorf("%d ids of 16 events", len(ids))
	}
	var waits []time.Duration
	for range 4 {
		g.Delivered(nil)
		g.Undelivered(t0)
		waits = append(waits, g.Outbox.RetryAt.Sub(t0).Round(time.Minute))
	}
	if !slices.IsSorted(waits) || waits[3] < 6*time.Minute {
		t.Errorf("waits %v do not grow", waits)
	}
	g.Delivered(g.Outbox.Events[:15])
	if len(g.Outbox.Events) != 1 || g.Outbox.Count != 0 || !g.Outbox.RetryAt.IsZero() {
		t.Errorf("15 delivered: %+v", g.Outbox)
	}
	if g.Delivered(g.Outbox.Events); g.Outbox.Events != nil {
		t.Errorf("all delivered: %+v", g.Outbox)
	}
}

// checks is how many cases rapid tries, unless the command line says more.
func checks(t *testing.T, n string) {
	f := flag.Lookup("rapid.checks")
	if was := f.Value.String(); was == f.DefValue {
		t.Cleanup(func() { _ = f.Value.Set(was) })
		_ = f.Value.Set(n)
	}
}

// anyGrant makes grants that no history leads to, too.
func anyGrant() *rapid.Generator[keeper.Grant] {
	return rapid.Custom(func(t *rapid.T) keeper.Grant {
		g := keeper.Grant{
			Member:     rapid.SampledFrom([]keeper.MemberID{"", ada, keeper.NewMemberID("a", "b")}).Draw(t, "member"),
			Subject:    rapid.SampledFrom([]string{"", "sub"}).Draw(t, "subject"),
			Generation: rapid.SampledFrom([]string{"", "g1"}).Draw(t, "generation"),
			Status:     rapid.SampledFrom([]keeper.Status{"", keeper.Active, keeper.Active, keeper.Active, keeper.Reconnect, keeper.SignedOut}).Draw(t, "status"),
			Scopes:     rapid.SampledFrom([][]string{nil, {"openid"}, {"openid", "profile"}}).Draw(t, "scopes"),
			Access:     anyToken().Draw(t, "access"), Fresh: anyToken().Draw(t, "fresh"), Refresh: anyToken().Draw(t, "refresh"),
			Lease:      keeper.Lease{ID: rapid.SampledFrom([]string{"", "L", "M"}).Draw(t, "lease"), Until: anyTime().Draw(t, "until")},
			VerifiedAt: anyTime().Draw(t, "verified"), CheckedAt: anyTime().Draw(t, "checked"), Due: anyTime().Draw(t, "due"), ExpiresAt: anyTime().Draw(t, "expires"),
			Announced: keeper.Notice{Days: rapid.SampledFrom([]int{0, 1, 3, 7, 14, 30}).Draw(t, "days"), Deadline: anyTime().Draw(t, "deadline")},
			Rev:       "r",
		}
		g.Trouble = keeper.Trouble{
			Class: rapid.SampledFrom([]keeper.Class{"", keeper.ClassMember, keeper.ClassOutage, keeper.ClassUnknown}).Draw(t, "class"),
			Count: rapid.IntRange(0, 100).Draw(t, "count"), Since: anyTime().Draw(t, "since"), At: anyTime().Draw(t, "at"), RetryAt: anyTime().Draw(t, "retry"),
		}
		for i := range rapid.IntRange(0, 16).Draw(t, "events") {
			g.Outbox.Events = append(g.Outbox.Events, keeper.Event{ID: fmt.Sprint(i), At: anyTime().Draw(t, "event")})
		}
		g.Outbox.Count, g.Outbox.RetryAt = rapid.IntRange(0, 100).Draw(t, "undelivered"), anyTime().Draw(t, "outbox retry")
		return g
	})
}

func anyTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.IntRange(0, 3).Draw(t, "zero") == 0 {
			return time.Time{}
		}
		return t0.Add(rapid.SampledFrom([]time.Duration{0, day, 30 * day, 50 * day, 60 * day, 365 * day, -day}).Draw(t, "days") +
			rapid.SampledFrom([]time.Duration{0, 0, -time.Microsecond, time.Second, time.Minute, 5 * time.Minute, time.Hour}).Draw(t, "more"))
	})
}

func anyToken() *rapid.Generator[keeper.Token] {
	return rapid.Custom(func(t *rapid.T) keeper.Token {
		if rapid.IntRange(0, 2).Draw(t, "none") == 0 {
			return keeper.Token{}
		}
		return keeper.Token{
			Sealed: []byte(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "sealed")), IssuedAt: anyTime().Draw(t, "issued"),
			ExpiresAt: anyTime().Draw(t, "ends"), ProvenAt: anyTime().Draw(t, "proven"), RefusedAt: anyTime().Draw(t, "refused"),
		}
	})
}

// copied shares no memory with g.
func copied(g keeper.Grant) keeper.Grant {
	g.Scopes = slices.Clone(g.Scopes)
	for _, t := range []*keeper.Token{&g.Access, &g.Fresh, &g.Refresh} {
		t.Sealed = slices.Clone(t.Sealed)
	}
	g.Outbox.Events = slices.Clone(g.Outbox.Events)
	return g
}

func TestTransitionsAreTotalAndPure(t *testing.T) {
	checks(t, "3000")
	hits := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		g := anyGrant().Draw(t, "grant")
		now := t0.Add(rapid.SampledFrom([]time.Duration{0, time.Minute, 50 * day, 60 * day, 365 * day, 400 * day}).Draw(t, "now"))
		lease := rapid.SampledFrom([]string{"", "L"}).Draw(t, "lease")
		tok := rapid.SampledFrom([]keeper.Token{g.Access, g.Fresh, g.Refresh, {}}).Draw(t, "of")
		in := keeper.Issued{Access: anyToken().Draw(t, "new access"), Refresh: anyToken().Draw(t, "new refresh"), Scopes: g.Scopes}
		ins := keeper.Inspection{Active: rapid.Bool().Draw(t, "active"), Status: rapid.SampledFrom([]string{"", "active", "expired", "revoked"}).Draw(t, "ins"), ExpiresAt: anyTime().Draw(t, "said")}
		need := rapid.SampledFrom([]time.Duration{-1, 0, time.Minute, day}).Draw(t, "need")
		transitions := map[string]func(*keeper.Grant) error{
			"Begin": func(g *keeper.Grant) error {
				_, err := g.Begin(now, keeper.Lease{ID: "mine", Until: now}, need)
				return err
			},
			"SignIn":    func(g *keeper.Grant) error { g.SignIn(now, "g9", identity, in); return nil },
			"SignOut":   func(g *keeper.Grant) error { return g.SignOut(now, "g9") },
			"Refreshed": func(g *keeper.Grant) error { return g.Refreshed(lease, in) },
			"Proven":    func(g *keeper.Grant) error { return g.Proven(now, lease, tok, keeper.Profile{}) },
			"Unproven":  func(g *keeper.Grant) error { return g.Unproven(now, lease, tok) },
			"Check":     func(g *keeper.Grant) error { return g.Check(now) },
			"Verified":  func(g *keeper.Grant) error { g.Verified(now, tok, ins); return nil },
			"Refused":   func(g *keeper.Grant) error { return g.Refused(now, lease, false) },
			"Failed": func(g *keeper.Grant) error {
				return g.Failed(now, lease, keeper.ClassOutage, anyTime().Draw(t, "back"))
			},
			"Released":    func(g *keeper.Grant) error { return g.Released(lease) },
			"Announce":    func(g *keeper.Grant) error { g.Announce(now); return nil },
			"Delivered":   func(g *keeper.Grant) error { g.Delivered(g.Outbox.Events); return nil },
			"Undelivered": func(g *keeper.Grant) error { g.Undelivered(now); return nil },
		}
		before := copied(g)
		for name, f := range transitions {
			was := copied(g)
			shares, after := was, was // the memory of slices is shared by all three
			err := f(&after)
			if !reflect.DeepEqual(shares, before) {
				t.Fatalf("%s changed what others hold", name)
			}
			if err != nil {
				hits[name+" refused"]++
				if !reflect.DeepEqual(after, before) {
					t.Fatalf("%s: %v, and the grant changed:\n%+v\n%+v", name, err, before, after)
				}
				continue
			}
			hits[name]++
			after.State(now)
			after.AccessEnd(now)
			after.ReconnectBy()
			after.Covers([]string{"openid"})
			if task, at := after.Next(now); task == keeper.TaskNone != at.IsZero() || after.Status == keeper.Active && task == keeper.TaskNone && !after.ReconnectBy().IsZero() {
				t.Fatalf("%s: next is %v at %v", name, task, at)
			}
			if s, ok := after.Serving(now); ok && (!s.ExpiresAt.After(now) || !s.RefusedAt.IsZero() || after.Status != keeper.Active) {
				t.Fatalf("%s: serves %+v", name, s)
			}
			if len(after.Outbox.Events) > 16 {
				t.Fatalf("%s: %d events wait", name, len(after.Outbox.Events))
			}
			if after.Generation != before.Generation && name != "SignOut" && !(name == "SignIn" && before.Generation == "") {
				t.Fatalf("%s: another generation", name)
			}
			kept := after.Status == keeper.Active && name != "SignIn" && name != "Refreshed"
			if kept && before.Status == keeper.Active && string(after.Refresh.Sealed) != string(before.Refresh.Sealed) {
				t.Fatalf("%s: the refresh token is lost", name)
			}
			if name == "Refreshed" && !before.Refresh.IsZero() && after.Refresh.IsZero() {
				t.Fatalf("%s: the refresh token is lost", name)
			}
			if before.Status == keeper.Active && after.Status == keeper.Reconnect {
				if s, ok := before.Serving(now); ok {
					t.Fatalf("%s: ended while %+v serves", name, s)
				}
			}
		}
	})
	for _, name := range strings.Fields("Begin SignIn SignOut Refreshed Proven Unproven Check Verified Refused Failed Released Announce Delivered Undelivered") {
		if hits[name] == 0 {
			t.Errorf("%s never held", name)
		}
	}
}

func TestMemberIDs(t *testing.T) {
	id := keeper.NewMemberID("app", "sub")
	if got, err := keeper.ParseMemberID(string(id)); err != nil || got != id || id == keeper.NewMemberID("app", "sub2") || id == keeper.NewMemberID("app2", "sub") {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "short", string(id) + "A", string(id[:21]) + "=", string(id[:21]) + "/", string(id[:21]) + "\x00"} {
		if _, err := keeper.ParseMemberID(bad); err == nil {
			t.Errorf("%q is a member id", bad)
		}
	}
	var shards [keeper.Shards]int
	for i := range 16000 {
		shards[keeper.NewMemberID("app", fmt.Sprint(i)).Shard()]++
	}
	if slices.Min(shards[:]) < 850 || slices.Max(shards[:]) > 1150 {
		t.Errorf("members are not spread: %v", shards)
	}
}
