package keeper_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/storetest"
)

// clearSealer keeps what it seals in the clear, and still checks owner and purpose.
type clearSealer struct{}

func (clearSealer) Seal(_ context.Context, s secret.String, p keeper.Purpose, owner string) ([]byte, error) {
	return []byte(string(p) + "\n" + owner + "\n" + s.Reveal()), nil
}

func (clearSealer) Open(_ context.Context, b []byte, p keeper.Purpose, owner string) (secret.String, error) {
	prefix := string(p) + "\n" + owner + "\n"
	if len(b) < len(prefix) || string(b[:len(prefix)]) != prefix {
		return secret.String{}, errors.New("does not open")
	}
	return secret.New(string(b[len(prefix):])), nil
}

// world is a Keeper over a memory store and the simulator, with one clock.
type world struct {
	*keeper.Keeper
	sim    *linkedinsim.Sim
	clock  *linkedinsim.Clock
	client *linkedin.Client
	store  *storetest.Memory
	calls  *calls
	config keeper.Config

	mu     sync.Mutex
	events []keeper.Event           // as delivered, duplicates too
	refuse func(keeper.Event) error // nil: the webhook is well
}

// calls is the provider with a hook on each side of a call: an error from one
// is what the Keeper gets, without a call or in place of its answer.
type calls struct {
	keeper.Provider
	begun         func(operation string) // before all
	before, after func(operation string) error
	good          func(operation string) // after a success whose answer is not lost
}

func around[T any](c *calls, operation string, call func() (T, error)) (T, error) {
	var none T
	if c.begun != nil {
		c.begun(operation)
	}
	if c.before != nil {
		if err := c.before(operation); err != nil {
			return none, err
		}
	}
	v, err := call()
	if c.after != nil {
		if lost := c.after(operation); lost != nil {
			return none, lost
		}
	}
	if c.good != nil && err == nil {
		c.good(operation)
	}
	return v, err
}

func (c *calls) Refresh(ctx context.Context, s secret.String) (keeper.Tokens, error) {
	return around(c, "refresh", func() (keeper.Tokens, error) { return c.Provider.Refresh(ctx, s) })
}

func (c *calls) Inspect(ctx context.Context, s secret.String) (keeper.Inspection, error) {
	return around(c, "introspect", func() (keeper.Inspection, error) { return c.Provider.Inspect(ctx, s) })
}

func (c *calls) Identify(ctx context.Context, s secret.String) (keeper.Identity, error) {
	return around(c, "userinfo", func() (keeper.Identity, error) { return c.Provider.Identify(ctx, s) })
}

func (c *calls) Revoke(ctx context.Context, s secret.String) error {
	_, err := around(c, "revoke", func() (any, error) { return nil, c.Provider.Revoke(ctx, s) })
	return err
}

// simKey signs for every simulator of these tests. What it has signed it does
// not sign again: thousands of lives begin with one and the same ID token.
var simKey = func() *signer {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return &signer{PrivateKey: k}
}()

type signer struct {
	*rsa.PrivateKey
	signed sync.Map // by digest
}

func (s *signer) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if sig, ok := s.signed.Load(string(digest)); ok {
		return sig.([]byte), nil
	}
	sig, err := s.PrivateKey.Sign(random, digest, opts)
	if err == nil {
		s.signed.Store(string(digest), sig)
	}
	return sig, err
}

func newWorld(t testing.TB, change func(*linkedinsim.App)) *world {
	t.Helper()
	w := &world{clock: linkedinsim.NewClock(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))}
	app := linkedinsim.App{ClientID: "77keepin", Secret: "the-app-secret", RedirectURLs: []string{"http://localhost:8080/callback"},
		Scopes: []string{"openid", "profile", "email", "w_member_social"}, Refresh: true}
	if change != nil {
		change(&app)
	}
	var err error
	w.sim, err = linkedinsim.New(linkedinsim.Config{Clock: w.clock, URL: "http://sim.test", Apps: []linkedinsim.App{app}, Members: linkedinsim.DefaultMembers(), Key: simKey})
	if err != nil {
		t.Fatal(err)
	}
	w.client = w.linkedIn(t, func(context.Context, bool) (linkedin.Credentials, error) { return credentials, nil })
	w.store = storetest.NewMemory(w.clock.Now)
	w.calls = &calls{Provider: w.client}
	w.config = keeper.Config{Store: w.store, Desk: w.store, Provider: w.calls, Sealer: clearSealer{}, Now: w.clock.Now,
		Sleep: func(ctx context.Context, d time.Duration) error { return ctx.Err() }, Events: w.deliver, Workers: 1}
	if testing.Verbose() {
		w.config.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	w.Keeper = w.keeper(t, nil)
	return w
}

var credentials = linkedin.Credentials{ClientID: "77keepin", Secret: secret.New("the-app-secret")}

// linkedIn is a client of the simulator, with the client secret from read.
func (w *world) linkedIn(t testing.TB, read func(ctx context.Context, again bool) (linkedin.Credentials, error)) *linkedin.Client {
	t.Helper()
	c, err := linkedin.New(linkedin.Config{LinkedInURL: "http://sim.test", APIURL: "http://sim.test", Issuer: "http://sim.test/oauth",
		RedirectURL: "http://localhost:8080/callback", Scopes: []string{"email", "openid", "profile"}, Now: w.clock.Now, Transport: http.RoundTripper(w.sim),
		Credentials: read})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// keeper is another worker in the same world.
func (w *world) keeper(t testing.TB, change func(*keeper.Config)) *keeper.Keeper {
	t.Helper()
	c := w.config
	if change != nil {
		change(&c)
	}
	k, err := keeper.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) deliver(_ context.Context, e keeper.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		if err := w.refuse(e); err != nil {
			return err
		}
	}
	w.events = append(w.events, e)
	return nil
}

// told counts the events of a type, duplicates once.
func (w *world) told(typ keeper.EventType) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := map[string]bool{}
	for _, e := range w.events {
		if e.Type == typ {
			ids[e.ID] = true
		}
	}
	return len(ids)
}

func (w *world) signIn(t testing.TB, member string) keeper.Grant {
	t.Helper()
	id, tokens := w.consent(t, member)
	return w.keep(t, id, tokens)
}

func (w *world) consent(t testing.TB, member string) (keeper.Identity, keeper.Tokens) {
	t.Helper()
	a := keeper.Authorization{State: secret.New(rand.Text()), IssuedAt: w.clock.Now()}
	to, err := w.client.AuthCodeURL(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	back, err := w.sim.Authorize(to, member)
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(back)
	id, tokens, err := w.client.Exchange(t.Context(), secret.New(u.Query().Get("code")), a)
	if err != nil {
		t.Fatal(err)
	}
	return id, tokens
}

func (w *world) keep(t testing.TB, id keeper.Identity, tokens keeper.Tokens) keeper.Grant {
	t.Helper()
	g, err := w.SignIn(t.Context(), storetest.Seen(t.Context(), w.store, id.Member()), id, tokens)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (w *world) pass(t testing.TB) keeper.Report {
	t.Helper()
	r, err := w.Pass(t.Context(), keeper.Range{From: 0, To: 15})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// live asks the simulator itself whether a token is good.
func (w *world) live(t testing.TB, token secret.String) bool {
	t.Helper()
	_, err := w.client.Identify(t.Context(), token)
	return err == nil
}

func TestAMemberStaysSignedInForAYear(t *testing.T) {
	w := newWorld(t, nil)
	g := w.signIn(t, "ada")
	begun := w.clock.Now()
	refreshes, issued := 0, time.Time{}
	for w.clock.Now().Sub(begun) < 364*24*time.Hour {
		token, now, err := w.Token(t.Context(), g.Member, time.Minute)
		if err != nil {
			t.Fatalf("day %.1f: %v", w.clock.Now().Sub(begun).Hours()/24, err)
		}
		if !w.live(t, token) {
			t.Fatalf("day %.1f: LinkedIn does not honour the token", w.clock.Now().Sub(begun).Hours()/24)
		}
		// Renewed days before it dies, while LinkedIn gives a later end.
		if end := now.Access.ExpiresAt; end.Sub(w.clock.Now()) < 8*day && now.ReconnectBy().Sub(end) > time.Hour {
			t.Fatalf("day %.1f: the token ends at %v, and LinkedIn would give more", w.clock.Now().Sub(begun).Hours()/24, end)
		}
		if !now.Access.IssuedAt.Equal(issued) {
			issued = now.Access.IssuedAt
			refreshes++
		}
		w.clock.Advance(6 * time.Hour)
		w.pass(t)
		w.clock.Advance(2 * time.Minute)
		w.pass(t)
	}
	if refreshes--; /* the sign-in's */ refreshes < 6 || refreshes > 8 {
		t.Errorf("%d refreshes in a year, want about 7", refreshes)
	}
	w.clock.Advance(2 * 24 * time.Hour)
	w.pass(t)
	if _, _, err := w.Token(t.Context(), g.Member, time.Minute); !errors.Is(err, keeper.ErrReconnect) {
		t.Errorf("after the refresh token's end: %v, want ErrReconnect", err)
	}
	var got []string
	for _, e := range w.events {
		got = append(got, strings.TrimSuffix(fmt.Sprintf("%s %d", strings.TrimPrefix(string(e.Type), "keepin.member."), e.Days), " 0"))
	}
	want := []string{"connected", "reconnect_due 30", "reconnect_due 14", "reconnect_due 7", "reconnect_due 3", "reconnect_due 1", "reconnect_required"}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}
