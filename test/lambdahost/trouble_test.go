package lambdahost_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/test/aws/awstest"
	"github.com/keepin/keepin/test/e2e"
	"github.com/keepin/keepin/test/lambdahost"
)

// TestTroubleIsA503AndOneLine: whatever is wrong around a function, callers get
// the contract's 503, the operator is told once, and LinkedIn is not asked.
func TestTroubleIsA503AndOneLine(t *testing.T) {
	tables, aws := awstest.Dynalite(t), awstest.Ministack(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	for _, tt := range []struct {
		name   string
		change func(*stack)
		path   string
		line   string // what one line of the log says
		also   string // and that line too
	}{
		{"a placeholder in the secret", func(s *stack) {
			s.credentials = `{"client_id":"PUT-YOURS-HERE","client_secret":"PUT-YOURS-HERE"}`
		}, "/login", "credentials cannot be used", "still has a placeholder for client_id"},
		{"a table that is not there", func(s *stack) { s.config.Values["Table"] = "elsewhere" }, "/validate", "request failed", "ResourceNotFoundException"},
		{"a secret that is not there", func(s *stack) { s.config.Values["ClientSecret"] = "elsewhere" }, "/login", "credentials cannot be used", "ResourceNotFoundException"},
		{"a database that does not answer", func(s *stack) { s.config.Env["AWS_ENDPOINT_URL_DYNAMODB"] = "http://127.0.0.1:1" }, "/validate", "request failed", "connection refused"},
		{"a throttled table", func(s *stack) {
			s.config.Env["AWS_ENDPOINT_URL_DYNAMODB"] = refusing(t, "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException")
		}, "/validate", "request failed", "ProvisionedThroughputExceededException"},
		{"no right to the table", func(s *stack) {
			s.config.Env["AWS_ENDPOINT_URL_DYNAMODB"] = refusing(t, "com.amazon.coral.service#AccessDeniedException")
		}, "/validate", "request failed", "no policy allows it"},
		{"no right to the secrets", func(s *stack) {
			s.config.Env["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = refusing(t, "AccessDeniedException")
		}, "/login", "credentials cannot be used", "no policy allows it"},
		{"a mistake in the configuration", func(s *stack) { s.config.Values["Scopes"] = "profile" }, "/login", "KEEPIN_SCOPES", "no openid"},
		{"no database for a function", func(s *stack) { s.config.Env["KEEPIN_STORE"] = "bolt:/tmp/x" }, "/validate", "cannot be wired", "dynamodb:TABLE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, tables, aws, key, tt.change)
			for range 2 {
				r := get(t, s.base+tt.path, cookie("keepin=AAAAAAAAAAAAAAAAAAAAAA."+id(7)))
				if r.StatusCode != 503 || r.Header.Get("Retry-After") == "" || !strings.Contains(r.body, `"code":"try_again"`) {
					t.Errorf("got %d %v %s", r.StatusCode, r.Header, r.body)
				}
				for _, f := range s.host.Functions {
					f.Rest() // the second request finds the environment of the first
				}
			}
			s.host.Close() // all that was written has arrived
			said := 0
			for line := range strings.Lines(s.log.String()) {
				if strings.Contains(line, tt.line) && strings.Contains(line, tt.also) {
					said++
				}
			}
			if limit := map[string]int{"request failed": 2}[tt.line]; said < 1 || said > max(limit, 1) {
				t.Errorf("said %d times: %s", said, s.log.String())
			}
			if n := s.sim.Count(linkedinsim.TokenEndpoint) + s.sim.Count(linkedinsim.AuthorizeEndpoint); n != 0 {
				t.Errorf("LinkedIn was asked %d times", n)
			}
		})
	}
}

// refusing is the address of an AWS that refuses every call.
func refusing(t *testing.T, code string) string {
	return e2e.Serve(t, e2e.Listen(t), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type":"`+code+`","message":"no policy allows it"}`)
	}))
}

// TestSecretsThatComeLateAreTakenUp: an environment that started while Secrets
// Manager was down serves as soon as it is up.
func TestSecretsThatComeLateAreTakenUp(t *testing.T) {
	tables, aws := awstest.Dynalite(t), awstest.Ministack(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	target, err := url.Parse(aws)
	must(t, err)
	var up atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := e2e.Serve(t, e2e.Listen(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !up.Load() {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	s := open(t, tables, aws, key, func(s *stack) { s.config.Env["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = front })
	if r := get(t, s.base+"/login"); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("while it is down: got %d %s", r.StatusCode, r.body)
	}
	if r := get(t, s.base+"/validate"); r.StatusCode != 401 {
		t.Errorf("validate needs no secret: got %d %s", r.StatusCode, r.body)
	}
	started := s.host.Functions["CallbackFunction"].Pids()
	up.Store(true)
	s.clock.Advance(11 * time.Second)
	r := get(t, s.base+"/login")
	if to, err := r.Location(); r.StatusCode != 303 || err != nil || !strings.Contains(to.Path, "/oauth/v2/authorization") {
		t.Errorf("when it is up: got %d %s", r.StatusCode, r.body)
	}
	s.host.Functions["CallbackFunction"].Rest()
	if now := s.host.Functions["CallbackFunction"].Pids(); len(started) != 1 || len(now) != 1 || started[0] != now[0] {
		t.Errorf("the environment did not live through it: %v, then %v", started, now)
	}
}

// TestAnotherAPIAsksWhoIsSignedIn has a second small API with validate as its authorizer.
func TestAnotherAPIAsksWhoIsSignedIn(t *testing.T) {
	tables, aws := awstest.Dynalite(t), awstest.Ministack(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	s := open(t, tables, aws, key, func(s *stack) { s.config.Freeze = true })
	db := s.open(t)
	now := s.clock.Now()
	member := keeper.NewMemberID(s.app.ClientID, "subject")
	token := keeper.Token{Sealed: []byte("sealed"), IssuedAt: now, ExpiresAt: now.Add(60 * 24 * time.Hour), ProvenAt: now}
	must(t, db.Put(t.Context(), keeper.Grant{Member: member, Subject: "subject", Status: keeper.Active, Generation: "g", Scopes: []string{"openid"}, Access: token, Rev: "1"}, ""))
	must(t, db.PutSession(t.Context(), session.Session{Member: member, Hash: sha256.Sum256([]byte(id(1))), Generation: "g", CreatedAt: now, ExpiresAt: now.Add(time.Hour)}))

	var event map[string]any
	api := e2e.Serve(t, e2e.Listen(t), &lambdahost.Gateway{Now: s.clock.Now, Routes: []lambdahost.Route{{
		Key: "GET /orders", Function: recorded(&event),
		Authorizer: &lambdahost.Authorizer{Function: s.host.Functions["ValidateFunction"], Sources: []string{"$request.header.Cookie"}},
	}}})
	signedIn := "keepin=" + string(member) + "." + id(1)
	for sent, want := range map[string]int{signedIn: 200, "keepin=" + string(member) + "." + id(2): 403, "other=1": 403, "": 401} {
		if r := get(t, api+"/orders", cookie(sent)); r.StatusCode != want {
			t.Errorf("%q: got %d %s, want %d", sent, r.StatusCode, r.body, want)
		}
	}
	get(t, api+"/orders", cookie(signedIn))
	got, _ := json.Marshal(event["requestContext"].(map[string]any)["authorizer"])
	if want := `{"lambda":{"member":"` + string(member) + `","scopes":["openid"],"sub":"subject"}}`; string(got) != want {
		t.Errorf("the function got %s, want %s", got, want)
	}
	g, err := db.Get(t.Context(), member)
	must(t, err)
	g.Status, g.Generation, g.Rev = keeper.SignedOut, "h", "2"
	must(t, db.Put(t.Context(), g, "1"))
	if r := get(t, api+"/orders", cookie(signedIn)); r.StatusCode != 403 {
		t.Errorf("after the logout: got %d", r.StatusCode)
	}
}

// id is a session id.
func id(n byte) string {
	b := make([]byte, 32)
	b[0] = n
	return base64.RawURLEncoding.EncodeToString(b)
}

func cookie(value string) func(*http.Request) {
	return func(r *http.Request) {
		if value != "" {
			r.Header.Set("Cookie", value)
		}
	}
}

type got struct {
	*http.Response
	body string
}

func get(t *testing.T, address string, change ...func(*http.Request)) got {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	must(t, err)
	for _, c := range change {
		c(r)
	}
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(r)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return got{resp, string(body)}
}
