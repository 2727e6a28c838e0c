package linkedinsim_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

const (
	clientID = "77testapp00000"
	secret   = "WPL_AP1.Test/Secret+0.c2Vj,cg=="
	callback = "http://localhost:8080/callback"
	allScope = "openid profile email"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// key is one for all simulators: making one takes time.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// rig is a simulator with one app, and a client of it without a network.
type rig struct {
	*linkedinsim.Sim
	t      *testing.T
	client *http.Client
}

func newRig(t *testing.T, change ...func(*linkedinsim.Config)) rig {
	t.Helper()
	cfg := linkedinsim.Config{
		Clock: linkedinsim.NewClock(start),
		URL:   "http://linkedin.test",
		Key:   key(),
		Apps: []linkedinsim.App{{
			ClientID: clientID, Secret: secret, RedirectURLs: []string{callback},
			Scopes: []string{"openid", "profile", "email", "w_member_social"}, Refresh: true,
		}},
	}
	for _, c := range change {
		c(&cfg)
	}
	sim, err := linkedinsim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return rig{sim, t, &http.Client{Transport: sim, CheckRedirect: noRedirect}}
}

func withApp(change func(*linkedinsim.App)) func(*linkedinsim.Config) {
	return func(c *linkedinsim.Config) { change(&c.Apps[0]) }
}

func (r rig) set(change func(*linkedinsim.Switches)) rig { r.SetSwitches(change); return r }

func (r rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func authorizeURL(scope string, more ...string) string {
	q := url.Values{"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {callback}, "scope": {scope}, "state": {"st4te"}}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
		if more[i+1] == "" {
			q.Del(more[i])
		}
	}
	return "http://linkedin.test/oauth/v2/authorization?" + q.Encode()
}

// code signs a member in and returns the code.
func (r rig) code(member, scope string) string {
	r.t.Helper()
	back, err := r.Authorize(authorizeURL(scope), member)
	r.must(err)
	u, err := url.Parse(back)
	r.must(err)
	if u.Query().Get("state") != "st4te" || u.Query().Get("code") == "" {
		r.t.Fatalf("the callback %q lacks state or code", back)
	}
	return u.Query().Get("code")
}

// reply is an answer that was read.
type reply struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func (a reply) str(name string) string  { s, _ := a.json[name].(string); return s }
func (a reply) num(name string) float64 { n, _ := a.json[name].(float64); return n }

func (r rig) do(req *http.Request) reply {
	r.t.Helper()
	resp, err := r.client.Do(req)
	r.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	r.must(err)
	a := reply{status: resp.StatusCode, header: resp.Header, body: string(body)}
	_ = json.Unmarshal(body, &a.json)
	return a
}

func (r rig) post(path string, form url.Values) reply {
	r.t.Helper()
	req := httptest.NewRequest("POST", "http://linkedin.test"+path, strings.NewReader(form.Encode()))
	req.RequestURI = ""
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r.do(req)
}

func (r rig) get(path, token string) reply {
	r.t.Helper()
	req := httptest.NewRequest("GET", "http://linkedin.test"+path, nil)
	req.RequestURI = ""
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return r.do(req)
}

// form is a token request with the credentials of the app; "" removes one.
func form(pairs ...string) url.Values {
	v := url.Values{"client_id": {clientID}, "client_secret": {secret}}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "" {
			v.Del(pairs[i])
		}
	}
	return v
}

func (r rig) exchange(code string, more ...string) reply {
	r.t.Helper()
	v := form("grant_type", "authorization_code", "code", code, "redirect_uri", callback)
	maps.Copy(v, formOnly(more))
	return r.post("/oauth/v2/accessToken", v)
}

func formOnly(pairs []string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func (r rig) refresh(token string) reply {
	r.t.Helper()
	return r.post("/oauth/v2/accessToken", form("grant_type", "refresh_token", "refresh_token", token))
}

func (r rig) introspect(token string) reply {
	r.t.Helper()
	return r.post("/oauth/v2/introspectToken", form("token", token))
}

// signIn is the whole way to tokens.
func (r rig) signIn(member, scope string) reply {
	r.t.Helper()
	a := r.exchange(r.code(member, scope))
	if a.status != 200 {
		r.t.Fatalf("sign-in: %d %s", a.status, a.body)
	}
	return a
}

func TestSignInRefreshAndIntrospect(t *testing.T) {
	r := newRig(t)
	a := r.signIn("ada", allScope)
	if a.num("expires_in") != 5183999 || a.num("refresh_token_expires_in") != 31536000 {
		t.Errorf("ends: %v and %v", a.json["expires_in"], a.json["refresh_token_expires_in"])
	}
	if a.str("scope") != "email,openid,profile" || a.str("token_type") != "Bearer" || a.str("id_token") == "" {
		t.Errorf("token answer: %s", a.body)
	}
	me := r.get("/v2/userinfo", a.str("access_token"))
	if me.status != 200 || me.str("sub") != linkedinsim.Subject(clientID, "ada") || me.str("name") != "Ada Lovelace" {
		t.Errorf("userinfo: %d %s", me.status, me.body)
	}
	if in := r.introspect(a.str("access_token")); in.json["active"] != true || in.str("scope") != "email,openid,profile" || in.str("auth_type") != "3L" {
		t.Errorf("introspection: %d %s", in.status, in.body)
	}
	b := r.refresh(a.str("refresh_token"))
	if b.status != 200 || b.str("refresh_token") != a.str("refresh_token") || b.str("access_token") == a.str("access_token") || b.str("id_token") != "" {
		t.Errorf("refresh: %d %s", b.status, b.body)
	}
	if n := r.Count(linkedinsim.TokenEndpoint); n != 2 {
		t.Errorf("%d token calls counted, want 2", n)
	}
	grants := r.Grants()
	if len(grants) != 1 || len(grants[0].Tokens) != 3 || slices.ContainsFunc(grants[0].Tokens, func(t linkedinsim.Token) bool { return t.State != "active" }) {
		t.Errorf("grants: %+v", grants)
	}
}

// TestConcurrentUse is for the race detector; what it counts must add up too.
func TestConcurrentUse(t *testing.T) {
	r := newRig(t)
	token := r.signIn("ada", allScope).str("refresh_token")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				r.refresh(token)
				r.Grants()
				r.get("/_sim/", "")
				r.Clock().Advance(time.Second)
			}
		})
	}
	wg.Wait()
	if n := r.Count(linkedinsim.TokenEndpoint); n != 161 {
		t.Errorf("%d token calls, want 161", n)
	}
	if n := len(r.Grants()[0].Tokens); n != 162 {
		t.Errorf("%d tokens, want 162", n)
	}
}

func TestOnlyAnRSAKeySigns(t *testing.T) {
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := linkedinsim.New(linkedinsim.Config{Key: other}); err == nil {
		t.Error("a key of another kind was taken")
	}
}
