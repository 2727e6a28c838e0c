package faults_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/test/aws/awstest"
)

// The toxics that cost most time: one that is never answered, one that is
// answered just in time, each time.
var (
	dark = toxic{name: "dark", json: []string{`{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`}}
	// nearly is just within the 10 s of a call to LinkedIn, and well within the 1 s of an attempt at
	// the table, of which an answer takes a dozen: each must be in time on a busy machine, too.
	nearlyLinkedIn = toxic{name: "slow", json: []string{`{"type":"latency","stream":"downstream","attributes":{"latency":9200}}`}}
	nearlyTable    = toxic{name: "slow", json: []string{`{"type":"latency","stream":"downstream","attributes":{"latency":400}}`}}
)

func linkedInOf(s *stack) *service { return s.linkedIn }

// once darkens the table when it has answered such a call.
func once(action string) func(*stack) { return func(s *stack) { s.tables.darken(action) } }

// whenAsked darkens the table while LinkedIn's answer is on its way: what that
// brings cannot be stored.
func whenAsked(s *stack) {
	must(s, s.sim.Fault(linkedinsim.Fault{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.StallAfter, Times: 1}))
	go func() {
		for s.sim.InFlight(linkedinsim.TokenEndpoint) == 0 && s.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		s.tables.darken("")
		s.sim.Clear()
	}()
}

// whenAskedFor5s is whenAsked, and the table comes back.
func whenAskedFor5s(s *stack) {
	whenAsked(s)
	time.AfterFunc(5*time.Second, s.tables.lighten)
}

// TestAnswersComeInTime: with the deadlines as they are, no single fault keeps
// an answer of keepin's own from coming a second before the function, or the
// gateway, would give up. What is broken is broken for good.
func TestAnswersComeInTime(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	dynalite := awstest.Dynalite(t)
	type kase struct {
		name     string
		function string
		prepare  func(*stack)
		act      func(*stack) answer
		service  func(*stack) *service
		toxic
		breaks func(*stack) // instead of service and toxic: at some moment
		status int
	}
	nothing := func(*stack) {}
	// warm has each function started, so that only the answer is measured.
	warm := func(s *stack) {
		send(s, browser(s), "GET", s.base+"/validate", nil).want(s, "nobody", 401)
		send(s, browser(s), "POST", s.base+"/logout", nil).want(s, "nobody", 204)
		send(s, browser(s), "GET", s.base+"/members/AAAAAAAAAAAAAAAAAAAAAA", signed).want(s, "nobody", 404)
	}
	signedIn := func(s *stack) { s.signIn(); warm(s) }
	expired := func(s *stack) { signedIn(s); s.clock.Advance(61 * day) }
	expiredIn := func(s *stack) { // by the wall clock
		s.sim.SetSwitches(func(w *linkedinsim.Switches) { w.AccessLifetime = 2 * time.Second })
		signedIn(s)
		time.Sleep(2100 * time.Millisecond)
		s.sim.SetSwitches(func(w *linkedinsim.Switches) { w.AccessLifetime = 0 })
	}
	ending := func(s *stack) { // proven, with half a day left
		signedIn(s)
		for range 3 {
			s.clock.Advance(2 * time.Minute)
			must(s, s.host.Tick(s.Context()))
		}
		s.clock.Advance(59*day + 12*time.Hour)
	}
	token := func(s *stack) answer { return s.token("") }
	longer := func(s *stack) answer { return s.token("?min_seconds=86400") }
	fresh := func(s *stack) answer {
		return send(s, s.browser, "GET", s.base+"/members/"+s.member()+"?fresh=1", signed)
	}
	remove := func(s *stack) answer {
		return send(s, s.browser, "DELETE", s.base+"/members/"+s.member(), signed)
	}
	cases := []kase{
		{"sign-in, LinkedIn dark", "callback", nothing, (*stack).signInAnswer, linkedInOf, dark, nil, 503},
		{"sign-in, LinkedIn slow", "callback", nothing, (*stack).signInAnswer, linkedInOf, nearlyLinkedIn, nil, 503}, // the keys have 5 s
		{"dead token, LinkedIn dark", "members", expired, token, linkedInOf, dark, nil, 503},
		{"dead token, LinkedIn slow", "members", expired, token, linkedInOf, nearlyLinkedIn, nil, 200},
		{"short token, LinkedIn dark", "members", ending, longer, linkedInOf, dark, nil, 200}, // the old one
		{"short token, LinkedIn slow", "members", ending, longer, linkedInOf, nearlyLinkedIn, nil, 503},
		{"fresh=1, LinkedIn dark", "members", signedIn, fresh, linkedInOf, dark, nil, 200},
		{"logout, LinkedIn dark", "logout", signedIn, (*stack).logout, linkedInOf, dark, nil, 204},
		{"DELETE, LinkedIn dark", "members", signedIn, remove, linkedInOf, dark, nil, 204},

		{"sign-in, table dark", "callback", nothing, (*stack).signInAnswer, tablesOf, dark, nil, 503},
		{"sign-in, table slow", "callback", nothing, (*stack).signInAnswer, tablesOf, nearlyTable, nil, 303},
		{"sign-in, table dark once LinkedIn is asked", "callback", nothing, (*stack).signInAnswer, nil, toxic{}, whenAsked, 503},
		{"validate, table dark", "validate", signedIn, (*stack).validate, tablesOf, dark, nil, 503},
		{"validate, table slow", "validate", signedIn, (*stack).validate, tablesOf, nearlyTable, nil, 200},
		{"logout, table dark", "logout", signedIn, (*stack).logout, tablesOf, dark, nil, 503},
		{"logout, table slow", "logout", signedIn, (*stack).logout, tablesOf, nearlyTable, nil, 204},
		{"logout, table dark once it knows who", "logout", signedIn, (*stack).logout, nil, toxic{}, once("Query"), 503},
		{"logout, table dark once it read the grant", "logout", signedIn, (*stack).logout, nil, toxic{}, once("GetItem"), 503},
		{"DELETE, table dark", "members", signedIn, remove, tablesOf, dark, nil, 503},
		{"dead token, table dark", "members", expired, token, tablesOf, dark, nil, 503},
		{"dead token, table slow", "members", expired, token, tablesOf, nearlyTable, nil, 200},
		{"dead token, table dark once LinkedIn is asked", "members", expiredIn, token, nil, toxic{}, whenAsked, 503},
		{"dead token, table dark for 5 s once LinkedIn is asked", "members", expiredIn, token, nil, toxic{}, whenAskedFor5s, 200},
		{"sign-in, table dark for 5 s once LinkedIn is asked", "callback", nothing, (*stack).signInAnswer, nil, toxic{}, whenAskedFor5s, 303},

		{"sign-in, secrets dark", "callback", nothing, func(s *stack) answer {
			return send(s, s.browser, "GET", s.base+"/login", nil)
		}, secretsOf, dark, nil, 503},
		{"dead token, secrets dark", "members", dead, token, secretsOf, dark, nil, 503},
	}
	sideBySide(t, cases, func(c kase) string { return c.name }, func(t *testing.T, c kase, aside func(func())) {
		s := newStack(t, key, dynalite, c.breaks != nil, nil) // a table that comes back is waited for by the wall clock
		c.prepare(s)
		for _, f := range s.host.Functions {
			f.Rest()
		}
		if c.breaks != nil {
			c.breaks(s)
		} else {
			c.service(s).add(t, c.toxic, 0, 0)
		}
		var a answer
		aside(func() { a = c.act(s) })
		t.Log(c.name+":", a.status, a.code, a.took.Round(time.Millisecond))
		if a.status == http.StatusServiceUnavailable || a.status != c.status {
			a.want(t, "the answer", c.status)
		}
		if limit := s.budget(c.function); a.took > limit {
			t.Errorf("the answer took %v, and must be there after %v", a.took, limit)
		}
	})
}
