package soak_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/secret"
)

const (
	days = 400
	// latest is how late anything may be: a pass comes each minute, and one that
	// dies leaves the rest to the next.
	latest = 30 * time.Minute
	// over is how long after a trouble the last grant may feel it: the longest
	// back-off is 6 hours, and a day where LinkedIn refused.
	over    = 8 * time.Hour
	refused = 25 * time.Hour
)

// trouble is a time in which LinkedIn, or the client secret, is ill.
type trouble struct {
	cause    string // of the incident
	from, to time.Time
	kind     linkedinsim.Kind // "": the secret
}

var troubles = plan()

// plan: six hours of outage each week, in four ways; seven days from day 200
// on; all refreshes refused on day 120; a new client secret every 28 days. LinkedIn
// honours the old one for a day, but each third time it does not, and the new one
// reaches keepin six hours late.
func plan() (all []trouble) {
	at := func(day, hour int) time.Time { return start.AddDate(0, 0, day).Add(time.Duration(hour) * time.Hour) }
	kinds := []linkedinsim.Kind{linkedinsim.AnswerStatus, linkedinsim.ResetBefore, linkedinsim.ResetAfter, linkedinsim.Truncate}
	for week := 1; week < days/7; week++ {
		if d := 7*week + 3; d < 200 || d > 207 {
			from := at(d, week%18)
			all = append(all, trouble{"outage", from, from.Add(6 * time.Hour), kinds[week%len(kinds)]})
		}
	}
	all = append(all, trouble{"outage", at(200, 0), at(207, 0), linkedinsim.AnswerStatus}, trouble{"brake", at(120, 0), at(121, 0), linkedinsim.RefuseRefresh})
	for i, d := 0, 26; d < days-4; i, d = i+1, d+28 {
		t := trouble{"", at(d, 9), at(d, 9), ""}
		if i%3 == 2 {
			t.cause, t.to = "application", at(d, 15)
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b trouble) int { return a.from.Compare(b.from) })
	return all
}

// ill: now, or so shortly ago that it is felt.
func (w *world) ill() bool { return w.wasIll(w.now().Add(-over), w.now()) }

func (w *world) wasIll(from, to time.Time) bool {
	return slices.ContainsFunc(troubles, func(t trouble) bool { return t.cause != "" && t.from.Before(to) && t.to.After(from) })
}

func (w *world) schedule() {
	for i, t := range troubles {
		if t.kind == "" {
			roll := func(old string) {
				w.app.PreviousSecret = old
				if err := w.sim.SetSecret(clientID, w.app.Secret, old); err != nil {
					w.errorf("%v", err)
				}
			}
			w.at(t.from, func() {
				old := w.app.Secret
				if t.cause != "" {
					old = ""
				}
				w.app.Secret = fmt.Sprint("secret-", i)
				roll(old)
			})
			w.at(t.from.Add(day), func() { roll("") })
			w.at(t.to.Add(time.Second), func() { w.secret = secret.New(w.app.Secret) })
		} else {
			f := linkedinsim.Fault{Kind: t.kind}
			if t.kind == linkedinsim.AnswerStatus {
				f.Status = 500 + i%2*3
			}
			w.at(t.from, func() {
				if err := w.sim.Fault(f); err != nil {
					w.errorf("%v", err)
				}
			})
			w.at(t.to, w.sim.Clear)
		}
		after := over
		if t.kind == linkedinsim.RefuseRefresh {
			after = refused
		}
		w.at(t.to.Add(after), w.well)
	}
	for d := range days {
		w.at(start.AddDate(0, 0, d+1), w.count)
		if d%7 == 2 {
			w.at(start.AddDate(0, 0, d).Add(time.Hour), w.audit)
		}
		for range max(1, len(w.members)/20) {
			m := w.members[w.rng.IntN(len(w.members))]
			w.at(start.AddDate(0, 0, d).Add(w.between(0, day)), func() { w.call(m) })
		}
	}
}

// dayStat is one day of the chart.
type dayStat struct {
	states map[string]int
	calls  map[linkedinsim.Endpoint]int
}

var endpoints = []linkedinsim.Endpoint{linkedinsim.TokenEndpoint, linkedinsim.IntrospectEndpoint, linkedinsim.UserinfoEndpoint}

// count closes a day.
func (w *world) count() {
	d := dayStat{map[string]int{}, map[linkedinsim.Endpoint]int{}}
	for _, m := range w.members {
		g, ok := w.store.grants[m.id]
		state := string(g.State(w.now()))
		switch {
		case !ok || !g.ExpiresAt.IsZero() && !g.ExpiresAt.After(w.now()):
			continue
		case g.State(w.now()) == keeper.StateActive && len(m.ladder) > 0:
			state = "due"
		}
		d.states[state]++
	}
	for _, e := range endpoints {
		d.calls[e] = w.sim.Count(e)
		for _, before := range w.days {
			d.calls[e] -= before.calls[e]
		}
	}
	w.days = append(w.days, d)
}

// TestFourHundredDays lives them with 300 members, or KEEPIN_SOAK of them, over
// the memory store or (KEEPIN_SOAK_STORE=bolt) a file. KEEPIN_SOAK_SEED makes it
// another history; the same seed has the same members. With KEEPIN_SOAK it draws its
// chart (artifacts/year.html), unless KEEPIN_SOAK_DRAW=no.
func TestFourHundredDays(t *testing.T) {
	n, seed := number(t, "KEEPIN_SOAK", 300), number(t, "KEEPIN_SOAK_SEED", 1)
	begun := time.Now()
	w := newWorld(t, n, uint64(seed), os.Getenv("KEEPIN_SOAK_STORE"))
	w.habits(days)
	w.schedule()
	w.live(start.AddDate(0, 0, days))
	w.audit()
	w.judge()
	w.report(n, seed, time.Since(begun))
	if os.Getenv("KEEPIN_SOAK") != "" && os.Getenv("KEEPIN_SOAK_DRAW") != "no" {
		draw(t, w, filepath.Join("..", "..", "artifacts"))
	}
}

func number(t *testing.T, name string, or int) int {
	if os.Getenv(name) == "" {
		return or
	}
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil || n < 1 {
		t.Fatalf("%s must be a number", name)
	}
	return n
}

// judge looks at the whole.
func (w *world) judge() {
	a := &w.tally
	if a.needless != 0 || a.lost != 0 {
		w.errorf("%d members were asked needlessly, %d grants were lost", a.needless, a.lost)
	}
	slices.Sort(a.late)
	// A pass dies every hundredth step, so it does some 20 grants where many are due
	// at once, as after an outage: the last of all waits for as many passes.
	most := max(latest, time.Duration(len(w.members)/20)*time.Minute)
	if worst := a.late[len(a.late)-1]; worst > most || a.late[0] < -slack {
		w.errorf("the rungs were sent from %v to %v late", a.late[0], worst)
	}
	// One incident for each trouble, and no other.
	open, few := slices.Clone(a.incidents), 0
	for _, t := range troubles {
		if t.cause == "" {
			continue
		}
		var mine []incident
		open = slices.DeleteFunc(open, func(i incident) bool {
			if i.cause != t.cause || i.opened.Before(t.from.Add(-maxSkew)) || i.opened.After(t.to.Add(keepSecret)) {
				return false
			}
			mine = append(mine, i)
			if i.over.IsZero() || i.over.After(t.to.Add(refused)) {
				w.errorf("the incident of the %s of %v ended at %v", t.cause, t.to, i.over)
			}
			return true
		})
		// A sign-in sends its code once, with the secret that its process has held
		// for up to 5 minutes: it may find it refused when all is well again.
		if len(mine) == 2 && t.cause == "application" && mine[1].opened.After(t.to) {
			a.again++
			mine = mine[:1]
		}
		// Of few members too few may be due in it for an incident: it takes three
		// refused ones, or five failures.
		if n := len(w.members); len(mine) == 0 && (n < 300 || n < 1000 && t.cause != "application" && few < 3) {
			few++
		} else if len(mine) != 1 {
			w.errorf("%d incidents of the %s of %v: %v", len(mine), t.cause, t.from, mine)
		}
	}
	if len(open) > 0 {
		w.errorf("%d incidents have no cause: the first is %+v", len(open), open[0])
	}
	// The budget.
	for _, e := range endpoints {
		if got, may := w.sim.Count(e), w.budget(e); got > may || got < may/5 {
			w.errorf("%d calls of %s, the budget is %d", got, e, may)
		}
	}
	if may := int(1.1 * w.refreshes()); a.refreshed > may {
		w.errorf("%d refreshes that LinkedIn answered, the budget is %d", a.refreshed, may)
	}
	// Nothing of this proves a thing if it did not happen.
	members := len(w.members)
	for what, is := range map[string]bool{
		"crashes": a.crashes > members, "passes twice": a.twice > members/2, "rungs": len(a.rungs) == len(rungs) && a.rungs[30] > a.rungs[1],
		"refreshes": a.refreshed > 3*members, "sign-ins": a.signIns > 3*members, "expired": a.expired > members/10, "left": a.revoked <= a.left && (a.revoked > 0 || members < 200),
		"tokens": a.served > 10*members, "duplicates": a.duplicates > 0,
	} {
		if !is {
			w.errorf("too tame: %s: %+v", what, a.rungs)
		}
	}
}

// tries is how many times a back-off of 1 minute, doubled up to 6 hours and a
// quarter shorter at most, tries within d.
func tries(d time.Duration) (n int) {
	for wait := time.Minute; d >= 0; wait = min(2*wait, 6*time.Hour) {
		n++
		d -= wait / 4 * 3
	}
	return n
}

const refreshed = 48.0 // days between two refreshes of a member's, at least

// refreshes is how many are due in all.
func (w *world) refreshes() float64 { return float64(len(w.members)) / 2 * (days/refreshed + 1) }

// budget is how often an endpoint may be called, derived from what is due: each
// grant is looked at every 7 days; each with a refresh token is refreshed when
// 5/6 of 60 days, less up to 2, are over; each new token is tried once. In an
// outage whoever is due tries again by the back-off, and is due all through the
// longest; on the day of refusals after 1 minute, 1 hour, 6 hours and a day. A
// crash may cost one call more, but for those at a read of the index. A tenth is
// for chance.
func (w *world) budget(e linkedinsim.Endpoint) int {
	n, half := float64(len(w.members)), float64(len(w.members))/2
	const looked = 7.0 // days between two
	refreshes := w.refreshes()
	signIns := float64(w.tally.signIns)
	calls := map[linkedinsim.Endpoint]float64{
		linkedinsim.TokenEndpoint:      refreshes + signIns,
		linkedinsim.IntrospectEndpoint: n*days/looked + refreshes,
		linkedinsim.UserinfoEndpoint:   refreshes + signIns,
	}[e]
	for _, t := range troubles {
		length := t.to.Sub(t.from).Hours() / 24
		again := float64(tries(t.to.Sub(t.from)))
		due := map[linkedinsim.Endpoint]float64{
			linkedinsim.TokenEndpoint:      half * length / refreshed,
			linkedinsim.IntrospectEndpoint: n*length/looked + half*length/refreshed,
		}[e]
		switch t.cause {
		case "outage":
			calls += due * again
		case "brake":
			calls += half * length / refreshed * 5 // or introspections of it
		case "application":
			calls += 60 * 24 * length // a probe a minute
		}
	}
	a := &w.tally
	return int(1.1*calls) + a.crashes*(a.steps-a.reads)/a.steps
}

func (w *world) report(n, seed int, took time.Duration) {
	a := &w.tally
	calls := ""
	for _, e := range endpoints {
		calls += fmt.Sprintf("  %s %d of %d", e, w.sim.Count(e), w.budget(e))
	}
	w.t.Logf(`%d members, seed %d, %d days in %v
asked needlessly %d, grants lost %d
%d passes (%d twice), %d steps, %d crashes
%d sign-ins, %d refreshes, %d tokens served, %d told to wait, %d told to ask the member
%d grants ended: %d expired (%d of members who could not come in time: LinkedIn was down), %d revoked (%d left); %d signed out
habits: %d prompt, %d late, %d lapsed, %d never
%d events (%d duplicates), rungs %v, late by %v at most, %v in the middle
%d incidents (%d opened once more by an old client secret)
calls:%s`,
		n, seed, days, took.Round(time.Millisecond), a.needless, a.lost, a.passes, a.twice, a.steps, a.crashes, a.signIns, a.refreshed, a.served, a.unavailable, a.mustAsk,
		a.asked, a.expired, a.excused, a.revoked, a.left, a.quit, a.prompt, a.lateOnes, a.lapsed, a.never,
		a.events, a.duplicates, a.rungs, a.late[len(a.late)-1], a.late[len(a.late)/2], len(a.incidents), a.again, calls)
}

// brief is a grant without its tokens' bytes.
func brief(g keeper.Grant) string {
	for _, t := range []*keeper.Token{&g.Access, &g.Fresh, &g.Refresh} {
		t.Sealed = nil
	}
	return fmt.Sprintf("%+v", g)
}
