package scale_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
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

	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/test/aws/awstest"
	"github.com/keepin/keepin/test/e2e"
	"github.com/keepin/keepin/test/lambdahost"
)

// What one worker has: a Lambda of 256 MB has 256/1769 of a processor
// (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html).
const (
	memory      = 256
	linkedInFor = 150 * time.Millisecond
	tableFor    = 4 * time.Millisecond
	wantRate    = 100 // refreshes a second (T14 of the budgets)
)

// rig is the real refresh function, as a process of its own, with a table and a
// LinkedIn over TLS.
type rig struct {
	*lambdahost.Function
	log      *e2e.Log
	grants   *table
	opened   *atomic.Int64 // connections to it
	linkedIn *linkedIn
	store    *dynamo.Table
	stock    stock
	made     int
}

// newRig makes one whose process start starts; nil: a plain start.
func newRig(t *testing.T, start func(*exec.Cmd) error) *rig {
	t.Helper()
	dir := t.TempDir()
	must(t, lambdahost.Build(t.Context(), dir, "refresh", "../../functions/refresh"))
	set := seal.NewKeyset()
	r := &rig{log: new(e2e.Log), grants: newTable(), linkedIn: &linkedIn{}, stock: stock{time.Now().UTC(), sealer(set)}}
	// LinkedIn speaks HTTP/2, DynamoDB does not.
	linkedIn, _ := serve(t, r.linkedIn, true)
	table, opened := serve(t, r.grants, false)
	r.opened = opened
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: table.Certificate().Raw}) // both have httptest's
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	r.Function = lambdahost.NewFunction(lambdahost.Spec{
		Name: "refresh", Bootstrap: filepath.Join(dir, "refresh", "bootstrap"), Memory: memory, Timeout: time.Minute, Environments: 1, Log: r.log, Exec: start,
		Env: map[string]string{
			"KEEPIN_BASE_URL": "https://app.example/auth", "KEEPIN_SCOPES": "openid profile email w_member_social", "KEEPIN_STORE": "dynamodb:keepin",
			"KEEPIN_SECRET": "file:" + write("secret", `{"client_id":"`+clientID+`","client_secret":"the-app-secret"}`),
			"KEEPIN_KEYS":   "file:" + write("keys", set.Reveal()), "KEEPIN_EVENTS": "log",
			"KEEPIN_LINKEDIN_URL": linkedIn.URL, "KEEPIN_LINKEDIN_API_URL": linkedIn.URL, "AWS_ENDPOINT_URL_DYNAMODB": table.URL,
			"SSL_CERT_FILE": write("roots.pem", string(root)), "SSL_CERT_DIR": dir, "GOMAXPROCS": "1", "GOGC": os.Getenv("KEEPIN_SCALE_GOGC"),
		},
	})
	t.Cleanup(r.Close)
	var err error
	r.store, err = dynamo.Open(dynamo.Config{Table: "keepin", Region: awstest.Region, Credentials: awstest.Credentials(), Endpoint: table.URL,
		Transport: table.Client().Transport, Timeout: time.Minute})
	must(t, err)
	return r
}

// fill leaves n grants in the table, all due; with proofs every other one for
// the proof of its token, else all for a refresh.
func (r *rig) fill(t *testing.T, n int, proofs bool) {
	t.Helper()
	r.grants.slow(0)
	r.grants.clear()
	for i := range n {
		due := r.stock.now.Add(time.Duration(i)*time.Millisecond - time.Hour)
		must(t, r.store.Put(t.Context(), r.stock.grant(t, r.made, due, proofs && i%2 == 1), ""))
		r.made++
	}
	r.linkedIn.forget()
	r.opened.Store(0)
}

func (r *rig) pass(t *testing.T) {
	t.Helper()
	result, err := r.Invoke(t.Context(), []byte(`{"from":0,"to":15}`))
	must(t, err)
	if result.FunctionError != "" {
		t.Fatalf("%s: %s", result.FunctionError, result.Payload)
	}
	r.Rest()
}

// The function writes what its pass did as one line of metrics.
func TestFunctionTellsWhatItsPassDid(t *testing.T) {
	r := newRig(t, nil)
	r.fill(t, 60, true)
	r.pass(t)
	if n, _ := r.linkedIn.refreshes(); n != 30 {
		t.Errorf("%d refreshes, want 30", n)
	}
	var told []string
	for line := range strings.Lines(r.log.String()) {
		var m struct {
			AWS                                  any `json:"_aws"`
			Done, Failed, Blocked, OpenIncidents int
			RefreshLagSeconds                    float64
		}
		if json.Unmarshal([]byte(line), &m) == nil && m.AWS != nil {
			told = append(told, fmt.Sprint(m.Done, m.Failed, m.Blocked, m.OpenIncidents, m.RefreshLagSeconds > 3590))
		}
	}
	if want := []string{"60 0 0 0 true"}; !slices.Equal(told, want) {
		t.Errorf("got %q, want %q\n%s", told, want, r.log)
	}
}

// One pass of the real function, at a small Lambda's share of a processor, with
// LinkedIn and the table as far away as the real ones.
func TestOneWorkerRefreshesFast(t *testing.T) {
	if !full() {
		t.Skip("make bench-scale measures this")
	}
	how, start := fmt.Sprintf("at %d/1769 of a processor", memory), (func(*exec.Cmd) error)(nil)
	q, err := lambdahost.NewQuota()
	if err == nil {
		t.Cleanup(func() { _ = q.Close() })
		start = q.Start
	} else {
		how = "WITHOUT a quota (" + err.Error() + "; see the processor time used)"
	}
	r := newRig(t, start)
	r.pass(t) // nothing is due: the process is there
	if err == nil {
		must(t, q.Set(memory))
	}
	pid := r.Pids()[0]
	used := func() time.Duration {
		d, err := lambdahost.CPU(pid)
		must(t, err)
		return d
	}
	for _, c := range []struct {
		id, what string
		proofs   bool
		rounds   int
	}{{"T14", "refreshes a second", false, 3}, {"T14 besides", "refreshes a second, each with the proof of another's", true, 1}} {
		var rates, allowed []float64
		starved := false
		for range c.rounds {
			r.fill(t, 10_000, c.proofs) // more than one pass begins
			r.grants.slow(tableFor)
			r.linkedIn.slow(linkedInFor)
			before := used()
			r.pass(t)
			spent := used() - before
			n, took := r.linkedIn.refreshes()
			peak, err := lambdahost.PeakMemory(pid)
			must(t, err)
			rates = append(rates, float64(n)/took.Seconds())
			allowed = append(allowed, float64(n)/spent.Seconds()*memory/1769)
			starved = starved || spent.Seconds()/took.Seconds() < 0.95*memory/1769
			t.Logf("%s: %d in %.1f s, with %.2f ms of processor time each and %.3f of a processor in all; %d connections to the table were made; %.0f MB at most",
				c.id, n, took.Seconds(), spent.Seconds()/float64(n)*1e3, spent.Seconds()/took.Seconds(), r.opened.Load(), peak)
		}
		slices.Sort(rates)
		slices.Sort(allowed)
		median, may, verdict := rates[len(rates)/2], allowed[len(allowed)/2], "pass"
		switch {
		case median >= wantRate:
		case starved && may >= wantRate:
			verdict = "NOT MEASURED: this machine was too busy to give the function its share"
		default:
			verdict = "MISS"
		}
		t.Logf("%s: %s, %s: median %.0f, best %.0f; the processor time would do for %.0f; floor seen 182; budget >= %d: %s",
			c.id, c.what, how, median, rates[len(rates)-1], may, wantRate, verdict)
		if verdict == "MISS" && !c.proofs {
			t.Errorf("%s misses its budget", c.id)
		}
	}
}

// linkedIn answers what a refresh asks, and takes its time.
type linkedIn struct {
	mu          sync.Mutex
	takes       time.Duration
	n           int
	first, last time.Time
}

func (l *linkedIn) slow(d time.Duration) { l.mu.Lock(); defer l.mu.Unlock(); l.takes = d }

func (l *linkedIn) forget() { l.mu.Lock(); defer l.mu.Unlock(); l.n = 0 }

// refreshes is how many there were since forget, and from when to when.
func (l *linkedIn) refreshes() (n int, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n, l.last.Sub(l.first)
}

func (l *linkedIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	l.mu.Lock()
	takes := l.takes
	l.mu.Unlock()
	time.Sleep(takes) //nolint:forbidigo // the time of the real one
	var answer any
	switch r.URL.Path {
	case "/oauth/v2/accessToken":
		l.mu.Lock()
		if l.last = time.Now(); l.n == 0 {
			l.first = l.last
		}
		l.n++
		l.mu.Unlock()
		subject := subjectOf(form.Get("refresh_token"))
		answer = map[string]any{"access_token": token("access", subject), "expires_in": 5184000, "refresh_token": token("refresh", subject),
			"refresh_token_expires_in": 313 * 86400, "scope": "email,openid,profile,w_member_social", "token_type": "Bearer"}
	case "/oauth/v2/introspectToken":
		answer = map[string]any{"active": true, "status": "active", "client_id": clientID, "scope": "email,openid,profile,w_member_social", "auth_type": "3L"}
	case "/v2/userinfo":
		answer = map[string]any{"sub": subjectOf(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")), "name": "Ada Lovelace", "email": "ada@example.com", "email_verified": true}
	default:
		http.NotFound(w, r)
		return
	}
	out, _ := json.Marshal(answer)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out)
}

// serve serves h over TLS, and counts the connections that are opened.
func serve(t *testing.T, h http.Handler, http2 bool) (s *httptest.Server, opened *atomic.Int64) {
	t.Helper()
	s, opened = httptest.NewUnstartedServer(h), new(atomic.Int64)
	s.EnableHTTP2 = http2
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, opened
}
