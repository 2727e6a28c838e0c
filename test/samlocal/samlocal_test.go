// Package samlocal_test holds keepin to its loop under `sam local`, on real
// containers. It takes a Docker engine, so it is run by name alone: make test-sam-local.
package samlocal_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/test/aws/awstest"
)

const key = "../../.keepin/samlocal/build/MembersFunction/backend-key"

// TestTheLoopUnderSAMLocal signs a member in, validates, hands out a token,
// refreshes it as the schedule would, and logs out.
func TestTheLoopUnderSAMLocal(t *testing.T) {
	if os.Getenv("KEEPIN_TEST_SAMLOCAL") == "" {
		t.Skip("make test-sam-local runs it: it needs a Docker engine")
	}
	s := start(t)

	// A member signs in.
	s.want(s.get("/validate"), 401, "login_url")
	at := s.get("/login")
	s.want(at, 303, "")
	var back struct{ Callback string }
	s.read(s.post(s.sim+"/_sim/api/authorize", fmt.Sprintf(`{"url":%q,"member":"ada"}`, at.header.Get("Location"))), &back)
	s.want(s.send("GET", back.Callback, "", nil), 303, "")

	// She is who she is.
	var who struct{ Member struct{ ID string } }
	valid := s.get("/validate")
	s.want(valid, 200, "Ada Lovelace")
	s.read(valid, &who)
	s.want(s.get("/"), 200, "Ada Lovelace")

	// Her token is for the back end alone.
	path := "/members/" + who.Member.ID + "/token"
	s.want(s.get(path), 401, "")
	s.want(s.send("GET", s.base+path, "", http.Header{"Authorization": {"Bearer " + strings.Repeat("0", 64)}}), 401, "")
	before := s.token(path)
	s.userinfo(before)

	// The schedule's first pass tells the application that she is there. Half a day
	// before her token ends, the second renews it. Who cannot live with the old one,
	// which serves for a minute more, gets the new one.
	s.pass("keepin.member.connected")
	const aged = 59*day + day/2
	s.age(keeper.MemberID(who.Member.ID), aged)
	before.Ends = before.Ends.Add(-aged)
	s.pass("token refreshed")
	refreshes := s.refreshes()
	after := s.token(path + "?min_seconds=86400")
	if n := s.refreshes(); refreshes != 1 || n != 1 {
		t.Errorf("%d refreshes after the pass and %d after the call: want 1", refreshes, n)
	}
	if after.Token == before.Token || after.Ends.Sub(before.Ends) < 50*day {
		t.Errorf("the token that ended at %v was replaced by one that ends at %v; another: %v", before.Ends, after.Ends, after.Token != before.Token)
	}
	s.userinfo(after)

	// She logs out, and nothing is left.
	s.want(s.send("POST", s.base+"/logout", "", http.Header{"Origin": {"http://evil.example"}}), 403, "")
	s.want(s.send("POST", s.base+"/logout", "", http.Header{"Origin": {s.base}}), 204, "")
	s.want(s.get("/validate"), 401, "")
	if a := s.backend(path); a.status != 404 {
		t.Errorf("after the logout a token is answered %d %s", a.status, a.body)
	}
	s.noSecrets(before.Token, after.Token)
}

const day = 24 * time.Hour

// stack is what run.sh runs.
type stack struct {
	*testing.T
	base, sim, log string
	key            string
	client         *http.Client
}

type answer struct {
	what   string
	status int
	header http.Header
	body   string
}

type token struct {
	Token string    `json:"access_token"`
	Ends  time.Time `json:"expires_at"`
}

// start runs run.sh until the test ends. Its input is ours, so it ends with
// this process however that ends.
func start(t *testing.T) *stack {
	t.Helper()
	port := freePort(t)
	cmd := exec.Command("./run.sh")
	cmd.Env = append(os.Environ(), "PORT="+port)
	var out output
	cmd.Stderr = &out
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	s := &stack{T: t, base: "http://localhost:" + port}
	ready := false
	lines := bufio.NewScanner(stdout)
	for !ready && lines.Scan() {
		_, _ = out.Write([]byte(lines.Text() + "\n"))
		ready = strings.HasPrefix(lines.Text(), "ready")
		if name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "http://"); ok && strings.HasPrefix(name, "LinkedIn") {
			s.sim = "http://" + strings.TrimSuffix(value, "/_sim/")
		}
		if _, file, ok := strings.Cut(lines.Text(), "what functions log "); ok {
			s.log = file
		}
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		rest, _ := io.ReadAll(stdout)
		if err := cmd.Wait(); err != nil && ready {
			t.Errorf("run.sh: %v\n%s", err, rest)
		}
		t.Logf("%s%s", out.String(), rest)
	})
	if !ready {
		err := cmd.Wait()
		if failed, ok := errors.AsType[*exec.ExitError](err); ok && failed.ExitCode() == 77 {
			for line := range strings.SplitSeq(out.String(), "\n") {
				if strings.Contains(line, "no Docker engine") {
					t.Skip(line)
				}
			}
		}
		t.Fatalf("run.sh: %v\n%s", err, out.String())
	}
	text, err := os.ReadFile(key)
	must(t, err)
	s.key = strings.TrimSpace(string(text))
	jar, _ := cookiejar.New(nil)
	s.client = &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return s
}

func (s *stack) send(method, url, body string, header http.Header) answer {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, url, strings.NewReader(body))
	must(s.T, err)
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := s.client.Do(r)
	must(s.T, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(s.T, err)
	return answer{method + " " + r.URL.Path, resp.StatusCode, resp.Header, string(text)}
}

func (s *stack) get(path string) answer { s.Helper(); return s.send("GET", s.base+path, "", nil) }

// post is for the simulator's control page.
func (s *stack) post(url, body string) answer {
	s.Helper()
	a := s.send("POST", url, body, http.Header{"Content-Type": {"application/json"}})
	s.want(a, 200, "")
	return a
}

func (s *stack) want(a answer, status int, holds string) {
	s.Helper()
	if a.status != status || !strings.Contains(a.body, holds) {
		s.Fatalf("%s: got %d %s, want %d with %q", a.what, a.status, a.body, status, holds)
	}
}

func (s *stack) read(a answer, v any) {
	s.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		s.Fatalf("%s: %v in %s", a.what, err, a.body)
	}
}

func (s *stack) backend(path string) answer {
	s.Helper()
	return s.send("GET", s.base+path, "", http.Header{"Authorization": {"Bearer " + s.key}})
}

func (s *stack) token(path string) token {
	s.Helper()
	a := s.backend(path)
	s.want(a, 200, "access_token")
	var t token
	s.read(a, &t)
	return t
}

// pass does one, as the schedule would; what it logs holds text.
func (s *stack) pass(text string) {
	s.Helper()
	out, err := exec.CommandContext(s.Context(), "./refresh.sh").CombinedOutput()
	for _, want := range []string{`"Done":1,"Failed":0`, text} {
		if err != nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "errorMessage") {
			s.Fatalf("refresh.sh: %v, want %s in\n%s", err, want, out)
		}
	}
}

// refreshes are how often LinkedIn was asked for a new token.
func (s *stack) refreshes() (n int) {
	s.Helper()
	var calls []struct {
		GrantType string `json:"grant_type"`
	}
	s.read(s.send("GET", s.sim+"/_sim/api/calls", "", nil), &calls)
	for _, c := range calls {
		if c.GrantType == "refresh_token" {
			n++
		}
	}
	return n
}

// age has a grant's access token issued, and end, that much earlier: functions
// know no other time than the machine's.
func (s *stack) age(member keeper.MemberID, by time.Duration) {
	s.Helper()
	at, err := url.Parse(s.sim)
	must(s.T, err)
	table, err := dynamo.Open(dynamo.Config{
		Table: "keepin", Region: awstest.Region, Credentials: awstest.Credentials(), Endpoint: "http://" + at.Hostname() + ":4566",
	})
	must(s.T, err)
	g, err := table.Get(s.Context(), member)
	must(s.T, err)
	rev := g.Rev
	g.Rev = rand.Text()
	g.CheckedAt = time.Now() // else LinkedIn is asked first when it really ends
	g.Due = g.CheckedAt
	g.Access.IssuedAt, g.Access.ExpiresAt = g.Access.IssuedAt.Add(-by), g.Access.ExpiresAt.Add(-by)
	must(s.T, table.Put(s.Context(), g, rev))
}

// userinfo asks LinkedIn whose the token is.
func (s *stack) userinfo(t token) {
	s.Helper()
	s.want(s.send("GET", s.sim+"/v2/userinfo", "", http.Header{"Authorization": {"Bearer " + t.Token}}), 200, "Ada")
}

// noSecrets looks through what the functions wrote.
func (s *stack) noSecrets(secrets ...string) {
	s.Helper()
	text, err := os.ReadFile(s.log)
	must(s.T, err)
	if !bytes.Contains(text, []byte("/members/")) {
		s.Errorf("%s is not the log", s.log)
	}
	for _, secret := range append(secrets, s.key) {
		if bytes.Contains(text, []byte(secret)) {
			s.Errorf("a secret is in %s", s.log)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	return port
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p) //nolint:wrapcheck // never fails
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
