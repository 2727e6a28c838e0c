// Package provider_test signs in to an OpenID provider that is neither
// LinkedIn nor keepin's simulator of it, with what LinkedIn has no use for
// switched on: nonce, PKCE and rotating refresh tokens. The code is what
// `keepin serve` runs; the provider is oidc-provider, for which install.sh and
// node are needed.
package provider_test

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/local"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/telemetry"
	"github.com/keepin/keepin/test/e2e"
	"github.com/keepin/keepin/test/tool"
)

//go:embed node/provider.mjs
var program string

const (
	clientID     = "keepin" // as node/provider.mjs has them
	clientSecret = "a/client,secret=of+keepin"
)

// endpoints are oidc-provider's own.
func endpoints() linkedin.Endpoints {
	return linkedin.Endpoints{Authorization: "/auth", Token: "/token", Introspection: "/token/introspection",
		Revocation: "/token/revocation", Keys: "/jwks", Userinfo: "/me"}
}

// world is keepin beside the provider.
type world struct {
	*testing.T
	base, issuer string
	ahead        atomic.Int64 // how far keepin's clock is, in ns
	stopped      atomic.Int64 // where keepin's clock stands, as Unix ns; 0: it goes
	backendKey   string
	wire         wire
	log          e2e.Log
}

func newWorld(t *testing.T, change ...func(*local.Config)) *world {
	t.Helper()
	w := &world{T: t}
	l := e2e.Listen(t)
	w.base = "http://" + l.Addr().String()
	w.issuer = start(t, w.base+"/callback")

	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	w.must(os.WriteFile(path("app.json"), []byte(`{"client_id":"`+clientID+`","client_secret":"`+clientSecret+`"}`), 0o600))
	cfg := local.Config{
		BaseURL: w.base, Scopes: []string{"openid", "profile", "email"}, LinkedInURL: w.issuer, APIURL: w.issuer, Issuer: w.issuer,
		Endpoints: endpoints(), Nonce: true, PKCE: true, ResponseIssuer: true,
		Store: path("keepin.db"), Credentials: path("app.json"), Keys: path("keys.json"), BackendKey: path("backend-key"),
		Transport: &w.wire, Now: w.now, Log: telemetry.Logger(&w.log, slog.LevelDebug, false, nil),
	}
	for _, c := range change {
		c(&cfg)
	}
	m, err := local.Open(t.Context(), cfg)
	w.must(err)
	t.Cleanup(func() { w.must(m.Close()) })
	e2e.Serve(t, l, m)
	key, err := os.ReadFile(path("backend-key"))
	w.must(err)
	w.backendKey = string(bytes.TrimSpace(key))
	return w
}

// start starts the provider and returns its issuer.
func start(t *testing.T, redirectURI string) string {
	t.Helper()
	folder, err := filepath.Abs("../../.tools/provider")
	if err != nil {
		t.Fatal(err)
	}
	node, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join(folder, "installed"))
	}
	if err != nil {
		tool.Missing(t, "oidc-provider", "test/provider/install.sh")
	}
	cmd := exec.CommandContext(t.Context(), node, "--input-type=module", "--eval", program)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), "REDIRECT_URI="+redirectURI)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe() // when this process ends, so does the provider
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = in.Close(), cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		t.Fatalf("the provider does not start: %s", complaints.String())
	}
	return strings.TrimSpace(line)
}

func (w *world) now() time.Time {
	now := time.Now()
	if at := w.stopped.Load(); at != 0 {
		now = time.Unix(0, at)
	}
	return now.Add(time.Duration(w.ahead.Load()))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// control tells the provider what to do.
func (w *world) control(order string) {
	w.Helper()
	w.client().do("GET", w.issuer+"/control/"+order)
}

// linkedin is the client that keepin has, for calls beside keepin.
func (w *world) linkedin(pkce bool) *linkedin.Client {
	w.Helper()
	c, err := linkedin.New(linkedin.Config{
		LinkedInURL: w.issuer, APIURL: w.issuer, Issuer: w.issuer, RedirectURL: w.base + "/callback", Scopes: []string{"openid"},
		Endpoints: endpoints(), PKCE: pkce,
		Credentials: func(context.Context, bool) (linkedin.Credentials, error) {
			return linkedin.Credentials{ClientID: clientID, Secret: secret.New(clientSecret)}, nil
		},
	})
	w.must(err)
	return c
}

// wire keeps what was sent to the token endpoint and what came of it.
type wire struct {
	mu    sync.Mutex
	paths []string
	forms []url.Values
	got   []tokens
}

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
}

func (s *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths = append(s.paths, r.URL.Path)
	if err == nil && r.URL.Path == "/token" {
		body, _ := io.ReadAll(res.Body)
		res.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(sent))
		var t tokens
		_ = json.Unmarshal(body, &t)
		s.forms, s.got = append(s.forms, form), append(s.got, t)
	}
	return res, err
}

func (s *wire) count(path string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.paths {
		if p == path {
			n++
		}
	}
	return n
}

// last is the last call of the token endpoint.
func (s *wire) last(t *testing.T) (url.Values, tokens) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.forms) == 0 {
		t.Fatal("the token endpoint was not called")
	}
	return s.forms[len(s.forms)-1], s.got[len(s.got)-1]
}

// browser follows no redirect by itself.
type browser struct {
	*world
	http    http.Client
	account string
}

func (w *world) client() *browser {
	jar, err := cookiejar.New(nil)
	w.must(err)
	return &browser{world: w, account: "ada", http: http.Client{Jar: jar, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

type answer struct {
	*http.Response
	body string
}

func (b *browser) do(method, address string, header ...string) answer {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, address, nil)
	b.must(err)
	r.Header.Set("Account", b.account)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := b.http.Do(r)
	b.must(err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	b.must(err)
	return answer{res, string(body)}
}

func (a answer) code() string {
	var p struct{ Code string }
	_ = json.Unmarshal([]byte(a.body), &p)
	return p.Code
}

// login goes to /login and returns where it leads.
func (b *browser) login() *url.URL {
	b.Helper()
	to, err := b.do("GET", b.base+"/login").Location()
	b.must(err)
	return to
}

// consent goes through the provider and returns the callback that it leads to.
func (b *browser) consent(at *url.URL) string {
	b.Helper()
	for range 8 {
		a := b.do("GET", at.String())
		to, err := a.Location()
		if err != nil {
			b.Fatalf("%s = %d: %s", at, a.StatusCode, a.body)
		}
		if at = to; strings.HasPrefix(at.String(), b.base) {
			return at.String()
		}
	}
	b.Fatalf("the provider goes in a circle: %s", at)
	return ""
}

func (b *browser) signIn() answer {
	b.Helper()
	return b.do("GET", b.consent(b.login()))
}

func (b *browser) wantSignedIn(a answer) (memberID string) {
	b.Helper()
	if a.StatusCode != http.StatusSeeOther {
		b.Fatalf("the callback = %d %s; log %s", a.StatusCode, a.body, b.log.String())
	}
	var v struct {
		Member struct{ ID, Sub, Name, Email string }
	}
	got := b.do("GET", b.base+"/validate")
	b.must(json.Unmarshal([]byte(got.body), &v))
	if v.Member.Sub != b.account || v.Member.Name != b.account+" of Elsewhere" || v.Member.Email != b.account+"@elsewhere.example" {
		b.Fatalf("/validate = %d %s", got.StatusCode, got.body)
	}
	return v.Member.ID
}

// wantRefused: the callback failed, and nobody is signed in.
func (b *browser) wantRefused(a answer, status int, code string) {
	b.Helper()
	if a.StatusCode != status || a.code() != code {
		b.Errorf("the callback = %d %s, want %d %s; log %s", a.StatusCode, a.body, status, code, b.log.String())
	}
	if v := b.do("GET", b.base+"/validate"); v.StatusCode != http.StatusUnauthorized {
		b.Errorf("/validate = %d %s", v.StatusCode, v.body)
	}
}

// token is what the back end is given.
func (b *browser) token(member, query string) (string, answer) {
	b.Helper()
	a := b.do("GET", b.base+"/members/"+member+"/token"+query, "Authorization", "Bearer "+b.backendKey)
	var v tokens
	_ = json.Unmarshal([]byte(a.body), &v)
	return v.Access, a
}

// changed is an address with one parameter of another value.
func changed(at *url.URL, name, value string) *url.URL {
	q := at.Query()
	q.Set(name, value)
	out := *at
	out.RawQuery = q.Encode()
	return &out
}

func claims(t *testing.T, idToken string) map[string]any {
	t.Helper()
	parts := strings.Split(idToken, ".")
	if len(parts) != 3 {
		t.Fatalf("the ID token has %d parts", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestASignInAtAnotherProvider(t *testing.T) {
	w := newWorld(t)
	b := w.client()
	at := b.login()
	q := at.Query()
	if len(q.Get("nonce")) != 43 || len(q.Get("code_challenge")) != 43 || q.Get("code_challenge_method") != "S256" {
		t.Errorf("the consent page is asked with %v", q)
	}
	back := b.consent(at)
	if u, err := url.Parse(back); err != nil || u.Query().Get("iss") != w.issuer {
		t.Errorf("the provider announces iss, and comes back with %s", back)
	}
	if a := b.do("GET", strings.Replace(back, "iss=", "was=", 1)); a.StatusCode != http.StatusBadRequest || a.code() != "bad_request" {
		t.Errorf("a callback without iss = %d %s", a.StatusCode, a.body)
	}
	member := b.wantSignedIn(b.do("GET", back))
	form, issued := w.wire.last(t)
	if c := claims(t, issued.ID); c["nonce"] != q.Get("nonce") || c["iss"] != w.issuer || c["aud"] != clientID {
		t.Errorf("the ID token says %v", c)
	}
	if len(form.Get("code_verifier")) != 43 {
		t.Errorf("the verifier is %q", form.Get("code_verifier"))
	}
	access, a := b.token(member, "")
	if a.StatusCode != http.StatusOK || access != issued.Access {
		t.Fatalf("the token: %d %s", a.StatusCode, a.body)
	}
	if who, err := w.linkedin(true).Identify(t.Context(), secret.New(access)); err != nil || who.Subject != "ada" {
		t.Errorf("userinfo: %+v, %v", who, err)
	}
	if ins, err := w.linkedin(true).Inspect(t.Context(), secret.New(access)); err != nil || !ins.Active || time.Until(ins.ExpiresAt) < 50*time.Minute ||
		!slices.Equal(ins.Scopes, []string{"email", "openid", "profile"}) {
		t.Errorf("introspection: %+v, %v", ins, err)
	}

	b = w.client()
	b.account = "" // refuses
	if to, err := b.signIn().Location(); err != nil || to.Query().Get("login") != "denied" {
		t.Errorf("a refusal leads to %v, %v", to, err)
	}
}

func TestAForeignNonceIsRefused(t *testing.T) {
	w := newWorld(t)
	b := w.client()
	b.wantRefused(b.do("GET", b.consent(changed(b.login(), "nonce", "of-another-sign-in"))), http.StatusBadGateway, "linkedin_error")

	// The nonce alone was wrong.
	w = newWorld(t, func(c *local.Config) { c.Nonce = false })
	b = w.client()
	b.wantSignedIn(b.do("GET", b.consent(changed(b.login(), "nonce", "of-another-sign-in"))))
}

func TestTheVerifierIsNeeded(t *testing.T) {
	w := newWorld(t)
	b := w.client()
	at := changed(b.login(), "code_challenge", base64.RawURLEncoding.EncodeToString(make([]byte, 32)))
	b.wantRefused(b.do("GET", b.consent(at)), http.StatusBadRequest, "code_refused")

	// A code that was stolen is worth nothing without the verifier.
	back, err := url.Parse(b.consent(b.login()))
	w.must(err)
	_, _, err = w.linkedin(false).Exchange(t.Context(), secret.New(back.Query().Get("code")), keeper.Authorization{State: secret.New("x"), IssuedAt: time.Now()})
	if keeper.ClassOf(err) != keeper.ClassMember {
		t.Errorf("without a verifier: %v", err)
	}

	w = newWorld(t, func(c *local.Config) { c.PKCE = false })
	b = w.client()
	b.wantRefused(b.signIn(), http.StatusBadGateway, "linkedin_error")
}

func TestKeysThatRotateAreFound(t *testing.T) {
	w := newWorld(t)
	w.stopped.Store(time.Now().UnixNano()) // a slow machine must not bring the 30 s about
	b := w.client()
	b.wantSignedIn(b.signIn())
	w.control("rotate")
	// Keys are asked for at most every 30 s, whoever names one that is unknown.
	other := w.client()
	for range 3 {
		other.wantRefused(other.signIn(), http.StatusBadGateway, "linkedin_error")
	}
	if n := w.wire.count("/jwks"); n != 1 {
		t.Errorf("the keys were read %d times", n)
	}
	w.ahead.Store(int64(31 * time.Second))
	other.wantSignedIn(other.signIn())
	if n := w.wire.count("/jwks"); n != 2 {
		t.Errorf("the keys were read %d times", n)
	}
}

func TestRefreshTokensThatRotateAreKept(t *testing.T) {
	w := newWorld(t)
	w.ahead.Store(int64(-50 * time.Second)) // an ID token may be a minute from our clock, either way
	w.control("access-life?seconds=50")
	b := w.client()
	member := b.wantSignedIn(b.signIn())
	_, first := w.wire.last(t)
	spent := []tokens{first}
	for _, life := range []string{"50", "50", "3600"} { // a caller wants a minute: each is renewed but the last
		w.control("access-life?seconds=" + life)
		w.ahead.Add(int64(31 * time.Second)) // a caller may have one renewed in 30 s
		_, a := b.token(member, "")
		form, issued := w.wire.last(t)
		if form.Get("grant_type") != "refresh_token" || form.Get("refresh_token") != spent[len(spent)-1].Refresh || issued.Refresh == form.Get("refresh_token") || issued.ID == "" {
			t.Fatalf("a life of %s s: %d %s, sent %v, got %v", life, a.StatusCode, a.body, form, issued)
		}
		spent = append(spent, issued)
	}
	access, a := b.token(member, "")
	last := spent[len(spent)-1]
	if a.StatusCode != http.StatusOK || access != last.Access {
		t.Fatalf("the token at last: %d %s; log %s", a.StatusCode, a.body, w.log.String())
	}
	if _, err := w.linkedin(true).Identify(t.Context(), secret.New(access)); err != nil {
		t.Error(err)
	}
	// The provider takes none twice.
	if _, err := w.linkedin(true).Refresh(t.Context(), secret.New(first.Refresh)); keeper.ClassOf(err) != keeper.ClassMember {
		t.Errorf("a refresh token that was spent: %v", err)
	}
}

func TestALogoutRevokesAtTheProvider(t *testing.T) {
	w := newWorld(t)
	b := w.client()
	b.wantSignedIn(b.signIn())
	_, issued := w.wire.last(t)
	if a := b.do("POST", w.base+"/logout", "Origin", w.base); a.StatusCode != http.StatusNoContent {
		t.Fatalf("logout = %d %s", a.StatusCode, a.body)
	}
	client := w.linkedin(true)
	if _, err := client.Refresh(t.Context(), secret.New(issued.Refresh)); keeper.ClassOf(err) != keeper.ClassMember {
		t.Errorf("the refresh token: %v", err)
	}
	if _, err := client.Identify(t.Context(), secret.New(issued.Access)); keeper.ClassOf(err) != keeper.ClassMember {
		t.Errorf("the access token: %v", err)
	}
	if ins, err := client.Inspect(t.Context(), secret.New(issued.Access)); err != nil || ins.Active {
		t.Errorf("introspection: %+v, %v", ins, err)
	}
}
