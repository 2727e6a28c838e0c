package e2e_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/operator"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/storetest"
	"github.com/keepin/keepin/shared/telemetry"
	"github.com/keepin/keepin/shared/web"
	"github.com/keepin/keepin/test/e2e"
)

// TestInMemory runs the suite on the reference store, which remembers all that
// was ever written to it: a secret that was stored for a moment is found, too.
func TestInMemory(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	e2e.Run(t, func(t *testing.T, refreshTokens bool) *e2e.Target {
		t.Parallel()
		return inMemory(t, key, refreshTokens)
	})
}

func inMemory(t *testing.T, key *rsa.PrivateKey, refreshTokens bool) *e2e.Target {
	clock := linkedinsim.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	front, back := e2e.Listen(t), e2e.Listen(t)
	base, linkedIn := "http://"+front.Addr().String(), "http://"+back.Addr().String()
	app := linkedinsim.DefaultApp()
	app.RedirectURLs, app.Refresh = []string{base + "/callback"}, refreshTokens
	sim, err := linkedinsim.New(linkedinsim.Config{Clock: clock, URL: linkedIn, Apps: []linkedinsim.App{app}, Members: linkedinsim.DefaultMembers(), Key: key})
	must(t, err)

	logs, sent := new(e2e.Log), new(types)
	log := telemetry.Logger(logs, slog.LevelDebug, false, nil)
	sleep := func(_ context.Context, d time.Duration) error { time.Sleep(d / 20); return nil } // the clock stands still meanwhile
	store := &memory{Memory: storetest.NewMemory(clock.Now), members: map[keeper.MemberID]bool{}}
	own := &held{now: clock.Now, keyset: seal.NewKeyset()}
	own.setSecret(app.ClientID, app.Secret, app.Secret)
	sealer := seal.New(seal.Config{Source: func(context.Context, bool) (secret.String, error) { return own.read(), nil }, Now: clock.Now})
	site, err := web.NewSite(web.Config{BaseURL: base, Scopes: []string{"openid", "profile", "email", "w_member_social"}, Issuer: linkedIn + "/oauth",
		PictureOrigins: []string{linkedIn}, Now: clock.Now, Log: log})
	must(t, err)
	client, err := linkedin.New(linkedin.Config{LinkedInURL: linkedIn, APIURL: linkedIn, Issuer: linkedIn + "/oauth", RedirectURL: site.RedirectURL(),
		Scopes: []string{"openid", "profile", "email", "w_member_social"}, SDKExchange: linkedIn + "/uas/oauth/accessToken", Now: clock.Now,
		Credentials: own.credentials()})
	must(t, err)
	k, err := keeper.New(keeper.Config{Store: store, Desk: store, Provider: client, Sealer: sealer, Events: sent.send, Now: clock.Now, Sleep: sleep, Log: log})
	must(t, err)
	sessions, err := session.New(session.Config{Store: store, Burns: store, Sealer: sealer, Secure: site.Secure(), Now: clock.Now, Sleep: sleep})
	must(t, err)
	backendKey := secrets.NewBackendKey()
	wire := e2e.NewWire(sim)
	e2e.Serve(t, back, wire)
	e2e.Serve(t, front, web.Mux(site, site.Path(), web.AllRoutes(site, sessions, client, k, true, web.BearerAuth(backendKey))))
	operate := operator.New(operator.Config{Store: store, Keys: own, Where: "memory", PruneAfter: 20 * time.Minute, Now: clock.Now, Log: log})

	return &e2e.Target{BaseURL: base, Sim: sim, Wire: wire, Clock: clock, Logs: logs.String, Events: sent.all, Sent: sent.text.String,
		Backend: func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+backendKey.Reveal()) },
		Pass: func(t testing.TB) {
			t.Helper()
			for range 3 { // what one task makes due is done as well
				ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
				r, err := k.Pass(ctx, keeper.Range{To: keeper.Shards - 1})
				cancel()
				must(t, err)
				if r.Done == 0 {
					break
				}
			}
		},
		Operate: func(t testing.TB, words ...string) string {
			t.Helper()
			text, err := operate.Do(t.Context(), words...)
			if err != nil {
				return err.Error()
			}
			return text
		},
		SetSecret: func(_ testing.TB, current, previous string) { own.setSecret(app.ClientID, current, previous) },
		Secrets: func(t testing.TB) map[string]string {
			t.Helper()
			all, err := e2e.Keys([]byte(own.read().Reveal()))
			must(t, err)
			all["back end's key"] = backendKey.Reveal()
			return all
		},
		Files: func(testing.TB) [][]byte { return [][]byte{[]byte(store.written.String())} },
	}
}

// memory writes down all that is stored, and knows whom it has.
type memory struct {
	*storetest.Memory
	written e2e.Log
	mu      sync.Mutex
	members map[keeper.MemberID]bool
}

func (m *memory) note(what any, raw ...[]byte) {
	_ = json.NewEncoder(&m.written).Encode(what)
	for _, b := range raw { // as it is: JSON has it in base64
		_, _ = m.written.Write(append(b[:len(b):len(b)], '\n'))
	}
}

func (m *memory) Put(ctx context.Context, g keeper.Grant, old string) error {
	m.note(g, g.Access.Sealed, g.Fresh.Sealed, g.Refresh.Sealed)
	m.mu.Lock()
	m.members[g.Member] = true
	m.mu.Unlock()
	return m.Memory.Put(ctx, g, old)
}

func (m *memory) PutSession(ctx context.Context, s session.Session) error {
	m.note(s, s.Hash[:])
	return m.Memory.PutSession(ctx, s)
}

func (m *memory) Burn(ctx context.Context, h session.Hash, b session.Burn) (session.Burn, error) {
	m.note(b, h[:])
	return m.Memory.Burn(ctx, h, b)
}

func (m *memory) Settle(ctx context.Context, h session.Hash, b session.Burn) error {
	m.note(b, h[:])
	return m.Memory.Settle(ctx, h, b)
}

func (m *memory) PutControl(ctx context.Context, c keeper.Control, old string) error {
	m.note(c)
	return m.Memory.PutControl(ctx, c, old)
}

func (m *memory) PutIncident(ctx context.Context, i keeper.Incident) error {
	m.note(i)
	return m.Memory.PutIncident(ctx, i)
}

// Each implements operator.Store.
func (m *memory) Each(ctx context.Context, f func(keeper.Grant) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.members {
		g, err := m.Get(ctx, id)
		if errors.Is(err, keeper.ErrNotFound) {
			continue
		}
		if err == nil {
			err = f(g)
		}
		if err != nil {
			return fmt.Errorf("each: %w", err)
		}
	}
	return nil
}

// held are keepin's own secrets, and an operator.Keyset.
type held struct {
	now     func() time.Time
	mu      sync.Mutex
	keyset  secret.String
	changed time.Time
	app     secret.String
}

func (h *held) read() secret.String {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.keyset
}

func (h *held) Read(context.Context) (secret.String, time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.keyset, h.changed, nil
}

func (h *held) Replace(_ context.Context, edit func(secret.String) (secret.String, error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	next, err := edit(h.keyset)
	if err == nil {
		h.keyset, h.changed = next, h.now()
	}
	return err
}

func (h *held) setSecret(clientID, current, previous string) {
	text, _ := json.Marshal(map[string]string{"client_id": clientID, "client_secret": current, "previous_client_secret": previous})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.app = secret.New(string(text))
}

// credentials reads the app's as every wiring does: from a cache.
func (h *held) credentials() func(context.Context, bool) (linkedin.Credentials, error) {
	cache := &secrets.Cache{Now: h.now, Read: func(context.Context) (secret.String, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.app, nil
	}}
	return func(ctx context.Context, reread bool) (linkedin.Credentials, error) {
		text, err := cache.Get(ctx, reread)
		if err != nil {
			return linkedin.Credentials{}, err
		}
		found, err := secrets.ParseCredentials("memory", text)
		return linkedin.Credentials(found), err
	}
}
