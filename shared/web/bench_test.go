package web_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/storetest"
	"github.com/keepin/keepin/shared/web"
	"github.com/keepin/keepin/test/contract"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	clientID   = "77keepintest0"
	code       = "AQTcanaryCode-0123456789_abcdefghijklmnop"
	backendKey = "back-end-key-canary"
)

// bench is keepin over HTTP, on a memory store, with a LinkedIn and a Keeper
// that do as told.
type bench struct {
	*testing.T
	now      time.Time
	store    *storetest.Memory
	sealer   sealer
	linkedin *linkedin
	keeper   *fakeKeeper
	sessions *session.Manager
	site     *web.Site
	mux      http.Handler
	log      bytes.Buffer
	sleeps   []time.Duration
	onSleep  func()
	contract *contract.Contract

	mu  sync.Mutex
	ops []string // calls of the store
}

// loaded is the one contract that all tests are held against.
var loaded = sync.OnceValues(contract.Load)

// newBench makes one at https://app.example/auth, or as change has it.
func newBench(t *testing.T, change ...func(*web.Config)) *bench {
	t.Helper()
	c, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, now: start, contract: c}
	now := func() time.Time { return b.now }
	b.store = storetest.NewMemory(now)
	b.count()
	cfg := web.Config{
		BaseURL: "https://app.example/auth", ReturnOrigins: []string{"https://shop.example", "https://www.app.example:8443"},
		Scopes: []string{"openid", "profile", "email"}, Issuer: "https://www.linkedin.com/oauth",
		Now: now, Log: slog.New(slog.NewJSONHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&cfg)
	}
	if b.site, err = web.NewSite(cfg); err != nil {
		t.Fatal(err)
	}
	b.sessions, err = session.New(session.Config{
		Store: b.store, Burns: b.store, Sealer: &b.sealer, Secure: b.site.Secure(), Now: now,
		Sleep: func(ctx context.Context, d time.Duration) error {
			b.sleeps = append(b.sleeps, d)
			b.now = b.now.Add(d)
			if b.onSleep != nil {
				b.onSleep()
			}
			return ctx.Err()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.linkedin = &linkedin{b: b}
	b.keeper = &fakeKeeper{b: b}
	b.mux = web.Mux(b.site, b.site.Path(), web.AllRoutes(b.site, b.sessions, b.linkedin, b.keeper, true, web.BearerAuth(secret.New(backendKey))))
	return b
}

// count records what the store is asked.
func (b *bench) count() {
	b.store.Before = func(op string) (bool, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ops = append(b.ops, op)
		return true, nil
	}
}

// fail makes one operation of the store fail from now on.
func (b *bench) fail(op string) {
	b.store.Before = func(got string) (bool, error) {
		if got == op {
			return false, errors.New("canary: the store is down")
		}
		return true, nil
	}
}

func (b *bench) writes() (n int) {
	for _, op := range b.ops {
		if op != "Look" && op != "Get" {
			n++
		}
	}
	return n
}

func (b *bench) fatal(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// browser keeps cookies as a browser does.
type browser struct {
	*bench
	jar map[string]string
}

func (b *bench) browser() *browser { return &browser{b, make(map[string]string)} }

// request makes one that a browser would send, with header as "Name: value".
func (b *browser) request(method, path string, header ...string) *http.Request {
	b.Helper()
	r := httptest.NewRequestWithContext(b.Context(), method, "https://app.example"+path, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	var pairs []string
	for name, value := range b.jar {
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	if len(pairs) > 0 && r.Header.Get("Cookie") == "" {
		r.Header.Set("Cookie", strings.Join(pairs, "; "))
	}
	return r
}

// do sends it and keeps the cookies of the answer.
func (b *browser) do(method, path string, header ...string) *http.Response {
	b.Helper()
	res := b.bench.send(b.request(method, path, header...))
	for _, c := range res.Cookies() {
		if c.MaxAge < 0 {
			delete(b.jar, c.Name)
		} else {
			b.jar[c.Name] = c.Value
		}
	}
	return res
}

func (b *browser) get(path string, header ...string) *http.Response {
	b.Helper()
	return b.do("GET", path, header...)
}

// api is a call that wants JSON.
func (b *browser) api(method, path string, header ...string) *http.Response {
	b.Helper()
	return b.do(method, path, append([]string{"Accept: application/json"}, header...)...)
}

// begin goes to /login and returns the state that went to LinkedIn.
func (b *browser) begin(query string) string {
	b.Helper()
	res := b.get("/auth/login" + query)
	if res.StatusCode != 303 {
		b.Fatalf("login: %d %s", res.StatusCode, body(res))
	}
	u, err := url.Parse(res.Header.Get("Location"))
	b.fatal(err)
	if u.Host != "www.linkedin.com" {
		b.Fatalf("login went to %s", u)
	}
	return u.Query().Get("state")
}

// signIn signs in as the member whom LinkedIn names, and returns the callback's
// answer.
func (b *browser) signIn(query string) *http.Response {
	b.Helper()
	return b.get(callback(b.begin(query)))
}

func callback(state string) string { return "/auth/callback?code=" + code + "&state=" + state }

// send is one request and its answer.
func (b *bench) send(r *http.Request) *http.Response {
	b.Helper()
	sent, err := io.ReadAll(r.Body)
	b.fatal(err)
	r.Body = io.NopCloser(bytes.NewReader(sent))
	w := httptest.NewRecorder()
	b.mux.ServeHTTP(w, r)
	r.Body = io.NopCloser(bytes.NewReader(sent))
	res := w.Result()
	if err := b.contract.Check(b.site.Path(), r, res); err != nil {
		b.Errorf("contract: %v", err)
	}
	return res
}

// backend calls as the application's back end.
func (b *bench) backend(method, path, send string) *http.Response {
	b.Helper()
	r := httptest.NewRequestWithContext(b.Context(), method, "https://app.example/auth"+path, strings.NewReader(send))
	r.Header.Set("Authorization", "Bearer "+backendKey)
	if send != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return b.send(r)
}

func body(res *http.Response) string {
	all, _ := io.ReadAll(res.Body)
	res.Body = io.NopCloser(bytes.NewReader(all))
	return string(all)
}

// linkedin answers every exchange with the member sub, or with err.
type linkedin struct {
	b         *bench
	sub       string
	err       error
	urlErr    error
	exchanges int
	seen      keeper.Authorization
	sdkScopes string // of what the SDK's token is exchanged for; "": all
	during    func() // an exchange
}

func (l *linkedin) AuthCodeURL(_ context.Context, a keeper.Authorization) (string, error) {
	l.seen = a
	return "https://www.linkedin.com/oauth/v2/authorization?state=" + a.State.Reveal(), l.urlErr
}

func (l *linkedin) Exchange(ctx context.Context, _ secret.String, a keeper.Authorization) (keeper.Identity, keeper.Tokens, error) {
	l.exchanges++
	l.seen = a
	if l.during != nil {
		l.during()
	}
	if err := cmp.Or(ctx.Err(), l.err); err != nil {
		return keeper.Identity{}, keeper.Tokens{}, err
	}
	sub := cmp.Or(l.sub, "ada-sub")
	return keeper.Identity{ClientID: clientID, Subject: sub, Profile: keeper.Profile{
			Name: "Ada <b>Lovelace</b>", Picture: "https://media.licdn.com/dms/ada.jpg?e=1&v=beta", Email: "ada@example.com",
		}}, keeper.Tokens{
			Access: secret.New("access-canary-" + sub), IssuedAt: l.b.now, ExpiresAt: l.b.now.AddDate(0, 0, 60),
			Refresh: secret.New("refresh-canary-" + sub), RefreshExpiresAt: l.b.now.AddDate(1, 0, 0), Subject: sub,
		}, nil
}

// sdkName and sdkValue are a cookie of LinkedIn's SDK, signed for a member; n
// tells one from another.
const sdkName = "linkedin_oauth_" + clientID

func sdkValue(member, n string) string { return "sdk-canary." + member + "." + n }

func (l *linkedin) SDKCookie(context.Context) (string, error) { return sdkName, l.urlErr }

func (l *linkedin) SDKSignature(_ context.Context, value secret.String) (secret.String, error) {
	if !strings.HasPrefix(value.Reveal(), "sdk-canary.") {
		return secret.String{}, &keeper.CallError{Class: keeper.ClassMember}
	}
	return secret.New("signature-canary of " + value.Reveal()), nil
}

func (l *linkedin) ExchangeSDK(ctx context.Context, value secret.String) (keeper.Identity, keeper.Tokens, error) {
	was := l.sub
	defer func() { l.sub = was }()
	l.sub = strings.Split(value.Reveal(), ".")[1]
	id, tokens, err := l.Exchange(ctx, value, keeper.Authorization{})
	if err == nil && tokens.Scopes == nil {
		tokens.Scopes = strings.Fields(cmp.Or(l.sdkScopes, "openid profile email"))
	}
	return id, tokens, err
}

// fakeKeeper keeps grants as simply as can be.
type fakeKeeper struct {
	b                     *bench
	err                   error // of every call
	observed              []string
	signOuts, inspections int
	minLeft               time.Duration
}

func (k *fakeKeeper) SignIn(ctx context.Context, _ keeper.Grant, id keeper.Identity, t keeper.Tokens) (keeper.Grant, error) {
	if k.err != nil {
		return keeper.Grant{}, k.err
	}
	member := keeper.NewMemberID(id.ClientID, id.Subject)
	old, err := k.b.store.Get(ctx, member)
	if err != nil && !errors.Is(err, keeper.ErrNotFound) {
		return keeper.Grant{}, err
	}
	slices.Sort(t.Scopes)
	g := keeper.Grant{
		Member: member, Subject: id.Subject, Profile: id.Profile, Generation: cmp.Or(old.Generation, rand.Text()),
		Status: keeper.Active, Scopes: t.Scopes, Rev: rand.Text(),
		Access:  keeper.Token{Sealed: []byte(t.Access.Reveal()), IssuedAt: t.IssuedAt, ExpiresAt: t.ExpiresAt},
		Refresh: keeper.Token{Sealed: []byte(t.Refresh.Reveal()), IssuedAt: t.IssuedAt, ExpiresAt: t.RefreshExpiresAt},
	}
	return g, k.b.store.Put(ctx, g, old.Rev)
}

func (k *fakeKeeper) Observe(_ context.Context, operation string, err error) {
	k.observed = append(k.observed, strings.TrimRight(operation+" "+string(keeper.ClassOf(err)), " "))
}

func (k *fakeKeeper) SignOut(ctx context.Context, id keeper.MemberID) error {
	if k.err != nil {
		return k.err
	}
	k.signOuts++
	return k.change(ctx, id, func(g *keeper.Grant) {
		*g = keeper.Grant{Member: g.Member, Subject: g.Subject, Generation: rand.Text(), Status: keeper.SignedOut}
	})
}

// change writes a grant changed.
func (k *fakeKeeper) change(ctx context.Context, id keeper.MemberID, f func(*keeper.Grant)) error {
	g, err := k.b.store.Get(ctx, id)
	if err != nil {
		return err
	}
	old := g.Rev
	f(&g)
	g.Rev = rand.Text()
	return k.b.store.Put(ctx, g, old)
}

func (k *fakeKeeper) Grant(ctx context.Context, id keeper.MemberID) (keeper.Grant, error) {
	if k.err != nil {
		return keeper.Grant{}, k.err
	}
	return k.b.store.Get(ctx, id)
}

func (k *fakeKeeper) Inspect(ctx context.Context, id keeper.MemberID) (keeper.Grant, error) {
	k.inspections++
	return k.Grant(ctx, id)
}

func (k *fakeKeeper) Token(ctx context.Context, id keeper.MemberID, minLeft time.Duration) (secret.String, keeper.Grant, error) {
	k.minLeft = minLeft
	g, err := k.Grant(ctx, id)
	if err != nil {
		return secret.String{}, keeper.Grant{}, err
	}
	switch g.State(k.b.now) {
	case keeper.StateSignedOut:
		return secret.String{}, keeper.Grant{}, keeper.ErrNotFound
	case keeper.StateReconnect:
		return secret.String{}, keeper.Grant{}, keeper.ErrReconnect
	}
	t, ok := g.Serving(k.b.now)
	if !ok {
		return secret.String{}, keeper.Grant{}, keeper.ErrUnavailable
	}
	return secret.New(string(t.Sealed)), g, nil
}

// sealer is AES-GCM with one key; purpose and owner are bound.
type sealer struct{ err error }

func (s *sealer) aead() cipher.AEAD {
	block, _ := aes.NewCipher(make([]byte, 32))
	aead, _ := cipher.NewGCMWithRandomNonce(block)
	return aead
}

func (s *sealer) Seal(_ context.Context, clear secret.String, p keeper.Purpose, owner string) ([]byte, error) {
	return s.aead().Seal(nil, nil, []byte(clear.Reveal()), []byte(string(p)+"\n"+owner)), s.err
}

func (s *sealer) Open(_ context.Context, sealed []byte, p keeper.Purpose, owner string) (secret.String, error) {
	clear, err := s.aead().Open(nil, nil, sealed, []byte(string(p)+"\n"+owner))
	return secret.New(string(clear)), cmp.Or(err, s.err)
}
