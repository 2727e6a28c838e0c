// Package faults_test breaks the network between keepin and what it depends on,
// one way at a time: see toxics for the ways, and the tables of each test for
// what must be true then.
package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/test/e2e"
)

// effect is what a broken link does to one call: it is what the answer of
// keepin follows from.
type effect int

const (
	through effect = iota // it arrives, and so does its answer
	never                 // it does not arrive whole
	lost                  // it arrives, its answer does not, or not whole, or not in time
	late                  // as lost, but it arrives when its caller has given up
	asSlow                // through or lost, by how much there is to carry
)

func (e effect) String() string { return [...]string{"through", "never", "lost", "late", "slow"}[e] }

// toxic is one way in which a link breaks.
type toxic struct {
	name   string
	does   effect
	json   []string // for toxiproxy, where %[1]d is longer than any call waits, in ms
	isDown bool     // nobody listens
}

// toxics are in the direction of the answer (down), or of the request (up).
var toxics = []toxic{
	{name: "latency short, down", does: through, json: []string{`{"type":"latency","stream":"downstream","attributes":{"latency":80}}`}},
	{name: "latency short, up", does: through, json: []string{`{"type":"latency","stream":"upstream","attributes":{"latency":80}}`}},
	{name: "latency past the deadline, down", does: lost, json: []string{`{"type":"latency","stream":"downstream","attributes":{"latency":%[1]d}}`}},
	{name: "latency past the deadline, up", does: late, json: []string{`{"type":"latency","stream":"upstream","attributes":{"latency":%[1]d}}`}},
	{name: "timeout, down", does: lost, json: []string{`{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`}},
	{name: "timeout, up", does: never, json: []string{`{"type":"timeout","stream":"upstream","attributes":{"timeout":0}}`}},
	{name: "timeout that closes, down", does: lost, json: []string{`{"type":"timeout","stream":"downstream","attributes":{"timeout":3000}}`}},
	{name: "reset at 0, down", does: lost, json: []string{`{"type":"reset_peer","stream":"downstream","attributes":{"timeout":0}}`}},
	{name: "reset at 0, up", does: never, json: []string{`{"type":"reset_peer","stream":"upstream","attributes":{"timeout":0}}`}},
	{name: "reset mid-body", does: lost, json: []string{ // one that never strikes makes of every close a reset
		`{"type":"reset_peer","stream":"downstream","toxicity":0,"attributes":{"timeout":0}}`,
		`{"type":"limit_data","stream":"downstream","attributes":{"bytes":%[2]d}}`,
	}},
	{name: "limit 0 B, down", does: lost, json: []string{`{"type":"limit_data","stream":"downstream","attributes":{"bytes":0}}`}},
	{name: "limit 0 B, up", does: never, json: []string{`{"type":"limit_data","stream":"upstream","attributes":{"bytes":0}}`}},
	{name: "limit 150 B, down", does: lost, json: []string{`{"type":"limit_data","stream":"downstream","attributes":{"bytes":150}}`}},
	{name: "limit 150 B, up", does: never, json: []string{`{"type":"limit_data","stream":"upstream","attributes":{"bytes":150}}`}},
	{name: "limit mid-body", does: lost, json: []string{`{"type":"limit_data","stream":"downstream","attributes":{"bytes":%[2]d}}`}},
	{name: "slow close", does: through, json: []string{`{"type":"slow_close","stream":"downstream","attributes":{"delay":300}}`}},
	{name: "bandwidth 1 KB/s", does: asSlow, json: []string{`{"type":"bandwidth","stream":"downstream","attributes":{"rate":1}}`}},
	{name: "slicer, down", does: through, json: []string{`{"type":"slicer","stream":"downstream","attributes":{"average_size":64,"size_variation":32,"delay":500}}`}},
	{name: "slicer, up", does: through, json: []string{`{"type":"slicer","stream":"upstream","attributes":{"average_size":64,"size_variation":32,"delay":500}}`}},
	{name: "down", does: never, isDown: true},
}

// bin is where the functions are built; it goes with the test.
var bin string

// TestMain silences what toxiproxy says of the connections that it breaks, and
// looks for what is left when all is over.
func TestMain(m *testing.M) {
	zerolog.SetGlobalLevel(zerolog.Disabled)
	var err error
	if bin, err = os.MkdirTemp("", "keepin-faults-"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(bin)
	if left := left(); left != "" && code == 0 {
		fmt.Println("FAIL: goroutines are left:\n" + left)
		code = 1
	}
	os.Exit(code)
}

// link is a TCP connection's way to a server, which can be broken.
type link struct {
	proxy *toxiproxy.Proxy
	holds *int // the socket that keeps the port while nobody listens
}

// newLink makes a way to the server at address, host:port. Its own port is one
// that the system gives to nobody unasked: a link that is down must find it again.
func newLink(t testing.TB, address string) link {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	var p *toxiproxy.Proxy
	for try := 1; ; try++ {
		p = toxiproxy.NewProxy(server, "link", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000)), address)
		if err := p.Start(); err == nil {
			break
		} else if try == 50 {
			t.Fatal(err)
		}
	}
	t.Cleanup(p.Stop)
	return link{p, new(int)}
}

func (l link) address() string { return l.proxy.Listen }

// add breaks the link: longer is longer than any call waits, mid an offset in
// the body of the answer.
func (l link) add(t testing.TB, x toxic, longer time.Duration, mid int) {
	t.Helper()
	if x.isDown {
		l.proxy.Stop()
		// A child that another test begins has the listener, too, until its exec.
		var err error
		eventually(func() bool { err = l.hold(); return err == nil })
		must(t, err)
	}
	for i, text := range x.json {
		text = strings.NewReplacer("%[1]d", fmt.Sprint(longer.Milliseconds()), "%[2]d", fmt.Sprint(mid),
			`{"type"`, fmt.Sprintf(`{"name":"%d","type"`, i)).Replace(text)
		_, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(text))
		must(t, err)
	}
}

// mend undoes add.
func (l link) mend(t testing.TB) {
	t.Helper()
	l.proxy.Toxics.ResetToxics(context.Background())
	if !l.proxy.Enabled {
		_ = syscall.Close(*l.holds)
		var err error
		eventually(func() bool { err = l.proxy.Start(); return err == nil }) // as in add
		must(t, err)
	}
}

// hold binds the link's port without listening: whoever connects is refused,
// and no other test gets the port meanwhile.
func (l link) hold() error {
	to, err := netip.ParseAddrPort(l.address())
	if err != nil {
		return err
	}
	if *l.holds, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	err = syscall.SetsockoptInt(*l.holds, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(*l.holds, &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	}
	if err == nil { // the address may be used again by this socket alone, or else whoever says the same listens there
		err = syscall.SetsockoptInt(*l.holds, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0)
	}
	if err != nil {
		_ = syscall.Close(*l.holds)
	}
	return err
}

func TestALinkThatIsDownKeepsItsPort(t *testing.T) {
	l := newLink(t, e2e.Listen(t).Addr().String())
	l.add(t, toxic{isDown: true}, 0, 0)
	if other, err := new(net.ListenConfig).Listen(t.Context(), "tcp", l.address()); err == nil {
		_ = other.Close()
		t.Error("another listens there")
	}
	l.mend(t)
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.address())
	must(t, err)
	_ = c.Close()
}

// processor is the right to compute: most cases wait most of the time, but if
// all signed their members in at once, what is in time would come late.
var processor = make(chan struct{}, 2)

// sideBySide runs a test for each case, all at once but for the processor, which
// a case has unless it is aside.
func sideBySide[C any](t *testing.T, cases []C, name func(C) string, test func(t *testing.T, c C, aside func(func()))) {
	t.Helper()
	t.Parallel()
	aside := func(wait func()) {
		<-processor
		defer func() { processor <- struct{}{} }()
		wait()
	}
	var all sync.WaitGroup
	for _, c := range cases {
		all.Go(func() {
			processor <- struct{}{}
			defer func() { <-processor }()
			t.Run(name(c), func(t *testing.T) { test(t, c, aside) })
		})
	}
	all.Wait()
}

// left are the goroutines that keepin began, or works in, and that do not end
// within 5 s.
func left() string {
	var found []string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 1<<22)
		found = nil
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "keepin/keepin/shared/") {
				found = append(found, g)
			}
		}
		if len(found) == 0 {
			break
		}
	}
	return strings.Join(found, "\n\n")
}

// browser is a client with cookies that follows no redirect.
func browser(t testing.TB) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	transport := &http.Transport{DisableKeepAlives: true}
	return &http.Client{Jar: jar, Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// answer is an HTTP answer, read whole, and how long it took.
type answer struct {
	status     int
	code       string // of a problem
	retryAfter string
	location   string
	body       []byte
	took       time.Duration
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s (Retry-After %q) after %v: %.200s", a.status, a.code, a.retryAfter, a.took.Round(time.Millisecond), a.body)
}

// send sends one request.
func send(t testing.TB, c *http.Client, method, address string, sign func(*http.Request)) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, address, nil)
	must(t, err)
	if sign != nil {
		sign(req)
	}
	began := time.Now()
	res, err := c.Do(req)
	must(t, err)
	defer res.Body.Close()
	a := answer{status: res.StatusCode, retryAfter: res.Header.Get("Retry-After"), location: res.Header.Get("Location")}
	a.body, err = io.ReadAll(res.Body)
	must(t, err)
	a.took = time.Since(began)
	var p struct{ Code string }
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") {
		must(t, json.Unmarshal(a.body, &p))
	}
	a.code = p.Code
	return a
}

// keepin is a keepin to ask, wherever it runs, beside its LinkedIn.
type keepin struct {
	*testing.T
	base    string
	sim     *linkedinsim.Sim
	clock   *linkedinsim.Clock
	browser *http.Client
	backend func(*http.Request) // makes a request the back end's
}

// signInAnswer is what the callback answers when ada has consented.
func (k *keepin) signInAnswer() answer {
	k.Helper()
	a := send(k, k.browser, "GET", k.base+"/login?renew=1", nil)
	back, err := k.sim.Authorize(a.location, "ada")
	must(k, err)
	return send(k, k.browser, "GET", back, nil)
}

func (k *keepin) signIn() {
	k.Helper()
	k.signInAnswer().want(k, "a sign-in", http.StatusSeeOther)
}

func (k *keepin) validate() answer {
	k.Helper()
	return send(k, k.browser, "GET", k.base+"/validate", nil)
}

func (k *keepin) logout() answer {
	k.Helper()
	return send(k, k.browser, "POST", k.base+"/logout", nil)
}

func (k *keepin) token(query string) answer {
	k.Helper()
	return send(k, k.browser, "GET", k.base+"/members/"+k.member()+"/token"+query, k.backend)
}

// member is the id of the one who is signed in by cookie, or was.
func (k *keepin) member() string {
	k.Helper()
	u, err := url.Parse(k.base)
	must(k, err)
	for _, c := range k.browser.Jar.Cookies(u) {
		if id, _, ok := strings.Cut(c.Value, "."); ok && c.Name == "keepin" {
			return id
		}
	}
	k.Fatal("no cookie of a session")
	return ""
}

// serves holds keepin to a token that LinkedIn honours, and to a member who is
// signed in.
func (k *keepin) serves() {
	k.Helper()
	a := k.token("")
	a.want(k, "a token when all is well", http.StatusOK)
	if a.status == http.StatusOK {
		k.honoured(a)
	}
	k.validate().want(k, "validate when all is well", http.StatusOK)
}

// honoured holds a token answer to a token that LinkedIn honours.
func (k *keepin) honoured(a answer) {
	k.Helper()
	var token struct {
		Access string `json:"access_token"`
	}
	must(k, json.Unmarshal(a.body, &token))
	req, err := http.NewRequestWithContext(k.Context(), "GET", "http://sim/v2/userinfo", nil)
	must(k, err)
	req.Header.Set("Authorization", "Bearer "+token.Access)
	res, err := k.sim.RoundTrip(req)
	must(k, err)
	if res.StatusCode != http.StatusOK {
		k.Errorf("LinkedIn answers %d to the token that was handed out", res.StatusCode)
	}
}

// want holds an answer to a status, and to the contract: a 503 is try_again and
// says when.
func (a answer) want(t testing.TB, what string, status int) {
	t.Helper()
	switch {
	case a.status != status:
		t.Errorf("%s: %s, want %d", what, a, status)
	case status == http.StatusServiceUnavailable && (a.code != "try_again" || a.retryAfter == ""):
		t.Errorf("%s: %s, want try_again and a Retry-After", what, a)
	}
}

// eventually waits for what comes of its own within 3 s.
func eventually(ok func() bool) bool {
	for end := time.Now().Add(3 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
