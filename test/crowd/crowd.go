// Package crowd is members who use a keepin that is killed under them, and who
// know what they may never see: a grant that is lost, a logout that is undone, a
// consent that is asked for without need. It knows nothing of how keepin runs.
package crowd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

// Crowd is the members of one keepin. Its fields are to be set before the first
// call.
type Crowd struct {
	Base    string              // keepin's address
	Sim     *linkedinsim.Sim    // LinkedIn, which refuses nobody
	Backend func(*http.Request) // makes a request the back end's
	Seed    uint64              // of all that the members do
	// Patience is how long a member waits for a token that keepin owes her, when
	// nobody kills any more.
	Patience time.Duration

	members []*member
	figures figures
}

type figures struct{ requests, cut, tokens, signIns, logouts atomic.Int64 }

// knows is what a member knows of something of hers.
type knows int

const (
	gone    knows = iota // it is not there, and must not come back
	there                // it is there, and must not be lost
	unknown              // an answer was cut off: both may be
)

// Kills is how often to kill: KEEPIN_KILLS, or so often as the test has time for.
func Kills(few int) int {
	if n, err := strconv.Atoi(os.Getenv("KEEPIN_KILLS")); err == nil {
		return n
	}
	return few
}

// NewSeed is KEEPIN_SEED, or a new one; it is printed in either case.
func NewSeed(t testing.TB) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(os.Getenv("KEEPIN_SEED"), 10, 64)
	if err != nil {
		n = rand.Uint64N(1 << 32) //nolint:gosec // a test's dice
	}
	t.Logf("KEEPIN_SEED=%d", n)
	return n
}

// member is one person with one browser. Only her own goroutine uses her.
type member struct {
	c       *Crowd
	t       testing.TB
	key, id string
	access  string // the last that she was handed out
	browser *http.Client
	dice    *rand.Rand
	grant   knows
	session knows
}

// Gather makes n members, and makes them known to LinkedIn.
func (c *Crowd) Gather(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		key := fmt.Sprintf("member%d", i)
		if err := c.Sim.AddMember(linkedinsim.Member{Key: key, Name: key, LoggedIn: true}); err != nil {
			t.Fatal(err)
		}
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		c.members = append(c.members, &member{c: c, t: t, key: key, dice: rand.New(rand.NewPCG(c.Seed, uint64(i))), //nolint:gosec // a test's dice
			browser: &http.Client{Jar: jar, Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}})
	}
}

// Live has all members use keepin until stop is closed.
func (c *Crowd) Live(stop <-chan struct{}) {
	var all sync.WaitGroup
	for _, m := range c.members {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					m.step()
				}
			}
		})
	}
	all.Wait()
}

// Settle checks, when nobody kills any more, that every member has what she
// must have, and nothing that she must not.
func (c *Crowd) Settle() {
	var all sync.WaitGroup
	for _, m := range c.members {
		all.Go(m.settle)
	}
	all.Wait()
}

// String is what happened.
func (c *Crowd) String() string {
	f := &c.figures
	return fmt.Sprintf("%d members, %d requests (%d cut off), %d tokens, %d sign-ins, %d logouts, seed %d",
		len(c.members), f.requests.Load(), f.cut.Load(), f.tokens.Load(), f.signIns.Load(), f.logouts.Load(), c.Seed)
}

// Requests is how many requests were sent.
func (c *Crowd) Requests() int { return int(c.figures.requests.Load()) }

// Tokens is how many tokens were handed out.
func (c *Crowd) Tokens() int { return int(c.figures.tokens.Load()) }

// Cut is how many requests were cut off.
func (c *Crowd) Cut() int { return int(c.figures.cut.Load()) }

// step is one thing that a member does.
func (m *member) step() {
	d := m.dice.IntN(100)
	switch {
	case m.grant == unknown && d < 70, m.grant == gone && d < 50, m.session != there && d < 20, d < 2:
		m.signIn()
	case m.grant == unknown, d < 6 && m.id != "":
		m.remove()
	case d < 12 && m.session == there:
		m.logout()
	case d < 30:
		m.validate()
	case m.id != "":
		m.token()
	default:
		m.signIn()
	}
}

func (m *member) settle() {
	for end := time.Now().Add(m.c.Patience); m.grant == unknown && time.Now().Before(end); {
		m.signIn()
	}
	switch m.grant {
	case there:
		ok := false
		for end := time.Now().Add(m.c.Patience); !ok && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			ok = m.token() && m.honoured()
		}
		if !ok {
			m.t.Errorf("%s: no token that LinkedIn honours within %v, though it honours her refresh token", m.key, m.c.Patience)
		}
	case gone:
		if m.id != "" {
			m.token()
		}
		m.validate()
	default:
		m.t.Errorf("%s cannot sign in within %v", m.key, m.c.Patience)
	}
}

// token asks for a token as the back end does, and reports whether it came.
func (m *member) token() bool {
	a := m.send("GET", fmt.Sprintf("/members/%s/token?min_seconds=%d", m.id, m.dice.IntN(3)), m.c.Backend)
	switch a.status {
	case http.StatusOK:
		if m.grant == gone {
			m.t.Errorf("%s: a token after a logout that was answered", m.key)
		}
		var k struct {
			Access string `json:"access_token"`
		}
		if err := json.Unmarshal(a.body, &k); err != nil {
			m.t.Errorf("%s: %v", m.key, err)
		}
		m.access = k.Access
		m.c.figures.tokens.Add(1)
		return true
	case http.StatusNotFound:
		if m.grant == there {
			m.t.Errorf("%s: the grant is lost: 404 %s", m.key, a.body)
			m.grant = unknown
		}
	case http.StatusConflict:
		m.t.Errorf("%s: is asked to consent again, without need: %s", m.key, a.body)
	}
	return false
}

// honoured reports whether LinkedIn honours the last token.
func (m *member) honoured() bool {
	req, err := http.NewRequest("GET", "http://linkedin/v2/userinfo", nil) //nolint:noctx // there is no network
	if err != nil {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+m.access)
	res, err := m.c.Sim.RoundTrip(req)
	return err == nil && res.StatusCode == http.StatusOK
}

func (m *member) validate() {
	a := m.send("GET", "/validate", nil)
	switch a.status {
	case http.StatusOK:
		if m.session == gone || m.grant == gone {
			m.t.Errorf("%s: signed in after a logout that was answered", m.key)
		}
	case http.StatusUnauthorized:
		if m.session == there {
			m.t.Errorf("%s: the session is lost: %s", m.key, a.body)
		}
		if a.code == "reconnect_required" {
			m.t.Errorf("%s: is asked to consent again, without need: %s", m.key, a.body)
		}
		m.session = gone
	}
}

// signIn goes through the consent page. A sign-in that is cut off leaves a grant
// that was there, renewed or not, but maybe not the session of this browser.
func (m *member) signIn() {
	a := m.send("GET", "/login?renew=1", nil)
	if a.status != http.StatusSeeOther {
		return
	}
	back, err := m.c.Sim.Authorize(a.location, m.key)
	if err != nil {
		m.t.Errorf("%s: %v", m.key, err)
		return
	}
	a = m.send("GET", strings.TrimPrefix(back, m.c.Base), nil)
	switch {
	case a.status == http.StatusSeeOther:
		m.grant, m.session = there, there
		m.c.figures.signIns.Add(1)
		var v struct{ Member struct{ ID string } }
		if a := m.send("GET", "/validate", nil); a.status == http.StatusOK && json.Unmarshal(a.body, &v) == nil {
			m.id = v.Member.ID
		}
	case a.sent:
		m.session = unknown
		if m.grant == gone {
			m.grant = unknown
		}
	}
}

func (m *member) logout() {
	a := m.send("POST", "/logout", nil)
	switch {
	case a.status == http.StatusNoContent:
		m.grant, m.session = gone, gone
		m.c.figures.logouts.Add(1)
	case a.sent:
		m.grant, m.session = unknown, unknown
	}
}

// remove signs the member out as the back end does.
func (m *member) remove() {
	if m.id == "" {
		m.signIn()
		return
	}
	a := m.send("DELETE", "/members/"+m.id, m.c.Backend)
	switch {
	case a.status == http.StatusNoContent:
		m.grant, m.session = gone, gone
		m.c.figures.logouts.Add(1)
	case a.sent && m.grant == there:
		m.grant, m.session = unknown, unknown
	}
}

// answer is an HTTP answer; status 0 is none.
type answer struct {
	status         int
	code, location string
	body           []byte
	sent           bool // may have been worked on
}

// send sends one request. What is neither answered nor refused by keepin itself
// was cut off.
func (m *member) send(method, path string, sign func(*http.Request)) (a answer) {
	req, err := http.NewRequest(method, m.c.Base+path, nil) //nolint:noctx // the client has a deadline
	if err != nil {
		m.t.Errorf("%s: %v", m.key, err)
		return a
	}
	if sign != nil {
		sign(req)
	}
	m.c.figures.requests.Add(1)
	res, err := m.browser.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		time.Sleep(5 * time.Millisecond) // nobody is there at the moment
		return a
	}
	a.sent = true
	if err == nil {
		defer res.Body.Close()
		a.body, err = io.ReadAll(res.Body)
	}
	if err != nil {
		m.c.figures.cut.Add(1)
		return a
	}
	a.status, a.location = res.StatusCode, res.Header.Get("Location")
	var p struct{ Code string }
	if json.Unmarshal(a.body, &p) == nil {
		a.code = p.Code
	}
	if a.status >= 500 && a.code == "" {
		m.c.figures.cut.Add(1) // a gateway's words
	}
	return a
}
