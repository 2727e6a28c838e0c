package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

// keysRotate adds a key, has refreshes seal anew, and drops the old one, while
// members sign in, look who they are, and are worked for.
func keysRotate(t *testing.T, x *Target) {
	load := x.traffic(t, "ada", "grace")
	x.Operate(t, "keys", "rotate")
	load.advance(12*time.Minute, 2*time.Minute) // until every process has the new key
	if text := x.Operate(t, "keys", "list"); !strings.Contains(text, "\n1 ") || !strings.Contains(text, "\n2 ") {
		t.Errorf("after the rotation: %s", text)
	}
	if text := x.Operate(t, "keys", "prune"); !strings.Contains(text, "prune after") {
		t.Errorf("a prune at once: %s", text)
	}
	load.advance(46*day, 8*day)
	if text := x.Operate(t, "keys", "prune"); !strings.Contains(text, "none was dropped") {
		t.Errorf("before the refreshes: %s", text)
	}
	load.advance(6*day, 2*quarter) // the refreshes
	if text := x.Operate(t, "keys", "prune"); !strings.Contains(text, "[1]") {
		t.Errorf("after the refreshes: %s", text)
	}
	load.advance(12*time.Minute, 2*time.Minute)
	load.end()
	if text := x.Operate(t, "keys", "list"); strings.Contains(text, "\n1 ") || !strings.Contains(text, "\n2 ") {
		t.Errorf("after the prune: %s", text)
	}
	if n := count(x.Events(), "keepin.incident.opened"); n != 0 {
		t.Errorf("%d incidents: %q", n, x.Events())
	}
}

// secretRolls rolls the client secret twice. The first time as LinkedIn has it:
// both are good until every process has the new one, and nobody notices. The
// second time the old one is refused at once, by an operator in a hurry: a
// sign-in of the next five minutes would fail, as its code is sent once, but
// nothing else does.
func secretRolls(t *testing.T, x *Target) {
	app := linkedinsim.DefaultApp()
	first, second, third := app.Secret, "WPL_AP1.second-secret-of-the-app", "WPL_AP1.third-secret-of-the-app"
	x.Wire.hunt.note("client secret, rolled", second)
	x.Wire.hunt.note("client secret, rolled again", third)
	refused := func() (n int) {
		for _, c := range x.Sim.Calls() {
			if c.Status == http.StatusUnauthorized {
				n++
			}
		}
		return n
	}
	load := x.traffic(t, "ada", "grace")
	must(t, x.Sim.SetSecret(app.ClientID, second, first))
	load.advance(4*time.Minute, 2*time.Minute)
	x.SetSecret(t, second, first)
	load.advance(6*time.Minute, 2*time.Minute)
	must(t, x.Sim.SetSecret(app.ClientID, second, ""))
	load.advance(4*time.Minute, 2*time.Minute)
	if n := refused(); n != 0 {
		t.Errorf("LinkedIn refused %d calls", n)
	}

	load.advance(46*day, 8*day)
	load.signIns.Store(false)
	load.advance(time.Minute, time.Minute)
	x.SetSecret(t, third, second)
	must(t, x.Sim.SetSecret(app.ClientID, third, ""))
	load.advance(6*time.Minute, time.Minute)
	if refused() == 0 {
		t.Error("no process held the old secret: the test shows nothing")
	}
	load.signIns.Store(true)
	load.advance(6*day, 2*quarter) // the refreshes
	load.end()
	if n := count(x.Events(), "keepin.incident.opened"); n != 0 {
		t.Errorf("%d incidents: %q", n, x.Events())
	}
}

// traffic is what keepin is used for, all at once, until end: every answer must
// be the good one.
type traffic struct {
	t       *testing.T
	x       *Target
	holders []holder
	// clock is held whole to move the clock: what is under way ends by the time
	// that it began in.
	clock   sync.RWMutex
	signIns atomic.Bool // off: nobody signs in
	stop    chan struct{}
	all     sync.WaitGroup

	mu     sync.Mutex
	good   map[string]int
	failed []string
}

type holder struct {
	*browser
	id, first string // its member, and the first token
}

// traffic signs the holders in and begins. Whoever else signs in, does so again
// and again.
func (x *Target) traffic(t *testing.T, holders ...string) *traffic {
	l := &traffic{t: t, x: x, stop: make(chan struct{}), good: map[string]int{}}
	for _, m := range holders {
		b := x.browser(t)
		id := b.signIn(m).Member.ID
		l.holders = append(l.holders, holder{b, id, b.mustToken(id).Access})
	}
	l.signIns.Store(true)
	for _, h := range l.holders {
		l.run("fresh", func() error { return l.want(h.browser, 200, "/members/"+h.id+"?fresh=1", backend) })
		l.run("token", func() error { return l.want(h.browser, 200, "/members/"+h.id+"/token", backend) })
		l.run("validate", func() error { return l.want(h.browser, 200, "/validate") })
	}
	l.run("sign-in", l.signIn)
	return l
}

var errNotNow = errors.New("nobody signs in")

func (l *traffic) run(what string, once func() error) {
	l.all.Go(func() {
		for {
			select {
			case <-l.stop:
				return
			default:
			}
			l.clock.RLock()
			err := once()
			l.clock.RUnlock()
			l.mu.Lock()
			switch {
			case errors.Is(err, errNotNow):
			case err == nil:
				l.good[what]++
			case len(l.failed) < 20:
				l.failed = append(l.failed, fmt.Sprintf("%v: %s: %v", l.x.Clock.Now(), what, err))
			}
			l.mu.Unlock()
			time.Sleep(2 * time.Millisecond) // the others want to run, too
		}
	})
}

func (l *traffic) want(b *browser, status int, address string, headers ...string) error {
	a, err := b.try("GET", address, "", headers...)
	if err == nil && a.StatusCode != status {
		err = fmt.Errorf("%s = %d %s", address, a.StatusCode, a.body)
	}
	return err
}

// signIn is a whole sign-in, in a browser of its own.
func (l *traffic) signIn() error {
	if !l.signIns.Load() {
		return errNotNow
	}
	b := l.x.browser(l.t)
	a, err := b.try("GET", "/login", "")
	if err != nil {
		return err
	}
	to, err := a.Location()
	if err != nil {
		return fmt.Errorf("/login = %d %s", a.StatusCode, a.body)
	}
	back, err := l.x.Sim.Authorize(to.String(), "linus")
	if err != nil {
		return err
	}
	if err := l.want(b, 303, back); err != nil {
		return err
	}
	return l.want(b, 200, "/validate")
}

// advance moves the clock in steps, with a pass and some of all traffic in each.
func (l *traffic) advance(by, step time.Duration) {
	l.t.Helper()
	for ; by > 0; by -= step {
		l.clock.Lock()
		l.x.Clock.Advance(min(step, by))
		l.clock.Unlock()
		l.x.Pass(l.t)
		before := l.counts()
		waitFor(l.t, "some of all traffic", func() bool {
			now := l.counts()
			return l.failures() > 0 || !slices.ContainsFunc([]string{"token", "validate", "fresh", "sign-in"}, func(w string) bool {
				return now[w] == before[w] && (w != "sign-in" || l.signIns.Load())
			})
		})
	}
}

func (l *traffic) failures() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.failed)
}

func (l *traffic) counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := map[string]int{}
	for what, n := range l.good {
		now[what] = n
	}
	return now
}

// end ends the traffic: nothing had failed, every holder's token was renewed
// and is honoured, and nobody was asked to sign in again.
func (l *traffic) end() {
	l.t.Helper()
	close(l.stop)
	l.all.Wait()
	for _, f := range l.failed {
		l.t.Errorf("a request failed: %s", f)
	}
	for _, h := range l.holders {
		if k := h.mustToken(h.id); k.Access == h.first {
			l.t.Errorf("the token of %s was not renewed: the test shows nothing", h.id)
		}
	}
	for _, e := range l.x.Events() {
		if strings.HasPrefix(e, "keepin.member.reconnect") {
			l.t.Errorf("events %q", l.x.Events())
			break
		}
	}
	l.t.Logf("answered as they should be: %v", l.good)
}
