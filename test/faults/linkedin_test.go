package faults_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/awsenv"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/local"
	"github.com/keepin/keepin/shared/telemetry"
	"github.com/keepin/keepin/test/e2e"
)

const (
	day = 24 * time.Hour
	// linkedInWaits stands for the 10 s of a call to LinkedIn, answerWithin for the
	// 28 s in which every answer must be out. TestAnswersComeInTime has the real ones.
	linkedInWaits = 4 * time.Second
	answerWithin  = linkedInWaits * 28 / 10
)

// machine is what `keepin serve` runs, beside a LinkedIn whose every endpoint
// is at the other end of a link of its own.
type machine struct {
	keepin
	pass  func()
	links map[linkedinsim.Endpoint]link
}

// linkOf is the endpoint that is at an address.
func linkOf(u *url.URL) linkedinsim.Endpoint {
	switch u.Path {
	case "/oauth/v2/accessToken":
		return linkedinsim.TokenEndpoint
	case "/oauth/v2/introspectToken":
		return linkedinsim.IntrospectEndpoint
	case "/oauth/v2/revoke":
		return linkedinsim.RevokeEndpoint
	case "/oauth/openid/jwks":
		return linkedinsim.JWKSEndpoint
	case "/v2/userinfo":
		return linkedinsim.UserinfoEndpoint
	}
	return ""
}

// byLink sends each request by its endpoint's link, on the functions' transport.
type byLink struct {
	links     map[linkedinsim.Endpoint]link
	transport *http.Transport
}

func (b byLink) RoundTrip(r *http.Request) (*http.Response, error) {
	to := r.Clone(r.Context())
	to.URL.Host = b.links[linkOf(r.URL)].address()
	return b.transport.RoundTrip(to)
}

func newMachine(t *testing.T, key *rsa.PrivateKey, waits time.Duration) *machine {
	t.Helper()
	clock := linkedinsim.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	front, back := e2e.Listen(t), e2e.Listen(t)
	base, linkedIn := "http://"+front.Addr().String(), "http://"+back.Addr().String()
	app := linkedinsim.DefaultApp()
	app.RedirectURLs = []string{base + "/callback"}
	sim, err := linkedinsim.New(linkedinsim.Config{Clock: clock, URL: linkedIn, Apps: []linkedinsim.App{app}, Key: key,
		Switches: linkedinsim.Switches{TokenLength: 2500}}) // at 1 KB/s a token answer takes too long
	must(t, err)
	links := map[linkedinsim.Endpoint]link{}
	for _, e := range []linkedinsim.Endpoint{linkedinsim.TokenEndpoint, linkedinsim.IntrospectEndpoint, linkedinsim.RevokeEndpoint, linkedinsim.JWKSEndpoint, linkedinsim.UserinfoEndpoint} {
		links[e] = newLink(t, back.Addr().String())
	}
	transport := awsenv.Transport(func(string) string { return "" })
	t.Cleanup(transport.CloseIdleConnections)

	dir, log := t.TempDir(), new(e2e.Log)
	path := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(path("linkedin.json"), []byte(`{"client_id":"`+app.ClientID+`","client_secret":"`+app.Secret+`"}`), 0o600))
	m, err := local.Open(t.Context(), local.Config{BaseURL: base, Scopes: []string{"openid", "profile", "email"},
		LinkedInURL: linkedIn, APIURL: linkedIn, Issuer: linkedIn + "/oauth",
		Store: path("keepin.db"), Credentials: path("linkedin.json"), Keys: path("keys.json"), BackendKey: path("backend-key"),
		Transport: byLink{links, transport}, Timeout: waits, Now: clock.Now,
		Log: telemetry.Logger(log, slog.LevelDebug, false, nil)})
	must(t, err)
	t.Cleanup(func() {
		must(t, m.Close())
		if t.Failed() && testing.Verbose() {
			t.Log(log)
		}
	})
	e2e.Serve(t, front, m)
	e2e.Serve(t, back, sim)
	backendKey, err := os.ReadFile(path("backend-key"))
	must(t, err)
	return &machine{links: links,
		keepin: keepin{T: t, sim: sim, clock: clock, base: base, browser: browser(t), backend: func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(backendKey)))
		}},
		pass: func() {
			for range 3 { // what one task makes due is done as well
				r, err := m.Pass(context.WithoutCancel(t.Context()))
				must(t, err)
				if r.Done == 0 {
					break
				}
			}
		}}
}

// signIn signs ada in, by whole links.
func (m *machine) signIn() {
	m.Helper()
	m.keepin.signIn()
	m.validate().want(m, "signed in", http.StatusOK)
}

// proven signs ada in, and lets a pass prove her token, so long ago.
func (m *machine) proven(ago time.Duration) {
	m.Helper()
	m.signIn()
	m.clock.Advance(2 * time.Minute)
	m.pass()
	m.clock.Advance(ago - 2*time.Minute)
}

// good holds keepin to it that the grant is as good as ever an hour after the
// fault: a pass does what is due, and a token is there that LinkedIn honours.
func (m *machine) good() {
	m.Helper()
	m.clock.Advance(time.Hour)
	m.pass()
	m.clock.Advance(2 * time.Minute)
	m.pass()
	m.serves()
}

// linkedInLink is a link to LinkedIn, and what is promised where it breaks.
type linkedInLink struct {
	name    string
	end     linkedinsim.Endpoint
	mid     int    // offset in the body of an answer
	slow    effect // of 1 KB/s, which is as good as the answer is short
	prepare func(*machine)
	act     func(*machine) answer
	status  map[effect]int // of the answer; late is as lost
	after   func(*machine, effect)
}

func each(through, never, lost int) map[effect]int {
	return map[effect]int{0: through, 1: never, 2: lost, 3: lost}
}

// linkedInLinks: the status of the answer, and what the grant is then.
var linkedInLinks = []linkedInLink{
	{
		name: "exchange", end: linkedinsim.TokenEndpoint, mid: 700, slow: lost, status: each(303, 503, 503),
		prepare: func(*machine) {},
		act:     func(m *machine) answer { return m.signInAnswer() },
		after: func(m *machine, does effect) {
			if does != through {
				m.validate().want(m, "nothing was stored", http.StatusUnauthorized)
				before := m.sim.Count(linkedinsim.TokenEndpoint)
				m.signIn() // a new consent, a new code
				if n := m.sim.Count(linkedinsim.TokenEndpoint) - before; n != 1 {
					m.Errorf("the next sign-in took %d calls of the token endpoint", n)
				}
			}
			m.good()
		},
	},
	{
		name: "keys", end: linkedinsim.JWKSEndpoint, mid: 700, status: each(303, 503, 503),
		prepare: func(*machine) {},
		act:     func(m *machine) answer { return m.signInAnswer() },
		after: func(m *machine, does effect) {
			if n := m.sim.Count(linkedinsim.TokenEndpoint); n != 1 {
				m.Errorf("the code was sent %d times", n)
			}
			if does != through {
				m.validate().want(m, "nothing was stored", http.StatusUnauthorized)
				m.signIn()
			}
			m.good()
		},
	},
	{
		name: "refresh", end: linkedinsim.TokenEndpoint, mid: 700, slow: lost, status: each(200, 503, 503),
		prepare: func(m *machine) { m.proven(61 * day) },
		act:     func(m *machine) answer { return m.token("") },
		after: func(m *machine, does effect) {
			want := 2 // the exchange, and one refresh for all
			if does == lost || does == late {
				want = 3 // what was issued is lost; the refresh token serves again
			}
			m.good()
			if n := m.sim.Count(linkedinsim.TokenEndpoint); n != want {
				m.Errorf("%d calls of the token endpoint in all, want %d", n, want)
			}
		},
	},
	{
		name: "introspection", end: linkedinsim.IntrospectEndpoint, mid: 600, status: each(200, 200, 200),
		prepare: func(m *machine) { m.proven(59*day + 12*time.Hour) },
		act:     func(m *machine) answer { return m.token("?min_seconds=86400") },
		after: func(m *machine, _ effect) {
			if n := m.sim.Count(linkedinsim.TokenEndpoint); n != 2 {
				m.Errorf("%d calls of the token endpoint: the refresh does not wait for the introspection", n)
			}
			m.good()
		},
	},
	{
		name: "userinfo", end: linkedinsim.UserinfoEndpoint, mid: 600, status: each(200, 503, 503),
		prepare: func(m *machine) { m.proven(61 * day) },
		act:     func(m *machine) answer { return m.token("") },
		after: func(m *machine, _ effect) {
			m.good()
			if n := m.sim.Count(linkedinsim.TokenEndpoint); n != 2 {
				m.Errorf("%d calls of the token endpoint: the fresh token was kept, and is only to be proven", n)
			}
		},
	},
	{
		name: "revocation", end: linkedinsim.RevokeEndpoint, mid: 560, status: each(204, 204, 204),
		prepare: func(m *machine) { m.signIn() },
		act:     func(m *machine) answer { return m.logout() },
		after: func(m *machine, _ effect) {
			m.clock.Advance(time.Hour)
			m.pass()
			m.validate().want(m, "signed out", http.StatusUnauthorized)
			m.signIn()
			m.good()
		},
	},
}

// TestABrokenLinkToLinkedInLosesNothing: whatever happens to a call, LinkedIn
// is called once, keepin answers in time and as promised, stores nothing that
// it does not know, and the grant is good afterwards.
func TestABrokenLinkToLinkedInLosesNothing(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	type kase struct {
		linkedInLink
		toxic
	}
	var cases []kase
	for _, l := range linkedInLinks {
		for _, x := range toxics {
			cases = append(cases, kase{l, x})
		}
	}
	sideBySide(t, cases, func(c kase) string { return c.linkedInLink.name + "/" + c.toxic.name }, func(t *testing.T, c kase, aside func(func())) {
		m := newMachine(t, key, linkedInWaits)
		does := c.does
		if does == asSlow {
			does = c.slow
		}
		c.prepare(m)
		way, before := m.links[c.end], m.sim.Count(c.end)
		way.add(t, c.toxic, linkedInWaits+300*time.Millisecond, c.mid)
		var a answer
		hits := 1
		if does == never {
			hits = 0
		}
		aside(func() {
			a = c.act(m)
			eventually(func() bool { return m.sim.Count(c.end)-before == hits })
		})
		a.want(t, "in the fault", c.status[does])
		if a.took > answerWithin {
			t.Errorf("the answer took %v", a.took)
		}
		if n := m.sim.Count(c.end) - before; n != hits {
			t.Errorf("LinkedIn was called %d times, want %d", n, hits)
		}
		way.mend(t)
		if a.status == http.StatusOK {
			m.honoured(a)
		}
		c.after(m, does)
	})
}
