package soak_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

// slack is how far keepin and LinkedIn may differ on when a token ends: the
// seconds that an answer leaves out, and the clocks of two processes.
const slack = 2*maxSkew + 3*time.Second

// rungs of K6.
var rungs = []int{30, 14, 7, 3, 1}

// habit is what a member does with a notice.
type habit int

const (
	prompt habit = iota // signs in within two days of the first
	late                // waits for the last one
	lapsed              // signs in days after it was too late
	never
)

type member struct {
	key     string
	id      keeper.MemberID
	refresh bool
	habit   habit

	joined   bool
	left     bool      // removed the app at LinkedIn, for ever
	out      bool      // signed out of keepin
	signedIn time.Time // the last time
	coming   bool      // a sign-in is on the agenda
	failed   bool      // the last one: LinkedIn may have issued tokens that nobody has
	ladder   []notice  // that were sent for the deadline to come
	asked    time.Time // when the grant ended; zero: it lives
	begun    int       // events: grants that began
	begins   int       // that should have
}

type notice struct {
	days         int
	at, deadline time.Time
}

// habits gives each member one, and days on which it comes and goes: 60 % sign in
// at the first notice, 25 % at the last one, 10 % too late, 5 % never. 2 % remove
// the app at LinkedIn one day, and 2 % sign out of keepin; half of these return.
func (w *world) habits(days int) {
	for _, m := range w.members {
		switch n := w.rng.IntN(100); {
		case n < 60:
			m.habit = prompt
			w.tally.prompt++
		case n < 85:
			m.habit = late
			w.tally.lateOnes++
		case n < 95:
			m.habit = lapsed
			w.tally.lapsed++
		default:
			m.habit = never
			w.tally.never++
		}
		w.at(start.Add(w.between(0, 28*day)), func() { w.come(m) })
		some := start.Add(w.between(40*day, time.Duration(days-20)*day))
		switch n := w.rng.IntN(100); {
		case n < 2:
			w.at(some, func() { w.leave(m) })
		case n < 4:
			back := n == 2
			w.at(some, func() { w.quit(m, back) })
		}
	}
}

// come is a sign-in; what fails is tried again an hour later.
func (w *world) come(m *member) {
	w.trace(m, "comes")
	m.coming = false
	if m.left {
		return
	}
	was := w.store.grants[m.id]
	closed := m.ladder
	ok := false
	if !w.run(&w.web, func(p *process) { ok = p.signIn(m) }) || !ok {
		if now := w.store.grants[m.id]; now.Rev != was.Rev && now.Status == keeper.Active { // it was kept, and nobody saw the answer
			w.came(m, was, closed)
		}
		m.failed = true
		w.comeIn(m, w.between(5*time.Minute, time.Hour))
		return
	}
	w.came(m, was, closed)
}

func (w *world) came(m *member, was keeper.Grant, ladder []notice) {
	w.tally.signIns++
	w.climbed(m, ladder, false)
	if s := was.State(w.now()); was.Rev == "" || s == keeper.StateReconnect || s == keeper.StateSignedOut {
		m.begins++
	}
	m.joined, m.out, m.failed, m.signedIn, m.ladder, m.asked = true, false, false, w.now(), nil, time.Time{}
}

func (w *world) comeIn(m *member, d time.Duration) {
	if m.coming || m.left {
		return
	}
	m.coming = true
	w.in(d, func() { w.come(m) })
}

// leave removes the app at LinkedIn.
func (w *world) leave(m *member) {
	if a, r := w.truth(m); a.IsZero() && r.IsZero() {
		return
	}
	m.left = true
	w.tally.left++
	if err := w.sim.RemoveApp(m.key); err != nil {
		w.errorf("%v", err)
	}
	w.in(8*day, func() { w.mustKnow(m) })
}

// mustKnow: who left was noticed by the weekly look, however ill LinkedIn was.
func (w *world) mustKnow(m *member) {
	if w.ill() {
		w.in(day, func() { w.mustKnow(m) })
	} else if g := w.store.grants[m.id]; g.Status == keeper.Active {
		w.errorf("%s left 8 days ago, and nobody has noticed: %s", m.key, brief(g))
	}
}

// quit signs out, and returns ten days later or never.
func (w *world) quit(m *member, back bool) {
	if !m.joined || m.left {
		return
	}
	done := false
	for try := 0; !done && try < 20; try++ {
		w.run(&w.web, func(p *process) { done = p.SignOut(context.Background(), m.id) == nil })
	}
	if !done {
		w.errorf("%s cannot sign out", m.key)
	}
	w.tally.quit++
	m.out, m.ladder = true, nil
	if back {
		w.comeIn(m, 10*day)
	}
}

// truth is until when LinkedIn honours the latest of a member's tokens.
func (w *world) truth(m *member) (access, refresh time.Time) {
	for _, g := range w.sim.GrantsOf(m.key) {
		for _, t := range g.Tokens {
			switch {
			case t.State != "active" && t.State != "pending":
			case t.Kind == "access" && t.ExpiresAt.After(access):
				access = t.ExpiresAt
			case t.Kind == "refresh" && t.ExpiresAt.After(refresh):
				refresh = t.ExpiresAt
			}
		}
	}
	return access, refresh
}

// alive reports whether anything of a member's is left at LinkedIn.
func (w *world) alive(m *member) bool {
	a, r := w.truth(m)
	soon := w.now().Add(slack)
	return a.After(soon) || r.After(soon)
}

// ended is called when a grant ends: at LinkedIn it must be dead.
func (w *world) ended(m *member) {
	w.tally.asked++
	m.asked = w.now()
	if w.alive(m) {
		w.tally.needless++
		a, r := w.truth(m)
		w.errorf("%s is asked needlessly: at LinkedIn the access token lives until %v, the refresh token until %v", m.key, a, r)
	}
}

// deliver is the application that is told.
func (w *world) deliver(e keeper.Event) error {
	now := w.now()
	w.tally.events++
	if w.told[e.ID] {
		w.tally.duplicates++
		return nil
	}
	w.told[e.ID] = true
	m := w.byID[keeper.MemberID(e.Subject)]
	w.trace(m, "told %+v", e)
	switch e.Type {
	case keeper.MemberConnected:
		m.begun++
	case keeper.MemberReconnectDue:
		w.notice(m, notice{e.Days, now, e.ReconnectBy})
	case keeper.MemberReconnectRequired:
		w.required(m, e)
	case keeper.IncidentOpened:
		w.tally.incidents = append(w.tally.incidents, incident{id: e.Subject, cause: e.Reason, opened: e.At})
	case keeper.IncidentClosed:
		i := slices.IndexFunc(w.tally.incidents, func(i incident) bool { return i.id == e.Subject })
		if i < 0 {
			w.errorf("an incident (%s) ends that never began", e.Reason)
			return nil
		}
		w.tally.incidents[i].over = e.At
	}
	return nil
}

// notice is a rung of the ladder: its deadline must be LinkedIn's own.
func (w *world) notice(m *member, n notice) {
	a, r := w.truth(m)
	if r.After(a) {
		a = r
	}
	if d := a.Sub(n.deadline).Abs(); d > slack && !m.left {
		w.tally.needless++
		w.errorf("%s is told %d days, until %v: LinkedIn says %v", m.key, n.days, n.deadline, a)
	}
	if !slices.Contains(rungs, n.days) {
		w.errorf("%s is told of %d days, which is no rung", m.key, n.days)
	}
	w.tally.rungs[n.days]++
	w.tally.late = append(w.tally.late, n.at.Sub(n.deadline.Add(-time.Duration(n.days)*day)))
	m.ladder = append(m.ladder, n)
	switch {
	case m.habit == prompt && n.days == 30:
		w.comeIn(m, w.between(time.Hour, 2*day))
	case m.habit == late && n.days == 1:
		w.comeIn(m, w.between(30*time.Minute, 6*time.Hour))
	}
}

// climbed looks at the notices of a deadline: each rung that has passed, once
// and in time. over: the deadline has come.
func (w *world) climbed(m *member, sent []notice, over bool) {
	if len(sent) == 0 && !over {
		return
	}
	for i, n := range sent {
		if i >= len(rungs) || n.days != rungs[i] || n.deadline.Sub(sent[0].deadline).Abs() > slack {
			w.errorf("%s was sent %v", m.key, sent)
			return
		}
	}
	if len(sent) == len(rungs) {
		return
	}
	missing := rungs[len(sent)]
	if over || w.now().After(sent[0].deadline.Add(-time.Duration(missing)*day).Add(latest)) {
		w.errorf("%s was never told of %d days: %v", m.key, missing, sent)
	}
}

// required is the end of a grant.
func (w *world) required(m *member, e keeper.Event) {
	switch {
	case e.Reason == "revoked":
		w.tally.revoked++
		if !m.left {
			w.errorf("%s never left, and is called revoked", m.key)
		}
	case e.Reason == "expired":
		w.tally.expired++
		w.climbed(m, m.ladder, true)
		if habit := m.habit; !m.left && (habit == prompt || habit == late) {
			w.tally.excused++
			if !w.wasIll(m.asked.Add(-2*day), m.asked) {
				w.errorf("%s (%v) came in time, and was asked all the same", m.key, habit)
			}
		}
	}
	m.ladder = nil
	switch m.habit {
	case prompt, late:
		w.comeIn(m, w.between(time.Hour, day))
	case lapsed:
		w.comeIn(m, w.between(day, 5*day))
	}
}

// call is a back end that needs a token.
func (w *world) call(m *member) {
	var token secret.String
	var err error
	if !w.run(&w.web, func(p *process) { token, _, err = p.Token(context.Background(), m.id, time.Minute) }) {
		return
	}
	young := w.now().Sub(m.signedIn) < 6*time.Minute
	switch {
	case err == nil:
		w.tally.served++
		if m.out {
			w.errorf("%s has signed out, and a caller was given a token", m.key)
		}
		if !m.left && !w.honoured(m, token) {
			w.errorf("%s: a caller was given a token that LinkedIn does not honour", m.key)
		}
	case errors.Is(err, keeper.ErrReconnect):
		w.tally.mustAsk++
		if w.alive(m) {
			w.tally.needless++
			w.errorf("%s: a caller was told to ask the member, needlessly", m.key)
		}
	case errors.Is(err, keeper.ErrUnavailable):
		w.tally.unavailable++
		if a, _ := w.truth(m); !young && a.After(w.now().Add(time.Minute)) {
			w.errorf("%s: a caller got nothing, though a token lives", m.key)
		}
	case errors.Is(err, keeper.ErrNotFound):
		if w.alive(m) && m.joined && !m.out {
			w.errorf("%s: not found", m.key)
		}
	default:
		w.errorf("%s: %v", m.key, err)
	}
}

func (w *world) honoured(m *member, token secret.String) bool {
	for _, g := range w.sim.GrantsOf(m.key) {
		for _, t := range g.Tokens {
			if t.Fingerprint == token.Fingerprint() {
				return t.State == "active"
			}
		}
	}
	return false
}

// audit holds every grant against what LinkedIn has of it.
func (w *world) audit() {
	now := w.now()
	for _, m := range w.members {
		g := w.store.grants[m.id]
		switch {
		case !m.joined, !g.ExpiresAt.IsZero() && !g.ExpiresAt.After(now): // not yet, or gone again
		case m.out:
			if g.Status != keeper.SignedOut || !g.Access.IsZero() || !g.Fresh.IsZero() || !g.Refresh.IsZero() {
				w.errorf("%s signed out, and something is left: %s", m.key, brief(g))
			}
		case m.left, m.failed, now.Sub(m.signedIn) < 6*time.Minute:
		case w.alive(m):
			_, r := w.truth(m)
			_, serves := g.Serving(now)
			if g.Status != keeper.Active || !serves || r.After(now.Add(slack)) && g.Refresh.IsZero() {
				w.tally.lost++
				w.errorf("%s has lost its grant: %s", m.key, brief(g))
			}
		}
		if m.begun > m.begins || m.begins-m.begun > 1 {
			w.errorf("%s: %d grants began, and %d were told of", m.key, m.begins, m.begun)
		}
	}
}

// well: some hours after a trouble nothing of it is left.
func (w *world) well() {
	for _, m := range w.members {
		if g := w.store.grants[m.id]; g.Trouble.Count > 0 && !m.left && g.Status == keeper.Active {
			w.errorf("%s is still in trouble: %s", m.key, brief(g))
		}
	}
	for _, index := range w.store.due {
		for _, n := range index {
			if late := w.now().Sub(n.Due); late > latest {
				w.errorf("%s is due since %v: %s", w.byID[n.Member].key, late, brief(w.store.grants[n.Member]))
			}
		}
	}
}
