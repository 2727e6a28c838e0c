package main_test

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/test/canary"
	"github.com/keepin/keepin/test/crowd"
	"github.com/keepin/keepin/test/e2e"
)

// keepin is the program: this test itself (see TestMain).
func keepin(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	must(t, err)
	return path
}

// run runs the program to its end.
func run(t *testing.T, path, dir string, env []string, args ...string) (code int, out string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, path, args...)
	c.Dir, c.Env = dir, append(clean(), env...)
	text, err := c.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("keepin %q did not end: %s", args, text)
	}
	if err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(text)
}

// clean is the environment of the program, without what the test was started with.
func clean() (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "KEEPIN_") {
			env = append(env, v)
		}
	}
	return append(env, "KEEPIN_TEST_PROGRAM=1")
}

func TestMistakesAreSaidAtOnceAndEndWith2(t *testing.T) {
	bin := keepin(t)
	const slip = "WPL_AP1.secretPutInTheWrongPlace"
	code, out := run(t, bin, t.TempDir(), []string{"KEEPIN_BASE_URL=http://members.example.com", "KEEPIN_SCOPES=profile",
		"KEEPIN_STORE=" + slip, "KEEPIN_SWEEP_EVERY=soon", "KEEPIN_BASEURL=x"}, "serve")
	if code != 2 {
		t.Errorf("exit %d, want 2: %s", code, out)
	}
	for _, want := range []string{"KEEPIN_BASE_URL", "KEEPIN_SCOPES", "KEEPIN_STORE", "KEEPIN_SWEEP_EVERY", "KEEPIN_BASEURL", "openid", "must be"} {
		if !strings.Contains(out, want) {
			t.Errorf("the answer lacks %s:\n%s", want, out)
		}
	}
	if strings.Contains(out, slip) {
		t.Errorf("the answer quotes a value:\n%s", out)
	}
	for _, args := range [][]string{{"nonsense"}, {"serve", "--nonsense"}, {"dev", "--nonsense"}} {
		if code, out := run(t, bin, t.TempDir(), nil, args...); code != 2 || !strings.Contains(out, "nonsense") {
			t.Errorf("keepin %q: exit %d: %s", args, code, out)
		}
	}
	if code, out := run(t, bin, t.TempDir(), nil, "version"); code != 0 || !strings.HasPrefix(out, "keepin ") {
		t.Errorf("version: exit %d: %s", code, out)
	}
}

func TestTroubleAtTheStartIsASentence(t *testing.T) {
	bin := keepin(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	env := func(more ...string) []string {
		return append([]string{"KEEPIN_BASE_URL=https://members.example.com", "KEEPIN_SCOPES=openid", "KEEPIN_LISTEN=127.0.0.1:0"}, more...)
	}
	folder := func(t *testing.T, credentials string, mode os.FileMode) string {
		dir := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(dir, ".keepin"), 0o700))
		if credentials != "" {
			must(t, os.WriteFile(filepath.Join(dir, ".keepin", "linkedin.json"), []byte(credentials), mode))
			must(t, os.Chmod(filepath.Join(dir, ".keepin", "linkedin.json"), mode))
		}
		return dir
	}
	const good = `{"client_id":"77app","client_secret":"the-secret-of-the-app"}`
	damaged := folder(t, good, 0o600)
	must(t, os.WriteFile(filepath.Join(damaged, ".keepin", "keepin.db"), bytes.Repeat([]byte("noise!\n"), 5000), 0o600))
	must(t, os.WriteFile(filepath.Join(damaged, ".keepin", "keys.json"), []byte(`{"1":"`+cryptorand.Text()+cryptorand.Text()+`"}`), 0o600))
	notAFolder := folder(t, good, 0o600)
	must(t, os.WriteFile(filepath.Join(notAFolder, "file"), nil, 0o600))
	for _, c := range []struct {
		name, dir string
		env       []string
		want      []string
	}{
		{"no credentials", folder(t, "", 0), env(), []string{"linkedin.json", "0600"}},
		{"a placeholder", folder(t, `{"client_id":"77app","client_secret":"..."}`, 0o600), env(), []string{"linkedin.json", "placeholder"}},
		{"readable by all", folder(t, good, 0o644), env(), []string{"chmod 600"}},
		{"port taken", folder(t, good, 0o600), env("KEEPIN_LISTEN=" + taken.Addr().String()), []string{"taken by another program", "KEEPIN_LISTEN"}},
		{"damaged file", damaged, env(), []string{"keepin.db", "damaged", "move it aside"}},
		{"folder below a file", notAFolder, env("KEEPIN_DATA=file/below"), []string{"file/below"}},
	} {
		code, out := run(t, bin, c.dir, c.env, "serve")
		if code != 1 || strings.Contains(out, "panic") || strings.Contains(out, "the-secret-of-the-app") {
			t.Errorf("%s: exit %d: %s", c.name, code, out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: the answer lacks %q: %s", c.name, want, out)
			}
		}
	}
}

// server is a running `keepin serve` beside a simulator.
type server struct {
	t        *testing.T
	bin, dir string
	env      []string
	base     string
	process  *exec.Cmd
	log      *e2e.Log
}

func (s *server) start() {
	s.t.Helper()
	s.process = exec.Command(s.bin, "serve")
	s.process.Dir, s.process.Env = s.dir, append(clean(), s.env...)
	s.process.Stdout, s.process.Stderr = s.log, s.log
	must(s.t, s.process.Start())
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if res, err := http.Get(s.base + "/healthz"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			s.t.Fatalf("it does not start: %s", s.log)
		}
	}
}

func (s *server) kill() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

func newServer(t *testing.T, sim *linkedinsim.Sim, linkedIn string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	app := linkedinsim.DefaultApp()
	app.ClientID, app.RedirectURLs = "77killed", []string{"http://" + address + "/callback"}
	must(t, sim.AddApp(app))
	s := &server{t: t, bin: keepin(t), dir: t.TempDir(), base: "http://" + address, log: new(e2e.Log)}
	must(t, os.MkdirAll(filepath.Join(s.dir, ".keepin"), 0o700))
	must(t, os.WriteFile(filepath.Join(s.dir, ".keepin", "linkedin.json"), []byte(`{"client_id":"77killed","client_secret":"`+app.Secret+`"}`), 0o600))
	s.env = []string{"KEEPIN_BASE_URL=" + s.base, "KEEPIN_LISTEN=" + address, "KEEPIN_SCOPES=openid profile email", "KEEPIN_SWEEP_EVERY=1s",
		"KEEPIN_LINKEDIN_URL=" + linkedIn, "KEEPIN_LINKEDIN_API_URL=" + linkedIn, "KEEPIN_LOG=debug"}
	t.Cleanup(func() { s.noSecret(sim) })
	return s
}

// noSecret searches all that the program has printed, and its store, for
// LinkedIn's secrets and its own.
func (s *server) noSecret(sim *linkedinsim.Sim) {
	s.t.Helper()
	file := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(s.dir, ".keepin", name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // of a program that did not start
			s.t.Error(err)
		}
		return text
	}
	own := map[string]string{}
	if set := file("keys.json"); len(set) > 0 {
		keys, err := e2e.Keys(set)
		must(s.t, err)
		own = keys
	}
	if key := strings.TrimSpace(string(file("backend-key"))); key != "" {
		own["the back end's key"] = key
	}
	for n, secret := range sim.Secrets() {
		own[fmt.Sprintf("LinkedIn's secret %d", n)] = secret
	}
	var canaries []canary.Canary
	for name, secret := range own {
		if len(secret) >= 8 {
			canaries = append(canaries, canary.Canary{Name: name, Secret: secret})
		}
	}
	for where, text := range map[string][]byte{"what it printed": []byte(s.log.String()), "its store": file("keepin.db")} {
		for _, found := range canary.Find(text, canaries...) {
			s.t.Errorf("%s holds a secret: %s", where, found)
		}
	}
}

// restless is a LinkedIn whose access tokens live for 3 seconds, at its address.
func restless(t *testing.T) (*linkedinsim.Sim, string) {
	t.Helper()
	var handler http.Handler
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(front.Close)
	sim, err := linkedinsim.New(linkedinsim.Config{URL: front.URL, Apps: []linkedinsim.App{},
		Switches: linkedinsim.Switches{AccessLifetime: 3 * time.Second, RefreshLifetime: time.Hour}})
	must(t, err)
	handler = sim
	return sim, front.URL
}

// refreshesOf counts the refreshes that the call log still holds.
func refreshesOf(sim *linkedinsim.Sim) (n int) {
	for _, c := range sim.Calls() {
		if c.GrantType == "refresh_token" {
			n++
		}
	}
	return n
}

func (s *server) client() *http.Client {
	jar, err := cookiejar.New(nil)
	must(s.t, err)
	return &http.Client{Jar: jar, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// signIn tries to sign member in; false where keepin died on the way.
func (s *server) signIn(c *http.Client, sim *linkedinsim.Sim, member string) bool {
	res, err := c.Get(s.base + "/login?renew=1")
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	back, err := sim.Authorize(res.Header.Get("Location"), member)
	if err != nil {
		return false
	}
	if res, err = c.Get(back); err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusSeeOther
}

func (s *server) get(c *http.Client, path string, into any) (int, error) {
	req, err := http.NewRequest("GET", s.base+path, nil)
	if err != nil {
		return 0, err
	}
	if key, err := os.ReadFile(filepath.Join(s.dir, ".keepin", "backend-key")); err == nil && strings.HasPrefix(path, "/members") {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && into != nil {
		err = json.Unmarshal(body, into)
	}
	return res.StatusCode, err
}

// TestKillAtAnyMomentLosesNoGrant kills the program with SIGKILL 20 times, or
// KEEPIN_KILLS times, at random moments, while members sign in, sign out and are
// refreshed. What they may never see is crowd's to say.
func TestKillAtAnyMomentLosesNoGrant(t *testing.T) {
	sim, linkedIn := restless(t)
	s := newServer(t, sim, linkedIn)
	for _, f := range []linkedinsim.Fault{ // LinkedIn takes its time, so that a kill finds calls under way
		{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.StallBefore, For: 20 * time.Millisecond},
		{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.StallAfter, For: 20 * time.Millisecond},
	} {
		must(t, sim.Fault(f))
	}
	kills, seed := crowd.Kills(20), crowd.NewSeed(t)
	if testing.Short() {
		kills = 5
	}
	dice := rand.New(rand.NewPCG(seed, 1000))
	people := &crowd.Crowd{Base: s.base, Sim: sim, Seed: seed, Patience: 20 * time.Second,
		Backend: func(r *http.Request) {
			key, _ := os.ReadFile(filepath.Join(s.dir, ".keepin", "backend-key"))
			r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
		}}
	people.Gather(t, 12)
	s.start()
	stop, refreshing := make(chan struct{}), 0
	var lived sync.WaitGroup
	lived.Go(func() { people.Live(stop) })
	for range kills {
		time.Sleep(time.Duration(dice.IntN(500)) * time.Millisecond) // the moment is the point
		if sim.InFlight(linkedinsim.TokenEndpoint) > 0 {
			refreshing++
		}
		s.kill()
		s.start()
	}
	close(stop)
	lived.Wait()
	people.Settle()
	s.kill()
	t.Logf("%d kills and restarts, token calls under way at %d of them; %s; %d token calls", kills, refreshing, people, sim.Count(linkedinsim.TokenEndpoint))
	if people.Tokens() < kills || people.Cut() < kills/10 || refreshing == 0 {
		t.Error("too little happened")
	}
}

// TestServeExchangesWhereItIsTold: members of the JavaScript SDK have an address
// of their own at LinkedIn, and without it no way in.
func TestServeExchangesWhereItIsTold(t *testing.T) {
	sim, err := linkedinsim.New(linkedinsim.Config{})
	must(t, err)
	s := newServer(t, sim, "http://localhost:1")
	env := s.env
	for exchange, status := range map[string]int{"": http.StatusNotFound, "http://localhost:1/exchange": http.StatusBadRequest} {
		s.env = append(slices.Clone(env), "KEEPIN_SDK_EXCHANGE="+exchange)
		s.start()
		res, err := http.Post(s.base+"/exchange", "application/json", nil)
		must(t, err)
		_ = res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("%q: POST /exchange = %d, want %d", exchange, res.StatusCode, status)
		}
		s.kill()
	}
}

func TestServeStopsGracefully(t *testing.T) {
	sim, err := linkedinsim.New(linkedinsim.Config{})
	must(t, err)
	s := newServer(t, sim, "http://localhost:1")
	s.start()
	// Another one may not take the file, and says so.
	other := append(append([]string(nil), s.env...), "KEEPIN_LISTEN=127.0.0.1:0")
	if code, out := run(t, s.bin, s.dir, other, "serve"); code != 1 || !strings.Contains(out, "another keepin holds it") {
		t.Errorf("a second one: exit %d: %s", code, out)
	}
	must(t, s.process.Process.Signal(syscall.SIGTERM))
	if err := s.process.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v: %s", err, s.log)
	}
}

func TestDevRefreshesAfterAJumpOf59Days(t *testing.T) {
	bin, dir := keepin(t), t.TempDir()
	var ports []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		ports = append(ports, fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port))
		must(t, l.Close())
	}
	base, linkedIn := "http://"+ports[0], "http://"+ports[1]
	for range 2 { // a second start in the same folder works as the first
		out := new(e2e.Log)
		c := exec.Command(bin, "dev", "--listen", ports[0], "--linkedin", ports[1])
		c.Dir, c.Env, c.Stdout, c.Stderr = dir, clean(), out, out
		must(t, c.Start())
		s := &server{t: t, dir: dir, base: base, log: out}
		waitFor(t, out, "the first e2e.Log", func() bool { return strings.Contains(out.String(), "sign in: choose a member") })
		browser := s.client()
		res, err := browser.Get(base + "/login")
		must(t, err)
		_ = res.Body.Close()
		var back struct{ Callback string }
		post(t, linkedIn+"/_sim/api/authorize", map[string]string{"url": res.Header.Get("Location"), "member": "ada"}, &back)
		res, err = browser.Get(back.Callback)
		must(t, err)
		_ = res.Body.Close()
		end := func() (end time.Time) {
			var v struct {
				Grant struct {
					End time.Time `json:"access_expires_at"`
				}
			}
			code, err := s.get(browser, "/validate", &v)
			if err != nil || code != http.StatusOK {
				t.Fatalf("/validate = %d %v", code, err)
			}
			return v.Grant.End
		}
		before := end()
		post(t, linkedIn+"/_sim/api/clock", map[string]string{"advance": "59d"}, nil)
		waitFor(t, out, "a refresh", func() bool {
			return end().Sub(before) > 50*24*time.Hour && strings.Contains(out.String(), "token refreshed")
		})
		// A member of the JavaScript SDK: localhost's ports share their cookies.
		sdk := s.client()
		res, err = sdk.PostForm(linkedIn+"/_sim/sdk", url.Values{"client_id": {linkedinsim.DefaultApp().ClientID}, "member": {"grace"}})
		must(t, err)
		_ = res.Body.Close()
		res, err = sdk.Get(base + "/login?return_to=/inside")
		must(t, err)
		_ = res.Body.Close()
		if to := res.Header.Get("Location"); to != base+"/inside" {
			t.Errorf("a member of the SDK is sent to %q", to)
		}
		if code, text := run(t, bin, dir, nil, "dev", "--listen", "localhost:0", "--linkedin", "localhost:0"); code != 1 || !strings.Contains(text, "another keepin holds it") {
			t.Errorf("a second one beside it: exit %d: %s", code, text)
		}
		must(t, c.Process.Signal(os.Interrupt))
		if err := c.Wait(); err != nil {
			t.Errorf("after Ctrl-C: %v: %s", err, out)
		}
	}
}

func post(t *testing.T, address string, body, into any) {
	t.Helper()
	text, err := json.Marshal(body)
	must(t, err)
	res, err := http.Post(address, "application/json", bytes.NewReader(text))
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		t.Fatalf("POST %s = %d", address, res.StatusCode)
	}
	if into != nil {
		must(t, json.NewDecoder(res.Body).Decode(into))
	}
}

func waitFor(t *testing.T, out *e2e.Log, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s: %s", what, out)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
