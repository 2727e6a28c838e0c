package keeper_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
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
	events []keeper.Event
}

var simKey = func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}()

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
	w.client, err = linkedin.New(linkedin.Config{LinkedInURL: "http://sim.test", APIURL: "http://sim.test", Issuer: "http://sim.test/oauth",
		RedirectURL: "http://localhost:8080/callback", Scopes: []string{"email", "openid", "profile"}, Now: w.clock.Now, Transport: http.RoundTripper(w.sim),
		Credentials: func(context.Context, bool) (linkedin.Credentials, error) {
			return linkedin.Credentials{ClientID: "77keepin", Secret: secret.New("the-app-secret")}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	w.store = storetest.NewMemory(w.clock.Now)
	w.Keeper, err = keeper.New(keeper.Config{Store: w.store, Desk: w.store, Provider: w.client, Sealer: clearSealer{}, Now: w.clock.Now,
		Sleep:  func(ctx context.Context, d time.Duration) error { return ctx.Err() },
		Events: func(_ context.Context, e keeper.Event) error { w.events = append(w.events, e); return nil },
		Log:    slog.New(slog.NewTextHandler(t.Output(), nil)), Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) signIn(t testing.TB, member string) keeper.Grant {
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
	g, err := w.SignIn(t.Context(), id, tokens)
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
