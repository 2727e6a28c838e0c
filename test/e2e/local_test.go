package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/local"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
	"github.com/keepin/keepin/shared/telemetry"
	"github.com/keepin/keepin/test/contract"
	"github.com/keepin/keepin/test/e2e"
)

func TestMain(m *testing.M) { os.Exit(e2e.Main(m)) }

// TestOneMachine runs the suite on what `keepin serve` runs, over real sockets.
func TestOneMachine(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	promised, err := contract.Load()
	must(t, err)
	e2e.Run(t, func(t *testing.T, refreshTokens bool) *e2e.Target {
		t.Parallel()
		return oneMachine(t, key, promised, refreshTokens)
	})
}

func oneMachine(t *testing.T, key *rsa.PrivateKey, promised *contract.Contract, refreshTokens bool) *e2e.Target {
	clock := linkedinsim.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	front, back := e2e.Listen(t), e2e.Listen(t)
	base, linkedIn := "http://"+front.Addr().String(), "http://"+back.Addr().String()
	app := linkedinsim.DefaultApp()
	app.RedirectURLs, app.Refresh = []string{base + "/callback"}, refreshTokens
	sim, err := linkedinsim.New(linkedinsim.Config{Clock: clock, URL: linkedIn, Apps: []linkedinsim.App{app}, Members: linkedinsim.DefaultMembers(), Key: key})
	must(t, err)

	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(path("linkedin.json"), []byte(`{"client_id":"`+app.ClientID+`","client_secret":"`+app.Secret+`"}`), 0o600))
	logs, sent := new(e2e.Log), new(types)
	m, err := local.Open(t.Context(), local.Config{BaseURL: base, Scopes: []string{"openid", "profile", "email", "w_member_social"},
		LinkedInURL: linkedIn, APIURL: linkedIn, Issuer: linkedIn + "/oauth", SDKExchange: linkedIn + "/uas/oauth/accessToken",
		Store: path("keepin.db"), Credentials: path("linkedin.json"), Keys: path("keys.json"), BackendKey: path("backend-key"),
		Events: sent.send, PictureOrigins: []string{linkedIn}, Now: clock.Now,
		Sleep: func(_ context.Context, d time.Duration) error { time.Sleep(d / 20); return nil }, // the clock stands still meanwhile
		Log:   telemetry.Logger(logs, slog.LevelDebug, false, nil)})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	e2e.Serve(t, front, m)
	wire := e2e.NewWire(sim)
	e2e.Serve(t, back, wire)
	backendKey, err := os.ReadFile(path("backend-key"))
	must(t, err)

	return &e2e.Target{BaseURL: base, Transport: promised.Transport(t, base, nil), Sim: sim, Clock: clock, Wire: wire, Logs: logs.String, Events: sent.all, Sent: sent.text.String,
		Backend: func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(backendKey))) },
		Pass: func(t testing.TB) {
			t.Helper()
			for range 3 { // what one task makes due is done as well
				r, err := m.Pass(context.WithoutCancel(t.Context()))
				must(t, err)
				if r.Done == 0 {
					break
				}
			}
		},
		Operate: func(t testing.TB, words ...string) string {
			t.Helper()
			body, err := json.Marshal(words)
			must(t, err)
			w := httptest.NewRecorder()
			m.OperatorHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/", bytes.NewReader(body)))
			if words[1] == "rotate" { // files have the machine's time
				must(t, os.Chtimes(path("keys.json"), clock.Now(), clock.Now()))
			}
			return w.Body.String()
		},
		SetSecret: func(t testing.TB, current, previous string) {
			t.Helper()
			text := `{"client_id":"` + app.ClientID + `","client_secret":"` + current + `","previous_client_secret":"` + previous + `"}`
			must(t, secrets.Replace(path("linkedin.json"), secret.New(text)))
		},
		Secrets: func(t testing.TB) map[string]string {
			t.Helper()
			set, err := os.ReadFile(path("keys.json"))
			must(t, err)
			all, err := e2e.Keys(set)
			must(t, err)
			all["back end's key"] = string(bytes.TrimSpace(backendKey))
			return all
		},
		Files: func(t testing.TB) [][]byte {
			t.Helper()
			db, err := os.ReadFile(path("keepin.db"))
			must(t, err)
			return [][]byte{db}
		}}
}

// types takes events down, each once.
type types struct {
	mu   sync.Mutex
	ids  map[string]bool
	seen []string
	text e2e.Log
}

func (e *types) send(_ context.Context, event keeper.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ids == nil {
		e.ids = map[string]bool{}
	}
	if !e.ids[event.ID] {
		e.ids[event.ID] = true
		_ = json.NewEncoder(&e.text).Encode(event)
		e.seen = append(e.seen, string(event.Type))
	}
	return nil
}

func (e *types) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.seen...)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
