package linkedinsim_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

// try is a refresh that may fail on the way.
func (r rig) try(ctx context.Context, c *http.Client, base, token string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", base+"/oauth/v2/accessToken",
		strings.NewReader(form("grant_type", "refresh_token", "refresh_token", token).Encode()))
	r.must(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	return resp.StatusCode, err
}

func (r rig) tokens() int {
	n := 0
	for _, g := range r.Grants() {
		n += len(g.Tokens)
	}
	return n
}

func TestFaultStrikesTheNextCallsThenEnds(t *testing.T) {
	r := newRig(t)
	token := r.signIn("ada", allScope).str("refresh_token")
	r.must(r.Fault(linkedinsim.Fault{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.AnswerStatus, Status: 500, Times: 2}))
	before := r.tokens()
	if a := r.introspect(token); a.status == 500 {
		t.Error("a fault of the token endpoint strikes introspection")
	}
	for i, want := range []int{500, 500, 200} {
		if a := r.refresh(token); a.status != want {
			t.Errorf("call %d: %d, want %d", i, a.status, want)
		}
	}
	if n := r.tokens(); n != before+1 {
		t.Errorf("%d tokens were issued, want 1", n-before)
	}
	if len(r.Faults()) != 0 {
		t.Errorf("left: %+v", r.Faults())
	}
}

func TestFaultStrikesUntilCleared(t *testing.T) {
	r := newRig(t)
	r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.AnswerStatus, Status: 504}))
	for range 3 {
		if a := r.get("/v2/userinfo", "x"); a.status != 504 {
			t.Errorf("userinfo: %d", a.status)
		}
		if a := r.get("/oauth/openid/jwks", ""); a.status != 504 {
			t.Errorf("jwks: %d", a.status)
		}
	}
	r.Clear()
	if a := r.get("/oauth/openid/jwks", ""); a.status != 200 {
		t.Errorf("after Clear: %d", a.status)
	}
}

func TestTooManyCalls(t *testing.T) {
	r := newRig(t)
	r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.AnswerStatus, Status: 429, Times: 1}))
	a := r.get("/v2/userinfo", "x")
	if a.status != 429 || a.num("serviceErrorCode") != 101 || a.str("code") != "TOO_MANY_REQUESTS" ||
		a.str("message") != "Resource level throttle APPLICATION DAY limit for calls to this resource is reached." || a.header.Get("Retry-After") != "" {
		t.Errorf("day limit: %d %s", a.status, a.body)
	}
	r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.AnswerStatus, Status: 429, Times: 1, RetryAfter: 30 * time.Second}))
	if a := r.get("/v2/userinfo", "x"); a.header.Get("Retry-After") != "30" || strings.Contains(a.body, "DAY") {
		t.Errorf("with Retry-After: %v %s", a.header, a.body)
	}
}

// TestResetLosesTheAnswer: before processing nothing is issued, after it a
// token is; the caller cannot tell.
func TestResetLosesTheAnswer(t *testing.T) {
	for kind, issued := range map[linkedinsim.Kind]int{linkedinsim.ResetBefore: 0, linkedinsim.ResetAfter: 1} {
		t.Run(string(kind), func(t *testing.T) {
			r := newRig(t)
			server := httptest.NewServer(r.Sim)
			defer server.Close()
			token := r.signIn("ada", allScope).str("refresh_token")
			before := r.tokens()
			r.must(r.Fault(linkedinsim.Fault{Kind: kind, Times: 1}))
			if status, err := r.try(t.Context(), server.Client(), server.URL, token); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("over a network: %d, %v", status, err)
			}
			if n := r.tokens() - before; n != issued {
				t.Errorf("%d tokens issued, want %d", n, issued)
			}
			r.must(r.Fault(linkedinsim.Fault{Kind: kind, Times: 1}))
			if status, err := r.try(t.Context(), r.client, "http://linkedin.test", token); err == nil {
				t.Errorf("in process: %d", status)
			}
			calls := r.Calls()
			if last := calls[len(calls)-1]; last.Status != 0 || len(last.Faults) != 1 || len(last.Issued) != issued {
				t.Errorf("the call is logged as %+v", last)
			}
			if n := r.InFlight(linkedinsim.EveryEndpoint); n != 0 {
				t.Errorf("%d calls in flight", n)
			}
		})
	}
}

func TestTruncatedAnswer(t *testing.T) {
	r := newRig(t)
	server := httptest.NewServer(r.Sim)
	defer server.Close()
	token := r.signIn("ada", allScope).str("refresh_token")
	for base, client := range map[string]*http.Client{server.URL: server.Client(), "http://linkedin.test": r.client} {
		r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.Truncate, Times: 1}))
		if status, err := r.try(t.Context(), client, base, token); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %d, %v", base, status, err)
		}
	}
}

func TestStallEnds(t *testing.T) {
	for _, kind := range []linkedinsim.Kind{linkedinsim.StallBefore, linkedinsim.StallAfter} {
		for name, c := range map[string]struct {
			lasts time.Duration
			end   func(*linkedinsim.Sim, context.CancelFunc)
			want  int
			after time.Duration
		}{
			"by itself":                {lasts: 20 * time.Second, want: 200, after: 20 * time.Second},
			"when cleared":             {end: func(s *linkedinsim.Sim, _ context.CancelFunc) { s.Clear() }, want: 200, after: time.Second},
			"when the caller goes":     {end: func(_ *linkedinsim.Sim, cancel context.CancelFunc) { cancel() }, after: time.Second},
			"when cleared before time": {lasts: time.Hour, end: func(s *linkedinsim.Sim, _ context.CancelFunc) { s.Clear() }, want: 200, after: time.Second},
		} {
			t.Run(string(kind)+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					token := r.signIn("ada", allScope).str("refresh_token")
					before := r.tokens()
					r.must(r.Fault(linkedinsim.Fault{Kind: kind, For: c.lasts, Times: 1}))
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					began := time.Now()
					if c.end != nil {
						go func() {
							time.Sleep(time.Second) // of the bubble
							if r.InFlight(linkedinsim.TokenEndpoint) != 1 {
								t.Error("the stalled call is not in flight")
							}
							if issued := r.tokens() - before; issued != map[linkedinsim.Kind]int{linkedinsim.StallBefore: 0, linkedinsim.StallAfter: 1}[kind] {
								t.Errorf("%d tokens were issued while it stalls", issued)
							}
							c.end(r.Sim, cancel)
						}()
					}
					status, err := r.try(ctx, r.client, "http://linkedin.test", token)
					if status != c.want || (err != nil) != (c.want == 0) {
						t.Errorf("%d, %v", status, err)
					}
					if took := time.Since(began); took != c.after {
						t.Errorf("took %s, want %s", took, c.after)
					}
				})
			})
		}
	}
}

func TestStallEndsWhenTheConnectionCloses(t *testing.T) {
	r := newRig(t)
	server := httptest.NewServer(r.Sim)
	defer server.Close() // waits for the stalled handler: hangs if the stall does not end
	token := r.signIn("ada", allScope).str("refresh_token")
	r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.StallBefore}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for r.InFlight(linkedinsim.TokenEndpoint) == 0 {
			select {
			case <-t.Context().Done():
				return
			default:
			}
		}
		cancel()
	}()
	if _, err := r.try(ctx, server.Client(), server.URL, token); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestWrongSecretFault(t *testing.T) {
	r := newRig(t)
	a := r.signIn("ada", allScope)
	r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.WrongSecret}))
	if b := r.refresh(a.str("refresh_token")); b.status != 401 || b.str("error") != "invalid_client" {
		t.Errorf("refresh: %d %s", b.status, b.body)
	}
	if b := r.introspect(a.str("access_token")); b.status != 401 {
		t.Errorf("introspection: %d", b.status)
	}
	if b := r.get("/v2/userinfo", a.str("access_token")); b.status != 200 {
		t.Errorf("userinfo: %d", b.status)
	}
}

func TestRefusingEverybodyLeavesIntrospectionTruthful(t *testing.T) {
	r := newRig(t)
	a := r.signIn("ada", allScope)
	r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.RefuseRefresh}))
	for range 2 {
		if b := r.refresh(a.str("refresh_token")); b.status != 400 || b.str("error_description") != refused {
			t.Errorf("%d %s", b.status, b.body)
		}
	}
	if b := r.introspect(a.str("access_token")); b.json["active"] != true {
		t.Errorf("%s", b.body)
	}
	if b := r.signIn("grace", allScope); b.status != 200 {
		t.Errorf("a sign-in: %s", b.body)
	}
	r.Clear()
	if b := r.refresh(a.str("refresh_token")); b.status != 200 {
		t.Errorf("after Clear: %s", b.body)
	}
}

func TestSpoiltAnswers(t *testing.T) {
	r := newRig(t)
	a := r.signIn("ada", allScope)
	r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.NoExpiresIn, Times: 1}))
	if b := r.refresh(a.str("refresh_token")); b.status != 200 || b.json["expires_in"] != nil {
		t.Errorf("%s", b.body)
	}
	r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.ForeignTokenType, Times: 1}))
	if b := r.refresh(a.str("refresh_token")); b.str("token_type") != "mac" {
		t.Errorf("%s", b.body)
	}
	r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.OtherSubject, Times: 1}))
	r.refresh(a.str("refresh_token")) // has no userinfo to spoil: does not count
	if b := r.get("/v2/userinfo", a.str("access_token")); b.status != 200 || b.str("sub") == linkedinsim.Subject(clientID, "ada") {
		t.Errorf("%s", b.body)
	}
	if b := r.get("/v2/userinfo", a.str("access_token")); b.str("sub") != linkedinsim.Subject(clientID, "ada") {
		t.Errorf("once only: %s", b.body)
	}
}

func TestFaultsThatMakeNoSenseAreRefused(t *testing.T) {
	r := newRig(t)
	for _, f := range []linkedinsim.Fault{{}, {Kind: "hiccup"}, {Kind: linkedinsim.AnswerStatus}, {Kind: linkedinsim.AnswerStatus, Status: 200},
		{Kind: linkedinsim.Truncate, Times: -1}, {Kind: linkedinsim.StallBefore, For: -1}, {Kind: linkedinsim.Truncate, Endpoint: "tokn"}} {
		if r.Fault(f) == nil {
			t.Errorf("%+v was accepted", f)
		}
	}
}

func TestCallsShowFingerprintsAndNoTokens(t *testing.T) {
	r := newRig(t)
	a := r.signIn("ada", allScope)
	r.introspect(a.str("access_token"))
	r.get("/v2/userinfo", a.str("access_token"))
	r.refresh("AQgarbage")
	calls := r.Calls()
	text, err := json.Marshal(struct{ Calls, Grants any }{calls, r.Grants()})
	r.must(err)
	for _, secret := range r.Secrets() {
		if strings.Contains(string(text), secret) {
			t.Error("a secret stands in the log of calls")
		}
	}
	last := calls[len(calls)-1]
	if last.Status != 400 || last.Error != "invalid_request" || last.GrantType != "refresh_token" || last.ClientID != clientID || !last.At.Equal(start) {
		t.Errorf("%+v", last)
	}
	if me := calls[len(calls)-2]; me.Endpoint != linkedinsim.UserinfoEndpoint || me.Member != "ada" || me.Presented != r.Grants()[0].Tokens[0].Fingerprint {
		t.Errorf("%+v", me)
	}
	if len(r.Secrets()) < 4 { // client secret, code, access token, refresh token
		t.Errorf("%d secrets", len(r.Secrets()))
	}
}

// atWrite calls do when the answer begins to be sent.
type atWrite struct {
	http.ResponseWriter
	do func()
}

func (w atWrite) WriteHeader(status int) { w.do(); w.ResponseWriter.WriteHeader(status) }

func TestCallIsLoggedBeforeItsAnswerIsSent(t *testing.T) {
	r := newRig(t)
	sent := false
	w := atWrite{httptest.NewRecorder(), func() {
		sent = true
		if calls := r.Calls(); len(calls) != 1 || calls[0].Status != 401 || r.InFlight(linkedinsim.UserinfoEndpoint) != 0 {
			t.Errorf("whoever has the answer finds %+v", calls)
		}
	}}
	r.ServeHTTP(w, httptest.NewRequest("GET", "/v2/userinfo", nil))
	if !sent {
		t.Error("no answer")
	}
}
