package e2e

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

// Target is a running keepin beside a LinkedIn simulator, both by one clock.
type Target struct {
	BaseURL string // keepin's, without a slash at the end
	Sim     *linkedinsim.Sim
	Clock   *linkedinsim.Clock
	// Pass runs one pass over what is due.
	Pass func(t testing.TB)
	// Backend makes a request one of the back end's.
	Backend func(*http.Request)
	// Stranger is what a gateway before keepin answers, in its own words, to a
	// request that is not the back end's; 0: there is none, keepin says 401.
	Stranger int
	// Transport sends requests to keepin; nil: the default one.
	Transport http.RoundTripper
	// Logs is all that was logged so far.
	Logs func() string
	// Events are the types of the events sent so far; Sent is all that was sent.
	Events func() []string
	Sent   func() string
	// Files is all that the store holds, as it holds it.
	Files func(t testing.TB) [][]byte
	// Secrets are keepin's own, by what they are: "sealing key 1".
	Secrets func(t testing.TB) map[string]string
	// Wire is what keepin calls in LinkedIn's place: Sim, with a hunt around it.
	Wire *Wire
	// Operate does an operator's verb and returns what a person reads, an error
	// too.
	Operate func(t testing.TB, words ...string) string
	// SetSecret gives keepin's operator another client secret, and the one before
	// it, to put where keepin reads them.
	SetSecret func(t testing.TB, current, previous string)
}

// browser is one browser: cookies, and no redirect followed by itself.
type browser struct {
	t      testing.TB
	target *Target
	jar    http.CookieJar
	client *http.Client
}

// answer is an HTTP answer, read whole.
type answer struct {
	*http.Response
	body string
}

func (a answer) location(t testing.TB) *url.URL {
	t.Helper()
	u, err := a.Location()
	if err != nil {
		t.Fatalf("status %d without a Location: %s", a.StatusCode, a.body)
	}
	return u
}

// view is the answer of /validate and /members/{id}.
type view struct {
	Member struct{ ID, Sub, Name, Picture, Email string }
	Grant  struct {
		Status    string
		Scopes    []string
		AccessEnd time.Time  `json:"access_expires_at"`
		Reconnect time.Time  `json:"reconnect_by"`
		Verified  *time.Time `json:"verified_at"`
	}
}

type token struct {
	Access  string    `json:"access_token"`
	Type    string    `json:"token_type"`
	Expires time.Time `json:"expires_at"`
	Scopes  []string
}

func (a answer) json(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("status %d, %v: %s", a.StatusCode, err, a.body)
	}
}

func (a answer) code(t testing.TB) string {
	t.Helper()
	var p struct{ Code string }
	a.json(t, &p)
	return p.Code
}

func (x *Target) stranger() int { return cmp.Or(x.Stranger, http.StatusUnauthorized) }

func (x *Target) browser(t testing.TB) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, target: x, jar: jar, client: &http.Client{Jar: jar, Transport: overhear{x.Wire.hunt, x.Transport}, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// do sends one request; address is a path of keepin's, or whole.
func (b *browser) do(method, address, body string, headers ...string) answer {
	b.t.Helper()
	a, err := b.try(method, address, body, headers...)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

func (b *browser) try(method, address, body string, headers ...string) (answer, error) {
	if strings.HasPrefix(address, "/") {
		address = b.target.BaseURL + address
	}
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, address, r)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if len(headers) == 1 && headers[0] == backend {
		b.target.Backend(req)
	}
	res, err := b.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return answer{res, string(text)}, err
}

// backend marks a request of the back end's.
const backend = "backend"

func (b *browser) get(address string, headers ...string) answer {
	b.t.Helper()
	return b.do("GET", address, "", headers...)
}

// consent goes from /login through the consent page as member, and returns the
// callback's address; an empty member presses Cancel.
func (b *browser) consent(login, member string) string {
	b.t.Helper()
	a := b.get(login)
	if a.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("GET %s = %d, want 303: %s", login, a.StatusCode, a.body)
	}
	back, err := b.target.Sim.Authorize(a.location(b.t).String(), member)
	if err != nil {
		b.t.Fatal(err)
	}
	return back
}

// signIn signs member in and returns who keepin says it is.
func (b *browser) signIn(member string) view {
	b.t.Helper()
	a := b.get(b.consent("/login", member))
	if a.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("the callback = %d, want 303: %s", a.StatusCode, a.body)
	}
	return b.validate()
}

// validate asks who is signed in; it must be somebody.
func (b *browser) validate() view {
	b.t.Helper()
	a := b.get("/validate")
	if a.StatusCode != http.StatusOK {
		b.t.Fatalf("/validate = %d: %s", a.StatusCode, a.body)
	}
	var v view
	a.json(b.t, &v)
	return v
}

// wantSignedOut holds /validate to 401 with a code.
func (b *browser) wantSignedOut(code string) {
	b.t.Helper()
	a := b.get("/validate")
	if a.StatusCode != http.StatusUnauthorized || a.code(b.t) != code {
		b.t.Fatalf("/validate = %d %s, want 401 %s", a.StatusCode, a.body, code)
	}
	var p struct {
		LoginURL string `json:"login_url"`
	}
	a.json(b.t, &p)
	if !strings.HasPrefix(p.LoginURL, b.target.BaseURL+"/login") {
		b.t.Errorf("login_url = %q", p.LoginURL)
	}
}

func (b *browser) logout() answer {
	b.t.Helper()
	return b.do("POST", "/logout", "", "Origin", origin(b.target.BaseURL))
}

// sdkCookie is what LinkedIn's JavaScript SDK sets for a member.
func (x *Target) sdkCookie(t testing.TB, member string) *http.Cookie {
	t.Helper()
	c, err := x.Sim.SDKCookie(linkedinsim.DefaultApp().ClientID, member)
	must(t, err)
	return c
}

// exchange is a page's own call of /exchange.
func (b *browser) exchange(body string) answer {
	b.t.Helper()
	return b.do("POST", "/exchange", body, "Content-Type", "application/json", "Origin", origin(b.target.BaseURL))
}

// token asks for a token as the back end does.
func (b *browser) token(id string) (token, answer) {
	b.t.Helper()
	a := b.get("/members/"+id+"/token", backend)
	var k token
	if a.StatusCode == http.StatusOK {
		a.json(b.t, &k)
	}
	return k, a
}

// mustToken is a token that LinkedIn honours now.
func (b *browser) mustToken(id string) token {
	b.t.Helper()
	k, a := b.token(id)
	if a.StatusCode != http.StatusOK {
		b.t.Fatalf("%v: no token: %d %s", b.target.Clock.Now(), a.StatusCode, a.body)
	}
	if !b.target.honours(b.t, k.Access) {
		b.t.Fatalf("%v: LinkedIn does not honour the token that was handed out", b.target.Clock.Now())
	}
	return k
}

// honours asks the simulator's API.
func (x *Target) honours(t testing.TB, access string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://sim/v2/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+access)
	res, err := x.Sim.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// advance moves the clock in steps, with a pass after each.
func (x *Target) advance(t testing.TB, by, step time.Duration) {
	t.Helper()
	for by > 0 {
		d := min(step, by)
		x.Clock.Advance(d)
		x.Pass(t)
		by -= d
	}
}

func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func read(t testing.TB, res *http.Response) answer {
	t.Helper()
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res, string(text)}
}
