package linear_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/local"
	"github.com/keepin/keepin/test/e2e"
)

// tracker stands before LinkedIn. It knows of every token which sign-in it comes
// of, takes its time, and lets the clock run meanwhile.
type tracker struct {
	*scene
	mu        sync.Mutex
	consents  map[string]int // by code, access token and refresh token
	refreshes int
}

// code is the member's consent, as the callback gets it.
func (r *tracker) code(to string, m *member, consent int) (code, back string, err error) {
	back, err = r.sim.Authorize(to, m.key)
	if err != nil {
		return "", "", err
	}
	u, err := url.Parse(back)
	if err != nil {
		return "", "", err
	}
	code = u.Query().Get("code")
	if code == "" {
		return "", "", errors.New("no code")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.consents[code] = consent
	return code, back, nil
}

func (r *tracker) consent(token string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.consents[token]
}

func (r *tracker) RoundTrip(req *http.Request) (*http.Response, error) {
	var form url.Values
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		form, _ = url.ParseQuery(string(body))
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
	resp, err := r.sim.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	r.mu.Lock()
	if form.Get("grant_type") == "refresh_token" && resp.StatusCode == http.StatusOK {
		r.refreshes++
	}
	if consent := max(r.consents[form.Get("code")], r.consents[form.Get("refresh_token")]); consent > 0 && resp.StatusCode == http.StatusOK {
		access, refresh := decode(body)
		r.consents[access], r.consents[refresh] = consent, consent
	}
	r.mu.Unlock()
	r.clock.Advance(time.Duration(rand.IntN(5)) * time.Second)
	time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
	return resp, err
}

// ServeHTTP is RoundTrip for those who call over the network.
func (r *tracker) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	resp, err := r.RoundTrip(req)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// machine is `keepin serve`, over real HTTP.
type machine struct {
	*scene
	base, key string
	local     *local.Machine
}

func (m *machine) client() *http.Client {
	jar, _ := cookiejar.New(nil)
	return &http.Client{Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (m *machine) call(c *http.Client, method, address string) (status int, header http.Header, body []byte) {
	req, err := http.NewRequestWithContext(context.Background(), method, address, nil)
	if err != nil {
		return 0, nil, nil
	}
	req.Header.Set("Authorization", "Bearer "+m.key)
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, nil
	}
	defer resp.Body.Close()
	body, _ = io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, body
}

func (m *machine) signIn(who *member, consent int) output {
	browser := m.client()
	defer browser.CloseIdleConnections()
	_, header, _ := m.call(browser, "GET", m.base+"/login")
	_, back, err := m.tracker.code(header.Get("Location"), who, consent)
	if err != nil {
		return output{outcome: unknown}
	}
	if status, header, _ := m.call(browser, "GET", back); status != http.StatusSeeOther || header.Get("Set-Cookie") == "" {
		return output{outcome: unknown}
	}
	return output{outcome: done}
}

func (m *machine) logout(who *member) output {
	if status, _, _ := m.call(http.DefaultClient, "DELETE", m.base+"/members/"+string(who.id)); status != http.StatusNoContent {
		return output{outcome: unknown}
	}
	return output{outcome: done}
}

func (m *machine) token(who *member) output {
	status, _, body := m.call(http.DefaultClient, "GET", m.base+"/members/"+string(who.id)+"/token?min_seconds=60")
	switch status {
	case http.StatusOK:
		access, _ := decode(body)
		return output{done, m.tracker.consent(access)}
	case http.StatusNotFound:
		return output{outcome: notFound}
	case http.StatusConflict:
		return output{outcome: mustAsk}
	}
	return output{outcome: tryAgain}
}

func (m *machine) pass() { _, _ = m.local.Pass(context.Background()) }

func TestCallsAreLinearizableOverHTTP(t *testing.T) {
	front, back := e2e.Listen(t), e2e.Listen(t)
	base, linkedIn := "http://"+front.Addr().String(), "http://"+back.Addr().String()
	s := newScene(t, linkedIn, base+"/callback")
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("linkedin.json"), []byte(`{"client_id":"`+clientID+`","client_secret":"the-secret"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := local.Open(t.Context(), local.Config{BaseURL: base, Scopes: []string{"openid", "profile"}, LinkedInURL: linkedIn, APIURL: linkedIn, Issuer: linkedIn + "/oauth",
		Store: path("keepin.db"), Credentials: path("linkedin.json"), Keys: path("keys.json"), BackendKey: path("backend-key"),
		Events: func(context.Context, keeper.Event) error { return nil }, Now: s.clock.Now,
		Sleep: func(ctx context.Context, d time.Duration) error { time.Sleep(d / 500); return ctx.Err() },
		Log:   slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	e2e.Serve(t, front, m)
	e2e.Serve(t, back, s.tracker)
	key, err := os.ReadFile(path("backend-key"))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.judge(t, s.run(&machine{s, base, string(bytes.TrimSpace(key)), m}, 8, 40, 1)); got != porcupine.Ok {
		t.Error(got)
	}
}
