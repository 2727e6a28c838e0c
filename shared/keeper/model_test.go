package keeper_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/storetest"
)

// The model check: real Keepers, one for each actor, run step by step over one
// grant and a LinkedIn of a few lines. A step is one call of the store or of
// LinkedIn, with every answer that it may have; a crash; or the clock. All
// orders of steps are tried, breadth first. Two histories are one state when
// the store, LinkedIn and all that each actor has seen are the same, whatever
// the random ids in them.

// The refresh tokens that LinkedIn, or another provider, may have.
const (
	static   = iota // LinkedIn: the same for a year
	rotating        // a new one each time; using an old one kills the family
	graceful        // a new one each time; the old one works for 60 s more
)

// limits is how much may go wrong in one history.
type limits struct{ faults, lies, crashes, clocks int }

// setup is where the histories of one search begin.
type setup struct {
	name   string
	actors string // W a worker (two runs), w (one run), X (three), T a caller, I a sign-in, O a logout
	begin  string // due: access token live, refresh due; dead: access token ended; young: just signed in
	mode   int
	depth  int // steps; 0: to the end
	limits
}

// step is one choice: what an actor's next call comes to, or (actor -1) how
// far the clock moves.
type step struct{ actor, outcome int8 }

// What a call may come to.
const (
	good      = iota
	failed    // store: nothing stored. LinkedIn: no answer, nothing done
	lost      // done, and the answer was lost
	busy      // LinkedIn: 429
	refusal   // LinkedIn: refused, though nothing is wrong
	appError  // LinkedIn: the application is refused
	crash     // the actor dies before the call
	outcomes  = crash
	callFor   = 10 * time.Second
	unstarted = "start"
)

// clocks: beyond a lease; beyond a token's youth and any second look; beyond
// the life of the access token.
var clocks = []time.Duration{46 * time.Second, 6 * time.Minute, 11 * day}

type modelToken struct {
	name            string
	refresh         bool
	consent, answer int // which sign-in, and which answer of LinkedIn's it came with
	issued, ends    time.Time
	dead, proven    bool
	rotated         time.Time
}

type seen struct {
	what  string
	grant keeper.Grant
}

type actor struct {
	kind    byte
	run     func(*keeper.Keeper)
	next    func() (string, bool)
	stop    func()
	yield   func(string) bool
	pending string    // the call that is to come
	since   time.Time // when it came to that: a later call was frozen in between
	outcome int8
	saw     []seen
	done    bool

	lease    string // the one that it has put and not used
	sending  time.Time
	sent     *modelToken    // in flight
	owns     bool           // LinkedIn answered it, and the answer is not stored yet
	statuses keeper.Status  // by the store's last answer
	afterOut bool           // begun after a logout was answered
	desk     keeper.Control // as it read it last
}

type model struct {
	setup
	now     time.Time
	grant   keeper.Grant
	desk    keeper.Control
	tokens  []*modelToken
	actors  []*actor
	left    limits
	consent int
	answers int

	forbidden   int // consents that a logout has destroyed: all up to this one
	out         bool
	generations []string
	lastSend    time.Time
	saidNo      bool // LinkedIn has refused a refresh token, or called an access token dead
	lossy       bool // an answer was lost as nobody can help
	quiet       bool // no choices: all is well
	bad         string
}

func newModel(s setup) *model {
	m := &model{setup: s, left: s.limits, now: t0}
	access, refresh := m.issue(m.now, t0.Add(365*day))
	m.tokens[0].proven = true
	m.grant = keeper.Grant{Member: ada, Subject: "sub", Generation: "g0", Status: keeper.Active, Scopes: []string{"openid"}, Rev: "r0",
		Access:  keeper.Token{Sealed: []byte(access.name), IssuedAt: t0, ExpiresAt: access.ends, ProvenAt: t0},
		Refresh: keeper.Token{Sealed: []byte(refresh.name), IssuedAt: t0, ExpiresAt: refresh.ends}}
	m.generations = []string{"g0"}
	switch s.begin {
	case "due":
		m.now = t0.Add(50 * day)
		m.grant.CheckedAt = m.now.Add(-day)
	case "dead":
		m.now = t0.Add(61 * day)
	case "young":
		m.grant.Access, m.grant.Fresh = keeper.Token{}, m.grant.Access
		m.grant.Fresh.ProvenAt, m.tokens[0].proven = time.Time{}, false
		m.now = t0.Add(time.Minute)
	}
	_, m.grant.Due = m.grant.Next(m.now)
	for _, kind := range []byte(s.actors) {
		a := &actor{kind: kind, pending: unstarted}
		switch kind {
		case 'X', 'W', 'w':
			a.run = func(k *keeper.Keeper) {
				for range map[byte]int{'X': 3, 'W': 2, 'w': 1}[kind] {
					_ = k.Work(context.Background(), ada)
				}
			}
		case 'T':
			a.run = func(k *keeper.Keeper) {
				token, _, err := k.Token(context.Background(), ada, 0)
				m.answered(a, token, err)
			}
		case 'I':
			a.run = func(k *keeper.Keeper) {
				m.consent++
				access, refresh := m.issue(m.now, m.now.Add(365*day))
				_, _ = k.SignIn(context.Background(), storetest.Seen(context.Background(), k.Store, ada), keeper.Identity{ClientID: "c", Subject: "sub"}, keeper.Tokens{Access: secret.New(access.name), IssuedAt: m.now,
					ExpiresAt: access.ends, Refresh: secret.New(refresh.name), RefreshExpiresAt: refresh.ends, Scopes: []string{"openid"}})
			}
		case 'O':
			a.run = func(k *keeper.Keeper) {
				if k.SignOut(context.Background(), ada) == nil {
					m.out = true
				}
			}
		}
		m.actors = append(m.actors, a)
	}
	return m
}

func (m *model) issue(at, end time.Time) (access, refresh *modelToken) {
	m.answers++
	access = &modelToken{name: fmt.Sprint("a", m.answers), consent: m.consent, answer: m.answers, issued: at, ends: at.Add(60 * day)}
	if access.ends.After(end) {
		access.ends = end
	}
	refresh = &modelToken{name: fmt.Sprint("r", m.answers), refresh: true, consent: m.consent, answer: m.answers, issued: at, ends: end}
	m.tokens = append(m.tokens, access, refresh)
	return access, refresh
}

func (m *model) token(name string) *modelToken {
	for _, t := range m.tokens {
		if t.name == name {
			return t
		}
	}
	return nil
}

// alive is LinkedIn's own truth.
func (m *model) alive(t *modelToken) bool {
	if t == nil || t.dead || !t.ends.After(m.now) {
		return false
	}
	return t.rotated.IsZero() || m.mode == graceful && m.now.Sub(t.rotated) < time.Minute
}

func (m *model) fail(format string, args ...any) {
	if m.bad == "" {
		m.bad = fmt.Sprintf(format, args...)
	}
}

// call is one call of an actor: it waits until the search lets it happen.
func (m *model) call(a *actor, what string) int8 {
	if m.quiet {
		return good
	}
	if !a.yield(what) {
		panic(crashed{})
	}
	return a.outcome
}

type crashed struct{}

// modelStore is Store, Desk, Provider and Sealer of one actor.
type modelStore struct {
	*model
	a *actor
}

func (s modelStore) saw(what string, g keeper.Grant) {
	if !s.quiet {
		s.a.saw = append(s.a.saw, seen{what, g})
	}
}

var errModel = errors.New("failed")

func (s modelStore) Get(context.Context, keeper.MemberID) (keeper.Grant, error) {
	if s.call(s.a, "Get") != good {
		s.saw("get failed", keeper.Grant{})
		return keeper.Grant{}, errModel
	}
	s.saw("get", s.grant)
	s.a.statuses = s.grant.Status
	return copied(s.grant), nil
}

func (s modelStore) Put(_ context.Context, g keeper.Grant, old string) error {
	outcome := s.call(s.a, "Put")
	if outcome == failed {
		s.saw("put failed", g)
		return errModel
	}
	if s.grant.Rev != old {
		s.saw("conflict", g)
		if outcome == lost {
			return errModel
		}
		return keeper.ErrConflict
	}
	s.put(s.a, copied(g))
	s.saw("put", g)
	if outcome == lost {
		return errModel
	}
	s.a.statuses = g.Status
	return nil
}

// put checks what one write may do.
func (m *model) put(a *actor, g keeper.Grant) {
	was := m.grant
	m.grant = g
	if g.Lease.ID != was.Lease.ID && g.Lease.ID != "" {
		a.lease = g.Lease.ID
	}
	if g.Rev == was.Rev || g.Rev == "" {
		m.fail("I14: the revision stayed")
	}
	if g.Generation != was.Generation {
		if slices.Contains(m.generations, g.Generation) || g.Generation == "" {
			m.fail("I14: generation %q returned", g.Generation)
		}
		m.generations = append(m.generations, g.Generation)
	}
	if was.Status == keeper.Active && g.Status == keeper.SignedOut {
		if g.Generation == was.Generation {
			m.fail("I14: a logout kept the generation")
		}
		for _, t := range m.stored(was) {
			m.forbidden = max(m.forbidden, t.consent+1)
		}
	}
	if was.Status == keeper.Active && g.Status == keeper.Reconnect {
		for _, t := range m.stored(was) {
			if m.alive(t) {
				m.fail("I3: the member must consent again, and %s is alive", t.name)
			}
		}
	}
	if was.Status == keeper.Active && g.Status == keeper.Active && len(m.stored(g)) > 0 {
		if consent(m.stored(g)) < consent(m.stored(was)) {
			m.fail("a refresh in flight undid a sign-in")
		}
	}
	for _, t := range m.stored(g) {
		if t.answer == m.ownedAnswer(a) {
			a.owns = false
		}
	}
	if m.mode != static && len(g.Fresh.Sealed) > 0 && m.token(string(g.Fresh.Sealed)).answer > m.token(string(g.Refresh.Sealed)).answer {
		m.fail("I14: tokens of two answers were stored together")
	}
}

func consent(ts []*modelToken) (n int) {
	for _, t := range ts {
		n = max(n, t.consent)
	}
	return n
}

func (m *model) ownedAnswer(a *actor) int {
	if a.owns {
		return m.answers
	}
	return -1
}

func (m *model) stored(g keeper.Grant) (all []*modelToken) {
	for _, t := range []keeper.Token{g.Access, g.Fresh, g.Refresh} {
		if len(t.Sealed) > 0 {
			all = append(all, m.token(string(t.Sealed)))
		}
	}
	return all
}

func (s modelStore) Due(context.Context, int, keeper.Nominee, time.Time, int) ([]keeper.Nominee, error) {
	return nil, nil
}

// The control item is read and written within a step.
func (s modelStore) Control(context.Context) (keeper.Control, error) {
	s.saw("control "+controlKey(s.model.desk), keeper.Grant{Rev: s.model.desk.Rev})
	s.a.desk = s.model.desk
	return s.model.desk, nil
}

func (s modelStore) PutControl(_ context.Context, c keeper.Control, old string) error {
	if s.model.desk.Rev != old {
		s.saw("control conflict", keeper.Grant{})
		return keeper.ErrConflict
	}
	s.model.desk = c
	return nil
}

func (s modelStore) PutIncident(context.Context, keeper.Incident) error { return nil }
func (s modelStore) Incidents(context.Context, time.Time) ([]keeper.Incident, error) {
	return nil, nil
}

func (s modelStore) Seal(_ context.Context, t secret.String, _ keeper.Purpose, _ string) ([]byte, error) {
	return []byte(t.Reveal()), nil
}

func (s modelStore) Open(_ context.Context, b []byte, _ keeper.Purpose, _ string) (secret.String, error) {
	return secret.New(string(b)), nil
}

func callError(operation string, class keeper.Class) error {
	return &keeper.CallError{Class: class, Record: keeper.Record{Operation: operation}}
}

func (s modelStore) Refresh(_ context.Context, r secret.String) (keeper.Tokens, error) {
	m, a := s.model, s.a
	outcome := s.call(a, "refresh")
	t := m.token(r.Reveal())
	if a.lease == "" {
		m.fail("I17: a token call without a lease of its own (or a second one)")
	}
	a.lease = ""
	if a.desk.Blocked(m.now) {
		m.fail("I16: a token call through the open breaker")
	}
	// Nobody can help a worker that was frozen just before it sent (I2').
	if frozen := !a.since.Equal(m.now); !frozen {
		for _, o := range m.actors {
			if o != a && o.sent == t && m.now.Sub(o.sending) < callFor {
				m.fail("I2: two token calls with one refresh token at once")
			}
		}
		if !m.lastSend.IsZero() && m.now.Sub(m.lastSend) < 30*time.Second {
			m.fail("I16: two token calls within 30 s")
		}
		m.lastSend, a.sending, a.sent = m.now, m.now, t
	} else {
		m.lossy = m.lossy || m.mode != static
	}
	var got keeper.Tokens
	var err error
	switch {
	case outcome == failed:
		err = callError("refresh", keeper.ClassOutage)
	case outcome == busy:
		err = callError("refresh", keeper.ClassBusy)
	case outcome == appError:
		err = callError("refresh", keeper.ClassApplication)
	case outcome == refusal, !m.alive(t):
		if m.mode == rotating && !t.rotated.IsZero() {
			for _, o := range m.tokens { // the family is dead
				o.dead = o.dead || o.refresh && o.consent == t.consent
			}
		}
		m.saidNo = true
		err = callError("refresh", keeper.ClassMember)
	default:
		was := m.consent
		m.consent = t.consent
		access, refresh := m.issue(m.now, t.ends)
		m.consent = was
		got = keeper.Tokens{Access: secret.New(access.name), IssuedAt: m.now, ExpiresAt: access.ends}
		if m.mode == static {
			m.tokens = m.tokens[:len(m.tokens)-1]
		} else {
			got.Refresh, got.RefreshExpiresAt = secret.New(refresh.name), refresh.ends
			if t.rotated.IsZero() {
				t.rotated = m.now
			}
		}
		if a.owns = true; outcome == lost {
			got, err, a.owns, m.lossy = keeper.Tokens{}, callError("refresh", keeper.ClassOutage), false, true
		}
	}
	s.saw(fmt.Sprint("refresh ", outcome, " ", got.Access.Reveal(), keeper.ClassOf(err)), keeper.Grant{})
	s.call(a, "refresh answers")
	if a.sent = nil; outcome == busy || outcome == appError {
		m.lastSend = time.Time{} // the breaker sees to it from here
	}
	return got, err
}

func (s modelStore) Inspect(_ context.Context, t secret.String) (keeper.Inspection, error) {
	if s.call(s.a, "introspect") != good {
		s.saw("introspect failed", keeper.Grant{})
		return keeper.Inspection{}, callError("introspect", keeper.ClassOutage)
	}
	at := s.token(t.Reveal())
	alive := s.alive(at)
	s.model.saidNo = s.saidNo || !alive
	s.saw(fmt.Sprint("introspect ", alive), keeper.Grant{})
	return keeper.Inspection{Active: alive, Status: map[bool]string{true: "active", false: "revoked"}[alive]}, nil
}

func (s modelStore) Identify(_ context.Context, t secret.String) (keeper.Identity, error) {
	outcome, at := s.call(s.a, "userinfo"), s.token(t.Reveal())
	young := s.now.Sub(at.issued) < 5*time.Minute && !at.proven
	err := error(nil)
	switch {
	case outcome == failed:
		err = callError("userinfo", keeper.ClassOutage)
	case !s.alive(at), outcome == refusal && young:
		err = callError("userinfo", keeper.ClassMember)
	default:
		at.proven = true
	}
	s.saw(fmt.Sprint("userinfo ", keeper.ClassOf(err)), keeper.Grant{})
	return keeper.Identity{Subject: "sub"}, err
}

func (s modelStore) Revoke(_ context.Context, t secret.String) error {
	if s.a.statuses != keeper.SignedOut {
		s.fail("a token was revoked while the member is signed in")
	}
	if at := s.token(t.Reveal()); at != nil {
		at.dead = true
	}
	return nil
}

// answered checks what a caller was given.
func (m *model) answered(a *actor, t secret.String, err error) {
	if err != nil {
		if errors.Is(err, keeper.ErrReconnect) && m.grant.Status != keeper.Reconnect && m.grant.State(m.now) != keeper.StateReconnect {
			m.fail("B7: a caller was told that the member must consent again")
		}
		return
	}
	at := m.token(t.Reveal())
	if m.out && at.consent < m.forbidden {
		m.fail("K1: after a logout was answered, a caller was given a token of before it")
	}
	if !at.proven && m.now.Sub(at.issued) < 5*time.Minute {
		m.fail("K5: a caller was given a token that LinkedIn may not honour yet")
	}
	if !at.ends.After(m.now) {
		m.fail("a caller was given an ended token")
	}
}

// holds checks what must be so in every state.
func (m *model) holds() {
	g := m.grant
	if !g.Fresh.RefusedAt.IsZero() && g.Status != keeper.Active {
		m.fail("a token is left")
	}
	for _, t := range m.stored(g) {
		if t.consent < m.forbidden {
			m.fail("I1: the store holds a token that a logout has destroyed")
		}
	}
	if g.Status == keeper.SignedOut && (len(m.stored(g)) > 0 || g.Lease.ID != "" || g.Subject != "") {
		m.fail("I1: something is left after a logout")
	}
	if !g.Refresh.RefusedAt.IsZero() && !m.saidNo {
		m.fail("I3: a token is marked as refused, and LinkedIn never refused one")
	}
	if g.Status == keeper.Active && !m.alive(m.token(string(g.Refresh.Sealed))) && !m.lossy {
		busy := false
		for _, a := range m.actors {
			busy = busy || a.owns
		}
		if !busy {
			m.fail("I4: no working refresh token is stored")
		}
	}
}

// becomesFresh is I15: with nothing failing any more, a live grant is fresh
// within the longest back-off.
func (m *model) becomesFresh() {
	m.quiet = true
	k := m.keeper(&actor{kind: 'q', lease: "any"})
	for _, d := range []time.Duration{46 * time.Second, time.Minute, 6 * time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, time.Minute, 6 * time.Minute} {
		m.now = m.now.Add(d)
		m.lastSend = time.Time{}
		for range 3 {
			_ = k.Work(context.Background(), ada)
		}
	}
	m.quiet = false
	m.bad = "" // the checks of calls are not for this
	g := m.grant
	if g.Status != keeper.Active || !m.alive(m.token(string(g.Refresh.Sealed))) {
		return
	}
	t, ok := g.Serving(m.now)
	if !ok || !m.alive(m.token(string(t.Sealed))) {
		m.fail("I15: 7 hours after the last trouble no good token serves: %s", brief(g))
	}
}

func (m *model) keeper(a *actor) *keeper.Keeper {
	s := modelStore{m, a}
	slept := 0
	k, err := keeper.New(keeper.Config{Store: s, Desk: s, Provider: s, Sealer: s, Now: func() time.Time { return m.now },
		Sleep: func(context.Context, time.Duration) error {
			if slept++; slept > 3 && a.kind == 'T' {
				return errModel // the caller has waited long enough
			}
			return nil
		}})
	if err != nil {
		panic(err)
	}
	return k
}

// choices are the steps that may come next.
func (m *model) choices() (all []step) {
	for i, a := range m.actors {
		if a.done {
			continue
		}
		can := []int8{good}
		if m.left.faults > 0 {
			switch a.pending {
			case "Get", "introspect":
				can = append(can, failed)
			case "userinfo":
				can = append(can, failed, refusal)
			case "Put":
				can = append(can, failed, lost)
			case "refresh":
				can = append(can, failed, lost, busy, appError)
			}
		}
		if m.left.lies > 0 && a.pending == "refresh" {
			can = append(can, refusal)
		}
		if m.left.crashes > 0 && a.pending != unstarted {
			can = append(can, crash)
		}
		for _, o := range can {
			all = append(all, step{int8(i), o})
		}
	}
	if m.left.clocks > 0 {
		for i := range clocks {
			all = append(all, step{-1, int8(i)})
		}
	}
	return all
}

// take does one step.
func (m *model) take(s step) {
	if s.actor < 0 {
		m.left.clocks--
		m.now = m.now.Add(clocks[s.outcome])
		for _, a := range m.actors {
			m.lossy = m.lossy || a.owns || a.sent != nil && m.mode != static
		}
		m.lossy = m.lossy || m.mode == graceful && m.anyRotated()
		return
	}
	a := m.actors[s.actor]
	switch {
	case s.outcome == crash:
		m.left.crashes--
	case s.outcome == refusal && a.pending == "refresh":
		m.left.lies--
	case s.outcome != good:
		m.left.faults--
	}
	if s.outcome == crash {
		a.stop()
		a.done, a.sent = true, nil
		m.lossy = m.lossy || a.owns
		a.owns = false
		return
	}
	if a.pending == unstarted {
		k := m.keeper(a)
		a.afterOut = m.out
		a.next, a.stop = iter.Pull(func(yield func(string) bool) {
			defer func() {
				if r := recover(); r != nil {
					if _, ok := r.(crashed); !ok {
						panic(r)
					}
				}
			}()
			a.yield = yield
			a.run(k)
		})
	}
	a.outcome = s.outcome
	what, more := a.next()
	a.pending, a.done, a.since = what, !more, m.now
	if a.done {
		a.saw = nil
		m.lossy = m.lossy || a.owns && m.mode != static && m.grant.Status == keeper.Active && m.left.clocks < m.limits.clocks
		a.owns = false
	}
}

func (m *model) anyRotated() bool {
	return slices.ContainsFunc(m.tokens, func(t *modelToken) bool { return !t.rotated.IsZero() })
}

func (m *model) end() {
	for _, a := range m.actors {
		if a.stop != nil {
			a.stop()
		}
	}
}

// key writes what makes this state this one; random ids by their order.
type key struct {
	b     []byte
	names map[string]byte
}

func (k *key) name(s string) {
	if s == "" {
		k.b = append(k.b, 0)
		return
	}
	n, ok := k.names[s]
	if !ok {
		n = byte(len(k.names) + 1)
		k.names[s] = n
	}
	k.b = append(k.b, n)
}

func (k *key) text(s string) { k.b = append(append(k.b, s...), 0) }
func (k *key) num(n int)     { k.b = append(k.b, byte(n)) }
func (k *key) time(t time.Time) {
	k.b = binary.AppendVarint(k.b, max(t.Sub(t0).Milliseconds(), -1))
}

func (k *key) bool(all ...bool) {
	for _, v := range all {
		k.num(map[bool]int{true: 1}[v])
	}
}

func (k *key) grant(g keeper.Grant) {
	k.name(g.Rev)
	k.name(g.Generation)
	k.text(string(g.Status))
	for _, t := range []keeper.Token{g.Access, g.Fresh, g.Refresh} {
		k.text(string(t.Sealed))
		k.time(t.ExpiresAt)
		k.time(t.ProvenAt)
		k.time(t.RefusedAt)
	}
	k.name(g.Lease.ID)
	k.time(g.Lease.Until)
	k.text(string(g.Trouble.Class))
	k.num(g.Trouble.Count)
	k.time(g.Trouble.At)
	k.time(g.Trouble.RetryAt)
	k.time(g.CheckedAt)
	k.num(g.Announced.Days)
	k.num(len(g.Outbox.Events))
}

func controlKey(c keeper.Control) string {
	return fmt.Sprint(c.Breaker.Class, c.Breaker.Until.Unix(), len(c.Brake.Refused), c.Outage.Count, c.Outage.Operation, len(c.Open))
}

func (m *model) key(k *key, seed [2]maphash.Seed) [2]uint64 {
	k.b = k.b[:0]
	clear(k.names)
	k.time(m.now)
	k.grant(m.grant)
	k.text(controlKey(m.desk))
	k.name(m.desk.Rev)
	for _, t := range m.tokens {
		k.text(t.name)
		k.bool(t.dead, t.proven)
		k.time(t.rotated)
		k.time(t.issued)
		k.num(t.consent)
	}
	k.num(m.left.faults)
	k.num(m.left.lies)
	k.num(m.left.crashes)
	k.num(m.left.clocks)
	k.num(m.forbidden)
	k.bool(m.out, m.saidNo, m.lossy)
	k.time(m.lastSend)
	for _, g := range m.generations {
		k.name(g)
	}
	for _, a := range m.actors {
		k.text(a.pending)
		k.bool(a.done, a.owns, a.afterOut)
		k.name(a.lease)
		k.time(a.sending)
		k.bool(a.since.Equal(m.now))
		for _, s := range a.saw {
			k.text(s.what)
			k.grant(s.grant)
		}
	}
	return [2]uint64{maphash.Bytes(seed[0], k.b), maphash.Bytes(seed[1], k.b)}
}

// search tries all histories of s. It stops at the first that breaks something.
type search struct {
	states, transitions, ends, deepest int
	bad                                string
}

func (r *search) run(s setup) {
	seed := [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	k := &key{names: map[string]byte{}}
	visited := map[[2]uint64]bool{}
	type node struct {
		path    []step
		choices []step
	}
	root := newModel(s)
	frontier := []node{{nil, root.choices()}}
	for depth := 1; len(frontier) > 0 && (s.depth == 0 || depth <= s.depth); depth++ {
		r.deepest = max(r.deepest, depth)
		var next []node
		for _, n := range frontier {
			for _, c := range n.choices {
				m := newModel(s)
				for _, old := range n.path {
					m.take(old)
				}
				m.take(c)
				m.holds()
				r.transitions++
				id := m.key(k, seed)
				if m.bad == "" && !visited[id] {
					visited[id] = true
					r.states++
					path := append(slices.Clip(n.path), c)
					choices := m.choices()
					if !slices.ContainsFunc(m.actors, func(a *actor) bool { return !a.done }) {
						r.ends++
						m.becomesFresh()
					}
					if len(choices) > 0 {
						next = append(next, node{path, choices})
					}
				}
				m.end()
				if m.bad != "" {
					r.bad = m.bad + "\n" + history(s, append(slices.Clip(n.path), c))
					return
				}
			}
		}
		frontier = next
	}
}

// history is a path in words.
func history(s setup, path []step) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: begin %s, mode %d\n", s.name, s.begin, s.mode)
	words := []string{"", "FAILS", "IS LOST", "BUSY", "REFUSED FALSELY", "APPLICATION REFUSED", "CRASH"}
	m := newModel(s)
	for i, p := range path {
		if p.actor < 0 {
			fmt.Fprintf(&b, "%2d clock +%v\n", i+1, clocks[p.outcome])
		} else {
			fmt.Fprintf(&b, "%2d %c%d %s %s\n", i+1, m.actors[p.actor].kind, p.actor, m.actors[p.actor].pending, words[p.outcome])
		}
		m.take(p)
	}
	m.end()
	return b.String() + brief(m.grant)
}

// setups are the searches, by KEEPIN_MODEL: "" some seconds, "full" a minute or
// two, "deep" an hour. They go to the end wherever they name no depth.
func setups(deep bool) (all []setup) {
	for mode := range 3 {
		one, workers, caller, depth := limits{faults: 1, clocks: 1}, "ww", "wT", 6
		if deep {
			one, workers, caller, depth = limits{faults: 1, crashes: 1, clocks: 1}, "WW", "WT", 9
		}
		for _, begin := range []string{"due", "dead"} {
			if mode != graceful || deep || begin == "due" {
				all = append(all,
					setup{"two workers", workers, begin, mode, 0, one},
					setup{"worker and caller", caller, begin, mode, 0, one},
				)
			}
			if mode != graceful || deep {
				all = append(all,
					setup{"worker and sign-in", "wI", begin, mode, 0, one},
					setup{"worker and logout", "wO", begin, mode, 0, one},
				)
			}
			if !deep {
				one = limits{crashes: 1, clocks: 1}
			}
		}
		all = append(all,
			setup{"caller, logout, sign-in", "TOI", "due", mode, 0, limits{faults: 1}},
			setup{"caller, logout, sign-in", "TOI", "dead", mode, 12, limits{}},
			setup{"proof and sign-in", "wI", "young", mode, 0, limits{faults: 1, clocks: 1}},
			setup{"proof for a caller and sign-in", "TI", "young", mode, 0, limits{faults: 1}},
		)
		if mode == rotating { // the refresh token is lost, and refused twice
			all = append(all, setup{"refused while a token lives", "X", "due", mode, 0, limits{faults: 1, clocks: 2}})
		}
		if mode == static || deep {
			all = append(all,
				setup{"a lie", workers, "dead", mode, 0, limits{lies: 1, clocks: 2}},
				setup{"sign-in, logout, logout", "IOO", "due", mode, 0, limits{faults: 1}},
				setup{"everybody", "WWTIO", "due", mode, depth, limits{faults: 1, crashes: 1, clocks: 1}},
			)
		}
	}
	return all
}

// quick: what every test run can afford, with the race detector too.
func (s setup) quick() bool {
	switch s.name {
	case "two workers":
		return s.begin == "dead"
	case "worker and caller":
		return s.begin == "due" && s.mode == rotating
	case "worker and sign-in", "worker and logout":
		return s.begin == "dead"
	}
	return s.depth == 0 && s.mode != graceful && s.name != "a lie"
}

func TestNoHistoryBreaksAnInvariant(t *testing.T) {
	var mu sync.Mutex
	var total search
	begun := time.Now()
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	t.Run("all", func(t *testing.T) {
		for i, s := range setups(os.Getenv("KEEPIN_MODEL") == "deep") {
			if os.Getenv("KEEPIN_MODEL") == "" && !s.quick() {
				continue
			}

			t.Run(fmt.Sprint(i), func(t *testing.T) {
				if os.Getenv("KEEPIN_MODEL") != "mutant" {
					t.Parallel()
				} else if total.bad != "" {
					t.Skip("found")
				}
				begun := time.Now()
				var r search
				r.run(s)
				if r.bad != "" {
					mu.Lock()
					total.bad = r.bad
					mu.Unlock()
					t.Fatal(r.bad)
				}
				if r.ends == 0 && s.depth == 0 {
					t.Errorf("%s: no history came to an end", s.name)
				}
				t.Logf("%-30s %-5s %-5s mode %d %+v: %d states, %d transitions, depth %d, %d ends, %v", s.name, s.actors, s.begin, s.mode, s.limits,
					r.states, r.transitions, r.deepest, r.ends, time.Since(begun).Round(time.Millisecond))
				mu.Lock()
				defer mu.Unlock()
				total.states, total.transitions, total.ends, total.deepest = total.states+r.states, total.transitions+r.transitions, total.ends+r.ends, max(total.deepest, r.deepest)
			})
		}
	})
	t.Logf("%d states, %d transitions, depth %d, %d ends, %v", total.states, total.transitions, total.deepest, total.ends, time.Since(begun).Round(time.Millisecond))
}
