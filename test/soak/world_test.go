// Package soak_test lives 400 days with many members: the real Keeper, client
// and sealer over a simulated LinkedIn, by a clock that jumps from one thing to
// do to the next. LinkedIn is down each week and once for seven days, refuses
// every refresh for a day, and has its client secret rolled each month; processes
// die at one step of a hundred, have clocks of their own and run twice at once.
// What LinkedIn itself holds is the judge of all that keepin does.
package soak_test

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/bolt"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/storetest"
)

const (
	day      = 24 * time.Hour
	clientID = "77soak"
	base     = "http://linkedin.sim"

	crashes    = 0.01             // of a process, at each of its steps
	duplicates = 0.02             // of the passes
	maxSkew    = 2 * time.Second  // of a process's clock, to either side
	delay      = 20 * time.Second // until LinkedIn's API honours a new token
	keepSecret = 5 * time.Minute  // as shared/secrets does
)

// start is when the first day begins, by LinkedIn's clock.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is LinkedIn, the members, and the processes of keepin.
type world struct {
	t       *testing.T
	mu      sync.Mutex // of all below, while processes run
	rng     *rand.Rand
	clock   *linkedinsim.Clock
	sim     *linkedinsim.Sim
	app     linkedinsim.App
	store   *store
	keyset  secret.String
	secret  secret.String // the client secret, as the secret store has it
	sweeps  []*process    // the refresh function, in three containers
	web     *process      // all the others
	agenda  agenda
	order   int       // of what was put there
	passed  time.Time // the last pass
	passes  int
	members []*member
	byID    map[keeper.MemberID]*member
	told    map[string]bool // ids of events
	tally   tally
	days    []dayStat
}

// tally is what came of it all.
type tally struct {
	steps, reads, crashes, passes, twice                 int // reads: steps that were reads of the index
	signIns, refreshed                                   int
	asked, expired, revoked, needless, lost              int
	served, unavailable, mustAsk                         int
	events, duplicates                                   int
	rungs                                                map[int]int
	late                                                 []time.Duration // of each rung
	incidents                                            []incident
	failures, again                                      int
	inFlight                                             map[string]bool // refresh tokens at LinkedIn just now
	excused, prompt, lateOnes, lapsed, never, left, quit int
}

type incident struct {
	id, cause    string
	opened, over time.Time
}

func newWorld(t *testing.T, n int, seed uint64, kind string) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 0)), clock: linkedinsim.NewClock(start), byID: map[keeper.MemberID]*member{}, told: map[string]bool{},
		keyset: seal.NewKeyset(), secret: secret.New("the-first-secret")}
	w.tally.rungs, w.tally.inFlight = map[int]int{}, map[string]bool{}
	w.app = linkedinsim.App{ClientID: clientID, Secret: w.secret.Reveal(), RedirectURLs: []string{"http://localhost:8080/callback"},
		Scopes: []string{"openid", "profile"}, Refresh: true}
	var people []linkedinsim.Member
	for i := range n {
		m := &member{key: fmt.Sprintf("m%05d", i), refresh: i%2 == 0}
		m.id = keeper.NewMemberID(clientID, linkedinsim.Subject(clientID, m.key))
		w.members, w.byID[m.id] = append(w.members, m), m
		people = append(people, linkedinsim.Member{Key: m.key, Name: m.key, LoggedIn: true})
	}
	var err error
	w.sim, err = linkedinsim.New(linkedinsim.Config{Clock: w.clock, URL: base, Apps: []linkedinsim.App{w.app}, Members: people,
		Switches: linkedinsim.Switches{PropagationDelay: delay, DeadTokenMemory: days * day}})
	if err != nil {
		t.Fatal(err)
	}
	w.store = newStore(t, w, kind)
	for range 3 {
		w.sweeps = append(w.sweeps, w.process())
	}
	w.web = w.process()
	return w
}

func (w *world) now() time.Time { return w.clock.Now() }

// trace tells what happens to the member that KEEPIN_SOAK_TRACE names.
func (w *world) trace(m *member, format string, args ...any) {
	if m != nil && m.key == os.Getenv("KEEPIN_SOAK_TRACE") {
		fmt.Printf("day %.3f: %s: %s\n", w.now().Sub(start).Hours()/24, m.key, fmt.Sprintf(format, args...))
	}
}

// errorf fails the test; of many failures the first ones are told.
func (w *world) errorf(format string, args ...any) {
	if w.tally.failures++; w.tally.failures <= 20 {
		w.t.Errorf("day %.2f: %s", w.now().Sub(start).Hours()/24, fmt.Sprintf(format, args...))
	}
}

// between is a random time span.
func (w *world) between(from, to time.Duration) time.Duration {
	return from + time.Duration(w.rng.Int64N(int64(to-from)))
}

// process is one process of keepin: with a clock of its own, the client secret
// that it has read, and an end when it crashes.
type process struct {
	*keeper.Keeper
	w      *world
	client *linkedin.Client
	skew   time.Duration
	secret secret.String
	readAt time.Time // when it read that
	dead   bool
	steps  int
	hookAt int    // the step
	hook   func() // what happens just before it
}

func (w *world) process() *process {
	p := &process{w: w, skew: w.between(-maxSkew, maxSkew)}
	var err error
	p.client, err = linkedin.New(linkedin.Config{LinkedInURL: base, APIURL: base, Issuer: base + "/oauth", RedirectURL: w.app.RedirectURLs[0],
		Scopes: w.app.Scopes, Now: p.now, Transport: w.sim,
		Credentials: func(_ context.Context, reread bool) (linkedin.Credentials, error) {
			if reread || p.now().Sub(p.readAt) >= keepSecret {
				p.secret, p.readAt = w.secret, p.now()
			}
			return linkedin.Credentials{ClientID: clientID, Secret: p.secret}, nil
		}})
	if err != nil {
		w.t.Fatal(err)
	}
	sealer := seal.New(seal.Config{Now: p.now, Source: func(context.Context, bool) (secret.String, error) { return w.keyset, nil }})
	at := stepped{Store: w.store, Desk: w.store, Provider: p.client, p: p}
	p.Keeper, err = keeper.New(keeper.Config{Store: at, Desk: at, Provider: at, Sealer: sealer, Now: p.now, Workers: 1,
		Sleep: func(ctx context.Context, _ time.Duration) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			p.live()
			return ctx.Err()
		},
		Events: func(_ context.Context, e keeper.Event) error {
			_, err := step(p, func() (any, error) { return nil, w.deliver(e) })
			return err
		}})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (p *process) now() time.Time { return p.w.now().Add(p.skew) }

// run lets a process do something, and reports whether it lived to the end of it.
// What is left of one that died is another's place.
func (w *world) run(place **process, f func(p *process)) bool {
	w.mu.Lock()
	if (*place).dead {
		*place = w.process()
	}
	p := *place
	w.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(p)
	}()
	<-done
	w.mu.Lock()
	defer w.mu.Unlock()
	return !p.dead
}

// live ends the goroutine of a dead process.
func (p *process) live() {
	if p.dead {
		runtime.Goexit()
	}
}

// may lets p crash: then its goroutine ends here, and so does each other of its
// goroutines at its next step.
func (p *process) may() {
	p.live()
	if p.w.rng.Float64() < crashes/2 {
		p.dead = true
		p.w.tally.crashes++
		runtime.Goexit()
	}
}

// step is one call to the outside: p may die before it and after it. A pass has
// several goroutines; one of them at a time is in a step.
func step[T any](p *process, call func() (T, error)) (T, error) {
	p.w.mu.Lock()
	p.steps++
	p.w.tally.steps++
	if hook := p.hook; hook != nil && p.steps >= p.hookAt {
		p.hook = nil
		p.w.mu.Unlock()
		hook()
		p.w.mu.Lock()
	}
	defer p.w.mu.Unlock()
	p.may()
	v, err := call()
	p.may()
	return v, err
}

// stepped makes a step of each call of a Keeper's.
type stepped struct {
	keeper.Store
	keeper.Desk
	keeper.Provider
	p *process
}

func (s stepped) Due(ctx context.Context, shard int, after keeper.Nominee, before time.Time, limit int) ([]keeper.Nominee, error) {
	return step(s.p, func() ([]keeper.Nominee, error) {
		s.p.w.tally.reads++
		return s.Store.Due(ctx, shard, after, before, limit)
	})
}

func (s stepped) Get(ctx context.Context, id keeper.MemberID) (keeper.Grant, error) {
	return step(s.p, func() (keeper.Grant, error) { return s.Store.Get(ctx, id) })
}

func (s stepped) Put(ctx context.Context, g keeper.Grant, old string) error {
	_, err := step(s.p, func() (any, error) { return nil, s.Store.Put(ctx, g, old) })
	return err
}

func (s stepped) Control(ctx context.Context) (keeper.Control, error) {
	return step(s.p, func() (keeper.Control, error) { return s.Desk.Control(ctx) })
}

func (s stepped) PutControl(ctx context.Context, c keeper.Control, old string) error {
	_, err := step(s.p, func() (any, error) { return nil, s.Desk.PutControl(ctx, c, old) })
	return err
}

func (s stepped) PutIncident(ctx context.Context, i keeper.Incident) error {
	_, err := step(s.p, func() (any, error) { return nil, s.Desk.PutIncident(ctx, i) })
	return err
}

func (s stepped) Inspect(ctx context.Context, t secret.String) (keeper.Inspection, error) {
	return step(s.p, func() (keeper.Inspection, error) { return s.Provider.Inspect(ctx, t) })
}

func (s stepped) Identify(ctx context.Context, t secret.String) (keeper.Identity, error) {
	return step(s.p, func() (keeper.Identity, error) { return s.Provider.Identify(ctx, t) })
}

// Refresh is one at a time for each refresh token, however many processes there are.
func (s stepped) Refresh(ctx context.Context, t secret.String) (keeper.Tokens, error) {
	w := s.p.w
	w.mu.Lock()
	if w.tally.inFlight[t.Fingerprint()] {
		w.errorf("two refreshes with one token at once")
	}
	w.tally.inFlight[t.Fingerprint()] = true
	w.mu.Unlock()
	defer func() { // a crash too
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.tally.inFlight, t.Fingerprint())
	}()
	return step(s.p, func() (keeper.Tokens, error) {
		tokens, err := s.Provider.Refresh(ctx, t)
		if err == nil {
			w.tally.refreshed++
		}
		return tokens, err
	})
}

// signIn is a member's trip to LinkedIn and back.
func (p *process) signIn(m *member) bool {
	ctx := context.Background()
	a := keeper.Authorization{State: secret.New("0123456789abcdef0123456789abcdef"), IssuedAt: p.now()}
	to, err := p.client.AuthCodeURL(ctx, a)
	if err != nil {
		p.w.errorf("authorization: %v", err)
		return false
	}
	form := url.Values{"action": {"allow"}, "member": {m.key}}.Encode()
	r, _ := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.w.sim.RoundTrip(r)
	if err != nil {
		return false
	}
	back, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || back.Query().Get("code") == "" {
		return false
	}
	// An application has refresh tokens or has none. Here it was given them, or
	// lost them, between one member and the next.
	p.w.app.Refresh = m.refresh
	if err := p.w.sim.AddApp(p.w.app); err != nil {
		p.w.errorf("%v", err)
	}
	type answer struct {
		id     keeper.Identity
		tokens keeper.Tokens
	}
	got, err := step(p, func() (answer, error) {
		id, tokens, err := p.client.Exchange(ctx, secret.New(back.Query().Get("code")), a)
		return answer{id, tokens}, err
	})
	if err != nil {
		p.Observe(ctx, "exchange", err)
		return false
	}
	_, err = p.SignIn(ctx, storetest.Seen(ctx, p.Store, got.id.Member()), got.id, got.tokens)
	return err == nil
}

// pass is a call by the schedule.
func (w *world) pass() {
	w.passes++
	w.passed = w.now()
	p, other := &w.sweeps[w.passes%3], &w.sweeps[(w.passes+1)%3]
	sweep := func(place **process, hook func()) {
		w.run(place, func(p *process) {
			w.mu.Lock()
			w.tally.passes++
			p.hookAt, p.hook = p.steps+1+w.rng.IntN(24), hook
			w.mu.Unlock()
			if _, err := p.Pass(context.Background(), keeper.Range{From: 0, To: keeper.Shards - 1}); err != nil {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.errorf("pass: %v", err)
			}
			w.mu.Lock()
			short := p.hook != nil
			p.hook = nil
			w.mu.Unlock()
			if short {
				hook()
			}
		})
	}
	switch chance := w.rng.Float64(); {
	case chance < duplicates/2: // delivered again
		w.tally.twice++
		sweep(p, nil)
		sweep(other, nil)
	case chance < duplicates: // in the middle of the first
		w.tally.twice++
		sweep(p, func() { sweep(other, nil) })
	default:
		sweep(p, nil)
	}
}

// live goes from one thing to do to the next, until end.
func (w *world) live(end time.Time) {
	for w.tally.failures < 50 {
		next := end
		if len(w.agenda) > 0 && w.agenda[0].at.Before(next) {
			next = w.agenda[0].at
		}
		sweep := false
		if due := w.store.next(); !due.IsZero() {
			due = due.Add(time.Minute - 1).Truncate(time.Minute)
			if again := w.passed.Add(time.Minute); due.Before(again) {
				due = again
			}
			if due.Before(next) {
				next, sweep = due, true
			}
		}
		w.clock.Advance(next.Sub(w.now()))
		switch {
		case sweep:
			w.pass()
		case next.Equal(end):
			return
		default:
			heap.Pop(&w.agenda).(appointment).do()
		}
	}
}

// at puts something on the agenda.
func (w *world) at(t time.Time, do func()) {
	w.order++
	heap.Push(&w.agenda, appointment{t, w.order, do})
}

func (w *world) in(d time.Duration, do func()) { w.at(w.now().Add(d), do) }

type appointment struct {
	at    time.Time
	order int
	do    func()
}

type agenda []appointment

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if c := a[i].at.Compare(a[j].at); c != 0 {
		return c < 0
	}
	return a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(appointment)) }
func (a *agenda) Pop() any {
	old := *a
	last := old[len(old)-1]
	*a = old[:len(old)-1]
	return last
}

// store is the memory store, or a file, with its index of what is due kept in
// order here: so a pass costs what is due, and the next one can be foreseen.
type store struct {
	keeper.Store
	keeper.Desk
	w      *world
	due    [keeper.Shards][]keeper.Nominee
	grants map[keeper.MemberID]keeper.Grant // as they were put; not to be changed
}

func newStore(t *testing.T, w *world, kind string) *store {
	s := &store{w: w, grants: map[keeper.MemberID]keeper.Grant{}}
	switch kind {
	case "":
		m := storetest.NewMemory(w.now)
		s.Store, s.Desk = m, m
	case "bolt":
		db, err := bolt.Open(filepath.Join(t.TempDir(), "soak.db"), w.now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		s.Store, s.Desk = db, db
	default:
		t.Fatalf("KEEPIN_SOAK_STORE is %q: it must be bolt, or not set", kind)
	}
	return s
}

func byTime(a, b keeper.Nominee) int {
	if c := a.Due.Compare(b.Due); c != 0 {
		return c
	}
	return strings.Compare(string(a.Member), string(b.Member))
}

func (s *store) Put(ctx context.Context, g keeper.Grant, old string) error {
	if err := s.Store.Put(ctx, g, old); err != nil {
		return err
	}
	was := s.grants[g.Member]
	s.w.trace(s.w.byID[g.Member], "%s", brief(g))
	s.grants[g.Member] = g
	index := &s.due[g.Member.Shard()]
	if i, ok := slices.BinarySearchFunc(*index, keeper.Nominee{Member: g.Member, Due: was.Due}, byTime); ok && !was.Due.IsZero() {
		*index = slices.Delete(*index, i, i+1)
	}
	if now := (keeper.Nominee{Member: g.Member, Due: g.Due}); !g.Due.IsZero() {
		i, _ := slices.BinarySearchFunc(*index, now, byTime)
		*index = slices.Insert(*index, i, now)
	}
	if was.Status == keeper.Active && g.Status == keeper.Reconnect {
		s.w.ended(s.w.byID[g.Member])
	}
	return nil
}

// Due is the index of a memory store, which looks through all that it has.
func (s *store) Due(ctx context.Context, shard int, after keeper.Nominee, before time.Time, limit int) ([]keeper.Nominee, error) {
	if _, memory := s.Store.(*storetest.Memory); !memory {
		return s.Store.Due(ctx, shard, after, before, limit)
	}
	from := 0
	if after != (keeper.Nominee{}) {
		i, found := slices.BinarySearchFunc(s.due[shard], after, byTime)
		if from = i; found {
			from++
		}
	}
	var due []keeper.Nominee
	for _, n := range s.due[shard][from:] {
		if n.Due.After(before) || len(due) == limit {
			break
		}
		due = append(due, n)
	}
	return due, nil
}

// next is when something is due; zero: never.
func (s *store) next() (first time.Time) {
	for _, index := range s.due {
		if len(index) > 0 && (first.IsZero() || index[0].Due.Before(first)) {
			first = index[0].Due
		}
	}
	return first
}
