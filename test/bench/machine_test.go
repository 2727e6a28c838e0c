package bench_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/test/e2e"
)

// linkedIn is a simulator for the redirect URLs of a keepin at base.
func linkedIn(t testing.TB, base string) (*linkedinsim.Sim, linkedinsim.App, string) {
	t.Helper()
	l := e2e.Listen(t)
	address := "http://" + l.Addr().String()
	app := linkedinsim.DefaultApp()
	app.RedirectURLs = []string{base + "/callback"}
	sim, err := linkedinsim.New(linkedinsim.Config{Clock: linkedinsim.RunningClock(), URL: address, Apps: []linkedinsim.App{app}})
	must(t, err)
	e2e.Serve(t, l, sim)
	return sim, app, address
}

// browser keeps cookies and follows no redirect.
func browser(t testing.TB) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get has status as its answer, and gives its Location.
func get(t testing.TB, c *http.Client, address string, status int) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	must(t, err)
	return send(t, c, r, status)
}

func send(t testing.TB, c *http.Client, r *http.Request, status int) string {
	t.Helper()
	resp, err := c.Do(r)
	must(t, err)
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != status {
		t.Fatalf("%s %s: got %d %s, want %d", r.Method, r.URL, resp.StatusCode, body, status)
	}
	return resp.Header.Get("Location")
}

// oneMachine is T15: `keepin serve` on its bbolt file, and a bare handler on
// another, asked by the same few connections in turn.
func oneMachine(t *testing.T) row {
	dir := t.TempDir()
	program := func(pkg string) string {
		exe := filepath.Join(dir, filepath.Base(pkg))
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", exe, pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return exe
	}
	run := func(env []string, exe string, args ...string) (firstLine string) {
		cmd := exec.CommandContext(t.Context(), exe, args...)
		cmd.Env, cmd.Dir, cmd.Stderr = env, dir, io.Discard
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		line, err := bufio.NewReader(out).ReadString('\n')
		must(t, err)
		return strings.TrimSpace(line)
	}
	free := e2e.Listen(t)
	listen := free.Addr().String()
	must(t, free.Close())
	base := "http://" + listen
	sim, app, in := linkedIn(t, base)
	secret := filepath.Join(dir, "linkedin.json")
	must(t, os.WriteFile(secret, fmt.Appendf(nil, `{"client_id":%q,"client_secret":%q}`, app.ClientID, app.Secret), 0o600))
	run([]string{
		"KEEPIN_BASE_URL=" + base, "KEEPIN_LISTEN=" + listen, "KEEPIN_SCOPES=openid profile email", "KEEPIN_LINKEDIN_URL=" + in, "KEEPIN_LINKEDIN_API_URL=" + in,
		"KEEPIN_SECRET=file:" + secret, "KEEPIN_DATA=" + filepath.Join(dir, "data"), "KEEPIN_EVENTS=log", "HOME=" + dir, "PATH=" + os.Getenv("PATH"),
	}, program("../../cmd/keepin"), "serve")
	c := browser(t)
	back, err := sim.Authorize(get(t, c, base+"/login", http.StatusSeeOther), linkedinsim.DefaultMembers()[0].Key)
	must(t, err)
	get(t, c, back, http.StatusSeeOther)
	home, err := url.Parse(base)
	must(t, err)
	session := c.Jar.Cookies(home)[0]
	bare := run(os.Environ(), program("./testdata/bare"), filepath.Join(dir, "bare.db"))

	r := row{id: "T15", what: "validations a second, `keepin serve` on bbolt / a bare handler with one bbolt read", budget: 0.9, atLeast: true}
	ask := func(address, path, cookie string) float64 {
		return rate(t, address, "GET "+path+" HTTP/1.1\r\nHost: "+listen+"\r\nAccept: application/json\r\nCookie: "+cookie+"\r\n\r\n")
	}
	for range rounds {
		var keepin, other float64
		for range 3 {
			keepin = max(keepin, ask(listen, "/validate", session.Name+"="+session.Value))
			other = max(other, ask(bare, "/", session.Name+"="+session.Value))
		}
		raw(keepin, other)
		r.ratios = append(r.ratios, keepin/other)
	}
	return r
}

// rate is how many answers of 200 a second four connections get.
func rate(t testing.TB, address, request string) float64 {
	t.Helper()
	var all sync.WaitGroup
	var answers atomic.Int64
	began := time.Now()
	for range 4 {
		all.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			in := textproto.NewReader(bufio.NewReader(conn))
			for time.Since(began) < 300*time.Millisecond {
				if _, err = io.WriteString(conn, request); err == nil {
					err = answer(in)
				}
				if err != nil {
					t.Error(err)
					return
				}
				answers.Add(1)
			}
		})
	}
	all.Wait()
	return float64(answers.Load()) / time.Since(began).Seconds()
}

// answer reads one, and no more of it than it must.
func answer(in *textproto.Reader) error {
	status, err := in.ReadLineBytes()
	if err != nil || !strings.HasPrefix(string(status), "HTTP/1.1 200") {
		return fmt.Errorf("got %s, %w", status, err)
	}
	length := 0
	for {
		line, err := in.ReadLineBytes()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			_, err := in.R.Discard(length)
			return err
		}
		if n, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
			if length, err = strconv.Atoi(n); err != nil {
				return err
			}
		}
	}
}
